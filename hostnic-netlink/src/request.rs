//! Requests to the kernel's routing socket, from a thread that may block.
//!
//! The kernel carries out a request, and queues the answer, before the call that sent it returns. So each is answered before
//! the next one is sent, and nobody has to wait for the socket; the deadline is only against a kernel that never answers.

use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_MULTIPART, NLM_F_REQUEST, NetlinkBuffer, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;

use crate::error::KernelError;

/// How long to wait for an answer that should be there.
const DEADLINE: Duration = Duration::from_secs(2);
/// The kernel puts no more of a list into one datagram, nor more than whoever reads it has room for.
const LARGEST: usize = 32 << 10;
/// Messages begin at multiples of this.
const ALIGNMENT: usize = 4;

type Reply = NetlinkMessage<RouteNetlinkMessage>;

/// What is kept of the kernel's answer to one request.
pub(crate) type Answered<T = RouteNetlinkMessage> = Result<Vec<T>, KernelError>;

/// A socket in the namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct RequestSocket {
    socket: Socket,
    sequence: u32,
    sent: Vec<u8>,
    received: Vec<u8>,
}

impl RequestSocket {
    pub(crate) fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_ROUTE)?;
        // Lists of nothing but what was asked for.
        socket.set_netlink_get_strict_chk(true)?;
        // The kernel's reasons in words, and not the refused request as well. Kernels before 4.12 have neither.
        let _ = socket.set_ext_ack(true).and_then(|()| socket.set_cap_ack(true));
        let patience = TimeVal::new(DEADLINE.as_secs().cast_signed(), 0);
        setsockopt(&socket, sockopt::ReceiveTimeout, &patience)?;
        Ok(Self { socket, sequence: 0, sent: Vec::new(), received: Vec::new() })
    }

    /// Sends a request and reads its answer. `flags` say whether an acknowledgement or a list is to come. What `keep` answers
    /// is kept of each item: as the kernel tells them, the links of a full node are more than a megabyte.
    pub(crate) fn exchange<T>(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        keep: fn(RouteNetlinkMessage) -> Option<T>,
    ) -> Answered<T> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        request.header.sequence_number = self.sequence;
        request.finalize();
        self.sent.clear();
        self.sent.resize(request.buffer_len(), 0);
        request.serialize(&mut self.sent);
        // A datagram is sent whole or not at all.
        self.socket.send(&self.sent, 0).map_err(system)?;
        let mut answer = Answer::to(flags, keep);
        loop {
            if let ControlFlow::Break(done) = self.receive(&mut answer)? {
                return done;
            }
        }
    }

    /// Reads the messages of the next datagram.
    fn receive<T>(&mut self, answer: &mut Answer<T>) -> Result<ControlFlow<Answered<T>>, KernelError> {
        self.received.clear();
        self.received.reserve(LARGEST);
        self.socket.recv(&mut self.received, 0).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => KernelError::Deadline(DEADLINE),
            _ => system(error),
        })?;
        let mut rest = self.received.as_slice();
        while !rest.is_empty() {
            let buffer = NetlinkBuffer::new_checked(rest).map_err(|_| KernelError::Unexpected)?;
            let length = usize::try_from(buffer.length()).map_err(|_| KernelError::Unexpected)?;
            // What comes late, for a request whose answer was not awaited to its end, is not this one's.
            if buffer.sequence_number() == self.sequence {
                let reply = Reply::deserialize(rest).map_err(|_| KernelError::Unexpected)?;
                if let done @ ControlFlow::Break(_) = answer.take(reply) {
                    return Ok(done);
                }
            }
            rest = rest.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        }
        Ok(ControlFlow::Continue(()))
    }
}

fn system(error: io::Error) -> KernelError {
    let errno = error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw);
    KernelError::Refused { errno, reason: None }
}

/// The replies to one request so far.
#[derive(Debug)]
struct Answer<T> {
    keep: fn(RouteNetlinkMessage) -> Option<T>,
    items: Vec<T>,
    interrupted: bool,
    /// An acknowledgement or the end of a list comes last; otherwise the first reply is all.
    ends_with_a_sign: bool,
}

