//! What this node knows of ConfigMap `hostnic-ipam-config`, and since when that was so.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use hostnic_core::{Chain, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::client::Asker;
use crate::error::api_error;
use crate::facts::KUBE_SYSTEM;
use crate::follow::events_of;
use crate::ipam::mapping::{CONFIG, Mapping};

/// For how long what is known counts.
pub(super) const COUNTS: Duration = Duration::from_secs(10);

/// The mapping, as it was last.
#[derive(Debug, Clone, Default)]
struct Known {
    mapping: Arc<Mapping>,
    /// When the request was sent that told it; `None` before the first.
    as_of: Option<Instant>,
    /// What the ConfigMap says that counts for nothing.
    mistake: Option<String>,
}

/// The mapping, kept.
#[derive(Clone)]
pub(super) struct View {
    asker: Asker,
    known: watch::Sender<Known>,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("View").field(&*self.known.borrow()).finish()
    }
}

impl View {
    pub(super) fn new(asker: Asker) -> Self {
        Self { asker, known: watch::channel(Known::default()).0 }
    }

    fn configs(&self) -> Api<ConfigMap> {
        Api::namespaced(self.asker.client.clone(), KUBE_SYSTEM)
    }

    /// The mapping, as it was at most [`COUNTS`] ago.
    ///
    /// # Errors
    /// `Transient` where the API server must be asked and does not answer.
    pub(super) async fn fresh(&self) -> Result<Arc<Mapping>> {
        {
            let known = self.known.borrow();
            if known.as_of.is_some_and(|as_of| as_of.elapsed() <= COUNTS) {
                return Ok(known.mapping.clone());
            }
        }
        self.ask().await
    }

    /// The mapping, as it is now.
    ///
    /// # Errors
    /// `Transient` where the API server does not answer.
    pub(super) async fn ask(&self) -> Result<Arc<Mapping>> {
        let as_of = Instant::now();
        let found = self.asker.ask(self.configs().get_opt(CONFIG)).await;
        let found = found.map_err(|error| api_error("read", "ConfigMap hostnic-ipam-config", error))?;
        self.learn(found.as_ref(), as_of);
        Ok(self.known.borrow().mapping.clone())
    }

    /// The mapping that counted last, however old.
    pub(super) fn last(&self) -> Arc<Mapping> {
        self.known.borrow().mapping.clone()
    }

    /// The same, once it was told.
    pub(super) fn known(&self) -> Option<Arc<Mapping>> {
        let known = self.known.borrow();
        known.as_of.map(|_| known.mapping.clone())
    }

    /// Returns when another mapping counts than when this was called, or returned, last.
    pub(super) async fn changed(heard: &mut watch::Receiver<Arc<Mapping>>) {
        if heard.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Follows the ConfigMap, and tells the mappings that count. Never ends.
    pub(super) async fn follow(self, counting: watch::Sender<Arc<Mapping>>) {
        let config = watcher::Config::default().fields(&format!("metadata.name={CONFIG}"));
        let mut events = pin!(events_of(self.configs(), config, "ConfigMap hostnic-ipam-config"));
        let mut listed = false;
        while let Some(event) = events.next().await {
            match event {
                Event::Init => listed = false,
                Event::InitApply(config) | Event::Apply(config) => {
                    listed = true;
                    self.learn(Some(&config), Instant::now());
                }
                Event::InitDone if !listed => self.learn(None, Instant::now()),
                Event::InitDone => {}
                Event::Delete(_) => self.learn(None, Instant::now()),
            }
            let mapping = self.last();
            counting.send_if_modified(|known| {
                let news = **known != *mapping;
                *known = mapping;
                news
            });
        }
    }

    fn learn(&self, config: Option<&ConfigMap>, as_of: Instant) {
        let none = BTreeMap::new();
        let read = Mapping::read(config.and_then(|config| config.data.as_ref()).unwrap_or(&none));
        self.known.send_modify(|known| {
            if known.as_of.is_some_and(|before| before > as_of) {
                return;
            }
            known.as_of = Some(as_of);
            match read {
                Ok(mapping) => {
                    known.mistake = None;
                    if *known.mapping != mapping {
                        known.mapping = Arc::new(mapping);
                    }
                }
                Err(mistake) => {
                    let mistake = Chain(&mistake).to_string();
                    if known.mistake.as_ref() != Some(&mistake) {
                        tracing::warn!("ConfigMap hostnic-ipam-config counts for nothing, and what it said before still does: {mistake}");
                        known.mistake = Some(mistake);
                    }
                }
            }
        });
    }
}
