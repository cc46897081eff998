//! The kernel side of hostnic: links, addresses, routes, nftables and network namespaces over netlink.
//!
//! [`NetlinkProgrammer`] gives pods their interfaces. What it is made of can be used alone: [`netns`] opens and makes
//! network namespaces, a [`Connection`] asks the kernel in one of them, and [`watch`] tells what becomes of its links.
//! Nothing here runs another program, and no operation blocks a thread of the runtime.

pub mod address;
mod announce;
pub mod connection;
pub mod conntrack;
mod dhcp;
mod error;
#[cfg(feature = "fabric")]
pub mod fabric;
#[cfg(feature = "fabric")]
pub mod isolation;
pub mod link;
mod listener;
pub mod neighbour;
mod netfilter;
pub mod netns;
pub mod nft;
pub mod programmer;
mod request;
pub mod route;
pub mod rule;
mod visitor;
pub mod watch;

pub use connection::Connection;
pub use netns::{NamedNetns, Netns};
pub use programmer::NetlinkProgrammer;

/// The number by which our routes, rules, addresses and neighbours are known: their `proto` in the words of `ip`.
///
/// It is given to nobody else in the kernel's or iproute2's lists.
pub const PROTOCOL: u8 = 104;