impl<T> Answer<T> {
    fn to(flags: u16, keep: fn(RouteNetlinkMessage) -> Option<T>) -> Self {
        let ends_with_a_sign = flags & (NLM_F_ACK | NLM_F_DUMP) != 0;
        Self { keep, items: Vec::new(), interrupted: false, ends_with_a_sign }
    }

    fn take(&mut self, reply: Reply) -> ControlFlow<Answered<T>> {
        self.interrupted |= reply.header.flags & NLM_F_DUMP_INTR != 0;
        let more = self.ends_with_a_sign || reply.header.flags & NLM_F_MULTIPART != 0;
        ControlFlow::Break(match reply.payload {
            NetlinkPayload::InnerMessage(item) => {
                self.items.extend((self.keep)(item));
                if more {
                    return ControlFlow::Continue(());
                }
                Ok(std::mem::take(&mut self.items))
            }
            NetlinkPayload::Error(error) if error.code.is_some() => Err(KernelError::refused(&error)),
            NetlinkPayload::Done(done) if done.code < 0 => Err(KernelError::refused_code(done.code)),
            NetlinkPayload::Done(_) if self.interrupted => Err(KernelError::Interrupted(1)),
            NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => Ok(std::mem::take(&mut self.items)),
            NetlinkPayload::Noop => return ControlFlow::Continue(()),
            _ => Err(KernelError::Unexpected),
        })
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{DoneMessage, ErrorMessage, NetlinkHeader};
    use netlink_packet_route::link::LinkMessage;

    use super::*;

    fn reply(flags: u16, payload: NetlinkPayload<RouteNetlinkMessage>) -> Reply {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        NetlinkMessage::new(header, payload)
    }

    fn link(flags: u16) -> Reply {
        let link = RouteNetlinkMessage::NewLink(LinkMessage::default());
        reply(NLM_F_MULTIPART | flags, NetlinkPayload::InnerMessage(link))
    }

    fn done(code: i32) -> Reply {
        let mut done = DoneMessage::default();
        done.code = code;
        reply(0, NetlinkPayload::Done(done))
    }

    /// How many items there are when it is complete; `None` when more is to come.
    fn answered(flags: u16, replies: Vec<Reply>) -> Option<Result<usize, KernelError>> {
        let mut answer = Answer::to(flags, Some);
        replies.into_iter().find_map(|reply| match answer.take(reply) {
            ControlFlow::Break(done) => Some(done.map(|items| items.len())),
            ControlFlow::Continue(()) => None,
        })
    }

    #[test]
    fn a_dump_is_whole_or_an_error() {
        let dumped = |replies| answered(NLM_F_DUMP, replies);
        assert!(matches!(dumped(vec![link(0), link(0), done(0)]), Some(Ok(2))));
        // The list changed while it was read, which the kernel may tell on any of its messages.
        for replies in
            [vec![link(NLM_F_DUMP_INTR), link(0), done(0)], vec![link(0), link(NLM_F_DUMP_INTR), done(0)]]
        {
            assert!(matches!(dumped(replies), Some(Err(KernelError::Interrupted(_)))));
        }
        // A failure that came after the first links is told at the end.
        let refused = dumped(vec![link(0), done(-(Errno::ENODEV as i32))]).unwrap().unwrap_err();
        assert!(refused.is(Errno::ENODEV), "{refused}");
        assert!(dumped(vec![link(0)]).is_none());
    }

    #[test]
    fn a_change_is_done_when_the_kernel_says_so_and_one_object_is_all() {
        let acknowledged = reply(0, NetlinkPayload::Error(ErrorMessage::default()));
        assert!(matches!(answered(NLM_F_ACK, vec![acknowledged]), Some(Ok(0))));
        let object = RouteNetlinkMessage::NewLink(LinkMessage::default());
        let object = reply(0, NetlinkPayload::InnerMessage(object));
        assert!(matches!(answered(0, vec![object]), Some(Ok(1))));
    }
}
