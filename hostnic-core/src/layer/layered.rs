//! A provider with one layer around it.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;

use crate::cloud::{Instance, Job, Nic, NicFilter, Submitted, Subnet, Survey};
use crate::error::Result;
use crate::id::{JobId, NicId, SubnetId};
use crate::layer::call::{Answer, Call};
use crate::provider::{Capabilities, CreateNics, NicProvider};

/// What a layer does around every call, whichever it is.
///
/// A layer that treats all calls alike is this one method, and [`Layered`] makes a provider of it. Dropping the future
/// drops `work`.
pub trait Around: Send + Sync + Debug {
    /// Runs `work`, which carries out `call`, once or not at all.
    fn around<T, F>(&self, call: Call<'_>, work: F) -> impl Future<Output = Result<T>> + Send
    where
        T: Answer,
        F: Future<Output = Result<T>> + Send;
}

/// One layer for several providers: those of one account share its rate limit, for example.
impl<L: Around> Around for Arc<L> {
    async fn around<T, F>(&self, call: Call<'_>, work: F) -> Result<T>
    where
        T: Answer,
        F: Future<Output = Result<T>> + Send,
    {
        L::around(self, call, work).await
    }
}

/// The provider `P` with the layer `L` around its calls.
#[derive(Debug, Clone)]
pub struct Layered<P, L> {
    inner: P,
    layer: L,
}

impl<P, L> Layered<P, L> {
    /// Puts `layer` around `inner`.
    pub fn new(inner: P, layer: L) -> Self {
        Self { inner, layer }
    }

    /// The provider inside.
    pub fn inner(&self) -> &P {
        &self.inner
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<P: NicProvider, L: Around> NicProvider for Layered<P, L> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn instance(&self) -> Result<Instance> {
        self.layer.around(Call::Instance, self.inner.instance()).await
    }

    async fn subnets(&self, ids: &[SubnetId]) -> Result<Vec<Subnet>> {
        self.layer.around(Call::Subnets(ids), self.inner.subnets(ids)).await
    }

    async fn survey(&self, subnets: &[SubnetId]) -> Result<Survey> {
        self.layer.around(Call::Survey(subnets), self.inner.survey(subnets)).await
    }

    async fn create_nics(&self, request: &CreateNics) -> Result<Vec<Nic>> {
        self.layer.around(Call::Create(request), self.inner.create_nics(request)).await
    }

    async fn attach_nics(&self, nics: &[NicId]) -> Result<Submitted> {
        self.layer.around(Call::Attach(nics), self.inner.attach_nics(nics)).await
    }

    async fn detach_nics(&self, nics: &[NicId]) -> Result<Submitted> {
        self.layer.around(Call::Detach(nics), self.inner.detach_nics(nics)).await
    }

    async fn delete_nics(&self, nics: &[NicId]) -> Result<()> {
        self.layer.around(Call::Delete(nics), self.inner.delete_nics(nics)).await
    }

    async fn list_nics(&self, filter: &NicFilter) -> Result<Vec<Nic>> {
        self.layer.around(Call::List(filter), self.inner.list_nics(filter)).await
    }

    async fn jobs(&self, jobs: &[JobId]) -> Result<Vec<Job>> {
        self.layer.around(Call::Jobs(jobs), self.inner.jobs(jobs)).await
    }
}
