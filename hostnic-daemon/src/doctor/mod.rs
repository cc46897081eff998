//! What keeps pods from their NICs on this machine, and what to do about each.
//!
//! Facts are gathered by one file a subject, and judged by pure functions beside it. Nothing is changed.

mod cloud;
mod cni;
mod finding;
mod firewall;
mod host;
mod interference;

pub use cloud::{CloudFacts, cloud_findings};
pub use cni::{CniFolders, cni_findings};
pub use finding::{Finding, Severity};
pub use firewall::firewall_findings;
pub use host::{Sysctls, host_findings};
pub use interference::{ManagedLink, Manager, interference_findings, managed_links};
