//! Messages of DHCP: what a client says, and what it reads of the answers.

use std::net::Ipv4Addr;
use std::time::Duration;

use hostnic_core::id::MacAddr;

/// What comes before the options: fixed fields, and names of server and file, which nobody uses.
const FIXED: usize = 236;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// The shortest message that every server and relay takes, as BOOTP had it.
const SHORTEST: usize = 300;
/// From a client, over Ethernet, whose addresses have six bytes.
const REQUEST: [u8; 4] = [1, 1, 6, 0];
/// The same from a server, but for how often it was relayed.
const REPLY: [u8; 3] = [2, 1, 6];
/// Answers are to go to everybody: the NIC does not have the address yet that they would go to.
const TO_EVERYBODY: [u8; 2] = [0x80, 0];

mod option {
    pub(super) const PAD: u8 = 0;
    pub(super) const SUBNET_MASK: u8 = 1;
    pub(super) const REQUESTED_ADDRESS: u8 = 50;
    pub(super) const LEASE_TIME: u8 = 51;
    pub(super) const MESSAGE_TYPE: u8 = 53;
    pub(super) const SERVER: u8 = 54;
    pub(super) const WANTED: u8 = 55;
    pub(super) const RENEWAL_TIME: u8 = 58;
    pub(super) const REBINDING_TIME: u8 = 59;
    pub(super) const END: u8 = 255;
}

/// A message to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// By which the answer is known.
    pub(crate) xid: u32,
    /// How long the client has been at it.
    pub(crate) since: Duration,
    pub(crate) ask: Ask,
}

/// What a client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Who has an address?
    Discover,
    /// I take this server's offer.
    Select { address: Ipv4Addr, server: Ipv4Addr },
    /// I would keep this address, which that server gave me.
    Renew { address: Ipv4Addr, server: Server },
    /// I would keep this address, whoever may grant that.
    Rebind { address: Ipv4Addr },
    /// Somebody has this address that you gave me.
    Decline { address: Ipv4Addr, server: Ipv4Addr },
    /// I have done with this address.
    Release { address: Ipv4Addr, server: Server },
}

/// Who gave an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) address: Ipv4Addr,
    /// Where its answers came from: itself, or the router on the way to it.
    pub(crate) mac: MacAddr,
}

/// A message from a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) xid: u32,
    pub(crate) says: Says,
}

/// What a server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says {
    Offer(Terms),
    Ack(Terms),
    Nak,
}

/// An address, and for how long it is to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) address: Ipv4Addr,
    pub(crate) server: Server,
    pub(crate) lease: Duration,
    /// After which time the server wants to be asked again, where it says so,
    pub(crate) renew: Option<Duration>,
    /// and after which time any server.
    pub(crate) rebind: Option<Duration>,
}

impl Ask {
    /// The address that the client has, and the server writes to.
    pub(crate) fn own(&self) -> Option<Ipv4Addr> {
        match self {
            Self::Renew { address, .. } | Self::Rebind { address } | Self::Release { address, .. } => {
                Some(*address)
            }
            Self::Discover | Self::Select { .. } | Self::Decline { .. } => None,
        }
    }

    /// The one who is asked; everybody where there is none.
    pub(crate) fn server(&self) -> Option<Server> {
        match self {
            Self::Renew { server, .. } | Self::Release { server, .. } => Some(*server),
            _ => None,
        }
    }

    fn number(&self) -> u8 {
        match self {
            Self::Discover => 1,
            Self::Select { .. } | Self::Renew { .. } | Self::Rebind { .. } => 3,
            Self::Decline { .. } => 4,
            Self::Release { .. } => 7,
        }
    }

    /// The address that is not the client's yet, or no more.
    fn requested(&self) -> Option<Ipv4Addr> {
        match self {
            Self::Select { address, .. } | Self::Decline { address, .. } => Some(*address),
            _ => None,
        }
    }

    /// The server that is named, so that others know that they are not meant.
    fn named(&self) -> Option<Ipv4Addr> {
        match self {
            Self::Select { server, .. } | Self::Decline { server, .. } => Some(*server),
            Self::Release { server, .. } => Some(server.address),
            _ => None,
        }
    }

    /// Whether it is answered.
    fn is_answered(&self) -> bool {
        !matches!(self, Self::Decline { .. } | Self::Release { .. })
    }
}

