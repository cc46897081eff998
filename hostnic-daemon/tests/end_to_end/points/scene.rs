//! What a node is in the middle of when it is killed: the operations that pods and people ask for, and what the cloud,
//! the kernel and others do to them.

use std::collections::BTreeSet;

use hostnic_core::point::{Point, Side};
use serde_json::{Value, json};

use super::process::Died;
use super::stage::{ELSEWHERE, OTHER, PODS, Stage, Way};
use super::wishes::Wish;
use crate::plugin::Call;
use crate::pod::Pod;
use crate::witness;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scene {
    /// ADDs, for which the pool makes new NICs.
    AddAndRefill,
    /// DELs, after which the pool gives NICs back.
    DelAndRecycle,
    /// An ADD that needs a gateway, which is made.
    Gateway,
    /// `clean`, with a gateway that nobody needs.
    Clean,
    /// A start with a gateway, and a comparison.
    Restart,
    /// ADDs that the kernel refuses.
    Refused,
    /// Repeated and other calls of the plugin and of people.
    Asked,
    /// A create whose answer is lost.
    LostAnswer,
    /// A create that never arrived, and a look for it that fails.
    LostCreate,
    /// An attach that is refused, and one whose fate is unknown.
    BadAttach,
    /// A subnet that is full, until it is not.
    Full,
    /// A NIC whose link never comes.
    NoLink,
    /// An ADD whose NIC is missing for a while.
    AwayLink,
    /// Pods that somebody changed, took a NIC from or ended.
    Tampered,
    /// The records are lost, and somebody has unplugged a NIC.
    StoreLost,
    /// A DEL while records and cloud are out of reach.
    Forgotten,
    /// A NIC that is gone from the cloud.
    Vanished,
    /// A NIC that somebody unplugged.
    Unplugged,
    /// A NIC that somebody gave to another instance.
    Stolen,
    /// A NIC made for one pod, whose address is somebody else's for a while.
    Made,
    /// A NIC lent to a pod.
    Lent,
    /// A NIC made for one pod whose ADD gives up, and left to the next.
    Entrusted,
    /// A start, after which what is there is tagged.
    Tagged,
    /// An ADD, after which the pod is announced once more.
    Announced,
    /// Hairpin is switched on while pods run.
    HairpinOn,
    /// Hairpin is switched off while pods run.
    HairpinOff,
    /// A node and pods behind veths that somebody changed or ended.
    NodeTampered,
    /// `shutdown`.
    Shutdown,
}

impl Scene {
    /// Those of such a node, and those first that are killed at every place; of the others only what is in none before.
    pub(super) fn of(way: Way) -> &'static [Self] {
        match way {
            Way::Passthrough => &[
                Self::AddAndRefill,
                Self::DelAndRecycle,
                Self::Gateway,
                Self::Clean,
                Self::Restart,
                Self::Refused,
                Self::Asked,
                Self::LostAnswer,
                Self::LostCreate,
                Self::BadAttach,
                Self::Full,
                Self::NoLink,
                Self::AwayLink,
                Self::Tampered,
                Self::StoreLost,
                Self::Forgotten,
                Self::Vanished,
                Self::Unplugged,
                Self::Stolen,
                Self::Made,
                Self::Lent,
                Self::Entrusted,
                Self::Tagged,
                Self::Shutdown,
            ],
            Way::Veth => &[
                Self::AddAndRefill,
                Self::DelAndRecycle,
                Self::HairpinOn,
                Self::HairpinOff,
                Self::Announced,
                Self::Restart,
                Self::NodeTampered,
                Self::StoreLost,
                Self::Forgotten,
                Self::Lent,
            ],
        }
    }

    pub(super) fn name(self) -> String {
        format!("{self:?}")
    }

    /// Whether each of its places is killed at, though another scene has it, too.
    pub(super) fn is_whole(self) -> bool {
        matches!(
            self,
            Self::AddAndRefill
                | Self::DelAndRecycle
                | Self::Gateway
                | Self::Clean
                | Self::HairpinOn
                | Self::HairpinOff
        )
    }

    /// Whether all agree again at its end, before anything is mended.
    pub(super) fn settles(self) -> bool {
        !matches!(self, Self::Forgotten | Self::Stolen | Self::Shutdown)
    }
}

