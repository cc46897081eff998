//! Gratuitous ARP: tells a subnet by which NIC an address is reached.
//!
//! The kernel announces the addresses that a link has. A NIC that answers for others has none of theirs, so that the packet
//! has to be made here and sent by a socket of the packet family. Where a packet goes is told by an address that nobody can
//! make but from the kernel's own answer, without unsafe code; so each link's is read once, and remembered.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use hostnic_core::id::MacAddr;
use hostnic_core::{Error, ErrorKind, Result};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrStorage, sendto, socket,
};

use crate::error::system;
use crate::link::{Link, LinkIndex};
use crate::netns::Netns;

const EVERYBODY: [u8; 6] = [0xff; 6];
const ARP: [u8; 2] = [0x08, 0x06];
/// IPv4 over Ethernet, a question. Linux, routers and clouds' switches take it as news when it asks for its own sender.
const ARP_REQUEST: [u8; 8] = [0, 1, 0x08, 0x00, 6, 4, 0, 1];
/// The shortest frame of Ethernet.
const FRAME: usize = 60;

/// Announces addresses by links of one namespace.
///
/// It has one socket, which hears nothing, for as long as it lives: to close such a socket takes the kernel milliseconds.
#[derive(Debug)]
pub(crate) struct Announcer {
    socket: OwnedFd,
    links: Mutex<BTreeMap<LinkIndex, LinkAddr>>,
}

impl Announcer {
    /// An announcer in a namespace.
    ///
    /// # Errors
    /// `Unauthorised` without the capability NET_RAW.
    pub(crate) async fn open(netns: &Netns) -> Result<Self> {
        let open = || socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None);
        let socket = netns.run(open).await?.map_err(|errno| match errno {
            Errno::EPERM | Errno::EACCES => Error::new(
                ErrorKind::Unauthorised,
                "open packet socket in",
                netns.sandbox(),
            )
            .detail("run as root, or with the capability NET_RAW: pods that share a NIC are announced by it")
            .source(std::io::Error::from(errno)),
            errno => system(errno, "open packet socket in", netns.sandbox()),
        })?;
        Ok(Self { socket, links: Mutex::default() })
    }

    /// Learns where to send for a link, if that is not known yet.
    ///
    /// # Errors
    /// `NotFound` without the link.
    pub(crate) async fn learn(&self, netns: &Netns, link: LinkIndex) -> Result<LinkAddr> {
        if let Some(known) = self.links.lock().unwrap_or_else(PoisonError::into_inner).get(&link) {
            return Ok(*known);
        }
        let found = netns.run(move || address_of(link)).await?;
        let found = found.map_err(|errno| system(errno, "list links of", netns.sandbox()))?;
        let found = found.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "announce addresses by", link).detail("it is not there")
        })?;
        self.links.lock().unwrap_or_else(PoisonError::into_inner).insert(link, found);
        Ok(found)
    }

    /// Sends one announcement. It is lost where nobody listens, as everything is.
    ///
    /// # Errors
    /// `NotFound` without the link, `Conflict` when it is down.
    pub(crate) async fn announce(&self, netns: &Netns, nic: &Link, address: Ipv4Addr) -> Result<()> {
        let subject = || format!("{address} by {}", nic.name);
        let mac = nic.mac.ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "announce", subject()).detail("it has no Ethernet address")
        })?;
        let to = self.learn(netns, nic.index).await?;
        let sent =
            sendto(self.socket.as_raw_fd(), &question(mac, address, address), &to, MsgFlags::MSG_DONTWAIT);
        sent.map(drop).map_err(|errno| system(errno, "announce", subject()))
    }
}

fn address_of(link: LinkIndex) -> nix::Result<Option<LinkAddr>> {
    let addresses = getifaddrs()?.filter_map(|interface| interface.address);
    let mut of_links = addresses.filter_map(|address: SockaddrStorage| address.as_link_addr().copied());
    Ok(of_links.find(|address| u32::try_from(address.ifindex()).is_ok_and(|index| index == link.0)))
}

/// An Ethernet frame that asks everybody, in the name of `sender`, which is at `mac`, who has `address`. Who asks for its own
/// address tells everybody where it is.
pub(crate) fn question(mac: MacAddr, sender: Ipv4Addr, address: Ipv4Addr) -> Vec<u8> {
    let (mac, sender, address) = (mac.octets(), sender.octets(), address.octets());
    let (ethernet, arp) =
        ([&EVERYBODY[..], &mac, &ARP], [&ARP_REQUEST[..], &mac, &sender, &[0; 6], &address]);
    let mut frame = [ethernet.concat(), arp.concat()].concat();
    frame.resize(FRAME, 0);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_asks_everybody_for_its_own_sender() {
        let mac = MacAddr::new([0x52, 0x54, 0, 0, 0, 1]).unwrap();
        let address = Ipv4Addr::new(10, 1, 0, 4);
        let frame = question(mac, address, address);
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = concat!(
            "ffffffffffff",
            "525400000001",
            "0806",
            "0001080006040001",
            "525400000001",
            "0a010004",
            "000000000000",
            "0a010004"
        );
        assert_eq!(hex, format!("{expected:0<120}"));
    }
}