/// A message as it goes over the wire.
pub(super) fn encode(mac: MacAddr, question: &Question) -> Vec<u8> {
    let ask = &question.ask;
    let seconds = u16::try_from(question.since.as_secs()).unwrap_or(u16::MAX).to_be_bytes();
    let flags = if ask.own().is_none() && ask.is_answered() { TO_EVERYBODY } else { [0, 0] };
    let own = ask.own().unwrap_or(Ipv4Addr::UNSPECIFIED).octets();
    let fields: [&[u8]; 7] =
        [&REQUEST, &question.xid.to_be_bytes(), &seconds, &flags, &own, &[0; 12], &mac.octets()];
    let mut message = fields.concat();
    message.resize(FIXED, 0);
    message.extend(MAGIC);
    message.extend([option::MESSAGE_TYPE, 1, ask.number()]);
    for (code, address) in [(option::REQUESTED_ADDRESS, ask.requested()), (option::SERVER, ask.named())] {
        if let Some(address) = address {
            message.extend([code, 4]);
            message.extend(address.octets());
        }
    }
    if ask.is_answered() {
        let wanted = [option::SUBNET_MASK, option::LEASE_TIME, option::RENEWAL_TIME, option::REBINDING_TIME];
        message.extend([option::WANTED, 4]);
        message.extend(wanted);
    }
    message.push(option::END);
    message.resize(message.len().max(SHORTEST), option::PAD);
    message
}

/// Reads an answer to the NIC with this MAC that came from `sender`; `None` for anything else.
pub(super) fn decode(mac: MacAddr, sender: MacAddr, message: &[u8]) -> Option<Answer> {
    let (fixed, rest) = message.split_at_checked(FIXED)?;
    let options = rest.strip_prefix(&MAGIC)?;
    if fixed.get(..3)? != REPLY || fixed.get(28..34)? != mac.octets() {
        return None;
    }
    let number = |code| Some(u32::from_be_bytes(find(options, code)?.try_into().ok()?));
    let time = |code| number(code).map(|seconds| Duration::from_secs(seconds.into()));
    let terms = || {
        let address = Ipv4Addr::from(<[u8; 4]>::try_from(fixed.get(16..20)?).ok()?);
        let server = Server { address: number(option::SERVER)?.into(), mac: sender };
        let (lease, renew) = (time(option::LEASE_TIME)?, time(option::RENEWAL_TIME));
        Some(Terms { address, server, lease, renew, rebind: time(option::REBINDING_TIME) })
    };
    let says = match find(options, option::MESSAGE_TYPE)? {
        [2] => Says::Offer(terms()?),
        [5] => Says::Ack(terms()?),
        [6] => Says::Nak,
        _ => return None,
    };
    Some(Answer { xid: u32::from_be_bytes(fixed.get(4..8)?.try_into().ok()?), says })
}

