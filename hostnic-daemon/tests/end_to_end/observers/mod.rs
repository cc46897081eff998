//! All that a trial could leave behind, as seen from outside: `ip` and `nft` in every namespace, the kernel's settings
//! there, the cloud's own list and the store's dump, before and after. The difference must be allowed, line by line, by a
//! list that says why.

mod allowed;

use std::collections::BTreeSet;
use std::path::Path;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::api::Api;
use crate::build::DAEMON;
use crate::machine::Machine;
use crate::trial;
use crate::witness::{ip, run};

use allowed::Allowed;

/// What `ip` is asked, and under which name it is noted.
const QUESTIONS: [(&str, &[&str]); 9] = [
    ("link", &["link", "show"]),
    ("address", &["address", "show"]),
    ("route", &["-4", "route", "show", "table", "all"]),
    ("route6", &["-6", "route", "show", "table", "all"]),
    ("rule", &["-4", "rule", "show"]),
    ("rule6", &["-6", "rule", "show"]),
    ("neighbour", &["-4", "neighbour", "show"]),
    ("neighbour6", &["-6", "neighbour", "show"]),
    ("proxy", &["-4", "neighbour", "show", "proxy"]),
];

/// Numbers, timers and moods that change though nothing is more or less than before.
const PASSING: [&str; 9] = [
    "ifindex",
    "link_index",
    "handle",
    "state",
    "operstate",
    "packets",
    "bytes",
    "info_data",
    "info_slave_data",
];
/// How large packets may be that are handed to a device goes by the devices behind it.
const PASSING_PREFIXES: [&str; 3] = ["tso_", "gso_", "gro_"];
const PASSING_FLAGS: [&str; 4] = ["NO-CARRIER", "LOWER_UP", "linkdown", "dead"];

/// The settings of the kernel that a network namespace has of its own, and that anything of ours could change.
const SETTINGS: [&str; 4] = ["ipv4/ip_forward", "ipv4/conf", "ipv6/conf", "ipv4/neigh"];

/// Everything there was at one moment, each thing a line that begins with its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Observation(BTreeSet<String>);

impl Observation {
    /// Looks at the machines, known by these names, and at their cloud.
    pub(crate) async fn take(machines: &[(&str, &Machine)], api: &Api) -> Self {
        let mut seen = Self::default();
        for (name, machine) in machines {
            seen.look_into(name, machine.netns());
            seen.read_store(name, &machine.store());
        }
        seen.look_into("vpc", &api.vpc());
        for what in ["nics", "reservations"] {
            for (id, thing) in api.cloud().await[what].as_object().unwrap() {
                // Of its own NIC an instance's history is of no interest.
                let told = if what == "nics" { &thing["nic"] } else { thing };
                seen.note("cloud", what, &format!("{id} {told}"));
            }
        }
        seen
    }

    fn note(&mut self, place: &str, what: &str, thing: &str) {
        self.0.insert(format!("{place} {what} {thing}"));
    }

    /// A namespace, by `ip`, `nft` and /proc/sys.
    pub(crate) fn look_into(&mut self, place: &str, netns: &Path) {
        for (what, question) in QUESTIONS {
            for mut thing in ip(netns, question).as_array().unwrap().clone() {
                forget_what_passes(&mut thing);
                for part in parts(what, thing) {
                    self.note(place, what, &part.to_string());
                }
            }
        }
        let listed = run(netns, &["nft", "-j", "list", "ruleset"]).stdout;
        let mut rules: Value = serde_json::from_slice(&listed).unwrap();
        forget_what_passes(&mut rules);
        for rule in rules["nftables"].as_array().unwrap() {
            self.note(place, "nft", &rule.to_string());
        }
        // The files of /proc/sys/net are those of whoever opens them, and some of them nobody may read.
        let read = format!("cd /proc/sys/net && grep -rs . {}; true", SETTINGS.join(" "));
        let settings = run(netns, &["sh", "-c", &read]).stdout;
        for setting in String::from_utf8(settings).unwrap().lines() {
            self.note(place, "sysctl", setting);
        }
    }

