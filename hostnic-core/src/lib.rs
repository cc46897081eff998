//! A warm pool of cloud NICs, the traits around it, and the node agent that gives them to pods.
//!
//! A pod gets a network interface of the cloud itself: an address in the VPC, with no overlay and no NAT.

pub mod agent;
pub mod attachment;
pub mod capability;
pub mod clock;
pub mod cloud;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod enforcer;
pub mod error;
pub mod gateway;
pub mod id;
pub mod ipam;
pub mod layer;
pub mod ledger;
#[cfg(feature = "mock")]
pub mod mock;
pub mod pods;
pub mod point;
pub mod policy;
pub mod pool;
pub mod provider;
mod random;
pub mod refusal;
pub mod route;
#[cfg(feature = "sim")]
pub mod sim;
pub mod store;
pub mod sweep;
pub mod turn;

pub use error::{Chain, Effect, Error, ErrorKind, QuotaScope, Result};
pub use ipam::{AddressSource, Ipam};
pub use policy::PoolPolicy;
pub use provider::NicProvider;
pub use refusal::Refusal;
pub use route::RouteProgrammer;

/// The traits can be used behind `Arc<dyn …>`; this does not compile otherwise.
const _: fn(&dyn NicProvider, &dyn Ipam, &dyn RouteProgrammer, &dyn PoolPolicy) = |_, _, _, _| ();
const _: fn(&dyn AddressSource, &dyn enforcer::PolicyEnforcer) = |_, _| ();
