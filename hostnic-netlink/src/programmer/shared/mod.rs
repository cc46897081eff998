//! Pods behind veths that share the NIC of their subnet.
//!
//! The rules and the table are the NIC's, and so are as many for one pod as for a hundred. A pod adds its veth, the route to
//! it, and the NIC's answer to ARP. Nothing tells who is behind a NIC but what is written on the veths.

pub(super) mod lease;
pub(super) mod nic;
mod pod;
pub(super) mod survey;

pub(super) use pod::{Planned, announce, check, set_up};
