//! One ping, so that no package is needed for it.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recvfrom, sendto, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeVal;
use tokio::time::Instant;

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;

/// Sends one echo request from the calling thread's network namespace and waits for its reply, at most `patience`.
/// Blocks the thread. Answers how long it took.
///
/// # Errors
/// `TimedOut` when no reply came; whatever the socket says otherwise. It takes the capability NET_RAW.
pub fn ping(target: Ipv4Addr, number: u16, patience: Duration) -> io::Result<Duration> {
    let socket = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp)?;
    let request = request(number);
    let begun = Instant::now();
    let to = SockaddrIn::from(SocketAddrV4::new(target, 0));
    sendto(socket.as_raw_fd(), &request, &to, MsgFlags::empty())?;
    let mut packet = [0u8; 1500];
    loop {
        let left = patience
            .checked_sub(begun.elapsed())
            .filter(|left| !left.is_zero())
            .ok_or(io::ErrorKind::TimedOut)?;
        let limit =
            TimeVal::new(left.as_secs().try_into().unwrap_or(i64::MAX), left.subsec_micros().max(1).into());
        setsockopt(&socket, sockopt::ReceiveTimeout, &limit)?;
        match recvfrom::<SockaddrIn>(socket.as_raw_fd(), &mut packet) {
            Ok((length, from)) => {
                let answered =
                    from.is_some_and(|from| from.ip() == target) && is_reply(&packet[..length], number);
                if answered {
                    return Ok(begun.elapsed());
                }
            }
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// An echo request (RFC 792) whose identifier and sequence are both `number`.
fn request(number: u16) -> [u8; 8] {
    let [high, low] = number.to_be_bytes();
    let mut message = [ECHO_REQUEST, 0, 0, 0, high, low, high, low];
    [message[2], message[3]] = checksum(&message).to_be_bytes();
    message
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

/// Whether an IPv4 packet, header included, is the reply to [`request`].
fn is_reply(packet: &[u8], number: u16) -> bool {
    let header = packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    let [high, low] = number.to_be_bytes();
    packet
        .get(header..header + 8)
        .is_some_and(|icmp| icmp[0] == ECHO_REPLY && icmp[4..] == [high, low, high, low])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_sums_up_to_nothing_and_its_reply_is_known() {
        assert_eq!(checksum(&request(0x1234)), 0);
        let mut packet = vec![0x45; 20];
        packet.extend([ECHO_REPLY, 0, 0, 0, 0x12, 0x34, 0x12, 0x34]);
        assert!(is_reply(&packet, 0x1234));
        assert!(!is_reply(&packet, 0x1235));
        assert!(!is_reply(&packet[..24], 0x1234));
    }
}
