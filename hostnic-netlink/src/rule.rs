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

/// A rule: packets from `source` are routed by `table`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Its place in the order: lower ones come first.
    pub preference: u32,
    /// The packets' source.
    pub source: IpNet,
    /// The table.
    pub table: u32,
}

impl Rule {
    fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = family(self.source.addr());
        message.header.src_len = self.source.prefix_len();
        message.header.action = RuleAction::ToTable;
        message.header.table = u8::try_from(self.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
        message.attributes = vec![
            RuleAttribute::Priority(self.preference),
            RuleAttribute::Source(self.source.network()),
            RuleAttribute::Table(self.table),
            RuleAttribute::Protocol(RouteProtocol::from(PROTOCOL)),
        ];
        message
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: from {} lookup {}", self.preference, self.source, self.table)
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
}

fn listed(reply: &RouteNetlinkMessage) -> Option<ListedRule> {
    let RouteNetlinkMessage::NewRule(message) = reply else { return None };
    let mut rule = ListedRule {
        preference: 0,
        table: message.header.table.into(),
        ipv4: message.header.family == AddressFamily::Inet,
    };
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(preference) => rule.preference = *preference,
            RuleAttribute::Table(table) => rule.table = *table,
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