/// The value of an option; `None` where it is missing or cut short.
fn find(mut options: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        let (code, rest) = options.split_first()?;
        options = match *code {
            option::PAD => rest,
            option::END => return None,
            code => {
                let (length, rest) = rest.split_first()?;
                let (value, rest) = rest.split_at_checked((*length).into())?;
                if code == wanted {
                    return Some(value);
                }
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode};
    use dhcproto::{Decodable, Encodable};
    use proptest::prelude::*;

    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 60);
    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);

    fn mac(last: u8) -> MacAddr {
        MacAddr::new([0x52, 0x54, 0, 0, 0, last]).unwrap()
    }

    fn server() -> Server {
        Server { address: SERVER, mac: mac(9) }
    }

    /// What a message says to those who read it by other means.
    fn read(ask: Ask) -> Message {
        let question = Question { xid: 0x0102_0304, since: Duration::from_secs(7), ask };
        Message::from_bytes(&encode(mac(1), &question)).unwrap()
    }

    #[test]
    fn another_implementation_reads_what_is_written() {
        let (address, to) = (ADDRESS, server());
        for (ask, kind, own, requested, named) in [
            (Ask::Discover, MessageType::Discover, None, None, None),
            (
                Ask::Select { address, server: SERVER },
                MessageType::Request,
                None,
                Some(ADDRESS),
                Some(SERVER),
            ),
            (Ask::Renew { address, server: to }, MessageType::Request, Some(ADDRESS), None, None),
            (Ask::Rebind { address }, MessageType::Request, Some(ADDRESS), None, None),
            (
                Ask::Decline { address, server: SERVER },
                MessageType::Decline,
                None,
                Some(ADDRESS),
                Some(SERVER),
            ),
            (Ask::Release { address, server: to }, MessageType::Release, Some(ADDRESS), None, Some(SERVER)),
        ] {
            let read = read(ask);
            assert_eq!((read.opcode(), read.xid(), read.secs()), (Opcode::BootRequest, 0x0102_0304, 7));
            assert_eq!(
                (read.chaddr(), read.ciaddr()),
                (&mac(1).octets()[..], own.unwrap_or(Ipv4Addr::UNSPECIFIED))
            );
            let awaited = matches!(kind, MessageType::Discover | MessageType::Request);
            assert_eq!(read.flags().broadcast(), awaited && own.is_none(), "{ask:?}");
            assert_eq!(read.opts().get(OptionCode::MessageType), Some(&DhcpOption::MessageType(kind)));
            let requested = requested.map(DhcpOption::RequestedIpAddress);
            assert_eq!(read.opts().get(OptionCode::RequestedIpAddress), requested.as_ref());
            let named = named.map(DhcpOption::ServerIdentifier);
            assert_eq!(read.opts().get(OptionCode::ServerIdentifier), named.as_ref());
        }
    }

    /// An answer as another implementation writes it.
    fn answer(kind: MessageType, change: impl FnOnce(&mut Message)) -> Vec<u8> {
        let mut message = Message::default();
        message.set_opcode(Opcode::BootReply).set_xid(77).set_yiaddr(ADDRESS).set_chaddr(&mac(1).octets());
        let options = message.opts_mut();
        options.insert(DhcpOption::MessageType(kind));
        options.insert(DhcpOption::ServerIdentifier(SERVER));
        options.insert(DhcpOption::AddressLeaseTime(20));
        options.insert(DhcpOption::Router(vec![SERVER]));
        change(&mut message);
        message.to_vec().unwrap()
    }

    #[test]
    fn what_another_implementation_writes_is_read() {
        let seconds = Duration::from_secs;
        let terms =
            Terms { address: ADDRESS, server: server(), lease: seconds(20), renew: None, rebind: None };
        let read = |bytes: &[u8]| decode(mac(1), mac(9), bytes).map(|answer| (answer.xid, answer.says));
        assert_eq!(read(&answer(MessageType::Offer, |_| ())), Some((77, Says::Offer(terms))));
        assert_eq!(read(&answer(MessageType::Nak, |_| ())), Some((77, Says::Nak)));
        let timed = answer(MessageType::Ack, |message| {
            message.opts_mut().insert(DhcpOption::Renewal(5));
            message.opts_mut().insert(DhcpOption::Rebinding(12));
        });
        let terms = Terms { renew: Some(seconds(5)), rebind: Some(seconds(12)), ..terms };
        assert_eq!(read(&timed), Some((77, Says::Ack(terms))));
        let strange = [
            answer(MessageType::Request, |_| ()),
            answer(MessageType::Ack, |message| _ = message.set_chaddr(&mac(2).octets())),
            answer(MessageType::Ack, |message| _ = message.set_opcode(Opcode::BootRequest)),
            answer(MessageType::Ack, |message| drop(message.opts_mut().remove(OptionCode::AddressLeaseTime))),
            answer(MessageType::Ack, |message| drop(message.opts_mut().remove(OptionCode::ServerIdentifier))),
        ];
        for (n, bytes) in strange.iter().enumerate() {
            assert_eq!(read(bytes), None, "{n}");
        }
    }

    proptest! {
        #[test]
        fn what_is_cut_or_garbled_is_no_answer_and_no_panic(
            cut in 0usize..320, garble in proptest::collection::vec((0usize..320, any::<u8>()), 0..8),
        ) {
            let mut bytes = answer(MessageType::Ack, |_| ());
            for (place, byte) in garble {
                if let Some(here) = bytes.get_mut(place) {
                    *here = byte;
                }
            }
            bytes.truncate(cut);
            let read = decode(mac(1), mac(9), &bytes);
            prop_assert!(cut >= FIXED || read.is_none());
        }
    }
}
