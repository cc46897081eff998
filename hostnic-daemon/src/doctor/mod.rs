//! What keeps pods from their NICs on this machine, and what to do about each.
//!
//! Facts are gathered by one file a subject, and judged by pure functions beside it. Nothing is changed.

mod cloud;
mod cni;
mod drop_ins;
mod felix;
mod finding;
mod firewall;
mod gateway;
mod hairpin;
mod host;
mod interference;
mod links;

pub use cloud::{CloudFacts, cloud_findings};
pub use cni::{CniFolders, cni_findings};
pub use drop_ins::{Primary, Untold, drop_in_findings};
pub use felix::felix_findings;
pub use finding::{Finding, Severity};
pub use firewall::{Legacy, firewall_findings, legacy_findings};
pub use gateway::{gateway_findings, not_forwarding};
pub use hairpin::{hairpin_findings, uses_ipvs};
pub use host::{Sysctls, host_findings};
pub use interference::{ManagedLink, Manager, interference_findings, managed_links};
