//! The node under test with its cloud and its pods, and what can be done to them. Whatever is asked of a node that has
//! been armed may find it dead.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use hostnic_core::point::{Kind as Effect, Point, Side};
use hostnic_netlink::NamedNetns;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::hosted::{ARM, CLOUD};
use super::orders::Orders;
use super::process::{Died, Hosted, Nth, Place};
use super::wishes::{self, Wish};
use crate::api::{Api, INSTANCE};
use crate::host::PATIENCE;
use crate::kills::Kind;
use crate::kills::books::{self, Books};
use crate::machine::Machine;
use crate::plugin::{Call, Outcome};
use crate::pod::Pod;
use crate::site;
use crate::witness;

/// The subnet of the pods that live through everything.
pub(super) const WITNESSES: &str = "vxnet-a";
/// The subnet of all others.
const SUBNET: &str = "vxnet-b";
/// A subnet that no pool draws from.
pub(super) const ELSEWHERE: &str = "vxnet-c";
/// Another instance, which somebody may plug our NICs into.
pub(super) const OTHER: &str = "i-node2";
/// The first pods are the witnesses; the others come and go.
pub(super) const PODS: std::ops::Range<usize> = 2..6;

/// How the node of a stage joins its pods to their NICs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    Passthrough,
    Veth,
}

impl Way {
    pub(super) const ALL: [Self; 2] = [Self::Passthrough, Self::Veth];

    pub(super) fn name(self) -> String {
        format!("{self:?}")
    }
}

pub(super) struct Stage {
    pub(super) way: Way,
    orders: Orders,
    /// A NIC of somebody else's that may be lent.
    theirs: String,
    pub(super) machine: Machine,
    pub(super) api: Api,
    pub(super) books: Books,
    /// Where links are that nobody is to find.
    parking: NamedNetns,
    node: Option<Hosted>,
    starts: u32,
    traps: u32,
    /// What was passed since the node was armed, by nodes that have ended.
    hits: BTreeMap<Place, u32>,
    /// What the present node had passed when it was armed.
    before: BTreeMap<Place, u32>,
    armed: bool,
    /// The node is to die when the first answer of this kind has come.
    fatal_answer: Option<Point>,
}

impl Stage {
    /// A node with two pods that stay.
    pub(super) async fn open(way: Way) -> Self {
        let machine = Machine::new().await;
        let vxnets = ["vxnet-a=192.168.50.0/24", "vxnet-b=192.168.51.0/24", "vxnet-c=192.168.52.0/24"];
        let flags = vxnets.iter().flat_map(|vxnet| ["--vxnet", vxnet]).chain(["--instance", OTHER]);
        let api = Api::of(&[(INSTANCE, &machine)], &flags.collect::<Vec<_>>()).await;
        if way == Way::Veth {
            site::furnish(&api, INSTANCE, &machine).await;
        }
        let behind_veths = way == Way::Veth;
        let orders = Orders { subnet: WITNESSES.to_owned(), behind_veths, hairpin: false, tag: false };
        let books = Books::open(&machine, PODS.end).await;
        let parking = NamedNetns::create(machine.folder().join("parking")).await.unwrap();
        let (hits, before) = (BTreeMap::new(), BTreeMap::new());
        let mut stage = Self {
            way,
            orders,
            theirs: String::new(),
            machine,
            api,
            books,
            parking,
            node: None,
            starts: 0,
            traps: 0,
            hits,
            before,
            armed: false,
            fatal_answer: None,
        };
        stage.theirs = stage.make_theirs("192.168.52.20").await;
        stage.behind_its_back(OTHER, "tag", &stage.theirs).await;
        stage.start().await.unwrap();
        stage.add(&[0, 1]).await.unwrap();
        stage.kill().await;
        stage.orders.subnet = SUBNET.to_owned();
        stage.start().await.unwrap();
        stage.agree().await;
        stage
    }

    pub(super) fn node(&self) -> &Hosted {
        self.node.as_ref().unwrap()
    }

    pub(super) async fn start(&mut self) -> Result<(), Died> {
        self.starts += 1;
        let log = self.machine.folder().join(format!("log-{}", self.starts));
        self.orders.write(self.machine.folder());
        self.node = Some(Hosted::spawn(&self.machine, &log));
        self.before.clear();
        self.node().until("it serves", |told| told.serving).await
    }

