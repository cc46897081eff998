//! nftables over netlink: transactions that make tables, chains, sets and rules, and the counters of the rules.
//!
//! A [`Batch`] is carried out whole or not at all. All that is made lives in a [`Table`] of our own: the rules of
//! others are not changed, and but for [`Nft::forward_drops`] and [`Nft::mark_writers`] not read. Nothing here needs the `nft`
//! program; `nft list ruleset` shows what was made.

mod batch;
mod counter;
mod exchange;
mod field;
mod forward;
mod marks;
mod rule;
mod set;

use std::fmt;

use hostnic_core::Result;
use netlink_packet_netfilter::NetfilterProtoFamily;

pub use batch::{BaseChain, Batch, ChainKind, Hook, Policy};
pub use counter::RuleCounter;
pub use field::Field;
pub use forward::ForwardDrop;
pub use marks::MarkWriter;
pub use rule::{Rule, Verdict};
pub use set::{Element, Set, SetType};

use crate::netns::Netns;

/// Which packets a table sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Family {
    /// Frames that cross a bridge.
    Bridge,
    /// Packets of IPv4.
    Ipv4,
}

impl Family {
    fn number(self) -> NetfilterProtoFamily {
        match self {
            Self::Bridge => NetfilterProtoFamily::Bridge,
            Self::Ipv4 => NetfilterProtoFamily::IPv4,
        }
    }
}

/// A table, by family and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Which packets it sees.
    pub family: Family,
    /// Its name: at most 255 bytes, as of everything in nftables.
    pub name: String,
}

impl Table {
    /// The table of that family and name.
    pub fn new(family: Family, name: impl Into<String>) -> Self {
        Self { family, name: name.into() }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            Family::Bridge => "bridge",
            Family::Ipv4 => "ip",
        };
        write!(f, "{family} {}", self.name)
    }
}

/// nftables in one network namespace.
///
/// The namespace lives at least as long as this. Each call has a socket and a short-lived thread of its own, so calls
/// at the same time do not disturb each other; the kernel carries them out one after the other.
#[derive(Debug)]
pub struct Nft {
    netns: Netns,
}

impl Nft {
    /// nftables in `netns`.
    pub fn new(netns: Netns) -> Self {
        Self { netns }
    }

    /// Carries out all of `batch`, in one moment, or nothing of it.
    ///
    /// Dropping the future does not call it off.
    ///
    /// # Errors
    /// They name the step that failed and what it was about: `NotFound`, `Conflict`, `Invalid`, `Unauthorised`
    /// without the capability NET_ADMIN, `Unsupported` where the kernel lacks nftables or a part of it.
    pub async fn apply(&self, batch: Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        self.netns.run(move || exchange::apply(&batch)).await?
    }

    /// What the rules of `table`, or of one of its chains, have counted, in the order of the rules in their chains.
    /// Rules that count nothing are left out; what does not exist has none.
    ///
    /// # Errors
    /// `Unauthorised` without the capability NET_ADMIN, `Transient` when the rules changed all the while.
    pub async fn counters(&self, table: &Table, chain: Option<&str>) -> Result<Vec<RuleCounter>> {
        let (table, chain) = (table.clone(), chain.map(str::to_owned));
        self.netns.run(move || exchange::counters(&table, chain.as_deref())).await?
    }

    /// The elements of a set of `table`, without the verdicts of a map. What does not exist has none.
    ///
    /// # Errors
    /// As [`Nft::counters`].
    pub async fn elements(&self, table: &Table, set: &str) -> Result<Vec<Element>> {
        let (table, set) = (table.clone(), set.to_owned());
        self.netns.run(move || exchange::elements(&table, &set)).await?
    }

    /// The base chains, whoever made them, that drop forwarded packets of IPv4 which no rule decided about.
    ///
    /// What the older `iptables` keeps beside nftables is not among them.
    ///
    /// # Errors
    /// `Unauthorised` without the capability NET_ADMIN, `Transient` when the chains changed all the while.
    pub async fn forward_drops(&self) -> Result<Vec<ForwardDrop>> {
        self.netns.run(exchange::forward_drops).await?
    }

    /// The chains, whoever made them, whose rules write marks of packets of IPv4, and which bits of these.
    ///
    /// What the older `iptables` keeps beside nftables is not among them.
    ///
    /// # Errors
    /// As [`Nft::forward_drops`].
    pub async fn mark_writers(&self) -> Result<Vec<MarkWriter>> {
        self.netns.run(exchange::mark_writers).await?
    }
}
