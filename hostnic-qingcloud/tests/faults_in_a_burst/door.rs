//! The way to the API, which can be shut for calls of an action before they get a connection.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use hostnic_core::sim::{Faults, Random, When};
use hostnic_qingcloud::Transport;
use hostnic_qingcloud::transport::{HttpRequest, HttpResponse, TransportError};

pub(crate) struct Door {
    inner: Arc<dyn Transport>,
    unreachable: Mutex<Faults<String, ()>>,
    refused: AtomicU64,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Door")
    }
}

impl Door {
    pub(crate) fn before(inner: Arc<dyn Transport>) -> Self {
        Self { inner, unreachable: Mutex::default(), refused: AtomicU64::new(0) }
    }

    /// Refuses the connections that calls of `action` ask for.
    pub(crate) fn refuse(&self, action: &str, when: When) {
        self.unreachable.lock().unwrap().inject(action.to_owned(), when, ());
    }

    /// Refuses none any more.
    pub(crate) fn open(&self) {
        self.unreachable.lock().unwrap().clear();
    }

    /// Whether refusals are still to come.
    pub(crate) fn refuses(&self) -> bool {
        self.unreachable.lock().unwrap().waiting().next().is_some()
    }

    /// How many were refused.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn is_shut(&self, request: &HttpRequest) -> bool {
        let mut pairs = request.parameters.split('&').filter_map(|pair| pair.split_once('='));
        let action = pairs.find(|(name, _)| *name == "action").map_or("", |(_, action)| action).to_owned();
        self.unreachable.lock().unwrap().struck(action, &mut Random::new(0)).is_some()
    }
}

#[async_trait]
impl Transport for Door {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        if self.is_shut(&request) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(TransportError::NotSent("connection refused".into()));
        }
        self.inner.send(request).await
    }
}
