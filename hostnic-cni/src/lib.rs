//! The CNI plugin, and the contract between it and the daemon of its node.
//!
//! [`plugin::run`] is the whole plugin with its surroundings passed in; [`contract`] is what a daemon serves. The other
//! modules are the parts: each reads or writes one thing of the CNI specification.

pub mod args;
mod command;
pub mod config;
pub mod contract;
mod daemon;
pub mod environment;
pub mod error;
mod netns;
pub mod plugin;
pub mod result;
pub mod version;
