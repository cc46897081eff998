//! Talking to the kernel's nftables, from a thread that may block.
//!
//! The kernel carries out a request, and queues the answer, before the call that sent it returns. So the deadline is
//! only against a kernel that never answers.

use std::io;
use std::time::Duration;

use hostnic_core::Result;
use netlink_packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR, NetlinkBuffer, NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::nftables::{
    ChainMessage, NfTablesMessage, RuleAttribute, RuleMessage, SetElementList, SetElementMessage,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;

use super::batch::{BEGIN, Batch, append};
use super::{Element, ForwardDrop, RuleCounter, Table};
use crate::error::KernelError;

const DEADLINE: Duration = Duration::from_secs(2);
/// How often the rules are read again because they changed while they were read.
const DUMP_ATTEMPTS: u32 = 8;
const DUMP: u32 = 1;
/// Messages begin at multiples of this.
const ALIGNMENT: usize = 4;

type Message = NetlinkMessage<NetfilterMessage>;

/// Sends a batch and waits until its last step is acknowledged or something is refused.
pub(super) fn apply(batch: &Batch) -> Result<()> {
    let failed = |sequence, error: KernelError| match batch.step_of(sequence) {
        Some(step) => error.during(step.operation, &step.subject),
        None => error.during("change nftables", batch),
    };
    let socket = open().map_err(|error| failed(BEGIN, error))?;
    send(&socket, &batch.encode()).map_err(|error| failed(BEGIN, error))?;
    loop {
        for message in receive(&socket).map_err(|error| failed(BEGIN, error))? {
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

/// All that `read` makes of a list, which is read again when it changed meanwhile.
fn list<T>(
    request: &NetfilterMessage,
    read: impl Fn(NetfilterProtoFamily, NfTablesMessage) -> Option<T>,
) -> Result<Vec<T>, KernelError> {
    for _ in 0..DUMP_ATTEMPTS {
        match dump(request, &read) {
            Err(KernelError::Interrupted(_)) => {}
            list => return list,
        }
    }
    Err(KernelError::Interrupted(DUMP_ATTEMPTS))
}

fn dump<T>(
    request: &NetfilterMessage,
    read: impl Fn(NetfilterProtoFamily, NfTablesMessage) -> Option<T>,
) -> Result<Vec<T>, KernelError> {
    let mut bytes = Vec::new();
    append(&mut bytes, request.clone(), NLM_F_DUMP, DUMP);
    let socket = open()?;
    send(&socket, &bytes)?;
    let mut found = Vec::new();
    let mut interrupted = false;
    loop {
        for message in receive(&socket)? {
            interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
            match message.payload {
                NetlinkPayload::InnerMessage(NetfilterMessage {
                    header,
                    inner: NetfilterMessageInner::NfTables(message),
                    ..
                }) => found.extend(read(header.family, message)),
                NetlinkPayload::Error(error) => return Err(KernelError::refused(&error)),
                NetlinkPayload::Done(done) if done.code < 0 => {
                    return Err(KernelError::refused_code(done.code));
                }
                NetlinkPayload::Done(_) if interrupted => return Err(KernelError::Interrupted(1)),
                NetlinkPayload::Done(_) => return Ok(found),
                _ => return Err(KernelError::Unexpected),
            }
        }
    }
}

fn open() -> Result<Socket, KernelError> {
    let socket = Socket::new(NETLINK_NETFILTER).map_err(system)?;
    // Answers that leave out the request; kernels before 4.3 repeat it.
    let _ = socket.set_cap_ack(true);
    let patience = TimeVal::new(DEADLINE.as_secs().cast_signed(), 0);
    setsockopt(&socket, sockopt::ReceiveTimeout, &patience).map_err(|errno| system(errno.into()))?;
    Ok(socket)
}

fn send(socket: &Socket, bytes: &[u8]) -> Result<(), KernelError> {
    // A datagram is sent whole or not at all.
    socket.send(bytes, 0).map(drop).map_err(system)
}

/// The messages of the next datagram.
fn receive(socket: &Socket) -> Result<Vec<Message>, KernelError> {
    let (bytes, _) = socket.recv_from_full().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => KernelError::Deadline(DEADLINE),
        _ => system(error),
    })?;
    let mut messages = Vec::new();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let buffer = NetlinkBuffer::new_checked(rest).map_err(|_| KernelError::Unexpected)?;
        let length = usize::try_from(buffer.length()).map_err(|_| KernelError::Unexpected)?;
        messages.push(Message::deserialize(rest).map_err(|_| KernelError::Unexpected)?);
        rest = rest.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    }
    Ok(messages)
}

fn system(error: io::Error) -> KernelError {
    let errno = error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw);
    KernelError::Refused { errno, reason: None }
}
