//! A socket that carries messages of DHCP over one link, beside all that the node's addresses, routes and filters do.
//!
//! Who asks for an address has none, or on a NIC that pods share only one that is a pod's; and by a socket of UDP the kernel
//! would send from that.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use hostnic_core::id::MacAddr;
use hostnic_core::{Error, ErrorKind, Result};
use nix::errno::Errno;
use nix::sys::socket::{LinkAddr, MsgFlags, bind, recv, send};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::io::unix::AsyncFd;

use super::frame::{self, CLIENT};
use super::message::{self, Answer, Question};
use crate::error;
use crate::netns::Netns;

/// IPv4 among the protocols of Ethernet.
const ETH_P_IP: u16 = 0x0800;

/// More than any frame that comes by a NIC.
const LARGEST: usize = 16 * 1024;

/// What is let through to us, in the kernel, of all that comes in: the first parts of datagrams to a client's port. Without it
/// every packet of every pod would be shown here.
fn filter() -> [SockFilter; 9] {
    const BYTE: u16 = 0x30;
    const HALF_WORD: u16 = 0x28;
    const HEADER_LENGTH: u16 = 0xb1;
    const HALF_WORD_BEHIND_HEADER: u16 = 0x48;
    const IF_EQUAL: u16 = 0x15;
    const IF_ANY_BIT: u16 = 0x45;
    const RETURN: u16 = 0x06;
    [
        SockFilter::new(BYTE, 0, 0, 23),
        SockFilter::new(IF_EQUAL, 0, 6, 17),
        SockFilter::new(HALF_WORD, 0, 0, 20),
        SockFilter::new(IF_ANY_BIT, 4, 0, 0x1fff),
        SockFilter::new(HEADER_LENGTH, 0, 0, 14),
        SockFilter::new(HALF_WORD_BEHIND_HEADER, 0, 0, 16),
        SockFilter::new(IF_EQUAL, 0, 1, u32::from(CLIENT)),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

/// The socket. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct DhcpSocket {
    socket: AsyncFd<OwnedFd>,
    mac: MacAddr,
    _port: Option<Socket>,
}

impl DhcpSocket {
    /// A socket for a link of the namespace, which has this name and MAC. `link` is the kernel's own word for it.
    ///
    /// # Errors
    /// `Unauthorised` without the capability NET_RAW, `NotFound` without the link.
    pub(crate) async fn open(netns: &Netns, link: LinkAddr, name: String, mac: MacAddr) -> Result<Self> {
        let failed = |e| error::io(e, "open DHCP socket for NIC", mac);
        let opened = netns.run(move || Ok((open(&link, ETH_P_IP, &filter())?, port(&name)))).await?;
        let (opened, port) = opened.map_err(|e: io::Error| match e.raw_os_error() {
            Some(errno) if [Errno::EPERM, Errno::EACCES].contains(&Errno::from_raw(errno)) => {
                Error::new(ErrorKind::Unauthorised, "open DHCP socket for NIC", mac)
                    .detail(
                        "run as root, or with the capability NET_RAW: a VLAN's NIC gets its address by it",
                    )
                    .source(e)
            }
            _ => failed(e),
        })?;
        #[expect(deprecated, reason = "what takes its place is unsafe, and asks for what an OwnedFd is")]
        let socket = AsyncFd::new(opened).map_err(failed)?;
        // A port that is somebody else's is none that the kernel calls closed.
        Ok(Self { socket, mac, _port: port.ok() })
    }

    /// Sends a message. It is lost where nobody listens, as everything is.
    ///
    /// # Errors
    /// `NotFound` without the link, `Conflict` when it is down.
    pub(crate) fn say(&self, question: &Question) -> Result<()> {
        let frame = frame::wrap(self.mac, &question.ask, &message::encode(self.mac, question));
        let sent = send(self.socket.as_raw_fd(), &frame, MsgFlags::MSG_DONTWAIT);
        sent.map(drop).map_err(|errno| error::system(errno, "ask for an address by NIC", self.mac))
    }

    /// The next answer to this NIC. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// As [`DhcpSocket::say`]: when the link goes down, once.
    pub(crate) async fn answer(&self) -> Result<Answer> {
        let mut buffer = vec![0; LARGEST];
        loop {
            let failed = |e| error::io(e, "wait for an address by NIC", self.mac);
            let mut ready = self.socket.readable().await.map_err(failed)?;
            let received = ready.try_io(|socket| {
                recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).map_err(Into::into)
            });
            // Others were faster, or it was not for us.
            let Ok(received) = received else { continue };
            let length = received.map_err(failed)?;
            let message = buffer.get(..length).and_then(frame::unwrap);
            if let Some(answer) =
                message.and_then(|(sender, message)| message::decode(self.mac, sender, message))
            {
                return Ok(answer);
            }
        }
    }
}

/// Holds the client's port on the link. Nobody reads there; but without it the kernel would tell a server that writes to the
/// address that it is not to be reached.
fn port(link: &str) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind_device(Some(link.as_bytes()))?;
    // As little as the kernel grants.
    socket.set_recv_buffer_size(0)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, CLIENT)).into())?;
    Ok(socket)
}

/// A socket that hears what comes by a link of one of Ethernet's protocols and passes a filter.
pub(super) fn open(link: &LinkAddr, protocol: u16, filter: &[SockFilter]) -> io::Result<OwnedFd> {
    let protocol = Protocol::from(i32::from(protocol.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
    // Before it is bound: what comes by other links until then is passed over by its number.
    socket.attach_filter(filter)?;
    socket.set_nonblocking(true)?;
    bind(socket.as_raw_fd(), link)?;
    Ok(socket.into())
}
