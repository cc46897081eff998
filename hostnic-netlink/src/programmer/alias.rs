//! What is written on a pod's link, so that nothing of it need be remembered: `hostnic:MARK mtu 1500`, and ` silenced`
//! once its pod was. Where the pod has more than one link, a word says which it is. The node's end of a veth of a pod that
//! shares its NIC has the pod's address, too: `hostnic:MARK shared-host address 192.168.50.4`. Such a NIC is no pod's:
//! `hostnic-shared:260`, with its table.

use std::fmt;
use std::net::Ipv4Addr;

use hostnic_core::attachment::AttachmentMark;
use hostnic_core::route::NicTable;

use crate::link::Link;

const OWN_MTU: &str = "mtu";
const SILENCED: &str = "silenced";
const ADDRESS: &str = "address";

/// Which link of an attachment it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The NIC, moved into the pod. It is the only link, and no word says so.
    Moved,
    /// The NIC in the node, of a pod behind a veth.
    Nic,
    /// The veth's end in the node.
    HostEnd,
    /// The veth's end in the pod.
    PodEnd,
    /// The end in the node of a veth beside a NIC that was moved.
    ServiceHostEnd,
    /// The end in the pod of a veth beside a NIC that was moved.
    ServicePodEnd,
    /// The end in the node of the veth of a pod that shares its NIC.
    SharedHostEnd,
}

impl Part {
    const WRITTEN: [Self; 6] = [
        Self::Nic,
        Self::HostEnd,
        Self::PodEnd,
        Self::ServiceHostEnd,
        Self::ServicePodEnd,
        Self::SharedHostEnd,
    ];

    /// Whether it is an end of a veth in the node.
    pub(super) fn is_host_end(self) -> bool {
        matches!(self, Self::HostEnd | Self::ServiceHostEnd | Self::SharedHostEnd)
    }

    fn word(self) -> Option<&'static str> {
        match self {
            Self::Moved => None,
            Self::Nic => Some("nic"),
            Self::HostEnd => Some("host"),
            Self::PodEnd => Some("pod"),
            Self::ServiceHostEnd => Some("service-host"),
            Self::ServicePodEnd => Some("service-pod"),
            Self::SharedHostEnd => Some("shared-host"),
        }
    }
}

/// The alias of a pod's link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alias {
    pub(super) mark: AttachmentMark,
    pub(super) part: Part,
    /// The MTU that the NIC had before. Plans and pods change the MTU, which stays with the NIC: it is to be set back.
    pub(super) own_mtu: Option<u32>,
    /// The pod's address, where nothing else that is the pod's alone has it after its DEL was answered.
    pub(super) address: Option<Ipv4Addr>,
    /// Whether the pod's DEL was answered, so that nothing but the NIC's way back is left.
    pub(super) silenced: bool,
}

impl Alias {
    /// What is to be written on a NIC in the pod of `mark` from now on.
    pub(super) fn anew(link: &Link, mark: &AttachmentMark, silenced: bool) -> Self {
        let own_mtu = Self::of(link).and_then(|written| written.own_mtu);
        Self { mark: mark.clone(), part: Part::Moved, own_mtu, address: None, silenced }
    }

    /// What is written on a part of an attachment that is in use.
    pub(super) fn of_part(mark: &AttachmentMark, part: Part, own_mtu: Option<u32>) -> Self {
        Self { mark: mark.clone(), part, own_mtu, address: None, silenced: false }
    }

    /// What is written on a link; `None` where that is not ours. What it does not know it passes over.
    pub(super) fn of(link: &Link) -> Option<Self> {
        let mark = link.mark()?;
        let mut alias = Self { mark, part: Part::Moved, own_mtu: None, address: None, silenced: false };
        let mut words = link.alias.as_deref()?.split(' ').skip(1);
        while let Some(word) = words.next() {
            match word {
                OWN_MTU => alias.own_mtu = words.next().and_then(|mtu| mtu.parse().ok()),
                ADDRESS => alias.address = words.next().and_then(|address| address.parse().ok()),
                SILENCED => alias.silenced = true,
                word => {
                    let part = Part::WRITTEN.into_iter().find(|part| part.word() == Some(word));
                    alias.part = part.unwrap_or(alias.part);
                }
            }
        }
        Some(alias)
    }
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mark.alias())?;
        if let Some(part) = self.part.word() {
            write!(f, " {part}")?;
        }
        if let Some(mtu) = self.own_mtu {
            write!(f, " {OWN_MTU} {mtu}")?;
        }
        if let Some(address) = self.address {
            write!(f, " {ADDRESS} {address}")?;
        }
        if self.silenced {
            write!(f, " {SILENCED}")?;
        }
        Ok(())
    }
}

/// The alias of a NIC that pods share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SharedAlias {
    pub(super) table: NicTable,
}

impl SharedAlias {
    const PREFIX: &'static str = "hostnic-shared:";

    /// What is written on a link; `None` where that is no NIC that pods share.
    pub(super) fn of(link: &Link) -> Option<Self> {
        let table: u32 = link.alias.as_deref()?.strip_prefix(Self::PREFIX)?.parse().ok()?;
        NicTable::new(table).ok().map(|table| Self { table })
    }
}

impl fmt::Display for SharedAlias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::PREFIX, self.table.number())
    }
}

/// The MTU that a NIC has when no pod has it. A NIC whose last pod's namespace has ended still has that pod's alias.
pub(super) fn own_mtu(link: &Link) -> u32 {
    Alias::of(link).and_then(|alias| alias.own_mtu).unwrap_or(link.mtu)
}

/// Whether the link's pod was silenced.
pub(super) fn is_silenced(link: &Link) -> bool {
    Alias::of(link).is_some_and(|alias| alias.silenced)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{Ipv4Settings, LinkIndex, LinkKind};

    fn link(alias: &str) -> Link {
        Link {
            index: LinkIndex(7),
            name: "eth0".to_owned(),
            kind: LinkKind::Device,
            mac: None,
            alias: Some(alias.to_owned()),
            mtu: 1400,
            up: true,
            running: true,
            master: None,
            group: 0,
            ipv4: Ipv4Settings::default(),
        }
    }

    #[test]
    fn what_is_written_is_read_again_whatever_is_missing() {
        let mark: AttachmentMark = "aaaaaaaaaaaaaaaaaaaa".parse().unwrap();
        for (part, own_mtu, address, silenced) in [
            (Part::Moved, None, None, false),
            (Part::Moved, Some(1500), None, false),
            (Part::Nic, None, None, true),
            (Part::HostEnd, Some(9000), None, true),
            (Part::PodEnd, None, None, false),
            (Part::ServiceHostEnd, None, None, true),
            (Part::ServicePodEnd, None, None, false),
            (Part::SharedHostEnd, None, Some(Ipv4Addr::new(192, 168, 50, 4)), true),
        ] {
            let alias = Alias { mark: mark.clone(), part, own_mtu, address, silenced };
            assert_eq!(Alias::of(&link(&alias.to_string())), Some(alias));
        }
        assert_eq!(own_mtu(&link("hostnic:aaaaaaaaaaaaaaaaaaaa mtu much later")), 1400);
        assert_eq!(Alias::of(&link("somebody else's silenced")), None);
        let shared = SharedAlias { table: NicTable::FIRST };
        assert_eq!(SharedAlias::of(&link(&shared.to_string())), Some(shared));
        for other in ["hostnic-shared:", "hostnic-shared:254", "hostnic-gateway:260", "260"] {
            assert_eq!(SharedAlias::of(&link(other)), None, "{other}");
        }
        assert_eq!(Alias::of(&link(&shared.to_string())), None);
    }
}
