//! What a runtime knows of its pods, and whether cloud, daemon and kernel say the same, each seen by eyes of its own:
//! the simulator's admin API, the daemon's listings, and `ip`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Kind;
use crate::api::{Api, INSTANCE};
use crate::lifecycle::gateway;
use crate::machine::Machine;
use crate::plugin::Outcome;
use crate::pod::{Given, Pod};
use crate::witness::{self, macs};

/// The preferences of rules that are about one pod behind a veth each.
const OF_PODS: [u32; 2] = [1529, 1536];

/// The pods and what they were told.
#[derive(Debug)]
pub(crate) struct Books {
    pods: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    pod: Pod,
    state: Known,
}

/// What a runtime knows of a pod.
#[derive(Debug)]
enum Known {
    /// It has nothing.
    Nothing,
    /// Its ADD was answered with this.
    Given(Value),
    /// A call about it was not answered well: anything may be there, until a DEL succeeds.
    Doubtful,
}

impl Books {
    /// Pods without interfaces.
    pub(crate) async fn open(machine: &Machine, count: usize) -> Self {
        let mut pods = Vec::new();
        for number in 0..count {
            let pod = machine.pod(&format!("p{number}")).await;
            pods.push(Entry { pod, state: Known::Nothing });
        }
        Self { pods }
    }

    /// The pods that a burst of this kind is for.
    pub(crate) fn wanting(&self, kind: Kind) -> Vec<(usize, &Pod)> {
        let wants = |entry: &&(usize, &Entry)| match kind {
            Kind::Add => matches!(entry.1.state, Known::Nothing),
            Kind::Del => !matches!(entry.1.state, Known::Nothing),
        };
        let numbered: Vec<(usize, &Entry)> = self.pods.iter().enumerate().collect();
        numbered.iter().filter(wants).map(|(number, entry)| (*number, &entry.pod)).collect()
    }

    /// A pod by its number.
    pub(crate) fn pod(&self, number: usize) -> &Pod {
        &self.pods[number].pod
    }

    /// What the pod was told last, if it has it still.
    pub(crate) fn result(&self, number: usize) -> Option<&Value> {
        match &self.pods[number].state {
            Known::Given(result) => Some(result),
            Known::Nothing | Known::Doubtful => None,
        }
    }

    /// Takes note that a call about the pod has begun, whose answer may never come.
    pub(crate) fn doubt(&mut self, number: usize) {
        self.pods[number].state = Known::Doubtful;
    }

    /// Takes note of what a burst came to.
    pub(crate) fn note(&mut self, kind: Kind, outcomes: Vec<(usize, Outcome)>) {
        for (number, outcome) in outcomes {
            self.pods[number].state = match (kind, outcome.success) {
                (_, false) => Known::Doubtful,
                (Kind::Add, true) => Known::Given(serde_json::from_str(&outcome.stdout).unwrap()),
                (Kind::Del, true) => Known::Nothing,
            };
        }
    }

    /// The pods whose ADD was answered, and with what.
    fn given(&self) -> impl Iterator<Item = (&Pod, &Value)> {
        self.pods.iter().filter_map(|entry| match &entry.state {
            Known::Given(result) => Some((&entry.pod, result)),
            Known::Nothing | Known::Doubtful => None,
        })
    }

    /// Every pod whose ADD was answered has in its kernel what it was told, CHECK says so too, and packets flow.
    pub(crate) async fn check_answered(&self, machine: &Machine) {
        for (pod, result) in self.given() {
            pod.ping(gateway(pod.agrees_with(result).address)).await;
            machine.call("CHECK", pod).with("prevResult", result.clone()).succeeds().await;
        }
    }

    /// Does what a runtime does for pods whose call was not answered well.
    pub(crate) async fn del_unanswered(&mut self, machine: &Machine) {
        for entry in self.pods.iter_mut().filter(|entry| matches!(entry.state, Known::Doubtful)) {
            machine.call("DEL", &entry.pod).succeeds().await;
            entry.state = Known::Nothing;
        }
    }
}

/// What cloud, daemon and kernel say of the NICs and pods that differs from the books, or from each other.
pub(crate) async fn disagreements(machine: &Machine, api: &Api, books: &Books) -> Vec<String> {
    let mut wrong = Vec::new();
    let given: BTreeMap<&str, Given> =
        books.given().map(|(pod, result)| (pod.id(), pod.agrees_with(result))).collect();
    records(machine, &given, &mut wrong).await;
    let cloud = ours(api.nics().await);
    nics(machine, &cloud, &given, &mut wrong).await;
    kernel(machine, api, books, &cloud, &given, &mut wrong);
    if api.police_drops() > 0 {
        wrong.push(format!("the cloud dropped {} frames", api.police_drops()));
    }
    wrong
}

/// The NICs that are this node's by their name, or attached to it; others are their owners' business.
fn ours(mut nics: Vec<Value>) -> Vec<Value> {
    let of_node = format!("hostnic_{INSTANCE}");
    nics.retain(|nic| {
        let here = nic["attachment"]["Attached"]["instance"] == INSTANCE;
        here || nic["name"].as_str().is_some_and(|name| name.starts_with(&of_node))
    });
    nics
}

