//! A DHCP client (RFC 2131) for one NIC of many addresses.
//!
//! What is to be said and held is decided in [`client`], which knows neither sockets nor clocks. Messages are written and read
//! in [`message`], and the packets around them in [`frame`]; [`socket`] carries them past the node's own addresses and rules. Whether
//! an address is free is asked by [`probe`]. The encoding is ours: a request has four options, and the crate for it brings a library for DNS along. The tests' server is
//! that crate's.

pub(crate) mod client;
mod frame;
mod message;
mod probe;
mod socket;

pub(crate) use client::{Client, Effect, Event, Loss};
pub(crate) use probe::holder;
pub(crate) use socket::DhcpSocket;
