//! Transactions: the steps, and how they are written for the kernel.

use std::fmt;

use netlink_packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Hook as HookAttribute, HookNumber, InetHookNumber, NfTablesMessage,
    RuleAttribute, RuleMessage, SetAttribute, SetElementList, SetElementMessage, SetMessage, TableAttribute,
    TableMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};

use super::{Element, Family, Rule, Set, Table};
use crate::netfilter::append;

/// The subsystem that a batch is for (NFNL_SUBSYS_NFTABLES).
const NFTABLES: u16 = 10;
/// How many elements go into one message: the list's length is written in 16 bits.
const ELEMENTS: usize = 1000;
/// The sequence number of the message that begins a batch; that of a step is its index above this.
pub(super) const BEGIN: u32 = 1;

/// Where in a packet's way a base chain is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hook {
    /// As soon as it comes in.
    Prerouting,
    /// When the host itself sends it.
    Output,
    /// Before it goes out.
    Postrouting,
}

/// What the rules of a base chain may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChainKind {
    /// Let packets pass or not.
    Filter,
    /// The same, and packets whose mark they change are routed anew; at [`Hook::Output`] only.
    Route,
    /// Rewrite addresses. Such a chain sees only the first packet of each flow.
    Nat,
}

/// What becomes of a packet that no rule of a base chain decided about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// It is dropped.
    Drop,
    /// It passes.
    Accept,
}

/// What makes a chain a base chain, which packets come to by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseChain {
    /// What its rules may do.
    pub kind: ChainKind,
    /// Where packets come to it.
    pub hook: Hook,
    /// Its place among the chains of the same hook: the lowest is asked first.
    pub priority: i32,
    /// What becomes of a packet that no rule decided about.
    pub policy: Policy,
}

/// Steps that the kernel carries out together or not at all, in the order in which they are written.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) operation: &'static str,
    pub(super) subject: String,
    family: Family,
    flags: u16,
    message: NfTablesMessage,
}

impl Batch {
    /// A batch without steps.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the table, unless it exists.
    pub fn add_table(&mut self, table: &Table) -> &mut Self {
        let attributes = vec![TableAttribute::Name(table.name.clone())];
        let message = NfTablesMessage::NewTable(TableMessage { attributes });
        self.step("add nftables table", table.to_string(), table, NLM_F_CREATE, message)
    }

    /// Deletes the table and all in it.
    pub fn delete_table(&mut self, table: &Table) -> &mut Self {
        let attributes = vec![TableAttribute::Name(table.name.clone())];
        let message = NfTablesMessage::DeleteTable(TableMessage { attributes });
        self.step("delete nftables table", table.to_string(), table, 0, message)
    }

    /// Makes a chain that rules jump to, unless it exists.
    pub fn add_chain(&mut self, table: &Table, chain: &str) -> &mut Self {
        let message = NfTablesMessage::NewChain(ChainMessage { attributes: chain_attributes(table, chain) });
        self.step("add nftables chain", format!("{table} {chain}"), table, NLM_F_CREATE, message)
    }

    /// Makes a chain that packets come to by themselves, unless just that exists.
    pub fn add_base_chain(&mut self, table: &Table, chain: &str, base: BaseChain) -> &mut Self {
        let mut attributes = chain_attributes(table, chain);
        attributes.extend(base.attributes());
        let message = NfTablesMessage::NewChain(ChainMessage { attributes });
        self.step("add nftables chain", format!("{table} {chain}"), table, NLM_F_CREATE, message)
    }

    /// Deletes the rules of a chain.
    pub fn flush_chain(&mut self, table: &Table, chain: &str) -> &mut Self {
        let attributes = vec![RuleAttribute::Table(table.name.clone()), RuleAttribute::Chain(chain.into())];
        let flush = NfTablesMessage::DeleteRule(RuleMessage { attributes });
        self.step("delete rules of nftables chain", format!("{table} {chain}"), table, 0, flush)
    }

    /// Deletes a chain with its rules. Nothing may jump to it any more.
    pub fn delete_chain(&mut self, table: &Table, chain: &str) -> &mut Self {
        let delete =
            NfTablesMessage::DeleteChain(ChainMessage { attributes: chain_attributes(table, chain) });
        self.flush_chain(table, chain);
        self.step("delete nftables chain", format!("{table} {chain}"), table, 0, delete)
    }

    /// Makes a set or map, unless just that exists.
    pub fn add_set(&mut self, table: &Table, set: &Set) -> &mut Self {
        let message =
            NfTablesMessage::NewSet(SetMessage { attributes: set.attributes(&table.name, self.next()) });
        self.step("add nftables set", format!("{table} {}", set.name), table, NLM_F_CREATE, message)
    }

    /// Deletes a set with its elements. No rule may use it any more.
    pub fn delete_set(&mut self, table: &Table, set: &str) -> &mut Self {
        let attributes = vec![SetAttribute::Table(table.name.clone()), SetAttribute::Name(set.into())];
        let message = NfTablesMessage::DeleteSet(SetMessage { attributes });
        self.step("delete nftables set", format!("{table} {set}"), table, 0, message)
    }