    /// Whether the node tags what it makes, from its next start on.
    pub(super) fn tag(&mut self, tag: bool) {
        self.orders.tag = tag;
    }

    /// Switches hairpin while the node runs, which takes a change of its settings only then.
    pub(super) async fn switch(&mut self, hairpin: bool) -> Result<(), Died> {
        self.orders.hairpin = hairpin;
        self.orders.write(self.machine.folder());
        self.alive()?;
        let before = self.node().told().followed;
        self.node().kill(Signal::SIGUSR2);
        self.node().until("it has followed", |told| told.followed > before).await
    }

    /// The pod asks for this from now on, until it is cleared away.
    pub(super) fn wish(&self, pod: usize, wish: &Wish) {
        wishes::make(self.machine.folder(), self.books.pod(pod).id(), wish);
    }

    /// A NIC of somebody else's that may be lent.
    pub(super) fn theirs(&self) -> Wish {
        Wish::Existing(self.theirs.clone())
    }

    /// Makes a NIC for the other instance.
    pub(super) async fn make_theirs(&self, address: &str) -> String {
        let has = |nic: &Value| nic["addresses"][0] == address;
        self.behind_its_back(OTHER, "create", address).await;
        let nics = self.api.nics().await;
        nics.iter().find(|nic| has(nic)).unwrap()["id"].as_str().unwrap().to_owned()
    }

    /// How long the cloud takes to plug NICs in.
    pub(super) async fn attaching_takes(&self, ms: u32) {
        let durations = json!({"attach_ms": ms, "detach_ms": 50, "vip_ms": 50});
        self.api.admin("POST", "/durations", durations).await;
    }

    pub(super) fn starts(&self) -> u32 {
        self.starts
    }

    /// Ends the node as `kill -9` does, whether it was armed or not.
    pub(super) async fn kill(&mut self) {
        self.node().kill(Signal::SIGKILL);
        self.bury().await;
    }

    /// Takes note of all that an ended node has told.
    async fn bury(&mut self) {
        let told = self.node.take().unwrap().ended().await;
        for (place, count) in told.hits {
            let new = count - self.before.get(&place).unwrap_or(&0);
            *self.hits.entry(place).or_default() += new;
        }
        self.before.clear();
    }

    /// From here on hits are counted; the node dies at `place`, if any.
    pub(super) fn arm(&mut self, place: Option<Nth>) {
        self.hits.clear();
        self.before = self.node.as_ref().map(|node| node.told().hits).unwrap_or_default();
        self.armed = place.is_some();
        match place {
            Some(((point, Side::After), _)) if point.kind() == Effect::Answer => {
                self.fatal_answer = Some(point)
            }
            Some((place, nth)) => self.trap(place, nth),
            None => {}
        }
    }

    /// Has the node die at this place when it comes by so often.
    fn trap(&mut self, (point, side): Place, nth: u32) {
        self.traps += 1;
        // In one step, and never the same twice.
        let [draft, arm] = ["arm.new", ARM].map(|name| self.machine.folder().join(name));
        std::fs::write(&draft, format!("{point} {side} {nth} {}", self.traps)).unwrap();
        std::fs::rename(draft, arm).unwrap();
    }

    /// Waits for an armed node to die. Whether it did; it lives and is armed no more otherwise.
    pub(super) async fn dies(&mut self) -> bool {
        let died = match &self.node {
            Some(node) => {
                tokio::time::timeout(PATIENCE / 3, node.until("it dies", |told| told.ended)).await.is_ok()
            }
            None => true,
        };
        // A node that has just died has taken the file away.
        let _ = std::fs::remove_file(self.machine.folder().join(ARM));
        self.armed = false;
        self.fatal_answer = None;
        if died && self.node.is_some() {
            self.bury().await;
        }
        died
    }

    /// What was passed since [`Stage::arm`].
    pub(super) fn passed(&self) -> BTreeMap<Place, u32> {
        let mut passed = self.hits.clone();
        if let Some(node) = &self.node {
            for (place, count) in node.told().hits {
                *passed.entry(place).or_default() += count - self.before.get(&place).unwrap_or(&0);
            }
        }
        passed.retain(|_, count| *count > 0);
        passed
    }

