//! What lets a pod reach itself by a service where pods reach each other by their NICs: no cloud brings a packet back to
//! the NIC that sent it, so these packets get the mark of those that stay in the node.
//!
//! The pods are in a set, which stays when the rules around it are replaced.

use std::net::Ipv4Addr;

use hostnic_core::route::NatMark;
use hostnic_core::{ErrorKind, Result};

use super::super::node::Node;
use super::super::rules::Rules;
use crate::nft::{
    BaseChain, Batch, ChainKind, Element, Family, Field, Hook, Nft, Policy, Rule, Set, SetType, Table,
};

const TABLE: &str = "hostnic-hairpin";
const PODS: &str = "pods";
/// Once services' addresses are rewritten, and before packets are routed.
const AFTER_DESTINATION_NAT: i32 = -90;

pub(super) fn table() -> Table {
    Table::new(Family::Ipv4, TABLE)
}

fn set() -> Set {
    Set::new(PODS, SetType::Ipv4Pairs)
}

/// The rules of the table.
pub(super) fn rules(mark: NatMark) -> Rules {
    let itself = Rule::new().in_set(Field::IPV4_ADDRESSES, PODS).counter().set_bits(Field::MARK, mark.bits());
    let mut rules = Rules::default();
    rules.add(Rules::PREROUTING, itself, format!("pods to themselves, mark {:#x}", mark.bits()));
    rules
}

/// What puts the rules in the place of those that are there.
pub(super) fn replacement(mark: NatMark) -> Batch {
    let table = table();
    let base = BaseChain {
        kind: ChainKind::Filter,
        hook: Hook::Prerouting,
        priority: AFTER_DESTINATION_NAT,
        policy: Policy::Accept,
    };
    let mut batch = Batch::new();
    batch.add_table(&table).add_set(&table, &set());
    batch.add_base_chain(&table, Rules::PREROUTING, base).flush_chain(&table, Rules::PREROUTING);
    rules(mark).write(&mut batch, &table);
    batch
}

/// The elements of the set.
pub(super) async fn elements(node: &Node) -> Result<Vec<Element>> {
    Nft::new(node.netns().try_clone()?).elements(&table(), PODS).await
}

pub(super) fn element(pod: Ipv4Addr) -> Element {
    Element::pair(pod, pod)
}

pub(super) async fn knows(node: &Node, pod: Ipv4Addr) -> Result<bool> {
    Ok(elements(node).await?.contains(&element(pod)))
}

/// Adds a pod, whether or not the rules are there yet.
pub(super) async fn add(node: &Node, pod: Ipv4Addr) -> Result<()> {
    let table = table();
    let mut batch = Batch::new();
    batch.add_table(&table).add_set(&table, &set()).add_elements(&table, PODS, &[element(pod)]);
    node.filter(batch).await
}

/// Takes elements out, whether or not they are there.
pub(super) async fn remove(node: &Node, elements: &[Element]) -> Result<()> {
    for element in elements {
        let mut batch = Batch::new();
        batch.delete_elements(&table(), PODS, std::slice::from_ref(element));
        match node.filter(batch).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            done => done?,
        }
    }
    Ok(())
}
