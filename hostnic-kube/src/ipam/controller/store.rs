//! The objects of the controller in the cluster.

use std::fmt::Debug;

use hostnic_core::Result;
use kube::api::{
    Api, DeleteParams, ListParams, PartialObjectMeta, Patch, PatchParams, PostParams, Preconditions,
};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::super::addresses::WANTED;
use super::super::name::BlockName;
use super::super::resources::{IpPool, IpPoolStatus, IpamBlock, V_POOL, VxNetPool, VxNetPoolStatus, label};
use crate::client::Asker;
use crate::error::api_error;

/// How many objects are asked for at a time.
pub(super) const PAGE: u32 = 500;

/// Reads and writes them. Each request has a deadline; dropping a future may leave its request done or not.
#[derive(Clone)]
pub(super) struct Store {
    pub(super) asker: Asker,
}

impl Store {
    pub(super) fn all<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.asker.client.clone())
    }

    pub(super) async fn v_pool(&self) -> Result<Option<VxNetPool>> {
        let found = self.asker.ask(self.all::<VxNetPool>().get_opt(V_POOL)).await;
        found.map_err(|error| api_error("read", "VxNetPool v-pool", error))
    }

    /// The pools that were made of vxnets, by us or the Go version.
    pub(super) async fn pools(&self) -> Result<Vec<IpPool>> {
        let mut pools: Vec<IpPool> =
            self.list(ListParams::default().labels(label::CONTROLLER), "IPPools").await?;
        // Others may use a label of this name as well.
        pools.retain(|pool| pool.labels().get(label::CONTROLLER) == pool.metadata.name.as_ref());
        Ok(pools)
    }

    /// The blocks of a pool.
    pub(super) async fn blocks(&self, pool: &str) -> Result<Vec<IpamBlock>> {
        let params = ListParams::default().labels(&format!("{}={pool}", label::POOL));
        self.list(params, "IPAMBlocks").await
    }

    async fn list<K>(&self, params: ListParams, what: &'static str) -> Result<Vec<K>>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let mut items = Vec::new();
        self.each_of(&self.all(), params, what, |item| items.push(item)).await?;
        Ok(items)
    }

    /// Tells each object, of which no more than a page is kept at a time.
    pub(super) async fn each<K>(&self, api: &Api<K>, what: &'static str, each: impl FnMut(K)) -> Result<()>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        self.each_of(api, ListParams::default(), what, each).await
    }

    async fn each_of<K>(
        &self,
        api: &Api<K>,
        params: ListParams,
        what: &'static str,
        mut each: impl FnMut(K),
    ) -> Result<()>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let mut page = params.limit(PAGE);
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

    /// All objects of a kind, as far as anybody needs to know.
    pub(super) async fn list_metadata<K>(&self, what: &'static str) -> Result<Vec<PartialObjectMeta<K>>>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let params = ListParams::default();
        let answer = self.asker.ask(self.all::<K>().list_metadata(&params)).await;
        answer.map(|list| list.items).map_err(|error| api_error("list", what, error))
    }

    /// Makes an object, and says what is there afterwards: one of the name that is there already is as good.
    pub(super) async fn make<K>(&self, object: &K) -> Result<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let name = object.meta().name.clone().unwrap_or_default();
        let api = self.all::<K>();
        let made = match self.asker.ask(api.create(&PostParams::default(), object)).await {
            Err(kube::Error::Api(status)) if status.code == 409 => self.asker.ask(api.get(&name)).await,
            made => made,
        };
        made.map_err(|error| api_error("make", format_args!("{} {name}", K::kind(&())), error))
    }

    /// Replaces an object; `Conflict` when somebody else changed it since it was read.
    pub(super) async fn replace<K>(&self, object: &K) -> Result<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let name = object.meta().name.clone().unwrap_or_default();
        let replaced = self.asker.ask(self.all::<K>().replace(&name, &PostParams::default(), object)).await;
        replaced.map_err(|error| api_error("change", format_args!("{} {name}", K::kind(&())), error))
    }

    /// Removes an object as it was read; success when it is gone, `Conflict` when somebody else changed it.
    pub(super) async fn remove<K>(&self, object: &K) -> Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let meta = object.meta();
        let name = meta.name.clone().unwrap_or_default();
        let preconditions =
            Preconditions { uid: meta.uid.clone(), resource_version: meta.resource_version.clone() };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match self.asker.ask(self.all::<K>().delete(&name, &params)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            done => done
                .map(drop)
                .map_err(|error| api_error("remove", format_args!("{} {name}", K::kind(&())), error)),
        }
    }

    /// Has a block give addresses, or give none any more; `None` when it is gone. `Conflict` when somebody else changed it.
    pub(super) async fn close(&self, name: BlockName, closed: bool) -> Result<Option<IpamBlock>> {
        let text = name.to_string();
        let found = self.asker.ask(self.all::<IpamBlock>().get_opt(&text)).await;
        let found = found.map_err(|error| api_error("read", format_args!("IPAMBlock {text}"), error))?;
        let Some(mut block) = found else { return Ok(None) };
        if block.spec.deleted == closed {
            return Ok(Some(block));
        }
        block.spec.deleted = closed;
        // Nodes hear of it by this, and return what they have of it in stock.
        if closed {
            block.labels_mut().insert(WANTED.to_owned(), "true".to_owned());
        } else {
            block.labels_mut().remove(WANTED);
        }
        self.replace(&block).await.map(Some)
    }

    pub(super) async fn tell_pool(&self, pool: &str, status: &IpPoolStatus) -> Result<()> {
        self.tell::<IpPool>(pool, json!({ "status": status })).await
    }

    pub(super) async fn tell_v_pool(&self, status: &VxNetPoolStatus) -> Result<()> {
        // What is missing in a merge stays as it was, so what is empty is said, too.
        let empty = json!({ "message": null, "process": null, "pools": [], "conditions": [] });
        let mut told = json!({ "status": empty });
        if let (Some(told), Ok(serde_json::Value::Object(said))) =
            (told["status"].as_object_mut(), serde_json::to_value(status))
        {
            told.extend(said);
        }
        self.tell::<VxNetPool>(V_POOL, told).await
    }

    async fn tell<K>(&self, name: &str, status: serde_json::Value) -> Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let patch = Patch::Merge(status);
        let api = self.all::<K>();
        let told = self.asker.ask(api.patch_status(name, &PatchParams::default(), &patch)).await;
        told.map(drop)
            .map_err(|error| api_error("write the status of", format_args!("{} {name}", K::kind(&())), error))
    }
}
