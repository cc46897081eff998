//! A cloud and a kernel that exist only in memory: deterministic by seed, and at home in tokio's paused time.
//!
//! The cloud is a state machine (`state`, `job`, `reserve`) behind a gate that refuses and goes wrong as told
//! (`fault`, `quota`), both without a clock; `cloud` drives them on tokio's, `provider` is the traits over it, and `control` what an API server in front of it
//! drives. `kernel` is the other half: a node in which the cloud's
//! NICs appear, and pods get them.

mod addresses;
mod builder;
mod cloud;
mod control;
mod create;
mod driver;
mod enforcer;
mod fault;
mod history;
mod job;
mod kernel;
mod plug;
mod provider;
mod quota;
mod range;
mod reserve;
mod save;
mod seed;
mod service;
mod state;
mod time;
mod view;

pub use addresses::{AddressEvent, SimAddressSource, SimAddresses};
pub use builder::{CloudBuilder, Durations, SubnetSpec};
pub use cloud::Cloud;
pub use control::{ControlPlane, JobRecord, NicRecord, ReservationRecord, Selection};
pub use enforcer::SimEnforcer;
pub use fault::{Fate, Fault, Faults, When};
pub use history::{Call, Operation, Outcome};
pub use kernel::{Kernel, KernelFault, KernelOperation, PlugByInstance};
pub use plug::{DroppedFrames, Plug};
pub use provider::SimProvider;
pub use quota::{Quotas, RateLimit};
pub use save::SavedCloud;
pub use seed::Random;
