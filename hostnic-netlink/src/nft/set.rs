//! Sets and maps that rules look things up in.

use std::net::Ipv4Addr;

use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, SetAttribute, SetElementAttribute, SetElementList, SetElementMessage,
    SetFlags,
};

use super::Verdict;

/// What `nft` calls an address of IPv4, for people who list the set.
const TYPE_IPV4: u32 = 7;
/// What `nft` calls two of them, one after the other.
const TYPE_IPV4_PAIR: u32 = TYPE_IPV4 << 6 | TYPE_IPV4;
/// What `nft` calls the name of an interface.
const TYPE_INTERFACE: u32 = 41;
/// The type of a map's values that are verdicts (NFT_DATA_VERDICT).
const TYPE_VERDICT: u32 = 0xffff_ff00;
/// How the bytes of a key are to be read, in a set's user data as `nft` writes it (NFTNL_UDATA_SET_KEYBYTEORDER).
const KEY_ORDER: u8 = 0;
const HOST_ORDER: u32 = 1;
const NETWORK_ORDER: u32 = 2;
/// Bytes of an interface's name in the kernel.
const INTERFACE: usize = 16;

/// What a set holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetType {
    /// Addresses of IPv4.
    Ipv4Addresses,
    /// Pairs of addresses of IPv4, such as a packet's source and destination.
    Ipv4Pairs,
    /// Names of interfaces, each with a verdict.
    InterfaceVerdicts,
}

/// A named set, or a map from keys to verdicts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its name in its table.
    pub name: String,
    /// What it holds.
    pub holds: SetType,
}

impl Set {
    /// The set of that name.
    pub fn new(name: impl Into<String>, holds: SetType) -> Self {
        Self { name: name.into(), holds }
    }

    /// `id` must not be used twice in a batch.
    pub(super) fn attributes(&self, table: &str, id: u32) -> Vec<SetAttribute> {
        let (key, length, order) = match self.holds {
            SetType::Ipv4Addresses => (TYPE_IPV4, 4, NETWORK_ORDER),
            SetType::Ipv4Pairs => (TYPE_IPV4_PAIR, 8, NETWORK_ORDER),
            SetType::InterfaceVerdicts => (TYPE_INTERFACE, 16, HOST_ORDER),
        };
        let mut attributes = vec![
            SetAttribute::Table(table.into()),
            SetAttribute::Name(self.name.clone()),
            SetAttribute::KeyType(key),
            SetAttribute::KeyLen(length),
            SetAttribute::Id(id),
            SetAttribute::UserData([&[KEY_ORDER, 4], order.to_ne_bytes().as_slice()].concat()),
        ];
        if self.holds == SetType::InterfaceVerdicts {
            attributes.push(SetAttribute::Flags(SetFlags::Map));
            attributes.push(SetAttribute::DataType(TYPE_VERDICT));
            attributes.push(SetAttribute::DataLen(16));
        }
        attributes
    }
}

/// An element of a set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    key: Vec<u8>,
    verdict: Option<Verdict>,
}

impl Element {
    /// An address, for a set of [`SetType::Ipv4Addresses`].
    pub fn address(address: Ipv4Addr) -> Self {
        Self { key: address.octets().into(), verdict: None }
    }

    /// A pair of addresses, for a set of [`SetType::Ipv4Pairs`].
    pub fn pair(first: Ipv4Addr, second: Ipv4Addr) -> Self {
        Self { key: [first.octets(), second.octets()].concat(), verdict: None }
    }

    /// An interface, for a set of [`SetType::InterfaceVerdicts`]. The verdict may be left out to delete the element.
    pub fn interface(name: &str, verdict: Option<Verdict>) -> Self {
        let mut key: Vec<u8> = name.into();
        // A name that is too long stays so, and the kernel refuses it.
        key.resize(INTERFACE.max(key.len()), 0);
        Self { key, verdict }
    }

    /// The elements in an answer of the kernel; their verdicts are left out.
    pub(super) fn read(message: &SetElementMessage) -> Vec<Self> {
        let lists = message.attributes.iter().filter_map(|attribute| match attribute {
            SetElementList::Elements(elements) => Some(elements),
            _ => None,
        });
        let parts = lists.flatten().filter_map(|element| match element {
            ListAttribute::Element(parts) => Some(parts),
            _ => None,
        });
        let key = |part: &SetElementAttribute| match part {
            SetElementAttribute::Key(DataAttribute::Value(key)) => Some(key.clone()),
            _ => None,
        };
        parts.filter_map(|parts| Some(Self { key: parts.iter().find_map(key)?, verdict: None })).collect()
    }

    pub(super) fn attributes(&self) -> ListAttribute<SetElementAttribute> {
        let mut attributes = vec![SetElementAttribute::Key(DataAttribute::Value(self.key.clone()))];
        attributes.extend(self.verdict.as_ref().map(|verdict| SetElementAttribute::Data(verdict.data())));
        ListAttribute::Element(attributes)
    }
}
