//! The daemon of a node, made of the parts of the other crates: it serves the CNI plugin from a pool of cloud NICs.
//!
//! [`Node`] is all of it but the command line, so that programs and tests can host one or more nodes themselves.

mod answers;
pub mod cli;
mod cni_file;
mod command;
pub mod controller;
pub mod doctor;
mod facts;
mod identity;
mod listen;
mod manage;
mod node;
mod observe;
mod service;
pub mod settings;
mod show;
mod signals;
#[cfg(feature = "simulator")]
pub mod sim_server;
mod simulated;
mod socket;
mod stock;
mod systemd;
mod telemetry;
mod underway;
mod view;
mod waiting;

pub use identity::{host_name, seed};
pub use node::{Listeners, Node, Surroundings};
pub use observe::{AddressBook, Observer};
pub use simulated::{SimSubnet, SimulatedCloud};
pub use waiting::Waiting;