/// A scene that is played, and what it keeps for its end.
pub(super) struct Play {
    scene: Scene,
    /// What was given to a pod that somebody ends.
    doomed: Option<(Pod, Call)>,
    /// A NIC that something was done to.
    nic: Option<String>,
}

const A: usize = PODS.start;
const B: usize = A + 1;
const C: usize = A + 2;
const D: usize = A + 3;

/// A route by the node itself, which needs a gateway.
fn by_the_node() -> [(&'static str, Value); 1] {
    [("ipam", json!({"routes": [{"dst": "10.96.0.0/12", "gw": "0.0.0.0"}]}))]
}

/// An address that the node comes to have.
const ADDED: &str = "10.77.0.1/32";

/// Addresses that pods ask for.
const FIXED: [&str; 2] = ["192.168.52.77", "192.168.52.78"];

fn made(address: &str) -> Wish {
    Wish::Made(ELSEWHERE.to_owned(), address.to_owned())
}

/// The so manieth call; 1 is the next.
fn nth(n: u32) -> Value {
    json!({ "nth": n })
}

impl Play {
    pub(super) fn new(scene: Scene) -> Self {
        Self { scene, doomed: None, nic: None }
    }

    /// All that comes before what is looked at. Nobody is killed.
    pub(super) async fn prepare(&mut self, stage: &mut Stage) {
        match self.scene {
            Scene::DelAndRecycle => stage.add(&[A, B, C, D]).await.unwrap(),
            Scene::Gateway => {
                stage.command(Point::AnswerClean, "clean").await.unwrap();
                let off = ["sysctl", "-qw", "net.ipv4.ip_forward=0"];
                drop(witness::run(stage.machine.netns(), &off));
            }
            Scene::Clean => {
                // The gateway is to be this node's own making, whoever was killed before.
                stage.command(Point::AnswerClean, "clean").await.unwrap();
                stage.add_with(&[A], &by_the_node()).await.unwrap();
                stage.del(&[A]).await.unwrap();
            }
            Scene::Restart if stage.way == Way::Passthrough => {
                stage.add_with(&[A], &by_the_node()).await.unwrap();
            }
            Scene::Restart => stage.add(&[A]).await.unwrap(),
            Scene::Asked => stage.add(&[A, B]).await.unwrap(),
            Scene::Tampered | Scene::NodeTampered | Scene::HairpinOn => stage.add(&[A, B]).await.unwrap(),
            Scene::HairpinOff => {
                stage.switch(true).await.unwrap();
                stage.add(&[A, B]).await.unwrap();
            }
            Scene::Made => stage.wish(A, &made(FIXED[0])),
            Scene::Lent => stage.wish(A, &stage.theirs()),
            Scene::Entrusted => [A, B].iter().for_each(|pod| stage.wish(*pod, &made(FIXED[1]))),
            Scene::Forgotten => stage.add(&[A]).await.unwrap(),
            // One NIC is to be found with its pod, one away, and one at its place and free.
            Scene::StoreLost => {
                stage.add(&[A, B]).await.unwrap();
                stage.del(&[B]).await.unwrap();
            }
            _ => {}
        }
        stage.agree().await;
        match self.scene {
            Scene::LostAnswer => {
                stage.fault("CreateNics", nth(1), json!("reset-after")).await;
            }
            Scene::LostCreate => {
                stage.fault("CreateNics", nth(1), json!("reset-before")).await;
                stage.fault("DescribeNics", nth(1), json!({"http": 502})).await;
            }
            Scene::BadAttach => {
                stage.fault("AttachNics", nth(1), json!({"ret-code": 5200})).await;
                stage.fault("AttachNics", nth(2), json!("reset-before")).await;
            }
            Scene::Full => stage.room(Some(stage.nics().await.len())).await,
            Scene::NoLink => self.die_attaching(stage).await,
            Scene::AwayLink => stage.park(&stage.idle_links()).await,
            Scene::Made => self.nic = Some(stage.make_theirs(FIXED[0]).await),
            Scene::Entrusted => stage.attaching_takes(2000).await,
            Scene::Tampered | Scene::NodeTampered => {
                let pod = stage.machine.pod(&format!("doomed{}", stage.starts())).await;
                pod.agrees_with(&stage.machine.call("ADD", &pod).succeeds().await);
                let del = stage.machine.call("DEL", &pod);
                self.doomed = Some((pod, del));
            }
            Scene::StoreLost | Scene::Vanished | Scene::Unplugged | Scene::Stolen => {
                self.nic = Some(stage.free_nic().await)
            }
            _ => {}
        }
    }

    /// A NIC is plugged in while the node is down, and its link is nowhere to be found.
    async fn die_attaching(&self, stage: &mut Stage) {
        let before = stage.api.macs().await;
        stage.arm(Some(((Point::AttachNics, Side::After), 1)));
        drop(stage.add(&[A, B]).await);
        assert!(stage.dies().await);
        let new: BTreeSet<String> = stage.api.macs().await.difference(&before).cloned().collect();
        stage.park(&new).await;
    }

    /// What is looked at, to be killed at any moment.
    pub(super) async fn act(&mut self, stage: &mut Stage) -> Result<(), Died> {
        match self.scene {
            // Behind a veth a pod takes five times as many messages to the kernel.
            Scene::AddAndRefill if stage.way == Way::Veth => stage.add(&[A, B]).await,
            Scene::AddAndRefill => stage.add(&[A, B, C]).await,
            Scene::DelAndRecycle => stage.del(&[A, B, C, D]).await,
            Scene::Gateway => stage.add_with(&[A], &by_the_node()).await,
            Scene::Clean => stage.command(Point::AnswerClean, "clean").await,
            Scene::Restart => {
                stage.kill().await;
                stage.start().await?;
                stage.compare().await?;
                match stage.way {
                    Way::Passthrough => Ok(()),
                    Way::Veth => stage.until((Point::CompareNode, Side::After)).await,
                }
            }
            Scene::Made => self.made(stage).await,
            Scene::Lent => stage.add(&[A]).await,
            Scene::Entrusted => entrusted(stage).await,
            Scene::Tagged => {
                stage.tag(true);
                stage.kill().await;
                stage.start().await?;
                stage.until((Point::PutTags, Side::After)).await
            }
            Scene::Announced => {
                stage.add(&[A]).await?;
                stage.until((Point::AnnouncePodAgain, Side::After)).await
            }
            Scene::HairpinOn => stage.switch(true).await,
            Scene::HairpinOff => stage.switch(false).await,
            Scene::NodeTampered => self.tamper_with_node(stage).await,
            Scene::Refused => refused(stage).await,
            Scene::Asked => asked(stage).await,
            Scene::LostAnswer | Scene::LostCreate | Scene::BadAttach => stage.add(&[A, B]).await,
            Scene::Full => full(stage).await,
            Scene::NoLink => {
                stage.start().await?;
                stage.until((Point::RecordGivenUp, Side::After)).await
            }
            Scene::AwayLink => away(stage).await,
            Scene::Tampered => self.tamper(stage).await,
            Scene::StoreLost => {
                stage.lose_store().await;
                stage.unplug(self.nic.as_ref().unwrap()).await;
                stage.start().await?;
                stage.compare_until((Point::RecordStray, Side::After)).await?;
                stage.repeat().await
            }
            Scene::Forgotten => {
                stage.lose_store().await;
                stage.api.listen(false).await;
                stage.start().await?;
                stage.del(&[A]).await
            }
            Scene::Vanished => {
                stage.api.admin("POST", "/nics/vanish", json!({"nic": self.nic})).await;
                stage.compare_until((Point::ForgetMissing, Side::After)).await
            }
            Scene::Unplugged => {
                stage.unplug(self.nic.as_ref().unwrap()).await;
                stage.compare_until((Point::RecordUnplugged, Side::After)).await
            }
            Scene::Stolen => {
                let nic = self.nic.as_ref().unwrap();
                stage.unplug(nic).await;
                stage.behind_its_back(OTHER, "attach", nic).await;
                stage.compare_until((Point::RecordLost, Side::After)).await
            }
            Scene::Shutdown => {
                // It may have ended before its answer was read.
                drop(stage.command(Point::AnswerShutdown, "shutdown").await);
                stage.node().until("it ends", |told| told.ended).await
            }
        }
    }

    async fn tamper(&mut self, stage: &mut Stage) -> Result<(), Died> {
        witness::run(stage.books.pod(A).path(), &["ip", "address", "flush", "dev", "eth0"]);
        stage.pull(stage.books.pod(B));
        let (pod, del) = self.doomed.take().unwrap();
        let mac = pod.link("eth0").unwrap()["address"].as_str().unwrap().to_owned();
        pod.end();
        while !stage.idle_links().contains(&mac) {
            tokio::task::yield_now().await;
        }
        stage.compare().await?;
        stage.ask(Point::AnswerDel, &del).await.map(drop)
    }

    /// A rule of the node that no ping needs is gone, a pod's address is, and a pod itself.
    async fn tamper_with_node(&mut self, stage: &mut Stage) -> Result<(), Died> {
        witness::run(stage.machine.netns(), &["ip", "rule", "del", "priority", "1533"]);
        witness::run(stage.books.pod(A).path(), &["ip", "address", "flush", "dev", "eth0"]);
        let (pod, del) = self.doomed.take().unwrap();
        let end = pod.link("eth0").unwrap()["link_index"].as_u64().unwrap();
        pod.end();
        witness::run(stage.machine.netns(), &["ip", "address", "add", ADDED, "dev", "primary"]);
        while witness::ip(stage.machine.netns(), &["link", "show"])
            .as_array()
            .unwrap()
            .iter()
            .any(|link| link["ifindex"] == end)
        {
            tokio::task::yield_now().await;
        }
        stage.until((Point::AwaitAddresses, Side::After)).await?;
        stage.compare().await?;
        stage.until((Point::SetUpNode, Side::After)).await?;
        stage.ask(Point::AnswerDel, &del).await.map(drop)
    }

    /// An ADD that waits for an address until its holder is gone.
    async fn made(&mut self, stage: &mut Stage) -> Result<(), Died> {
        let call = stage.machine.call("ADD", stage.books.pod(A));
        stage.books.doubt(A);
        let running = tokio::spawn(async move { call.run().await });
        let waits = stage.until((Point::FindHolder, Side::After)).await;
        stage.behind_its_back(OTHER, "delete", self.nic.as_ref().unwrap()).await;
        let outcome = running.await.unwrap();
        stage.books.note(crate::kills::Kind::Add, vec![(A, outcome)]);
        waits
    }

    /// Takes back what was done to the node's surroundings. The node runs.
    pub(super) async fn mend(&mut self, stage: &mut Stage) {
        match self.scene {
            Scene::LostAnswer | Scene::LostCreate | Scene::BadAttach => {
                stage.api.admin("DELETE", "/faults", Value::Null).await;
            }
            Scene::Full => stage.room(None).await,
            Scene::NoLink | Scene::AwayLink => stage.unpark(),
            Scene::Tampered => stage.compare().await.unwrap(),
            Scene::NodeTampered => {
                let with_it = ["ip", "-4", "address", "flush", "dev", "primary", "to", ADDED];
                witness::run(stage.machine.netns(), &with_it);
                stage.compare().await.unwrap();
            }
            Scene::Entrusted => stage.attaching_takes(50).await,
            Scene::Tagged => {
                stage.tag(false);
                stage.kill().await;
                stage.start().await.unwrap();
            }
            // What records say of pods that the kernel was not told of is found by the first comparison.
            Scene::HairpinOn => {
                stage.compare().await.unwrap();
                stage.check().await;
                stage.switch(false).await.unwrap();
            }
            Scene::HairpinOff => stage.compare().await.unwrap(),
            Scene::StoreLost => {
                stage.compare_until_deleted(self.nic.as_ref().unwrap()).await;
                stage.repeat().await.unwrap();
            }
            Scene::Forgotten => {
                stage.api.listen(true).await;
                // It would look for the cloud again after five seconds.
                stage.kill().await;
                stage.start().await.unwrap();
                stage.compare().await.unwrap();
                stage.repeat().await.unwrap();
            }
            Scene::Vanished | Scene::Unplugged => {
                stage.compare_until_forgotten(self.nic.as_ref().unwrap()).await;
            }
            Scene::Stolen => {
                let nic = self.nic.clone().unwrap();
                let here = stage.nics().await.into_iter().find(|other| other["id"] == nic.as_str());
                if here.is_some() {
                    stage.behind_its_back(OTHER, "detach", &nic).await;
                    stage.behind_its_back(OTHER, "delete", &nic).await;
                }
                stage.compare_until_forgotten(&nic).await;
            }
            _ => {}
        }
    }
}

async fn refused(stage: &mut Stage) -> Result<(), Died> {
    let pod = stage.books.pod(A);
    let nobody = json!({"routes": [{"dst": "10.96.0.0/12", "gw": "255.255.255.255"}]});
    let outcome = stage.machine.call("ADD", pod).with("ipam", nobody).run().await;
    assert!(!outcome.success, "{}", outcome.stdout);
    stage.books.doubt(A);
    Ok(())
}

async fn asked(stage: &mut Stage) -> Result<(), Died> {
    stage.repeat().await?;
    let (kept, gone) = (stage.books.pod(A), stage.books.pod(B));
    let result = stage.books.result(A).unwrap().clone();
    let check = stage.machine.call("CHECK", kept).with("prevResult", result);
    stage.ask(Point::AnswerCheck, &check).await?;
    stage.ask(Point::AnswerStatus, &stage.machine.call("STATUS", kept)).await?;
    stage.command(Point::AnswerNics, "nics").await?;
    stage.command(Point::AnswerPods, "pods").await?;
    let valid: Vec<Value> =
        (0..B).map(|number| json!({"containerID": stage.books.pod(number).id(), "ifname": "eth0"})).collect();
    let gc = stage.machine.call("GC", gone).with("cni.dev/valid-attachments", json!(valid));
    stage.books.doubt(B);
    stage.ask(Point::AnswerGc, &gc).await.map(drop)
}

/// Pods that have to wait for room, until there is some.
async fn full(stage: &mut Stage) -> Result<(), Died> {
    // Those that the last NICs do not suffice for are refused, and so is what is to fill the pool up.
    for number in [A, B, C] {
        let outcome =
            stage.machine.call("ADD", stage.books.pod(number)).with("timeout", json!(3)).run().await;
        stage.books.note(crate::kills::Kind::Add, vec![(number, outcome)]);
    }
    stage.until((Point::SurveySubnets, Side::After)).await?;
    stage.room(None).await;
    Ok(())
}

/// An ADD that gives up while its NIC is on its way in, and one that asks for the same.
async fn entrusted(stage: &mut Stage) -> Result<(), Died> {
    stage.books.doubt(A);
    let impatient = stage.machine.call("ADD", stage.books.pod(A)).with("timeout", json!(3));
    let outcome = impatient.run().await;
    assert!(!outcome.success, "{}", outcome.stdout);
    stage.add(&[B]).await
}

/// An ADD whose NIC comes back while it waits.
async fn away(stage: &mut Stage) -> Result<(), Died> {
    let call = stage.machine.call("ADD", stage.books.pod(A));
    stage.books.doubt(A);
    let running = tokio::spawn(async move { call.run().await });
    let waits = stage.until((Point::AwaitNicOfPod, Side::Before)).await;
    stage.unpark();
    let outcome = running.await.unwrap();
    stage.books.note(crate::kills::Kind::Add, vec![(A, outcome)]);
    waits
}
