//! The actions as methods of [`Operation`](crate::Operation), and the rows that they answer with.
//!
//! Rows hold what we use, as the cloud wrote it: absent and null fields are empty, numbers may have been
//! text. All lists are whole, however many pages they take.

mod access_keys;
mod clusters;
mod instances;
mod jobs;
mod nics;
mod routers;
mod security_groups;
mod tags;
mod vips;
mod vxnets;

use serde::Deserialize;

use crate::wire;

pub use access_keys::AccessKeyRow;
pub use clusters::{ClusterNodeRow, ClusterRow};
pub use instances::{InstanceNicRow, InstanceRow};
pub use jobs::{JobRow, JobStatus};
pub use nics::{CreatedNic, NewNics, NicChange, NicQuery, NicRow};
pub use routers::RouterRow;
pub use security_groups::{NewRule, RuleRow, SecurityGroupRow};
pub use tags::TagRow;
pub use vips::{VipQuery, VipRow};
pub use vxnets::{VxnetRouter, VxnetRow};

/// The answer to an action that begins a job.
#[derive(Debug, Deserialize)]
struct Begun {
    #[serde(default, deserialize_with = "wire::text")]
    job_id: String,
}

/// The answer to an action that tells nothing.
#[derive(Debug, Deserialize)]
struct Done {}