    /// Waits until this place was passed once more than now.
    pub(super) async fn until(&self, place: Place) -> Result<(), Died> {
        let seen = self.before.get(&place).copied().unwrap_or(0);
        let passed = |told: &super::process::Told| told.hits.get(&place).copied().unwrap_or(0) > seen;
        self.node().until(&format!("{} {}", place.0, place.1), passed).await
    }

    /// One answer has come.
    fn answered(&self, what: Point) {
        if self.fatal_answer == Some(what) {
            self.node().kill(Signal::SIGKILL);
        }
    }

    /// The calls, all at once. Each is known by its pod's number.
    async fn burst(&mut self, kind: Kind, answer: Point, calls: Vec<(usize, Call)>) -> bool {
        let mut running = JoinSet::new();
        for (number, call) in calls {
            self.books.doubt(number);
            running.spawn(async move { (number, call.run().await) });
        }
        let mut outcomes: Vec<(usize, Outcome)> = Vec::new();
        while let Some(outcome) = running.join_next().await {
            let outcome = outcome.unwrap();
            if outcome.1.success {
                self.answered(answer);
            }
            outcomes.push(outcome);
        }
        let failed: Vec<String> =
            outcomes.iter().filter(|(_, o)| !o.success).map(|(_, o)| o.stdout.clone()).collect();
        self.books.note(kind, outcomes);
        assert!(self.armed || failed.is_empty(), "{failed:?}; the node said: {}", self.node().said());
        failed.is_empty()
    }

    fn alive(&self) -> Result<(), Died> {
        if self.node.as_ref().is_none_or(Hosted::has_ended) { Err(Died) } else { Ok(()) }
    }

    pub(super) async fn add(&mut self, pods: &[usize]) -> Result<(), Died> {
        self.add_with(pods, &[]).await
    }

    /// ADDs of these pods, with more in their configuration.
    pub(super) async fn add_with(&mut self, pods: &[usize], more: &[(&str, Value)]) -> Result<(), Died> {
        let call = |number: usize| {
            let call = self.machine.call("ADD", self.books.pod(number));
            more.iter().fold(call, |call, (key, value)| call.with(key, value.clone()))
        };
        let calls = pods.iter().map(|number| (*number, call(*number))).collect();
        self.burst(Kind::Add, Point::AnswerAdd, calls).await;
        self.alive()
    }

    pub(super) async fn del(&mut self, pods: &[usize]) -> Result<(), Died> {
        let call = |number: &usize| (*number, self.machine.call("DEL", self.books.pod(*number)));
        let calls = pods.iter().map(call).collect();
        self.burst(Kind::Del, Point::AnswerDel, calls).await;
        self.alive()
    }

    /// A call about a pod that changes nothing of what its runtime knows.
    pub(super) async fn ask(&self, answer: Point, call: &Call) -> Result<Option<String>, Died> {
        let outcome = call.run().await;
        if outcome.success {
            self.answered(answer);
        }
        assert!(self.armed || outcome.success, "{call:?}: {}", outcome.stdout);
        self.alive()?;
        Ok(outcome.success.then_some(outcome.stdout))
    }

    /// The ADDs of all pods that have something, once more: the same answers.
    pub(super) async fn repeat(&self) -> Result<(), Died> {
        for number in 0..PODS.end {
            let Some(given) = self.books.result(number) else { continue };
            let again = self.ask(Point::AnswerAdd, &self.machine.call("ADD", self.books.pod(number))).await?;
            if let Some(again) = again {
                let again: Value = serde_json::from_str(&again).unwrap();
                assert_eq!(&again, given);
            }
        }
        Ok(())
    }

    /// One of the daemon's own commands.
    pub(super) async fn command(&self, answer: Point, command: &str) -> Result<(), Died> {
        let said = self.machine.asked(&[command]).await;
        if said.is_ok() {
            self.answered(answer);
        }
        assert!(self.armed || said.is_ok(), "{command}: {said:?}");
        self.alive()
    }

    /// A comparison, to its end.
    pub(super) async fn compare(&self) -> Result<(), Died> {
        self.alive()?;
        let before = self.node().told().compared;
        self.node().kill(Signal::SIGUSR1);
        self.node().until("it has compared", |told| told.compared > before).await
    }

