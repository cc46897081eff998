//! A DHCP server on a host of the VPC, which refuses and falls silent when it is told to.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Encodable};
use hostnic_core::id::MacAddr;
use hostnic_core::sim::Cloud;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::world::Vpc;
use crate::veth::world::{socket, text};
use crate::world::eventually;

/// What the server is to do with what it hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Grants,
    /// The next request of this NIC is refused.
    Refuses(MacAddr),
    IsGone,
}

/// What it has heard and done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) at: Instant,
    pub(super) from: MacAddr,
    pub(super) kind: MessageType,
    /// The address that the client said it has, which makes a request one for more time.
    pub(super) own: Option<Ipv4Addr>,
    /// Whether it came to the server alone.
    pub(super) alone: bool,
    pub(super) said: Option<MessageType>,
}

#[derive(Debug)]
struct Inner {
    mood: Mood,
    given: BTreeMap<MacAddr, Ipv4Addr>,
    next: Ipv4Addr,
    log: Vec<Seen>,
}

/// The server. It ends when this is dropped.
pub(super) struct Server {
    inner: Arc<Mutex<Inner>>,
    _task: JoinSet<()>,
}

impl Server {
    /// Gives out addresses from 10.1.0.`first` on, for so many seconds.
    pub(super) async fn start(vpc: &Vpc, host: &Path, address: IpAddr, first: u8, lease: u32) -> Self {
        let IpAddr::V4(address) = address else { panic!("{address} is of IPv6") };
        let socket = socket(host, SocketAddr::new([0, 0, 0, 0].into(), 67)).await;
        socket.set_broadcast(true).unwrap();
        let next = Ipv4Addr::new(10, 1, 0, first);
        let inner = Inner { mood: Mood::Grants, given: BTreeMap::new(), next, log: Vec::new() };
        let inner = Arc::new(Mutex::new(inner));
        let (cloud, hypervisor) = (vpc.cloud.clone(), vpc.fabric.vpc_path().to_owned());
        let desk = Desk { inner: inner.clone(), cloud, hypervisor, address, lease };
        let mut task = JoinSet::new();
        task.spawn(desk.serve(socket));
        Self { inner, _task: task }
    }

    pub(super) fn is(&self, mood: Mood) {
        self.inner.lock().unwrap().mood = mood;
    }

    /// What it has heard from a NIC, and done about it.
    pub(super) fn seen(&self, from: MacAddr) -> Vec<Seen> {
        self.inner.lock().unwrap().log.iter().filter(|seen| seen.from == from).cloned().collect()
    }
}

struct Desk {
    inner: Arc<Mutex<Inner>>,
    cloud: Cloud,
    hypervisor: PathBuf,
    address: Ipv4Addr,
    lease: u32,
}

impl Desk {
    async fn serve(self, socket: UdpSocket) {
        let mut buffer = [0; 2048];
        loop {
            let (length, _) = socket.recv_from(&mut buffer).await.unwrap();
            let asked = Message::from_bytes(&buffer[..length]).unwrap();
            let Some(answer) = self.answer(&asked) else { continue };
            self.allowed(&answer).await;
            let own = Some(asked.ciaddr()).filter(|own| !own.is_unspecified());
            let kind = answer.opts().msg_type().unwrap();
            // Who is refused has no address any more that it could be told at.
            let to = own.filter(|_| kind != MessageType::Nak).unwrap_or(Ipv4Addr::BROADCAST);
            socket.send_to(&answer.to_vec().unwrap(), (to, 68)).await.unwrap();
        }
    }

    fn answer(&self, asked: &Message) -> Option<Message> {
        let from = MacAddr::new(asked.chaddr().try_into().unwrap()).unwrap();
        let kind = asked.opts().msg_type().unwrap();
        let own = Some(asked.ciaddr()).filter(|own| !own.is_unspecified());
        let mut inner = self.inner.lock().unwrap();
        let said = inner.answer(from, kind, own, asked);
        // A cloud drops what comes from an address that its server has not given. One that is lost is given up by the time
        // that the next one is looked for.
        match (kind, said) {
            (_, Some(MessageType::Ack)) => self.tell(from, inner.given.get(&from).copied()),
            (MessageType::Discover | MessageType::Release, _) => self.tell(from, None),
            _ => {}
        }
        let alone = own.is_some() && asked.opts().get(OptionCode::ServerIdentifier).is_none();
        inner.log.push(Seen { at: Instant::now(), from, kind, own, alone, said });
        said.map(|said| self.message(asked, said, inner.given[&from]))
    }

    /// Waits until the client may send from what it is given, as it does at once.
    async fn allowed(&self, answer: &Message) {
        if answer.opts().msg_type() == Some(MessageType::Ack) {
            let address = answer.yiaddr().to_string();
            let rules = || text(&self.hypervisor, &["nft", "list", "table", "bridge", "police"]);
            let allows = || rules().split([' ', ',', '\n']).any(|word| word == address);
            eventually("the cloud lets it send from what it gave", allows).await;
        }
    }

    fn tell(&self, mac: MacAddr, address: Option<Ipv4Addr>) {
        let control = self.cloud.control();
        let nic = control.nics().into_iter().find(|record| record.nic.mac == mac).unwrap().nic.id;
        control.lease(&nic, address.map(IpAddr::V4)).unwrap();
    }

    /// What it says. A client that lets a server choose the node's way to everywhere would follow the router.
    fn message(&self, asked: &Message, said: MessageType, address: Ipv4Addr) -> Message {
        let mut message = Message::default();
        message.set_opcode(Opcode::BootReply).set_xid(asked.xid()).set_chaddr(asked.chaddr());
        message.set_flags(Flags::default()).set_ciaddr(asked.ciaddr());
        let options = message.opts_mut();
        options.insert(DhcpOption::MessageType(said));
        options.insert(DhcpOption::ServerIdentifier(self.address));
        if said != MessageType::Nak {
            options.insert(DhcpOption::AddressLeaseTime(self.lease));
            options.insert(DhcpOption::SubnetMask(Ipv4Addr::new(255, 0, 0, 0)));
            options.insert(DhcpOption::Router(vec![self.address]));
            message.set_yiaddr(address);
        }
        message
    }
}

impl Inner {
    fn answer(
        &mut self,
        from: MacAddr,
        kind: MessageType,
        own: Option<Ipv4Addr>,
        asked: &Message,
    ) -> Option<MessageType> {
        if self.mood == Mood::IsGone {
            return None;
        }
        match kind {
            MessageType::Discover => {
                let next = self.next;
                let given = *self.given.entry(from).or_insert(next);
                if given == next {
                    self.next = Ipv4Addr::from(u32::from(next) + 1);
                }
                Some(MessageType::Offer)
            }
            MessageType::Request if self.mood == Mood::Refuses(from) => {
                self.mood = Mood::Grants;
                // The next one is another.
                let (next, refused) = (self.next, self.given.insert(from, self.next));
                self.next = Ipv4Addr::from(u32::from(next) + 1);
                refused.map(|_| MessageType::Nak)
            }
            MessageType::Request => {
                let requested = match asked.opts().get(OptionCode::RequestedIpAddress) {
                    Some(DhcpOption::RequestedIpAddress(address)) => Some(*address),
                    _ => own,
                };
                let right = requested.is_some() && requested == self.given.get(&from).copied();
                Some(if right { MessageType::Ack } else { MessageType::Nak })
            }
            MessageType::Release => {
                self.given.remove(&from);
                None
            }
            _ => None,
        }
    }
}