/// The daemon lists exactly the pods whose ADD was answered.
async fn records(machine: &Machine, given: &BTreeMap<&str, Given>, wrong: &mut Vec<String>) {
    let listed = machine.listed("pods").await;
    let said: BTreeSet<String> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|pod| format!("{} {} {}", text(&pod["attachment"]), text(&pod["address"]), text(&pod["state"])))
        .collect();
    let told = given.iter().map(|(id, given)| format!("net/{id}/eth0 {}/24 active", given.address)).collect();
    differ("pods that the daemon lists", &said, &told, wrong);
}

/// The daemon lists exactly the cloud's NICs, all of which are in this instance, and those of pods as the pods'.
async fn nics(machine: &Machine, cloud: &[Value], given: &BTreeMap<&str, Given>, wrong: &mut Vec<String>) {
    let listed = machine.listed("nics").await;
    let said = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|nic| {
            let address = &nic["addresses"][0];
            let holder = address["holder"].as_str().unwrap_or("nobody");
            let [id, mac, at] = [&nic["id"], &nic["mac"], &address["address"]].map(text);
            // The node's own, whose address is for nobody.
            let gateway = address["state"] == "claimed" && text(&nic["note"]).contains("gateway");
            let held = if gateway { "free".to_owned() } else { text(&address["state"]) };
            format!("{id} {mac} {at} {} {held} {holder}", text(&nic["state"]))
        })
        .collect();
    let told = cloud
        .iter()
        .map(|nic| {
            let [id, mac, address] = [&nic["id"], &nic["mac"], &nic["addresses"][0]].map(text);
            let has = |given: &Given| given.mac == mac || given.host_end.is_some();
            let holder = given.iter().find(|(_, given)| given.address.to_string() == address && has(given));
            match holder {
                Some((pod, _)) => format!("{id} {mac} {address} ready leased net/{pod}/eth0"),
                None => format!("{id} {mac} {address} ready free nobody"),
            }
        })
        .collect();
    differ("NICs that the daemon lists", &said, &told, wrong);
    let elsewhere = cloud.iter().filter(|nic| nic["attachment"]["Attached"]["instance"] != INSTANCE);
    wrong.extend(elsewhere.map(|nic| format!("the cloud has {} {}", nic["id"], nic["attachment"])));
    for (pod, given) in given {
        if !cloud.iter().any(|nic| nic["addresses"][0] == given.address.to_string()) {
            wrong.push(format!("the cloud has no NIC with {} of {pod}", given.address));
        }
    }
}

/// Each NIC of the cloud is one link, in its pod or in the node, and pods have no others but their ends of veths.
fn kernel(
    machine: &Machine,
    api: &Api,
    books: &Books,
    cloud: &[Value],
    given: &BTreeMap<&str, Given>,
    wrong: &mut Vec<String>,
) {
    let moved = given.values().filter(|given| given.host_end.is_none());
    let moved: BTreeSet<&str> = moved.map(|given| given.mac.as_str()).collect();
    let stay = cloud.iter().map(|nic| text(&nic["mac"])).filter(|mac| !moved.contains(mac.as_str()));
    let told: BTreeSet<String> = stay.chain(api.own_links().iter().cloned()).collect();
    let (ends, said) = links(machine);
    differ("links in the node", &said, &told, wrong);
    let told = given.values().filter_map(|given| given.host_end).map(|end| end.to_string()).collect();
    differ("veths in the node", &ends, &told, wrong);
    let behind = given.values().filter(|given| given.host_end.is_some());
    let told = behind.map(|given| given.address.to_string()).collect();
    differ("addresses with rules", &ruled(machine), &told, wrong);
    let lo = "00:00:00:00:00:00".to_owned();
    for entry in &books.pods {
        let link = given.get(entry.pod.id()).map(|given| given.mac.clone());
        let told = link.into_iter().chain([lo.clone()]).collect();
        differ(&format!("links in {}", entry.pod.id()), &macs(entry.pod.path()), &told, wrong);
    }
}

/// The numbers of the veths' ends in the node, and the MAC addresses of all other links.
fn links(machine: &Machine) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut ends, mut others) = (BTreeSet::new(), BTreeSet::new());
    for link in witness::ip(machine.netns(), &["link", "show"]).as_array().unwrap() {
        match text(&link["ifname"]).starts_with("vnic") {
            true => ends.insert(text(&link["ifindex"])),
            false => others.insert(text(&link["address"])),
        };
    }
    (ends, others)
}

/// The addresses that the rules of single pods behind veths are about.
fn ruled(machine: &Machine) -> BTreeSet<String> {
    let rules = witness::ip(machine.netns(), &["-4", "rule", "show"]);
    let of_pods =
        rules.as_array().unwrap().iter().filter(|rule| OF_PODS.iter().any(|of| rule["priority"] == *of));
    let ends = of_pods.flat_map(|rule| [&rule["src"], &rule["dst"]]);
    ends.filter_map(Value::as_str).filter(|address| *address != "all").map(str::to_owned).collect()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn differ(what: &str, said: &BTreeSet<String>, told: &BTreeSet<String>, wrong: &mut Vec<String>) {
    wrong.extend(said.difference(told).map(|more| format!("{what}: too many: {more}")));
    wrong.extend(told.difference(said).map(|less| format!("{what}: missing: {less}")));
}
