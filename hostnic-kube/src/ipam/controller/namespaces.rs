//! Gives namespaces blocks, where the ConfigMap says that it is done without anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hostnic_core::{Chain, Error, ErrorKind, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, PartialObjectMeta, PostParams};
use tokio::time::Instant;

use super::store::Store;
use super::telling::Telling;
use crate::error::api_error;
use crate::facts::KUBE_SYSTEM;
use crate::ipam::assign::{Candidate, assign};
use crate::ipam::mapping::{CONFIG, IPAM_KEY, Mapping};
use crate::ipam::name::BlockName;

/// How long a block that somebody had waits for the next one: longer than a node goes by what it knew of the mapping.
const REST: Duration = Duration::from_secs(15);

/// What became of the mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shared {
    /// There is none, or it cannot be told.
    Untold,
    /// It counts.
    Given {
        /// Namespaces that should have a block, and none is left.
        wanting: Vec<String>,
        /// Whether a block is only resting.
        resting: bool,
    },
    /// Nothing of it counts: why.
    Wrong(String),
}

impl Shared {
    /// How soon the mapping is to be looked at again, if nothing changes.
    pub(super) fn soon(&self) -> Option<Duration> {
        matches!(self, Self::Given { resting: true, .. }).then_some(REST)
    }
}

/// Who has which block, from one look to the next.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// Since when blocks have been nobody's, as far as was seen.
    idle: BTreeMap<BlockName, Instant>,
}

impl Shares {
    /// Gives each namespace that needs one a block, if that is switched on.
    pub(super) async fn give(&mut self, store: &Store, telling: &Telling, blocks: Vec<Candidate>) -> Shared {
        match self.try_to_give(store, telling, blocks).await {
            Ok(shared) => shared,
            Err(error) => {
                tracing::warn!(error = %error.chain(), "namespaces get no blocks; trying again");
                Shared::Untold
            }
        }
    }

    async fn try_to_give(
        &mut self,
        store: &Store,
        telling: &Telling,
        mut blocks: Vec<Candidate>,
    ) -> Result<Shared> {
        let api: Api<ConfigMap> = Api::namespaced(store.asker.client.clone(), KUBE_SYSTEM);
        let read = store.asker.ask(api.get_opt(CONFIG)).await;
        let read = read.map_err(|error| api_error("read", "ConfigMap hostnic-ipam-config", error))?;
        let Some(mut config) = read else { return Ok(Shared::Untold) };
        let mapping = match Mapping::read(config.data.as_ref().unwrap_or(&BTreeMap::new())) {
            Ok(mapping) => mapping,
            Err(mistake) => {
                let mistake = Chain(&mistake).to_string();
                telling.of_config(&config, &mistake);
                return Ok(Shared::Wrong(mistake));
            }
        };
        if !mapping.auto {
            return Ok(Shared::Given { wanting: Vec::new(), resting: false });
        }
        self.rest(&mapping, &mut blocks, Instant::now());
        let assigned = assign(&mapping, &namespaces(store).await?, &blocks);
        if assigned.mapping != mapping {
            let text = assigned.mapping.write().map_err(|error| {
                Error::new(ErrorKind::Internal, "write", "ConfigMap hostnic-ipam-config").source(error)
            })?;
            config.data.get_or_insert_default().insert(IPAM_KEY.to_owned(), text);
            let written = store.asker.ask(api.replace(CONFIG, &PostParams::default(), &config)).await;
            written.map_err(|error| api_error("change", "ConfigMap hostnic-ipam-config", error))?;
            tracing::info!("namespaces have other blocks: see ConfigMap hostnic-ipam-config");
        }
        Ok(Shared::Given { wanting: assigned.wanting, resting: blocks.iter().any(|block| !block.rested) })
    }

    /// Says which blocks have been nobody's for long enough.
    fn rest(&mut self, mapping: &Mapping, blocks: &mut [Candidate], now: Instant) {
        let owned: BTreeSet<BlockName> = mapping.namespaces.values().flatten().copied().collect();
        let is_idle = |block: &Candidate| block.usage.allocated == 0 && !owned.contains(&block.name);
        let idle: BTreeSet<BlockName> =
            blocks.iter().filter(|block| is_idle(block)).map(|block| block.name).collect();
        self.idle.retain(|name, _| idle.contains(name));
        for block in blocks.iter_mut().filter(|block| !block.rested && idle.contains(&block.name)) {
            let since = *self.idle.entry(block.name).or_insert(now);
            block.rested = now >= since + REST;
        }
        // One that is somebody's need not rest.
        for block in blocks.iter_mut().filter(|block| !idle.contains(&block.name)) {
            block.rested = true;
        }
    }
}

/// The namespaces that are not about to go.
async fn namespaces(store: &Store) -> Result<BTreeSet<String>> {
    let all: Vec<PartialObjectMeta<Namespace>> = store.list_metadata("namespaces").await?;
    let stays = all.into_iter().filter(|namespace| namespace.metadata.deletion_timestamp.is_none());
    Ok(stays.filter_map(|namespace| namespace.metadata.name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipam::block::Usage;

    fn block(number: u8, allocated: u32, fresh: bool) -> Candidate {
        let name = BlockName::new(4100, format!("10.0.0.{}/27", number * 32).parse().unwrap());
        let usage = Usage { capacity: 32, reserved: 0, allocated, free: 32 - allocated };
        let vxnet = "vxnet-a".to_owned();
        Candidate { name, vxnet, usage, rested: fresh, closed: false, may_be_given: true }
    }

    #[test]
    fn a_block_that_somebody_had_rests_before_another_has_it() {
        let (mut shares, now) = (Shares::default(), Instant::now());
        let mut look = |owned: &[u8], blocks: Vec<Candidate>, now| {
            let owned = owned.iter().map(|number| block(*number, 0, false).name).collect();
            let mapping = Mapping { namespaces: [("a".to_owned(), owned)].into(), ..Mapping::default() };
            let mut blocks = blocks;
            shares.rest(&mapping, &mut blocks, now);
            blocks.iter().map(|block| block.rested).collect::<Vec<_>>()
        };
        let (used, empty, fresh) = (block(0, 1, false), block(1, 0, false), block(2, 0, true));
        let all = vec![used, empty.clone(), fresh];
        assert_eq!(look(&[0], all.clone(), now), [true, false, true]);
        assert_eq!(look(&[0], all.clone(), now + REST), [true, true, true]);
        // It came to be somebody's in between, and begins anew.
        assert_eq!(look(&[0, 1], all.clone(), now + REST), [true, true, true]);
        assert_eq!(look(&[0], all, now + REST * 2), [true, false, true]);
        assert_eq!(look(&[], vec![empty], now + REST * 3), [true]);
    }
}