    /// Comparisons until this place was passed.
    pub(super) async fn compare_until(&self, place: Place) -> Result<(), Died> {
        let come = async {
            while !self.passed().contains_key(&place) {
                self.compare().await?;
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, come).await.unwrap_or_else(|_| panic!("{place:?} is not passed"))
    }

    /// A rule for the cloud's API.
    pub(super) async fn fault(&self, action: &str, when: Value, fault: Value) {
        self.api.admin("POST", "/faults", json!({"action": action, "when": when, "fault": fault})).await;
    }

    /// How many NICs each subnet may have; `None` for many.
    pub(super) async fn room(&self, nics: Option<usize>) {
        let per_subnet = nics.unwrap_or(252);
        let quotas =
            json!({"nics_per_subnet": per_subnet, "nics_per_instance": 64, "nics_per_account": null});
        self.api.admin("POST", "/quotas", quotas).await;
    }

    /// Somebody does something to a NIC behind the node's back.
    pub(super) async fn behind_its_back(&self, instance: &str, what: &str, nic: &str) {
        let this = std::env::current_exe().unwrap();
        let mut command = self.machine.run(self.machine.netns(), this.to_str().unwrap());
        command.arg(CLOUD).arg(self.machine.folder()).args([instance, what, nic]);
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    }

    pub(super) async fn unplug(&self, nic: &str) {
        self.behind_its_back(INSTANCE, "detach", nic).await;
    }

    /// The NICs of the pods' subnet, as the cloud tells them.
    pub(super) async fn nics(&self) -> Vec<Value> {
        self.api.nics().await.into_iter().filter(|nic| nic["subnet"] == SUBNET).collect()
    }

    /// The links of the node that are no pod's and not the machine's own.
    pub(super) fn idle_links(&self) -> BTreeSet<String> {
        witness::macs(self.machine.netns()).difference(self.api.own_links()).cloned().collect()
    }

    /// The id of a NIC that any pod could get.
    pub(super) async fn free_nic(&self) -> String {
        let nics = self.machine.listed("nics").await;
        let free =
            nics.as_array().unwrap().iter().find(|nic| nic["addresses"][0]["state"] == "free").unwrap();
        free["id"].as_str().unwrap().to_owned()
    }

    /// Comparisons until the node has no record of the NIC.
    pub(super) async fn compare_until_forgotten(&self, nic: &str) {
        let forgotten = async {
            while self.machine.listed("nics").await.to_string().contains(nic) {
                self.compare().await.unwrap();
            }
        };
        let forgotten = tokio::time::timeout(PATIENCE, forgotten).await;
        forgotten.unwrap_or_else(|_| panic!("{nic} is not forgotten; the node said: {}", self.node().said()));
    }

    /// Comparisons until the cloud has the NIC no more.
    pub(super) async fn compare_until_deleted(&self, nic: &str) {
        let deleted = async {
            while self.api.nics().await.iter().any(|other| other["id"] == nic) {
                self.compare().await.unwrap();
            }
        };
        let deleted = tokio::time::timeout(PATIENCE, deleted).await;
        deleted.unwrap_or_else(|_| panic!("{nic} is not deleted; the node said: {}", self.node().said()));
    }

    /// Takes links away from where the node looks.
    pub(super) async fn park(&self, macs: &BTreeSet<String>) {
        for mac in macs {
            let there = async || witness::link_by_mac(self.machine.netns(), mac).is_some();
            while !there().await {
                tokio::task::yield_now().await;
            }
            move_link(mac, self.machine.netns().to_owned(), self.parking.path().to_owned());
        }
    }

    /// Brings them back.
    pub(super) fn unpark(&self) {
        for mac in witness::macs(self.parking.path()) {
            if mac != "00:00:00:00:00:00" {
                move_link(&mac, self.parking.path().to_owned(), self.machine.netns().to_owned());
            }
        }
    }

    /// Moves a pod's link to the node, as an operator might.
    pub(super) fn pull(&self, pod: &Pod) {
        let node = self.machine.netns().to_str().unwrap();
        witness::run(pod.path(), &["ip", "link", "set", "eth0", "netns", node, "name", "pulled"]);
    }

    pub(super) fn store_files(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.machine.folder()).unwrap().map(|file| file.unwrap().path());
        files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("state.redb")).collect()
    }

    /// The node's records are no more.
    pub(super) async fn lose_store(&mut self) {
        self.kill().await;
        for file in self.store_files() {
            std::fs::remove_file(file).unwrap();
        }
    }

    /// Pods have what they were told, those that were told nothing get their DEL, and all agree.
    pub(super) async fn check(&mut self) {
        self.books.check_answered(&self.machine).await;
        self.books.del_unanswered(&self.machine).await;
        self.agree().await;
    }

    /// The pods that come and go have gone, and are as new.
    pub(super) async fn clear(&mut self) {
        let held: Vec<usize> = PODS.filter(|number| self.books.result(*number).is_some()).collect();
        if !held.is_empty() {
            self.del(&held).await.unwrap();
            self.agree().await;
        }
        for number in PODS {
            let pod = self.books.pod(number);
            wishes::withdraw(self.machine.folder(), pod.id());
            witness::run(pod.path(), &["ip", "link", "set", "lo", "down"]);
        }
    }

    /// Waits until cloud, records and kernel agree with the books, and the pool has what it is to have.
    pub(super) async fn agree(&self) {
        let last = std::cell::RefCell::new(Vec::new());
        let agreed = async {
            loop {
                let mut wrong = books::disagreements(&self.machine, &self.api, &self.books).await;
                let free = self.free().await;
                if !(1..=2).contains(&free) {
                    wrong.push(format!("{free} NICs are free"));
                }
                wrong.extend(self.hairpin_differs());
                if wrong.is_empty() {
                    return;
                }
                last.replace(wrong);
            }
        };
        if tokio::time::timeout(PATIENCE, agreed).await.is_err() {
            panic!(
                "cloud, records and kernel do not agree: {:#?}; the node said: {}",
                last.borrow(),
                self.node().said()
            );
        }
    }

    /// Says so, where not just the pods of a node with hairpin have its rules.
    fn hairpin_differs(&self) -> Option<String> {
        let rules = witness::ip(self.machine.netns(), &["-4", "rule", "show"]);
        let of_hairpin = |rule: &&Value| rule["iif"].as_str().is_some_and(|iif| iif.starts_with("hostnic_"));
        let to_pod = |rule: &&Value| rule["dst"] != "all" && !rule["dst"].is_null();
        let said = rules.as_array().unwrap().iter().filter(of_hairpin).filter(to_pod).count();
        let pods = (0..PODS.end).filter(|number| self.books.result(*number).is_some()).count();
        let told = if self.orders.hairpin { pods } else { 0 };
        (said != told).then(|| format!("{said} pods have hairpin, and not {told}"))
    }

    async fn free(&self) -> usize {
        let nics = self.machine.listed("nics").await;
        nics.as_array().unwrap().iter().filter(|nic| nic["addresses"][0]["state"] == "free").count()
    }

    /// Gives all back and ends.
    pub(super) async fn close(mut self) {
        self.del(&[0, 1]).await.unwrap();
        let node = self.node.take().unwrap();
        node.kill(Signal::SIGTERM);
        node.ended().await;
        self.behind_its_back(OTHER, "delete", &self.theirs).await;
        assert!(self.api.nics().await.is_empty(), "NICs are left: {:#?}", self.api.nics().await);
        self.api.end().await;
    }
}

/// Moves a link, unless the cloud takes it away meanwhile: somebody has given its NIC back.
fn move_link(mac: &str, from: PathBuf, to: PathBuf) {
    let Some(link) = witness::link_by_mac(&from, mac) else { return };
    let (name, to) = (link["ifname"].as_str().unwrap(), to.to_str().unwrap());
    // Names of NICs are numbers, which another may have there.
    let free = format!("nic{}", mac.replace(':', ""));
    let moved = std::process::Command::new("nsenter")
        .arg(format!("--net={}", from.display()))
        .args(["ip", "link", "set", name, "netns", to, "name", &free])
        .output()
        .unwrap();
    assert!(moved.status.success() || witness::link_by_mac(&from, mac).is_none(), "{moved:?}");
}
