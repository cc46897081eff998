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
use crate::address::family;
use crate::connection::Connection;

/// A rule: packets that meet all its conditions are routed by `table`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Its place in the order: lower ones come first.
    pub preference: u32,
    /// The packets' source; `None` for any, as with the other conditions.
    pub source: Option<IpNet>,
    /// Their destination.
    pub destination: Option<IpNet>,
    /// Bits that their mark has.
    pub mark: Option<u32>,
    /// The table.
    pub table: u32,
}

impl Rule {
    /// Packets from `source` are routed by `table`.
    pub fn from(source: IpNet, preference: u32, table: u32) -> Self {
        Self { preference, source: Some(source.trunc()), destination: None, mark: None, table }
    }

    /// Packets to `destination` are routed by `table`.
    pub fn to(destination: IpNet, preference: u32, table: u32) -> Self {
        Self { preference, source: None, destination: Some(destination.trunc()), mark: None, table }
    }

    /// The same rule for packets whose mark has all of these bits.
    #[must_use]
    pub fn marked(self, bits: u32) -> Self {
        Self { mark: Some(bits), ..self }
    }

    fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        let prefix = self.source.or(self.destination);
        message.header.family = prefix.map_or(AddressFamily::Inet, |prefix| family(prefix.addr()));
        message.header.src_len = self.source.map_or(0, |prefix| prefix.prefix_len());
        message.header.dst_len = self.destination.map_or(0, |prefix| prefix.prefix_len());
        message.header.action = RuleAction::ToTable;
        message.header.table = u8::try_from(self.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
        message.attributes = vec![
            RuleAttribute::Priority(self.preference),
            RuleAttribute::Table(self.table),
            RuleAttribute::Protocol(RouteProtocol::from(PROTOCOL)),
        ];
        let prefixes = [
            self.source.map(|prefix| RuleAttribute::Source(prefix.network())),
            self.destination.map(|prefix| RuleAttribute::Destination(prefix.network())),
        ];
        message.attributes.extend(prefixes.into_iter().flatten());
        if let Some(bits) = self.mark {
            message.attributes.extend([RuleAttribute::FwMark(bits), RuleAttribute::FwMask(bits)]);
        }
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
        write!(f, " lookup {}", self.table)
    }
}

/// A rule as the kernel lists it, whoever made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListedRule {
    /// Its place in the order.
    pub preference: u32,
    /// The table, where it names one.
    pub table: u32,
    /// Whether it is about IPv4; about IPv6 otherwise.
    pub ipv4: bool,
    /// Who made it: [`PROTOCOL`] for us.
    pub protocol: u8,
    /// The packets' source, where it asks for one.
    pub source: Option<IpNet>,
    /// Their destination, where it asks for one.
    pub destination: Option<IpNet>,
    /// Bits that their mark has, where it asks for them.
    pub mark: Option<u32>,
}

impl ListedRule {
    /// The rule in the words of one that we make.
    pub fn as_rule(&self) -> Rule {
        let Self { preference, source, destination, mark, table, .. } = *self;
        Rule { preference, source, destination, mark, table }
    }
}

fn listed(reply: &RouteNetlinkMessage) -> Option<ListedRule> {
    let RouteNetlinkMessage::NewRule(message) = reply else { return None };
    let header = &message.header;
    let mut rule = ListedRule {
        preference: 0,
        table: header.table.into(),
        ipv4: header.family == AddressFamily::Inet,
        protocol: 0,
        source: None,
        destination: None,
        mark: None,
    };
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(preference) => rule.preference = *preference,
            RuleAttribute::Table(table) => rule.table = *table,
            RuleAttribute::Protocol(protocol) => rule.protocol = (*protocol).into(),
            RuleAttribute::Source(address) => rule.source = IpNet::new(*address, header.src_len).ok(),
            RuleAttribute::Destination(address) => {
                rule.destination = IpNet::new(*address, header.dst_len).ok()
            }
            RuleAttribute::FwMark(bits) => rule.mark = Some(*bits),
            _ => {}
        }
    }
    Some(rule)
}

impl Connection {
    /// All rules, of both families.
    ///
    /// # Errors
    /// `Transient` when the kernel does not answer.
    pub async fn rules(&self) -> Result<Vec<ListedRule>> {
        let replies = self.dump(RouteNetlinkMessage::GetRule(RuleMessage::default())).await;
        let replies = replies.map_err(|e| e.during("list rules", self.sandbox()))?;
        Ok(replies.iter().filter_map(listed).collect())
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
