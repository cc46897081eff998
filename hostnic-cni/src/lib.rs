//! The CNI plugin, and the contract between it and the daemon of its node.

pub mod contract;
pub mod environment;
pub mod error;
pub mod version;
