//! What the plugin asks, in checked types.

use std::net::IpAddr;
use std::time::Duration;

use hostnic_core::attachment::{AttachmentKey, ContainerId, IfName, NetnsPath, NetworkName, PodRef};
use hostnic_core::clock::BootTime;
use hostnic_core::id::{InvalidValue, MacAddr};
use ipnet::IpNet;

/// When a call began and how long its caller waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// When the plugin began. An ADD that began before a DEL of the same key was overtaken by it.
    pub started_at: BootTime,
    /// How long the plugin still waits for the answer.
    pub remaining: Duration,
}

/// Give a container an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    /// The attachment.
    pub key: AttachmentKey,
    /// The container's namespace.
    pub netns: NetnsPath,
    /// The pod, where the runtime told.
    pub pod: Option<PodRef>,
    /// The routes of the network configuration, in its order.
    pub routes: Vec<WantedRoute>,
    /// The MTU; `None` leaves the NIC's own.
    pub mtu: Option<Mtu>,
    /// The configuration's `isGateway`.
    pub is_gateway: bool,
    /// The configuration's `ipMasq`.
    pub ip_masq: bool,
    /// When, and for how long.
    pub call: Call,
}

/// A route that the network configuration asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WantedRoute {
    /// Where to; no bit is set behind its prefix.
    pub destination: IpNet,
    /// By whom.
    pub next_hop: NextHop,
}

impl WantedRoute {
    /// Checks and takes a route. Bits behind the prefix of `destination` are cleared, as CNI's own plugins do.
    ///
    /// # Errors
    /// [`InvalidValue`] for a next hop of another address family, and for one that no neighbour can have.
    pub fn new(destination: IpNet, next_hop: NextHop) -> Result<Self, InvalidValue> {
        if let NextHop::Address(address) = next_hop {
            let neighbour = !(address.is_unspecified() || address.is_loopback() || address.is_multicast());
            if !neighbour || address.is_ipv4() != destination.addr().is_ipv4() {
                let rule = "the address of a neighbour, of the destination's address family";
                return Err(InvalidValue::new("next hop", address.to_string(), rule));
            }
        }
        Ok(Self { destination: destination.trunc(), next_hop })
    }
}

/// Whom a wanted route goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NextHop {
    /// The gateway of the pod's address: the configuration names nobody.
    Gateway,
    /// This neighbour.
    Address(IpAddr),
    /// The node's own address in the pod's subnet, whichever that is: the configuration says `0.0.0.0`.
    Host,
}

/// The largest packet of an interface, in bytes: at least 68 (RFC 791), at most 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mtu(u32);

impl Mtu {
    /// Checks and takes a number of bytes.
    ///
    /// # Errors
    /// [`InvalidValue`] outside 68 to 65535.
    pub fn new(bytes: u32) -> Result<Self, InvalidValue> {
        if (68..=65535).contains(&bytes) {
            Ok(Self(bytes))
        } else {
            Err(InvalidValue::new("MTU", bytes.to_string(), "a number of bytes from 68 to 65535"))
        }
    }

    /// The number of bytes.
    pub fn get(self) -> u32 {
        self.0
    }
}

/// Take a container's interface back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Del {
    /// The attachment.
    pub key: AttachmentKey,
    /// The container's namespace; `None` where the runtime does not know it any more.
    pub netns: Option<NetnsPath>,
    /// When, and for how long.
    pub call: Call,
}

/// Compare an attachment with the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The attachment.
    pub key: AttachmentKey,
    /// The container's namespace.
    pub netns: NetnsPath,
    /// The interface as the runtime remembers it.
    pub previous: PreviousInterface,
    /// When, and for how long.
    pub call: Call,
}

/// An interface as a previous result has it. Plugins later in the chain may have added addresses to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PreviousInterface {
    /// Its link address, where the result has it.
    pub mac: Option<MacAddr>,
    /// Its MTU, where the result has it.
    pub mtu: Option<u32>,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
}

/// Free the attachments of one network that are not listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gc {
    /// The network.
    pub network: NetworkName,
    /// The attachments that live.
    pub valid: Vec<ValidAttachment>,
    /// When, and for how long. An attachment whose ADD began after this is not touched.
    pub call: Call,
}

/// An attachment of a network that is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValidAttachment {
    /// The container.
    pub container: ContainerId,
    /// The interface.
    pub ifname: IfName,
}
