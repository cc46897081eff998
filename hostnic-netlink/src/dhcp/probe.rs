//! Asks by ARP whether somebody has an address, as a client of DHCP should before it takes one (RFC 2131, 4.4.1).
//!
//! It is asked in the name of somebody who sends by the NIC, and not from 0.0.0.0: Linux answers such a question for addresses
//! of its own, but not for others', as those of pods that share a NIC of another node are.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use hostnic_core::Result;
use hostnic_core::id::MacAddr;
use nix::sys::socket::{LinkAddr, MsgFlags, recv, send};
use socket2::SockFilter;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use super::socket::open;
use crate::announce::question;
use crate::error;
use crate::netns::Netns;

/// ARP among the protocols of Ethernet.
const ETH_P_ARP: u16 = 0x0806;
/// Where the sender's Ethernet address and its IPv4 address are in a frame of ARP.
const SENDER: std::ops::Range<usize> = 22..28;
const SENDER_IPV4: u32 = 28;
/// How often it is asked, and how long an answer may take each time.
const QUESTIONS: u32 = 3;
const PATIENCE: Duration = Duration::from_millis(300);

/// Lets through what comes from an address, in the kernel.
fn only_from(address: Ipv4Addr) -> [SockFilter; 4] {
    const WORD: u16 = 0x20;
    const IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    [
        SockFilter::new(WORD, 0, 0, SENDER_IPV4),
        SockFilter::new(IF_EQUAL, 0, 1, u32::from(address)),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

/// Who has `address` in the subnet of a link, other than `mac`, the link itself; `None` when nobody says so within a second. It is
/// asked in the name of `sender`, which the link answers for.
///
/// # Errors
/// `Unauthorised` without the capability NET_RAW, `NotFound` without the link, `Conflict` when it is down.
pub(crate) async fn holder(
    netns: &Netns,
    link: LinkAddr,
    mac: MacAddr,
    sender: Ipv4Addr,
    address: Ipv4Addr,
) -> Result<Option<MacAddr>> {
    let failed = |e| error::io(e, "ask who has the address that DHCP gave NIC", mac);
    let opened = netns.run(move || open(&link, ETH_P_ARP, &only_from(address))).await?.map_err(failed)?;
    #[expect(deprecated, reason = "what takes its place is unsafe, and asks for what an OwnedFd is")]
    let socket = AsyncFd::new(opened).map_err(failed)?;
    let frame = question(mac, sender, address);
    for _ in 0..QUESTIONS {
        send(socket.as_raw_fd(), &frame, MsgFlags::MSG_DONTWAIT).map_err(|e| failed(e.into()))?;
        if let Ok(heard) = timeout(PATIENCE, other_than(&socket, mac)).await {
            return heard.map(Some).map_err(failed);
        }
    }
    Ok(None)
}

/// The first sender that is not `mac`.
async fn other_than(socket: &AsyncFd<OwnedFd>, mac: MacAddr) -> io::Result<MacAddr> {
    let mut buffer = [0; 128];
    loop {
        let mut ready = socket.readable().await?;
        let receive = |socket: &AsyncFd<OwnedFd>| {
            recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).map_err(Into::into)
        };
        let Ok(received) = ready.try_io(receive) else { continue };
        let length = received?;
        let sender = buffer.get(..length).and_then(|frame| frame.get(SENDER)?.try_into().ok());
        match sender.and_then(|octets: [u8; 6]| MacAddr::new(octets).ok()) {
            Some(sender) if sender != mac => return Ok(sender),
            _ => {}
        }
    }
}
