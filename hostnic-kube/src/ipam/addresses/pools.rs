//! The pools of the cluster, read when they are needed: what a node needs of them never changes.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hostnic_core::Result;
use kube::api::{Api, ListParams};
use tokio::time::Instant;

use super::choose::Place;
use crate::client::Asker;
use crate::error::api_error;
use crate::ipam::resources::IpPool;

/// How long what was read is taken for all that there is.
const COUNTS: Duration = Duration::from_secs(60);
/// How soon it is read again where something is missing.
const AGAIN: Duration = Duration::from_secs(2);

/// Since when what pools are known.
type Known = (Instant, Arc<[Place]>);

#[derive(Clone)]
pub(super) struct Pools {
    asker: Asker,
    known: Arc<Mutex<Option<Known>>>,
}

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pools").field(&self.known).finish()
    }
}

impl Pools {
    pub(super) fn new(asker: Asker) -> Self {
        Self { asker, known: Arc::default() }
    }

    /// All pools, as of the last minute; where `missing`, as of the last two seconds.
    ///
    /// # Errors
    /// `Transient` where they have to be read, and the API server does not answer; what is known is enough for addresses that were
    /// known before.
    pub(super) async fn places(&self, missing: bool) -> Result<Arc<[Place]>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let counts = if missing { AGAIN } else { COUNTS };
        if let Some((as_of, places)) = &known
            && as_of.elapsed() < counts
        {
            return Ok(places.clone());
        }
        match self.read().await {
            Ok(places) => Ok(places),
            Err(error) => match known {
                // None of them has changed; there may be more.
                Some((_, places)) if !missing => Ok(places),
                _ => Err(error),
            },
        }
    }

    async fn read(&self) -> Result<Arc<[Place]>> {
        let as_of = Instant::now();
        let pools: Api<IpPool> = Api::all(self.asker.client.clone());
        let list = self.asker.ask(pools.list(&ListParams::default())).await;
        let list = list.map_err(|error| api_error("list", "IPPools", error))?;
        let places: Arc<[Place]> = list.items.iter().filter_map(Place::of).collect();
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((as_of, places.clone()));
        Ok(places)
    }
}
