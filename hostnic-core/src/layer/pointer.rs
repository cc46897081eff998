//! Providers behind pointers, so that a layer goes around `Arc<dyn NicProvider>` as well as around a provider.

use std::sync::Arc;

use async_trait::async_trait;

use crate::cloud::{Instance, Job, Nic, NicFilter, Submitted, Subnet, Survey};
use crate::error::Result;
use crate::id::{JobId, NicId, SubnetId};
use crate::provider::{Capabilities, CreateNics, NicProvider};

macro_rules! provider_behind {
    ($pointer:ident) => {
        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<P: NicProvider + ?Sized> NicProvider for $pointer<P> {
            fn capabilities(&self) -> Capabilities {
                P::capabilities(self)
            }

            async fn instance(&self) -> Result<Instance> {
                P::instance(self).await
            }

            async fn subnets(&self, ids: &[SubnetId]) -> Result<Vec<Subnet>> {
                P::subnets(self, ids).await
            }

            async fn survey(&self, subnets: &[SubnetId]) -> Result<Survey> {
                P::survey(self, subnets).await
            }

            async fn create_nics(&self, request: &CreateNics) -> Result<Vec<Nic>> {
                P::create_nics(self, request).await
            }

            async fn attach_nics(&self, nics: &[NicId]) -> Result<Submitted> {
                P::attach_nics(self, nics).await
            }

            async fn detach_nics(&self, nics: &[NicId]) -> Result<Submitted> {
                P::detach_nics(self, nics).await
            }

            async fn delete_nics(&self, nics: &[NicId]) -> Result<()> {
                P::delete_nics(self, nics).await
            }

            async fn list_nics(&self, filter: &NicFilter) -> Result<Vec<Nic>> {
                P::list_nics(self, filter).await
            }

            async fn jobs(&self, jobs: &[JobId]) -> Result<Vec<Job>> {
                P::jobs(self, jobs).await
            }
        }
    };
}

provider_behind!(Arc);
provider_behind!(Box);
