//! What a node needs once for pods behind veths.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use hostnic_core::route::{Drift, Hairpin, NatMark, NodePlan, VethNode};
use hostnic_core::{Error, ErrorKind, Result};

use super::super::alias::{Alias, Part, SharedAlias};
use super::super::missing;
use super::super::nic::{NO_HOST_ROUTE, PREFERENCES};
use super::super::node::Node;
use super::super::order::{
    self, ALL_TO_PODS, FROM_POD, FROM_SUBNET, FROM_VLAN, LOCAL_TO_MAIN, LOCAL_TO_PODS, MARKED_TO_MAIN,
    MARKED_TO_PODS,
};
use super::super::pair::delete_doomed;
use super::super::rules::Rules;
use super::super::services;
use super::marks;
use super::{ROUNDS, hairpin};
use crate::nft::{Batch, Element, Nft, RuleCounter, Table};
use crate::rule::Rule;

const MAIN_TABLE: u32 = crate::route::MAIN_TABLE;
/// The name of the link that what the node itself sends comes by.
const LOOPBACK: &str = "lo";

/// Settings of the whole node: some are the greatest of both, or switched on by either, and cannot be set on one link.
const SETTINGS: [Setting; 3] = [
    Setting { name: "net.ipv4.ip_forward", file: "ip_forward", value: "1" },
    Setting { name: "net.ipv4.conf.all.rp_filter", file: "conf/all/rp_filter", value: "0" },
    Setting { name: "net.ipv4.conf.all.send_redirects", file: "conf/all/send_redirects", value: "0" },
];
const SETTINGS_FOLDER: &str = "/proc/sys/net/ipv4";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Setting {
    name: &'static str,
    file: &'static str,
    value: &'static str,
}

impl Setting {
    fn path(self) -> String {
        format!("{SETTINGS_FOLDER}/{}", self.file)
    }
}

/// What a node has of that which pods need.
#[derive(Debug, Clone, Default)]
struct State {
    /// Settings that are not as needed.
    wrong: Vec<Setting>,
    /// Rules of ours.
    rules: Vec<Rule>,
    marks: Rules,
    hairpin: Rules,
    pods: Vec<Element>,
    /// What pods have links for: the names of their NICs, the tables of these, and their addresses.
    nics: BTreeSet<String>,
    tables: BTreeSet<u32>,
    addresses: BTreeSet<Ipv4Addr>,
}

/// One thing that the plan asks for and the node does not have, or has too much.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Difference {
    Setting(Setting),
    StrayRule(Rule),
    Rule(Rule),
    Marks,
    Hairpin(NatMark),
    /// The table for pods that reach each other by their NICs is there, and they do not.
    NoHairpin,
    StrayPods(Vec<Element>),
}

/// Makes the node as planned, and takes away what belongs to no pod.
pub(in crate::programmer) async fn set_up(node: &Node, plan: &NodePlan) -> Result<()> {
    delete_doomed(node).await?;
    order::keep(node).await?;
    for _ in 0..ROUNDS {
        let found = differences(plan, &read(node).await?);
        if found.is_empty() {
            return Ok(());
        }
        for difference in &found {
            put_right(node, plan, difference).await?;
        }
    }
    let left = differences(plan, &read(node).await?);
    if left.is_empty() {
        return Ok(());
    }
    let left = left.iter().map(|difference| difference.drift().to_string()).collect::<Vec<_>>().join("; ");
    Err(Error::new(ErrorKind::Transient, "set up", "the node for pods behind veths")
        .detail(format!("{left}; somebody else changes it, too")))
}

/// How the node differs from the plan.
pub(in crate::programmer) async fn check(node: &Node, plan: &NodePlan) -> Result<Vec<Drift>> {
    Ok(differences(plan, &read(node).await?).iter().map(Difference::drift).collect())
}

