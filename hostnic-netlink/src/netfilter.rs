//! Talking to the kernel's netfilter, from a thread that may block.
//!
//! The kernel carries out a request, and queues the answer, before the call that sent it returns. So the deadline is
//! only against a kernel that never answers.

use std::io;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_netfilter::NetfilterMessage;
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;

use crate::error::KernelError;

const DEADLINE: Duration = Duration::from_secs(2);
/// How often a list is read again because it changed while it was read.
const DUMP_ATTEMPTS: u32 = 8;
/// The sequence number of a request that is alone on its socket.
const ONLY: u32 = 1;
/// Messages begin at multiples of this.
const ALIGNMENT: usize = 4;

pub(crate) type Message = NetlinkMessage<NetfilterMessage>;

/// A socket in the namespace of the thread that opened it.
pub(crate) struct Exchange(Socket);

impl Exchange {
    pub(crate) fn open() -> Result<Self, KernelError> {
        let socket = Socket::new(NETLINK_NETFILTER).map_err(system)?;
        // Answers that leave out the request; kernels before 4.3 repeat it.
        let _ = socket.set_cap_ack(true);
        let patience = TimeVal::new(DEADLINE.as_secs().cast_signed(), 0);
        setsockopt(&socket, sockopt::ReceiveTimeout, &patience).map_err(|errno| system(errno.into()))?;
        Ok(Self(socket))
    }

    /// Sends one datagram, which may hold many messages.
    pub(crate) fn send(&self, bytes: &[u8]) -> Result<(), KernelError> {
        // A datagram is sent whole or not at all.
        self.0.send(bytes, 0).map(drop).map_err(system)
    }

    /// The messages of the next datagram.
    pub(crate) fn receive(&self) -> Result<Vec<Message>, KernelError> {
        let (bytes, _) = self.0.recv_from_full().map_err(|error| match error.kind() {
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

    /// Sends a request that changes something, and waits until it is done.
    pub(crate) fn change(&self, request: NetfilterMessage) -> Result<(), KernelError> {
        let mut bytes = Vec::new();
        append(&mut bytes, request, NLM_F_ACK, ONLY);
        self.send(&bytes)?;
        for message in self.receive()? {
            match message.payload {
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(KernelError::refused(&error));
                }
                NetlinkPayload::Error(_) => return Ok(()),
                _ => {}
            }
        }
        Err(KernelError::Unexpected)
    }
}

/// All that `read` makes of a list, which is read again when it changed meanwhile.
pub(crate) fn list<T>(
    request: &NetfilterMessage,
    read: impl Fn(NetfilterMessage) -> Result<Option<T>, KernelError>,
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
    read: impl Fn(NetfilterMessage) -> Result<Option<T>, KernelError>,
) -> Result<Vec<T>, KernelError> {
    let mut bytes = Vec::new();
    append(&mut bytes, request.clone(), NLM_F_DUMP, ONLY);
    let socket = Exchange::open()?;
    socket.send(&bytes)?;
    let mut found = Vec::new();
    let mut interrupted = false;
    loop {
        for message in socket.receive()? {
            interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
            match message.payload {
                NetlinkPayload::InnerMessage(message) => found.extend(read(message)?),
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

/// Writes one message behind `bytes`. Its length is a multiple of four, as all its attributes are padded.
pub(crate) fn append(bytes: &mut Vec<u8>, message: NetfilterMessage, flags: u16, sequence: u32) {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = NLM_F_REQUEST | flags;
    message.header.sequence_number = sequence;
    message.finalize();
    let start = bytes.len();
    bytes.resize(start + message.buffer_len(), 0);
    message.serialize(&mut bytes[start..]);
}

fn system(error: io::Error) -> KernelError {
    let errno = error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw);
    KernelError::Refused { errno, reason: None }
}
