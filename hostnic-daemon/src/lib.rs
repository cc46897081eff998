//! The daemon of a node, made of the parts of the other crates: it serves the CNI plugin from a pool of cloud NICs.
//!
//! [`Node`] is all of it but the command line, so that programs and tests can host one or more nodes themselves.

pub mod cli;
mod identity;
mod node;
mod service;
pub mod settings;
mod show;
#[cfg(feature = "simulator")]
pub mod sim_server;
mod simulated;
mod socket;
mod telemetry;

pub use identity::seed;
pub use node::Node;
pub use simulated::{SimSubnet, SimulatedCloud};