    /// The records, as the daemon's own program prints them without the daemon.
    fn read_store(&mut self, place: &str, store: &Path) {
        if !store.exists() {
            return;
        }
        let dump = std::process::Command::new(DAEMON).args(["store", "dump", "--store"]).arg(store).output();
        let dump = dump.unwrap();
        let text = String::from_utf8(dump.stdout).unwrap();
        assert!(dump.status.success(), "{text}{}", String::from_utf8_lossy(&dump.stderr));
        for record in text.lines() {
            self.note(place, "store", record);
        }
    }

    /// What is more (`+`) and what is less (`-`) than before, each a line.
    pub(crate) fn since(&self, before: &Self) -> Vec<String> {
        let less = before.0.difference(&self.0).map(|thing| format!("- {thing}"));
        less.chain(self.0.difference(&before.0).map(|thing| format!("+ {thing}"))).collect()
    }

    /// Makes sure that nothing is more or less than before but what is allowed; answers how much that is.
    pub(crate) fn assert_allowed_since(&self, before: &Self) -> usize {
        let changes = self.since(before);
        let refused = Allowed::read().refused(&changes);
        assert!(refused.is_empty(), "left behind, and not in observers/allowed.txt: {refused:#?}");
        changes.len()
    }
}

/// A link's addresses are told one by one; whatever else `ip` answers is one thing each.
fn parts(what: &str, thing: Value) -> Vec<Value> {
    if what != "address" {
        return vec![thing];
    }
    let addresses = thing["addr_info"].as_array().unwrap().iter();
    addresses.map(|address| json!({"ifname": thing["ifname"], "address": address})).collect()
}

fn forget_what_passes(value: &mut Value) {
    match value {
        Value::Array(values) => {
            values.retain(|value| !PASSING_FLAGS.iter().any(|flag| value == flag));
            values.iter_mut().for_each(forget_what_passes);
        }
        Value::Object(keys) => {
            let passing =
                |key: &str| PASSING.contains(&key) || PASSING_PREFIXES.iter().any(|p| key.starts_with(p));
            keys.retain(|key, _| !passing(key));
            keys.values_mut().for_each(forget_what_passes);
        }
        _ => {}
    }
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("whatever_is_left_behind_is_told_and_refused", told)]
}

/// One of each kind of thing that somebody could forget.
async fn told() {
    let machine = Machine::new().await;
    let api = Api::start(&machine).await;
    let machines = [("node1", &machine)];
    let before = Observation::take(&machines, &api).await;
    assert_eq!(Observation::take(&machines, &api).await.since(&before), Vec::<String>::new());
    let forgotten = [
        ("link", "ip link add forgotten type bridge"),
        ("address", "ip address add 10.9.9.9/32 dev forgotten"),
        ("link", "ip link set forgotten up"),
        ("route", "ip route add 10.9.0.0/16 dev forgotten table 777"),
        ("rule", "ip rule add pref 777 from 10.9.9.9 lookup 777"),
        ("neighbour", "ip neigh add 10.9.9.1 lladdr 52:54:00:00:00:99 dev forgotten nud permanent"),
        ("proxy", "ip neigh add proxy 10.9.9.2 dev forgotten"),
        ("nft", "nft add table ip forgotten"),
        ("sysctl", "sh -c echo${IFS}1>/proc/sys/net/ipv4/conf/forgotten/arp_notify"),
    ];
    let mut last = before.clone();
    for (what, command) in forgotten {
        run(machine.netns(), &command.split(' ').collect::<Vec<_>>());
        let now = Observation::take(&machines, &api).await;
        let told = now.since(&last);
        assert!(
            told.iter().any(|line| line.starts_with(&format!("+ node1 {what} "))),
            "{command}: {told:#?}"
        );
        let refused = Allowed::read().refused(&told);
        assert_eq!(refused, told, "{command}: allowed.txt is too generous");
        last = now;
    }
    api.end().await;
}
