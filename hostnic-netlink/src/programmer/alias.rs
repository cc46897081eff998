//! What is written on a pod's link, so that nothing of it need be remembered: `hostnic:MARK mtu 1500`, and ` silenced`
//! once its pod was. Where the pod has more than one link, a word says which it is.

use std::fmt;

use hostnic_core::attachment::AttachmentMark;

use crate::link::Link;

const OWN_MTU: &str = "mtu";
const SILENCED: &str = "silenced";

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
}

impl Part {
    const WRITTEN: [Self; 5] =
        [Self::Nic, Self::HostEnd, Self::PodEnd, Self::ServiceHostEnd, Self::ServicePodEnd];

    fn word(self) -> Option<&'static str> {
        match self {
            Self::Moved => None,
            Self::Nic => Some("nic"),
            Self::HostEnd => Some("host"),
            Self::PodEnd => Some("pod"),
            Self::ServiceHostEnd => Some("service-host"),
            Self::ServicePodEnd => Some("service-pod"),
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
    /// Whether the pod's DEL was answered, so that nothing but the NIC's way back is left.
    pub(super) silenced: bool,
}

impl Alias {
    /// What is to be written on a NIC in the pod of `mark` from now on.
    pub(super) fn anew(link: &Link, mark: &AttachmentMark, silenced: bool) -> Self {
        let own_mtu = Self::of(link).and_then(|written| written.own_mtu);
        Self { mark: mark.clone(), part: Part::Moved, own_mtu, silenced }
    }

    /// What is written on a part of an attachment that is in use.
    pub(super) fn of_part(mark: &AttachmentMark, part: Part, own_mtu: Option<u32>) -> Self {
        Self { mark: mark.clone(), part, own_mtu, silenced: false }
    }

    /// What is written on a link; `None` where that is not ours. What it does not know it passes over.
    pub(super) fn of(link: &Link) -> Option<Self> {
        let mark = link.mark()?;
        let mut alias = Self { mark, part: Part::Moved, own_mtu: None, silenced: false };
        let mut words = link.alias.as_deref()?.split(' ').skip(1);
        while let Some(word) = words.next() {
            match word {
                OWN_MTU => alias.own_mtu = words.next().and_then(|mtu| mtu.parse().ok()),
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
        if self.silenced {
            write!(f, " {SILENCED}")?;
        }
        Ok(())
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
        for (part, own_mtu, silenced) in [
            (Part::Moved, None, false),
            (Part::Moved, Some(1500), false),
            (Part::Nic, None, true),
            (Part::HostEnd, Some(9000), true),
            (Part::PodEnd, None, false),
            (Part::ServiceHostEnd, None, true),
            (Part::ServicePodEnd, None, false),
        ] {
            let alias = Alias { mark: mark.clone(), part, own_mtu, silenced };
            assert_eq!(Alias::of(&link(&alias.to_string())), Some(alias));
        }
        assert_eq!(own_mtu(&link("hostnic:aaaaaaaaaaaaaaaaaaaa mtu much later")), 1400);
        assert_eq!(Alias::of(&link("somebody else's silenced")), None);
    }
}