async fn read(node: &Node) -> Result<State> {
    let connection = node.connection().await?;
    let nft = Nft::new(node.netns().try_clone()?);
    // Rules before links: a pod's NIC is marked before it gets its rules, so a rule without a NIC belongs to nobody.
    let rules = connection.rules().await?;
    let wrong = node.netns().run(|| {
        let right = |s: &Setting| fs::read_to_string(s.path()).is_ok_and(|value| value.trim() == s.value);
        SETTINGS.into_iter().filter(|setting| !right(setting)).collect()
    });
    let (marks, hairpin_table) = (marks::table(), hairpin::table());
    let pods = async { absent_is_empty(hairpin::elements(node).await) };
    let (wrong, marks, hairpin, pods) =
        futures::try_join!(wrong, counters(&nft, &marks), counters(&nft, &hairpin_table), pods,)?;
    let (links, addresses) = futures::try_join!(connection.links(), connection.addresses())?;
    let mut state = State {
        wrong,
        rules: rules.into_iter().filter(|listed| listed.is_ours()).map(|listed| listed.rule).collect(),
        marks: Rules::listed(marks),
        hairpin: Rules::listed(hairpin),
        pods,
        ..State::default()
    };
    for (nic, shared) in links.iter().filter_map(|link| Some((link, SharedAlias::of(link)?))) {
        state.nics.insert(nic.name.clone());
        state.tables.insert(shared.table.number());
    }
    for nic in links.iter().filter(|link| Alias::of(link).is_some_and(|alias| alias.part == Part::Nic)) {
        state.nics.insert(nic.name.clone());
        state.tables.extend(hostnic_core::route::NicTable::of_link(&nic.name).map(|table| table.number()));
        let of_nic = addresses.iter().filter(|address| address.link == nic.index);
        state.addresses.extend(of_nic.filter_map(|address| match address.address.addr() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }));
    }
    Ok(state)
}

async fn counters(nft: &Nft, table: &Table) -> Result<Vec<RuleCounter>> {
    absent_is_empty(nft.counters(table, None).await)
}

/// Where the kernel has no nftables, which it says in more than one way, there is nothing of ours in it; who needs it
/// learns that when something is to be put there.
fn absent_is_empty<T>(list: Result<Vec<T>>) -> Result<Vec<T>> {
    match list {
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unsupported | ErrorKind::Invalid) =>
        {
            Ok(Vec::new())
        }
        list => list,
    }
}

fn differences(plan: &NodePlan, state: &State) -> Vec<Difference> {
    let veth = match plan {
        NodePlan::Veth(veth) => Some(veth),
        _ => None,
    };
    let mut found = Vec::new();
    if veth.is_some() {
        found.extend(state.wrong.iter().copied().map(Difference::Setting));
    }
    let wanted = veth.map(rules).unwrap_or_default();
    let stray = state.rules.iter().filter(|rule| {
        if order::is_of_node(rule.preference) {
            !wanted.contains(rule)
        } else {
            belongs_to_nobody(rule, state)
        }
    });
    let missing = wanted.iter().filter(|rule| !state.rules.contains(rule));
    // A packet finds its way at each moment.
    found.extend(missing.cloned().map(Difference::Rule));
    found.extend(stray.cloned().map(Difference::StrayRule));
    let marks = veth.map(marks::rules).unwrap_or_default();
    found.extend((!marks.is_same(&state.marks)).then_some(Difference::Marks));
    match veth.filter(|veth| veth.hairpin == Hairpin::On) {
        Some(veth) if !hairpin::rules(veth.nat_mark).is_same(&state.hairpin) => {
            found.push(Difference::Hairpin(veth.nat_mark));
        }
        None if !state.hairpin.is_empty() => found.push(Difference::NoHairpin),
        _ => {}
    }
    let known = |element: &&Element| state.addresses.iter().any(|pod| hairpin::element(*pod) == **element);
    let strays: Vec<_> = state.pods.iter().filter(|element| !known(element)).cloned().collect();
    found.extend((!strays.is_empty()).then_some(Difference::StrayPods(strays)));
    found
}

