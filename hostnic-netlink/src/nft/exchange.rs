//! What nftables are asked and told, from a thread that may block.

use hostnic_core::Result;
use netlink_packet_core::NetlinkPayload;
use netlink_packet_netfilter::nftables::{
    ChainMessage, NfTablesMessage, RuleAttribute, RuleMessage, SetElementList, SetElementMessage,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use nix::errno::Errno;

use super::batch::{BEGIN, Batch};
use super::marks::by_chain;
use super::{Element, ForwardDrop, MarkWriter, RuleCounter, Table};
use crate::error::KernelError;
use crate::netfilter::{self, Exchange};

/// Sends a batch and waits until its last step is acknowledged or something is refused.
pub(super) fn apply(batch: &Batch) -> Result<()> {
    let failed = |sequence, error: KernelError| match batch.step_of(sequence) {
        Some(step) => error.during(step.operation, &step.subject),
        None => error.during("change nftables", batch),
    };
    let socket = Exchange::open().map_err(|error| failed(BEGIN, error))?;
    socket.send(&batch.encode()).map_err(|error| failed(BEGIN, error))?;
    loop {
        for message in socket.receive().map_err(|error| failed(BEGIN, error))? {
            let sequence = message.header.sequence_number;
            match message.payload {
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(failed(sequence, KernelError::refused(&error)));
                }
                NetlinkPayload::Error(_) if sequence == batch.last() => return Ok(()),
                _ => {}
            }
        }
    }
}

/// Reads the counters of a table's rules, or of a chain's.
pub(super) fn counters(table: &Table, chain: Option<&str>) -> Result<Vec<RuleCounter>> {
    let mut attributes = vec![RuleAttribute::Table(table.name.clone())];
    attributes.extend(chain.map(|chain| RuleAttribute::Chain(chain.to_owned())));
    let request = NfTablesMessage::GetRule(RuleMessage { attributes });
    let request = NetfilterMessage::new(NetfilterHeader::new(table.family.number(), 0, 0), request);
    let counters = list(&request, |_, message| match message {
        NfTablesMessage::NewRule(rule) => RuleCounter::read(&rule),
        _ => None,
    });
    counters.map_err(|error| error.during("read nftables counters", table))
}

/// Reads the elements of a set.
pub(super) fn elements(table: &Table, set: &str) -> Result<Vec<Element>> {
    let attributes = vec![SetElementList::Table(table.name.clone()), SetElementList::Set(set.to_owned())];
    let request = NfTablesMessage::GetSetElement(SetElementMessage { attributes });
    let request = NetfilterMessage::new(NetfilterHeader::new(table.family.number(), 0, 0), request);
    let elements = list(&request, |_, message| match message {
        NfTablesMessage::NewSetElement(some) => Some(Element::read(&some)),
        _ => None,
    });
    match elements {
        Err(error) if error.is(Errno::ENOENT) => Ok(Vec::new()),
        elements => Ok(elements
            .map_err(|error| error.during("read nftables set", format_args!("{table} {set}")))?
            .into_iter()
            .flatten()
            .collect()),
    }
}

/// Reads which chains drop what is forwarded.
pub(super) fn forward_drops() -> Result<Vec<ForwardDrop>> {
    let request = NfTablesMessage::GetChain(ChainMessage { attributes: Vec::new() });
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0);
    let chains = list(&NetfilterMessage::new(header, request), |family, message| match message {
        NfTablesMessage::NewChain(chain) => ForwardDrop::read(family, &chain),
        _ => None,
    });
    chains.map_err(|error| error.during("read nftables chains", "of all tables"))
}

/// Reads which chains write packets' marks.
pub(super) fn mark_writers() -> Result<Vec<MarkWriter>> {
    let request = NfTablesMessage::GetRule(RuleMessage { attributes: Vec::new() });
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0);
    let rules = list(&NetfilterMessage::new(header, request), |family, message| match message {
        NfTablesMessage::NewRule(rule) => MarkWriter::read(family, &rule),
        _ => None,
    });
    rules.map(by_chain).map_err(|error| error.during("read nftables rules", "of all tables"))
}

/// All that `read` makes of the messages of a list.
fn list<T>(
    request: &NetfilterMessage,
    read: impl Fn(NetfilterProtoFamily, NfTablesMessage) -> Option<T>,
) -> Result<Vec<T>, KernelError> {
    netfilter::list(request, |message| match message.inner {
        NetfilterMessageInner::NfTables(inner) => Ok(read(message.header.family, inner)),
        _ => Err(KernelError::Unexpected),
    })
}
