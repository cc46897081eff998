//! Connection tracking: what a namespace knows of flows, and forgets when an address becomes another's.
//!
//! Entries are read together and deleted one by one, each by its number, so that no flow of anybody else's is ever
//! concerned; and the kernel is not even asked where it tracks nothing.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;

use hostnic_core::Result;
use netlink_packet_core::{DefaultNla, Emitable, NLA_F_NESTED, Nla};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, ConntrackMessageType, IPTuple, Tuple,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use nix::errno::Errno;

use crate::error::KernelError;
use crate::netfilter::{Exchange, list};
use crate::netns::Netns;

/// How many flows the namespace of the reader has. The file is there when the kernel tracks at all.
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

/// The attributes CTA_TUPLE_ORIG, CTA_TUPLE_REPLY and CTA_FILTER, with the flag that says that they hold others, and CTA_ID
/// and CTA_ZONE.
const TUPLE_ORIGINAL: u16 = 1 | NLA_F_NESTED;
const TUPLE_REPLY: u16 = 2 | NLA_F_NESTED;
const FILTER: u16 = 25 | NLA_F_NESTED;
const ID: u16 = 12;
const ZONE: u16 = 18;
/// CTA_FILTER_ORIG_FLAGS and CTA_FILTER_REPLY_FLAGS, and what they say about an address.
const FILTER_ORIGINAL: u16 = 1;
const FILTER_REPLY: u16 = 2;
const BY_SOURCE: u32 = 1;
const BY_DESTINATION: u32 = 1 << 1;

/// The whole list is the sooner read, one address against four questions, up to about so many flows: to list one takes a
/// hundred times as long as to pass one over, and each question passes over all of them, and the empty places of the table.
const LISTED_PER_ADDRESS: usize = 10_000;

/// One of the four places where an entry names an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    reply: bool,
    destination: bool,
}

const PLACES: [Place; 4] = [
    Place { reply: false, destination: false },
    Place { reply: false, destination: true },
    Place { reply: true, destination: false },
    Place { reply: true, destination: true },
];

/// Connection tracking of one network namespace, which lives at least as long as this.
#[derive(Debug)]
pub struct Conntrack {
    netns: Netns,
}

impl Conntrack {
    /// Connection tracking in `netns`.
    pub fn new(netns: Netns) -> Self {
        Self { netns }
    }

    /// Forgets all flows that name one of these addresses, at whichever end and in whichever direction, and no others. The
    /// kernel looks for them in its whole table, which takes it some milliseconds: once for many addresses rather than for
    /// each. Returns how many they were: none where nothing is tracked. Flows that begin meanwhile may stay.
    ///
    /// Dropping the future does not call it off.
    ///
    /// # Errors
    /// `Unauthorised` without the capability NET_ADMIN, `Unsupported` or `Invalid` where the kernel tracks and cannot be
    /// asked about it, `Transient` when the entries changed all the while.
    pub async fn forget(&self, addresses: &[IpAddr]) -> Result<usize> {
        let addresses = addresses.to_vec();
        self.netns.run(move || forget(&addresses)).await?
    }
}

fn forget(addresses: &[IpAddr]) -> Result<usize> {
    let flows = flows();
    if flows == 0 {
        return Ok(0);
    }
    let mut forgotten = 0;
    for family in [NetfilterProtoFamily::IPv4, NetfilterProtoFamily::IPv6] {
        let addresses: BTreeSet<IpAddr> =
            addresses.iter().copied().filter(|address| family_of(*address) == family).collect();
        for question in questions(&addresses, flows) {
            let done = forget_listed(family, question, &addresses);
            forgotten += done.map_err(|error| error.during("forget flows of", told(&addresses)))?;
        }
    }
    Ok(forgotten)
}

/// How many flows there are. To ask netfilter itself would load a module.
fn flows() -> usize {
    fs::read_to_string(COUNT).ok().and_then(|count| count.trim().parse().ok()).unwrap_or_default()
}

fn family_of(address: IpAddr) -> NetfilterProtoFamily {
    if address.is_ipv4() { NetfilterProtoFamily::IPv4 } else { NetfilterProtoFamily::IPv6 }
}