/// Whether a rule is one of a pod's or a shared NIC's, and the NIC is gone or another one's.
fn belongs_to_nobody(rule: &Rule, state: &State) -> bool {
    match rule.preference {
        FROM_POD | FROM_SUBNET => !leads_to_nic(rule, state),
        // It leads to the table of all VLANs: the subnet's other rule says whose it is.
        FROM_VLAN => !state.rules.iter().any(|other| {
            other.preference == FROM_SUBNET && other.source == rule.source && leads_to_nic(other, state)
        }),
        preference if PREFERENCES.contains(&preference) => {
            rule.came_in_by.as_ref().is_none_or(|link| !state.nics.contains(link))
        }
        _ => false,
    }
}

fn leads_to_nic(rule: &Rule, state: &State) -> bool {
    rule.action.table().is_some_and(|table| state.tables.contains(&table))
}

fn rules(plan: &VethNode) -> Vec<Rule> {
    let (pods, mark) = (plan.pods.number(), plan.nat_mark.bits());
    let to_pods = |preference| Rule::any(true, preference, pods).longer_than(NO_HOST_ROUTE);
    let mut rules = match plan.hairpin {
        Hairpin::Off => vec![to_pods(ALL_TO_PODS)],
        Hairpin::On => {
            vec![to_pods(LOCAL_TO_PODS).came_in_by(LOOPBACK), to_pods(MARKED_TO_PODS).marked(mark)]
        }
    };
    rules.push(Rule::any(true, MARKED_TO_MAIN, MAIN_TABLE).marked(mark));
    rules.push(Rule::any(true, LOCAL_TO_MAIN, MAIN_TABLE).came_in_by(LOOPBACK));
    rules.extend(services::rules(plan));
    // They come in their order, too.
    rules.sort_by_key(|rule| rule.preference);
    rules
}

async fn put_right(node: &Node, plan: &NodePlan, difference: &Difference) -> Result<()> {
    match difference {
        Difference::Setting(setting) => set(node, *setting).await,
        Difference::StrayRule(rule) => node.connection().await?.delete_rule(rule).await,
        Difference::Rule(rule) => node.connection().await?.add_rule(rule).await,
        Difference::Marks => {
            let rules = match plan {
                NodePlan::Veth(veth) => marks::rules(veth),
                _ => Rules::default(),
            };
            node.filter(marks::replacement(&rules)).await
        }
        Difference::Hairpin(mark) => node.filter(hairpin::replacement(*mark)).await,
        Difference::NoHairpin => {
            let mut batch = Batch::new();
            batch.delete_table(&hairpin::table());
            node.filter(batch).await
        }
        Difference::StrayPods(elements) => hairpin::remove(node, elements).await,
    }
}

async fn set(node: &Node, setting: Setting) -> Result<()> {
    node.write_setting(setting.path(), setting.value).await?.map_err(|error| {
        let (name, value) = (setting.name, setting.value);
        Error::new(ErrorKind::Unauthorised, "set", name)
            .detail(format!(
                "pods behind veths need it to be {value}, and it cannot be set here; on the machine itself, use sysctl -w \
                 {name}={value}; `hostnic-daemon doctor` names all that are wrong"
            ))
            .source(error)
    })
}

impl Difference {
    /// This in words.
    fn drift(&self) -> Drift {
        let other = |object: String, difference: &str| Drift { object, difference: difference.to_owned() };
        match self {
            Self::Setting(setting) => other(setting.name.to_owned(), &format!("is not {}", setting.value)),
            Self::StrayRule(rule) => other(format!("rule {rule}"), "belongs to no plan"),
            Self::Rule(rule) => missing(format!("rule {rule}")),
            Self::Marks => other(format!("nftables table {}", marks::table()), "was changed"),
            Self::Hairpin(_) => other(format!("nftables table {}", hairpin::table()), "was changed"),
            Self::NoHairpin => other(format!("nftables table {}", hairpin::table()), "belongs to no plan"),
            Self::StrayPods(pods) => other(
                format!("nftables table {}", hairpin::table()),
                &format!("has {} pods that are gone", pods.len()),
            ),
        }
    }
}
