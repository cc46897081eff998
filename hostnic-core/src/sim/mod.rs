//! A cloud and a kernel that exist only in memory: deterministic by seed, and at home in tokio's paused time.
//!
//! The cloud is a state machine (`state`, `job`, `reserve`) behind a gate that refuses and goes wrong as told
//! (`fault`, `quota`), both without a clock; `cloud` drives them on tokio's, and `provider` is the traits over it. `kernel` is the other half: a node in which the cloud's
//! NICs appear, and pods get them.

mod builder;
mod cloud;
mod driver;
mod fault;
mod history;
mod job;
mod kernel;
mod plug;
mod provider;
mod quota;
mod range;
mod reserve;
mod seed;
mod service;
mod state;
mod view;

pub use builder::{CloudBuilder, Durations, SubnetSpec};
pub use cloud::Cloud;
pub use fault::{Fault, When};
pub use history::{Call, Operation, Outcome};
pub use kernel::{Kernel, KernelFault, KernelOperation, PlugByInstance};
pub use plug::Plug;
pub use provider::SimProvider;
pub use quota::Quotas;
