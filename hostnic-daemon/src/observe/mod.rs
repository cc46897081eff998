//! What a node sees of itself: what its metrics, and what it tells a person, are made of.

mod addresses;
mod calls;
mod errors;
mod grpc;
mod operations;
mod store;

use std::sync::Arc;
use std::time::SystemTime;

use hostnic_core::NicProvider;
use hostnic_core::layer::{Layered, Recorder};
use hostnic_core::store::StateStore;
use hostnic_qingcloud::RequestRecorder;

pub use addresses::AddressBook;
pub(crate) use calls::{CloudCalls, HOURLY_LIMIT};
pub(crate) use errors::{LastErrors, Seen};
pub(crate) use grpc::{Counted, GrpcCalls};
pub(crate) use operations::{Operation, Operations};

use errors::NoteErrors;
use store::{Commits, WatchedStore};

/// What a node has seen of itself since its start. Numbers and texts are held in memory, and the texts are few.
#[derive(Debug)]
pub struct Observer {
    node: String,
    started: SystemTime,
    calls: Arc<CloudCalls>,
    errors: Arc<LastErrors>,
    operations: Operations,
    grpc: GrpcCalls,
    commits: Commits,
}

impl Observer {
    /// Begins to observe the node that metrics call `node`.
    pub fn new(node: impl Into<String>) -> Self {
        Self {
            node: node.into(),
            started: SystemTime::now(),
            calls: Arc::default(),
            errors: Arc::default(),
            operations: Operations::default(),
            grpc: GrpcCalls::default(),
            commits: Commits::default(),
        }
    }

    /// What counts the calls to the cloud. It belongs into the provider's layers
    /// ([`Stack::metrics`](hostnic_core::layer::Stack::metrics)), below the retries: each attempt uses up a call.
    pub fn recorder(&self) -> Arc<dyn Recorder> {
        self.calls.clone()
    }

    /// What counts the requests of which those calls are made, for the account's hourly allowance. Without it each attempt of
    /// a call counts as one.
    pub fn requests(&self) -> Arc<dyn RequestRecorder> {
        self.calls.count_requests();
        self.calls.clone()
    }

    /// The provider, with its errors noted. To be put around all its layers: what a retry mends is no error.
    pub(crate) fn provider(&self, provider: Arc<dyn NicProvider>) -> Arc<dyn NicProvider> {
        Arc::new(Layered::new(provider, NoteErrors::new(self.errors.clone())))
    }

    /// The store, with its commits timed and its errors noted.
    pub(crate) fn store(&self, store: Arc<dyn StateStore>) -> Arc<dyn StateStore> {
        Arc::new(WatchedStore::new(store, self.commits.clone(), self.errors.clone()))
    }

    /// The node's name in metrics.
    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    /// When it began.
    pub(crate) fn started(&self) -> SystemTime {
        self.started
    }

    pub(crate) fn calls(&self) -> &CloudCalls {
        &self.calls
    }

    pub(crate) fn errors(&self) -> &Arc<LastErrors> {
        &self.errors
    }

    pub(crate) fn operations(&self) -> &Operations {
        &self.operations
    }

    pub(crate) fn grpc(&self) -> &GrpcCalls {
        &self.grpc
    }

    pub(crate) fn commits(&self) -> &Commits {
        &self.commits
    }
}

/// A label of a metric.
pub(crate) type Label = (&'static str, &'static str);
