//! Settings of a link for IPv4.

use netlink_packet_core::DefaultNla;
use netlink_packet_route::link::{AfSpecInet, AfSpecUnspec, LinkAttribute};

/// IFLA_INET_CONF with the flag that says that it holds attributes.
const INET_CONF: u16 = 1 | 1 << 15;

/// A setting of a link for IPv4: what /proc/sys/net/ipv4/conf has a file of that name for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ipv4Setting {
    /// `forwarding`
    Forwarding,
    /// `send_redirects`
    SendRedirects,
    /// `rp_filter`
    RpFilter,
    /// `arp_announce`
    ArpAnnounce,
    /// `arp_ignore`
    ArpIgnore,
    /// `arp_notify`
    ArpNotify,
    /// `accept_local`
    AcceptLocal,
    /// `src_valid_mark`
    SrcValidMark,
}

impl Ipv4Setting {
    /// The name of the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forwarding => "forwarding",
            Self::SendRedirects => "send_redirects",
            Self::RpFilter => "rp_filter",
            Self::ArpAnnounce => "arp_announce",
            Self::ArpIgnore => "arp_ignore",
            Self::ArpNotify => "arp_notify",
            Self::AcceptLocal => "accept_local",
            Self::SrcValidMark => "src_valid_mark",
        }
    }

    /// The kernel's number for it (IPV4_DEVCONF_…).
    fn number(self) -> u16 {
        match self {
            Self::Forwarding => 1,
            Self::SendRedirects => 6,
            Self::RpFilter => 8,
            Self::ArpAnnounce => 18,
            Self::ArpIgnore => 19,
            Self::ArpNotify => 22,
            Self::AcceptLocal => 23,
            Self::SrcValidMark => 24,
        }
    }
}

/// The settings of a link for IPv4 that we know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ipv4Settings {
    forwarding: i32,
    send_redirects: i32,
    rp_filter: i32,
    arp_announce: i32,
    arp_ignore: i32,
    arp_notify: i32,
    accept_local: i32,
    src_valid_mark: i32,
}

impl Ipv4Settings {
    /// The value of one of them.
    pub fn get(&self, setting: Ipv4Setting) -> i32 {
        match setting {
            Ipv4Setting::Forwarding => self.forwarding,
            Ipv4Setting::SendRedirects => self.send_redirects,
            Ipv4Setting::RpFilter => self.rp_filter,
            Ipv4Setting::ArpAnnounce => self.arp_announce,
            Ipv4Setting::ArpIgnore => self.arp_ignore,
            Ipv4Setting::ArpNotify => self.arp_notify,
            Ipv4Setting::AcceptLocal => self.accept_local,
            Ipv4Setting::SrcValidMark => self.src_valid_mark,
        }
    }

    pub(super) fn read(families: &[AfSpecUnspec]) -> Self {
        let inet = families.iter().filter_map(|family| match family {
            AfSpecUnspec::Inet(inet) => Some(inet),
            _ => None,
        });
        let conf = inet.flatten().find_map(|inet| match inet {
            AfSpecInet::DevConf(conf) => Some(conf),
            _ => None,
        });
        conf.map_or_else(Self::default, |conf| Self {
            forwarding: conf.forwarding,
            send_redirects: conf.send_redirects,
            rp_filter: conf.rp_filter,
            arp_announce: conf.arp_announce,
            arp_ignore: conf.arp_ignore,
            arp_notify: conf.arp_notify,
            accept_local: conf.accept_local,
            src_valid_mark: conf.src_vmark,
        })
    }
}

/// The attribute that changes settings.
pub(super) fn attribute(settings: &[(Ipv4Setting, i32)]) -> LinkAttribute {
    let settings = AfSpecInet::Other(DefaultNla::new(INET_CONF, values(settings)));
    LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet(vec![settings])])
}

/// Settings as the kernel takes them. The typed attribute leaves out what is 0.
fn values(settings: &[(Ipv4Setting, i32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (setting, value) in settings {
        // Four bytes of header and four of value.
        bytes.extend(8u16.to_ne_bytes());
        bytes.extend(setting.number().to_ne_bytes());
        bytes.extend(value.to_ne_bytes());
    }
    bytes
}
