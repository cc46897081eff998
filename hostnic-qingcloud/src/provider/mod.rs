//! QingCloud behind the traits.
//!
//! Where the cloud's own semantics are not those of the traits, the files here bridge them, mostly by a look
//! at the NICs after a refusal; a call that goes well is one request, but for a detach, which is always
//! preceded by a look, and for the descriptions of the instance and of the node, which are two.

mod attach;
mod create;
mod describe;
mod directory;
mod forwarding;
mod jobs;
mod remove;
mod reservation;
mod security;
mod tagging;

use std::sync::Arc;

use async_trait::async_trait;
use hostnic_core::cloud::{Instance, Job, Nic, NicFilter, Submitted, Subnet, Survey};
use hostnic_core::id::{InstanceId, JobId, NicId, SubnetId};
use hostnic_core::layer::Call;
use hostnic_core::provider::{Capabilities, CreateNics};
use hostnic_core::{Error, ErrorKind, NicProvider, Result};

use crate::client::Client;
use crate::failure::CallError;
use crate::paging::PAGE;

/// The most NICs that one `CreateNics` makes, as documented.
const CREATE_BATCH: u32 = 252;

/// The most NICs that a vxnet holds, as documented.
const NICS_PER_VXNET: u32 = 252;

/// How many NICs an instance carries besides its primary one: 64 in all.
const NIC_LIMIT: u32 = 63;

/// One instance in QingCloud. Cheap to clone; clones share connections.
///
/// Made by [`QingCloud`](crate::QingCloud). It repeats nothing that the cloud may have carried out, and
/// limits no rate: put [`hostnic_core::layer::Stack`] around it.
#[derive(Debug, Clone)]
pub struct QingCloudProvider {
    client: Arc<Client>,
    instance: InstanceId,
}

impl QingCloudProvider {
    pub(crate) fn new(client: Arc<Client>, instance: InstanceId) -> Self {
        Self { client, instance }
    }

    /// The API behind it, for actions that the traits do not have.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// The id of the instance that it acts for.
    pub fn instance_id(&self) -> &InstanceId {
        &self.instance
    }
}

#[async_trait]
impl NicProvider for QingCloudProvider {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            create_batch: CREATE_BATCH,
            batch: u32::try_from(PAGE).unwrap_or(u32::MAX),
            addresses_per_nic: 1,
            fixed_addresses: true,
            bare_nics: true,
        }
    }

    async fn instance(&self) -> Result<Instance> {
        self.describe_instance().await
    }

    async fn subnets(&self, ids: &[SubnetId]) -> Result<Vec<Subnet>> {
        self.describe_subnets(ids).await
    }

    async fn survey(&self, subnets: &[SubnetId]) -> Result<Survey> {
        self.describe_node(subnets).await
    }

    async fn create_nics(&self, request: &CreateNics) -> Result<Vec<Nic>> {
        self.create(request).await
    }

    async fn attach_nics(&self, nics: &[NicId]) -> Result<Submitted> {
        self.attach(nics).await
    }

    async fn detach_nics(&self, nics: &[NicId]) -> Result<Submitted> {
        self.detach(nics).await
    }

    async fn delete_nics(&self, nics: &[NicId]) -> Result<()> {
        self.delete(nics).await
    }

    async fn list_nics(&self, filter: &NicFilter) -> Result<Vec<Nic>> {
        self.list(filter).await
    }

    async fn jobs(&self, jobs: &[JobId]) -> Result<Vec<Job>> {
        self.job_states(jobs).await
    }
}

/// The error of the traits for a failed action of `call`.
fn failed(call: Call<'_>, error: CallError) -> Error {
    error.into_error(call.operation().phrase(), call)
}

/// The same, where more is known about its kind than the answer tells.
fn failed_as(kind: ErrorKind, call: Call<'_>, error: CallError) -> Error {
    error.into_error_of(kind, call.operation().phrase(), call)
}

/// An error of `call` that we find ourselves, before anything is sent.
fn refused(kind: ErrorKind, call: Call<'_>) -> Error {
    Error::new(kind, call.operation().phrase(), call)
}

/// Each once, in their order.
fn distinct(nics: &[NicId]) -> Vec<NicId> {
    let mut seen = std::collections::BTreeSet::new();
    nics.iter().filter(|nic| seen.insert(*nic)).cloned().collect()
}

/// What an action that began a job answered.
fn submitted(call: Call<'_>, job: String) -> Result<Submitted> {
    if job.is_empty() {
        return Ok(Submitted::Complete);
    }
    let strange = |error| refused(ErrorKind::Internal, call).detail("the job's id is strange").source(error);
    JobId::new(job).map(Submitted::Job).map_err(|error| strange(error).effect_unknown())
}
