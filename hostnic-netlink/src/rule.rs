//! Rules that say which table is looked into for which packets.

use std::fmt;

use hostnic_core::Result;
use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::{RouteHeader, RouteProtocol};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use crate::PROTOCOL;
use crate::connection::Connection;

/// What becomes of packets that meet the conditions of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Action {
    /// They are routed by a table, unless no route there fits: then the next rule is asked.
    Lookup {
        /// The table.
        table: u32,
        /// Routes whose prefix is no longer than this are passed over.
        longer_than: Option<u8>,
    },
    /// They are dropped, and nobody is told.
    Blackhole,
    /// Something else, which rules of ours never do.
    Other,
}

impl Action {
    /// The table that is looked into, where it is one.
    pub fn table(self) -> Option<u32> {
        match self {
            Self::Lookup { table, .. } => Some(table),
            Self::Blackhole | Self::Other => None,
        }
    }
}

/// A rule: its action is for packets that meet all its conditions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// Its place in the order: lower ones come first.
    pub preference: u32,
    /// Whether it is about IPv4; about IPv6 otherwise.
    pub ipv4: bool,
    /// The packets' source; `None` for any, as with the other conditions.
    pub source: Option<IpNet>,
    /// Their destination.
    pub destination: Option<IpNet>,
    /// Bits that their mark has.
    pub mark: Option<u32>,
    /// The name of the link that they came in by; `lo` stands for what the node itself sends.
    pub came_in_by: Option<String>,
    /// What becomes of them.
    pub action: Action,
}

impl Rule {
    /// All packets are routed by `table`.
    pub fn any(ipv4: bool, preference: u32, table: u32) -> Self {
        let action = Action::Lookup { table, longer_than: None };
        Self { preference, ipv4, source: None, destination: None, mark: None, came_in_by: None, action }
    }

    /// Packets from `source` are routed by `table`.
    pub fn from(source: IpNet, preference: u32, table: u32) -> Self {
        let any = Self::any(source.addr().is_ipv4(), preference, table);
        Self { source: Some(source.trunc()), ..any }
    }

    /// Packets to `destination` are routed by `table`.
    pub fn to(destination: IpNet, preference: u32, table: u32) -> Self {
        let any = Self::any(destination.addr().is_ipv4(), preference, table);
        Self { destination: Some(destination.trunc()), ..any }
    }

    /// The same rule for packets whose mark has all of these bits.
    #[must_use]
    pub fn marked(self, bits: u32) -> Self {
        Self { mark: Some(bits), ..self }
    }

    /// The same rule for packets that came in by the link of that name; `lo` for those that the node itself sends.
    #[must_use]
    pub fn came_in_by(self, link: impl Into<String>) -> Self {
        Self { came_in_by: Some(link.into()), ..self }
    }

    /// The same rule, which passes over routes of the table whose prefix is no longer than `length`.
    #[must_use]
    pub fn longer_than(self, length: u8) -> Self {
        match self.action {
            Action::Lookup { table, .. } => {
                Self { action: Action::Lookup { table, longer_than: Some(length) }, ..self }
            }
            Action::Blackhole | Action::Other => self,
        }
    }

    /// The same rule, which drops the packets instead.
    #[must_use]
    pub fn blackhole(self) -> Self {
        Self { action: Action::Blackhole, ..self }
    }

    fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = if self.ipv4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
        message.header.src_len = self.source.map_or(0, |prefix| prefix.prefix_len());
        message.header.dst_len = self.destination.map_or(0, |prefix| prefix.prefix_len());
        message.attributes = vec![
            RuleAttribute::Priority(self.preference),
            RuleAttribute::Protocol(RouteProtocol::from(PROTOCOL)),
        ];
        match self.action {
            Action::Lookup { table, longer_than } => {
                message.header.action = RuleAction::ToTable;
                message.header.table = u8::try_from(table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
                message.attributes.push(RuleAttribute::Table(table));
                let suppress = longer_than.map(|length| RuleAttribute::SuppressPrefixLen(length.into()));
                message.attributes.extend(suppress);
            }
            Action::Blackhole => message.header.action = RuleAction::Blackhole,
            // The kernel refuses it.
            Action::Other => message.header.action = RuleAction::Unspec,
        }
        let conditions = [
            self.source.map(|prefix| RuleAttribute::Source(prefix.network())),
            self.destination.map(|prefix| RuleAttribute::Destination(prefix.network())),
            self.came_in_by.clone().map(RuleAttribute::Iifname),
            self.mark.map(RuleAttribute::FwMark),
            self.mark.map(RuleAttribute::FwMask),
        ];
        message.attributes.extend(conditions.into_iter().flatten());
        message
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.preference)?;
        if let Some(source) = self.source {
            write!(f, " from {source}")?;
        }
        if let Some(destination) = self.destination {
            write!(f, " to {destination}")?;
        }
        if let Some(bits) = self.mark {
            write!(f, " fwmark {bits:#x}/{bits:#x}")?;
        }
        if let Some(link) = &self.came_in_by {
            write!(f, " iif {link}")?;
        }
        match self.action {
            Action::Lookup { table, longer_than: None } => write!(f, " lookup {table}"),
            Action::Lookup { table, longer_than: Some(length) } => {
                write!(f, " lookup {table} suppress_prefixlength {length}")
            }
            Action::Blackhole => f.write_str(" blackhole"),
            Action::Other => f.write_str(" with another action"),
        }
    }
}

/// A rule as the kernel lists it, whoever made it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListedRule {
    /// The rule, as far as it is like those that we make.
    pub rule: Rule,
    /// Who made it: [`PROTOCOL`] for us.
    pub protocol: u8,
}

impl ListedRule {
    /// Whether it is one of ours.
    pub fn is_ours(&self) -> bool {
        self.protocol == PROTOCOL
    }
}

fn listed(reply: &RouteNetlinkMessage) -> Option<ListedRule> {
    let RouteNetlinkMessage::NewRule(message) = reply else { return None };
    let header = &message.header;
    let mut rule = Rule::any(header.family == AddressFamily::Inet, 0, header.table.into());
    let (mut protocol, mut longer_than) = (0, None);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(preference) => rule.preference = *preference,
            RuleAttribute::Table(table) => rule.action = Action::Lookup { table: *table, longer_than: None },
            // All bits, where nothing is passed over.
            RuleAttribute::SuppressPrefixLen(length) => longer_than = u8::try_from(*length).ok(),
            RuleAttribute::Protocol(number) => protocol = (*number).into(),
            RuleAttribute::Source(address) => rule.source = IpNet::new(*address, header.src_len).ok(),
            RuleAttribute::Destination(address) => {
                rule.destination = IpNet::new(*address, header.dst_len).ok();
            }
            RuleAttribute::FwMark(bits) => rule.mark = Some(*bits),
            RuleAttribute::Iifname(name) => rule.came_in_by = Some(name.clone()),
            _ => {}
        }
    }
    rule.action = match (header.action, rule.action) {
        (RuleAction::ToTable, Action::Lookup { table, .. }) => Action::Lookup { table, longer_than },
        (RuleAction::Blackhole, _) => Action::Blackhole,
        _ => Action::Other,
    };
    Some(ListedRule { rule, protocol })
}

impl Connection {
    /// All rules, of both families.
    ///
    /// # Errors
    /// `Transient` when the kernel does not answer.
    pub async fn rules(&self) -> Result<Vec<ListedRule>> {
        let rules =
            self.dump(RouteNetlinkMessage::GetRule(RuleMessage::default()), |reply| listed(&reply)).await;
        rules.map_err(|e| e.during("list rules", self.sandbox()))
    }

    /// Adds a rule. That it is there already is success.
    ///
    /// # Errors
    /// `Transient` when the kernel does not answer.
    pub async fn add_rule(&self, rule: &Rule) -> Result<()> {
        match self.change(RouteNetlinkMessage::NewRule(rule.message()), NLM_F_CREATE | NLM_F_EXCL).await {
            Err(e) if !e.is(Errno::EEXIST) => Err(e.during("add rule", rule)),
            _ => Ok(()),
        }
    }

    /// Deletes a rule. That it is gone already is success.
    ///
    /// # Errors
    /// `Transient` when the kernel does not answer.
    pub async fn delete_rule(&self, rule: &Rule) -> Result<()> {
        match self.change(RouteNetlinkMessage::DelRule(rule.message()), 0).await {
            Err(e) if !e.is(Errno::ENOENT) => Err(e.during("delete rule", rule)),
            _ => Ok(()),
        }
    }
}
