//! All that the cluster has of addresses, read once.

use std::collections::BTreeMap;
use std::fmt::Debug;

use hostnic_core::Result;
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::api::{Api, ListParams, PartialObjectMeta};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::IpamTools;
use crate::error::api_error;
use crate::facts::KUBE_SYSTEM;
use crate::ipam::block::{Block, Flaw};
use crate::ipam::mapping::{CONFIG, Mapping};
use crate::ipam::resources::{IpPool, IpamBlock, IpamHandle, label};
use crate::pods::Placed;

/// How many objects are read at a time.
const PAGE: u32 = 500;

/// All that the cluster has of addresses, as it was while this was read.
#[derive(Debug, Default)]
pub struct Inventory {
    /// By name, the addresses of each pool.
    pub(super) pools: BTreeMap<String, String>,
    /// By name of the object.
    pub(super) blocks: BTreeMap<String, SeenBlock>,
    /// The handles, and in how many blocks each says it has addresses.
    pub(super) handles: BTreeMap<String, usize>,
    /// On which node each pod is, by namespace and name; `None` for one that is nowhere yet.
    pub(super) pods: BTreeMap<(String, String), Option<String>>,
    /// The uids of the nodes, by name.
    pub(super) nodes: BTreeMap<String, String>,
    pub(super) mapping: Mapping,
    /// What is wrong with the ConfigMap, where nothing of it counts.
    pub(super) mistake: Option<String>,
}

/// One block.
#[derive(Debug)]
pub(super) struct SeenBlock {
    pub(super) pool: String,
    /// `None` for an object that tells of no addresses.
    pub(super) block: Option<Block>,
    pub(super) flaws: Vec<Flaw>,
}

impl SeenBlock {
    pub(super) fn of(object: &IpamBlock) -> Self {
        let pool = object.labels().get(label::POOL).cloned().unwrap_or_default();
        match Block::read(&object.spec) {
            Some((block, flaws)) => Self { pool, block: Some(block), flaws },
            None => Self { pool, block: None, flaws: Vec::new() },
        }
    }
}

impl IpamTools {
    /// Reads all of it. Without effect; the future may be dropped.
    ///
    /// # Errors
    /// `Transient` where the API server does not answer, `Unauthorised` where something may not be read.
    pub async fn inventory(&self) -> Result<Inventory> {
        let mut inventory = Inventory::default();
        // Whoever comes meanwhile has pods before it has addresses: so addresses are read first.
        self.each("IPAMBlocks", |block: IpamBlock| {
            inventory.blocks.insert(block.name_any(), SeenBlock::of(&block));
        })
        .await?;
        self.each("IPAMHandles", |handle: IpamHandle| {
            inventory.handles.insert(handle.name_any(), handle.spec.block.len());
        })
        .await?;
        self.each("IPPools", |pool: IpPool| {
            inventory.pools.insert(pool.name_any(), pool.spec.cidr);
        })
        .await?;
        self.each("nodes", |node: PartialObjectMeta<Node>| {
            inventory.nodes.insert(node.name_any(), node.uid().unwrap_or_default());
        })
        .await?;
        let pods = crate::pods::all_placed(self.asker.client.clone());
        self.each_of(&pods, "pods", |pod: Placed| {
            let key = (pod.namespace().unwrap_or_default(), pod.name_any());
            inventory.pods.insert(key, pod.spec.node());
        })
        .await?;
        let configs: Api<ConfigMap> = Api::namespaced(self.asker.client.clone(), KUBE_SYSTEM);
        let config = self.asker.ask(configs.get_opt(CONFIG)).await;
        let config = config.map_err(|error| api_error("read", "ConfigMap hostnic-ipam-config", error))?;
        match Mapping::read(&config.and_then(|config| config.data).unwrap_or_default()) {
            Ok(mapping) => inventory.mapping = mapping,
            Err(mistake) => inventory.mistake = Some(hostnic_core::Chain(&mistake).to_string()),
        }
        Ok(inventory)
    }

    /// Tells each object of a kind.
    pub(super) async fn each<K>(&self, what: &'static str, each: impl FnMut(K)) -> Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        self.each_of(&Api::all(self.asker.client.clone()), what, each).await
    }

    pub(super) async fn each_of<K>(
        &self,
        api: &Api<K>,
        what: &'static str,
        mut each: impl FnMut(K),
    ) -> Result<()>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let answer = self.asker.ask(api.list(&page)).await;
            let list = answer.map_err(|error| api_error("list", what, error))?;
            list.items.into_iter().for_each(&mut each);
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(()),
            }
        }
    }
}