    /// Adds elements to a set or map. One that is there already stays; with another verdict it is a conflict.
    pub fn add_elements(&mut self, table: &Table, set: &str, elements: &[Element]) -> &mut Self {
        for elements in elements.chunks(ELEMENTS) {
            let message = NfTablesMessage::NewSetElement(element_list(table, set, elements));
            self.step("add elements to nftables set", format!("{table} {set}"), table, NLM_F_CREATE, message);
        }
        self
    }

    /// Takes elements, all of which must be there, out of a set or map.
    pub fn delete_elements(&mut self, table: &Table, set: &str, elements: &[Element]) -> &mut Self {
        for elements in elements.chunks(ELEMENTS) {
            let message = NfTablesMessage::DeleteSetElement(element_list(table, set, elements));
            self.step("delete elements of nftables set", format!("{table} {set}"), table, 0, message);
        }
        self
    }

    /// Takes all elements out of a set or map.
    pub fn flush_set(&mut self, table: &Table, set: &str) -> &mut Self {
        let attributes = vec![SetElementList::Table(table.name.clone()), SetElementList::Set(set.into())];
        let message = NfTablesMessage::DeleteSetElement(SetElementMessage { attributes });
        self.step("flush nftables set", format!("{table} {set}"), table, 0, message)
    }

    /// Adds a rule at the end of a chain.
    pub fn add_rule(&mut self, table: &Table, chain: &str, rule: &Rule) -> &mut Self {
        let message =
            NfTablesMessage::NewRule(RuleMessage { attributes: rule.attributes(&table.name, chain) });
        let subject = format!("{table} {chain}, {}", rule.describe());
        self.step("add nftables rule", subject, table, NLM_F_CREATE | NLM_F_APPEND, message)
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The step that the kernel means by `sequence`; `None` for the batch as a whole.
    pub(super) fn step_of(&self, sequence: u32) -> Option<&Step> {
        self.steps.get(usize::try_from(sequence.checked_sub(BEGIN + 1)?).ok()?)
    }

    /// The sequence number of the last step, which is the one that the kernel acknowledges.
    pub(super) fn last(&self) -> u32 {
        self.next().saturating_sub(1)
    }

    /// The one datagram that the kernel takes a batch in.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let whole = |message| {
            NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFTABLES), message)
        };
        append(&mut bytes, whole(NetfilterMessageInner::None(ControlMessage::BatchBegin)), 0, BEGIN);
        for (step, sequence) in self.steps.iter().zip(BEGIN + 1..) {
            let acknowledge = if sequence == self.last() { NLM_F_ACK } else { 0 };
            let header = NetfilterHeader::new(step.family.number(), 0, 0);
            append(
                &mut bytes,
                NetfilterMessage::new(header, step.message.clone()),
                step.flags | acknowledge,
                sequence,
            );
        }
        append(&mut bytes, whole(NetfilterMessageInner::None(ControlMessage::BatchEnd)), 0, self.next());
        bytes
    }

    fn step(
        &mut self,
        operation: &'static str,
        subject: String,
        table: &Table,
        flags: u16,
        message: NfTablesMessage,
    ) -> &mut Self {
        self.steps.push(Step { operation, subject, family: table.family, flags, message });
        self
    }

    /// The sequence number of the step that comes next.
    fn next(&self) -> u32 {
        // No batch has this many steps: they would not fit a datagram.
        u32::try_from(self.steps.len()).unwrap_or(u32::MAX).saturating_add(BEGIN + 1)
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in {} steps", self.steps.len())
    }
}

impl BaseChain {
    fn attributes(self) -> [ChainAttribute; 3] {
        let hook = match self.hook {
            Hook::Prerouting => InetHookNumber::PreRouting,
            Hook::Output => InetHookNumber::LocalOut,
            Hook::Postrouting => InetHookNumber::PostRouting,
        };
        let policy = match self.policy {
            Policy::Drop => 0,
            Policy::Accept => 1,
        };
        let place = vec![
            HookAttribute::Number(HookNumber::Inet(hook)),
            HookAttribute::Priority(self.priority.cast_unsigned()),
        ];
        let kind = match self.kind {
            ChainKind::Filter => "filter",
            ChainKind::Route => "route",
            ChainKind::Nat => "nat",
        };
        [ChainAttribute::Type(kind.into()), ChainAttribute::Hook(place), ChainAttribute::Policy(policy)]
    }
}

fn chain_attributes(table: &Table, chain: &str) -> Vec<ChainAttribute> {
    vec![ChainAttribute::Table(table.name.clone()), ChainAttribute::Name(chain.into())]
}

fn element_list(table: &Table, set: &str, elements: &[Element]) -> SetElementMessage {
    let elements = elements.iter().map(Element::attributes).collect();
    SetElementMessage {
        attributes: vec![
            SetElementList::Table(table.name.clone()),
            SetElementList::Set(set.into()),
            SetElementList::Elements(elements),
        ],
    }
}