fn told(addresses: &BTreeSet<IpAddr>) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What to ask for, so that all flows are listed that name one of these addresses, among as many as there are. Each
/// question is a walk through the whole table, which is as long as the kernel made it, however few flows there are.
fn questions(addresses: &BTreeSet<IpAddr>, flows: usize) -> Vec<ConntrackMessage> {
    if addresses.is_empty() {
        return Vec::new();
    }
    if flows <= LISTED_PER_ADDRESS.saturating_mul(addresses.len()) {
        return vec![ConntrackMessage::Get(Vec::new())];
    }
    addresses.iter().flat_map(|address| PLACES.map(|place| place.question(*address))).collect()
}

/// Deletes what is listed and names one of the addresses; says how many flows that were.
fn forget_listed(
    family: NetfilterProtoFamily,
    question: ConntrackMessage,
    addresses: &BTreeSet<IpAddr>,
) -> Result<usize, KernelError> {
    let request = |message| NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), message);
    let flows = list(&request(question), |message| flow(addresses, message))?;
    if flows.is_empty() {
        return Ok(0);
    }
    let socket = Exchange::open()?;
    let mut forgotten = 0;
    for flow in flows {
        match socket.change(request(ConntrackMessage::Delete(flow))) {
            Err(error) if error.is(Errno::ENOENT) => {}
            done => {
                done?;
                forgotten += 1;
            }
        }
    }
    Ok(forgotten)
}

impl Place {
    /// Asks for the flows that have the address in this place. Kernels before 5.8 answer with all of their family.
    fn question(self, address: IpAddr) -> ConntrackMessage {
        let tuple = Tuple::Ip(vec![match self.destination {
            false => IPTuple::SourceAddress(address),
            true => IPTuple::DestinationAddress(address),
        }]);
        let mut ends = vec![0; tuple.buffer_len()];
        tuple.emit(&mut ends);
        let flags = if self.destination { BY_DESTINATION } else { BY_SOURCE };
        let filter = [(FILTER_ORIGINAL, !self.reply), (FILTER_REPLY, self.reply)];
        let filter = filter.into_iter().flat_map(|(kind, asked)| {
            let value = if asked { flags } else { 0 };
            // Four bytes of header and four of value.
            [&8u16.to_ne_bytes()[..], &kind.to_ne_bytes(), &value.to_ne_bytes()].concat()
        });
        let tuple = if self.reply { TUPLE_REPLY } else { TUPLE_ORIGINAL };
        // As bare attributes: the typed ones would leave out that the filter holds others.
        let attributes = vec![DefaultNla::new(tuple, ends), DefaultNla::new(FILTER, filter.collect())];
        ConntrackMessage::Other { message_type: ConntrackMessageType::Get.into(), attributes }
    }
}

/// What names an entry for its deletion; `None` where it names none of the addresses.
fn flow(
    addresses: &BTreeSet<IpAddr>,
    message: NetfilterMessage,
) -> Result<Option<Vec<ConntrackAttribute>>, KernelError> {
    let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = message.inner else {
        return Err(KernelError::Unexpected);
    };
    Ok(attributes.iter().any(|attribute| names_one(addresses, attribute)).then(|| key(attributes)))
}

fn names_one(addresses: &BTreeSet<IpAddr>, attribute: &ConntrackAttribute) -> bool {
    let (ConntrackAttribute::CtaTupleOrig(tuple) | ConntrackAttribute::CtaTupleReply(tuple)) = attribute
    else {
        return false;
    };
    let ends = tuple.iter().filter_map(|part| if let Tuple::Ip(ends) = part { Some(ends) } else { None });
    let is_end = |end: &IPTuple| matches!(end, IPTuple::SourceAddress(ip) | IPTuple::DestinationAddress(ip) if addresses.contains(ip));
    ends.flatten().any(is_end)
}

/// The flow's first packet, its zone, and the number by which a flow that took its place is told from it.
fn key(attributes: Vec<ConntrackAttribute>) -> Vec<ConntrackAttribute> {
    let belongs = |attribute: &ConntrackAttribute| match attribute {
        ConntrackAttribute::CtaTupleOrig(_) => true,
        ConntrackAttribute::Other(other) => [ID, ZONE].contains(&other.kind()),
        _ => false,
    };
    attributes.into_iter().filter(belongs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_flows_are_listed_once_for_all_addresses_and_many_are_asked_for() {
        let addresses: BTreeSet<IpAddr> = (1..=3).map(|host| IpAddr::from([10, 1, 0, host])).collect();
        assert_eq!(questions(&addresses, 30_000), [ConntrackMessage::Get(Vec::new())]);
        assert_eq!(questions(&addresses, 30_001).len(), 4 * addresses.len());
        assert_eq!(questions(&BTreeSet::new(), 1), []);
    }
}
