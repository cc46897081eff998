//! From what the API server asks to what it is answered.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use hostnic_core::{Error, ErrorKind, Result};
use kube::Resource;
use kube::api::{Api, ListParams};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use tokio::time::timeout;

use super::account::{Accounts, Who};
use super::review::{Request, Review, answer};
use super::rules::{Change, Verdict, block, config_map, handle, ip_pool, vxnet_pool};
use super::{PROBE, PROBED};
use crate::client::Asker;
use crate::error::api_error;
use crate::ipam::resources::{IpPool, IpamBlock, VxNetPool};

/// The group of the resources.
pub(super) const GROUP: &str = "network.qingcloud.com";
/// How many objects are asked for at a time.
const PAGE: u32 = 500;
/// How long it may take to find something to warn of. What is wrong must be told in any case.
const WARNING: Duration = Duration::from_millis(700);

/// Answers reviews. What else there is in the cluster is looked up when it counts, and only then.
pub(super) struct Answerer {
    pub(super) asker: Asker,
    pub(super) accounts: Accounts,
}

impl Answerer {
    /// Of a change to one of the resources.
    ///
    /// # Errors
    /// `Invalid` for what is no review, and those of the API server when it must be asked; the failure policy then decides.
    /// Dropping the future changes nothing.
    pub(super) async fn resources(&self, body: &[u8]) -> Result<Value> {
        let request: Request<Value> = read(body)?;
        let who = self.accounts.who(&request.user_info.username);
        let uid = request.uid.clone();
        let verdict = match (who, request.name.as_deref()) {
            (Who::Own, Some(PROBE)) => {
                let mut verdict = Verdict::about(format!("IPPool {PROBE}"));
                verdict.deny(PROBED);
                verdict
            }
            (Who::Own, _) => Verdict::default(),
            _ => self.judge(request, who).await?,
        };
        Ok(answer(&uid, &verdict))
    }

    async fn judge(&self, request: Request<Value>, who: Who) -> Result<Verdict> {
        let is_sub = request.sub_resource.as_deref().is_some_and(|name| !name.is_empty());
        if request.resource.group != GROUP || is_sub {
            return Ok(Verdict::default());
        }
        let is_last = request.is_last();
        match request.resource.resource.as_str() {
            "ippools" => match change::<IpPool>(request, who) {
                Ok(change) => {
                    let is_new = matches!(change, Change::Made(_));
                    let others = if is_new { self.pools().await? } else { Vec::new() };
                    let mut verdict = ip_pool::judge(&change, who, &others);
                    if is_last {
                        ip_pool::after_its_blocks(&change, who, &mut verdict);
                    }
                    Ok(verdict)
                }
                Err(verdict) => Ok(verdict),
            },
            "vxnetpools" => match change::<VxNetPool>(request, who) {
                Ok(change) => {
                    let is_cut_anew = matches!(&change, Change::Changed { old, new } if old.spec.block_size != new.spec.block_size);
                    let pools = if is_cut_anew { self.pools().await? } else { Vec::new() };
                    Ok(vxnet_pool::judge(&change, &pools))
                }
                Err(verdict) => Ok(verdict),
            },
            "ipamblocks" => {
                Ok(change(request, who).map_or_else(|verdict| verdict, |change| block::judge(&change, who)))
            }
            "ipamhandles" => {
                Ok(change(request, who).map_or_else(|verdict| verdict, |change| handle::judge(&change, who)))
            }
            _ => Ok(Verdict::default()),
        }
    }

    /// Of a change to a ConfigMap. All but one are allowed without being read.
    ///
    /// # Errors
    /// `Invalid` for what is no review. Dropping the future changes nothing.
    pub(super) async fn config_maps(&self, body: &[u8]) -> Result<Value> {
        let head: Request<IgnoredAny> = read(body)?;
        let is_ours = head.name.as_deref() == Some(config_map::NAME)
            && head.namespace.as_deref() == Some(config_map::NAMESPACE);
        if !is_ours || self.accounts.who(&head.user_info.username) == Who::Own {
            return Ok(answer(&head.uid, &Verdict::default()));
        }
        let request: Request<config_map::Config> = read(body)?;
        let verdict = match Change::new(request.operation, request.old_object, request.object) {
            Some(change) => {
                let blocks = timeout(WARNING, self.blocks()).await.ok().flatten();
                config_map::judge(&change, blocks.as_ref())
            }
            None => Verdict::default(),
        };
        Ok(answer(&head.uid, &verdict))
    }

    async fn pools(&self) -> Result<Vec<IpPool>> {
        let api: Api<IpPool> = Api::all(self.asker.client.clone());
        let list = self.asker.ask(api.list(&ListParams::default())).await;
        list.map(|list| list.items).map_err(|error| api_error("list", "IPPools", error))
    }

    /// The names of all blocks; `None` where they cannot be told, since it is only for a warning.
    async fn blocks(&self) -> Option<BTreeSet<String>> {
        let api: Api<IpamBlock> = Api::all(self.asker.client.clone());
        let mut page = ListParams::default().limit(PAGE);
        let mut names = BTreeSet::new();
        loop {
            let list = self.asker.ask(api.list_metadata(&page)).await.ok()?;
            names.extend(list.items.into_iter().filter_map(|block| block.metadata.name));
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Some(names),
            }
        }
    }
}

fn read<'a, O: Deserialize<'a>>(body: &'a [u8]) -> Result<Request<O>> {
    let review: Result<Review<O>, _> = serde_json::from_slice(body);
    review.map(|review| review.request).map_err(|error| {
        Error::new(ErrorKind::Invalid, "read", "a review").detail("it is no AdmissionReview").source(error)
    })
}

/// What is to be changed, or what is said where no rule need be asked.
///
/// An old object that cannot be read is nothing to compare with, so that it can be repaired. A new one would stop the controller,
/// which reads all of them: the schema lets numbers through that are too large.
fn change<K>(request: Request<Value>, who: Who) -> Result<Change<K>, Verdict>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Debug,
{
    let is_same = matches!((&request.old_object, &request.object), (Some(old), Some(new)) if old["spec"] == new["spec"]);
    let new = request.object.map(serde_json::from_value::<K>).transpose();
    let old = request.old_object.and_then(|old| serde_json::from_value::<K>(old).ok());
    match new {
        Ok(new) => Change::new(request.operation, old, new).ok_or_else(Verdict::default),
        Err(_) if is_same || who != Who::Other => Err(Verdict::default()),
        Err(error) => {
            let mut verdict =
                Verdict::about(format!("{} {}", K::kind(&()), request.name.unwrap_or_default()));
            verdict.deny(format!(
                "it cannot be read, and would keep hostnic's controller from its work: {error}; correct that"
            ));
            Err(verdict)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::review::Operation;
    use super::*;

    fn asked(old: Value, new: Value, who: Who) -> Result<Change<VxNetPool>, Verdict> {
        let request = json!({
            "uid": "u", "operation": "UPDATE", "name": "v-pool", "resource": { "group": GROUP, "resource": "vxnetpools" },
            "userInfo": { "username": "somebody" },
            "oldObject": { "metadata": { "name": "v-pool" }, "spec": old },
            "object": { "metadata": { "name": "v-pool" }, "spec": new },
        });
        let request: Request<Value> = serde_json::from_value(request).unwrap();
        assert_eq!(request.operation, Operation::Update);
        change(request, who)
    }

    #[test]
    fn what_the_controller_could_not_read_is_refused_and_may_be_repaired() {
        let right = json!({ "vxnets": [], "blockSize": 27 });
        let wrong = json!({ "vxnets": [], "blockSize": 27, "customReservedIPCount": 4_294_967_296_u64 });
        assert!(asked(right.clone(), right.clone(), Who::Other).is_ok());
        let told = asked(right.clone(), wrong.clone(), Who::Other).unwrap_err().message();
        assert!(told.starts_with("VxNetPool v-pool: it cannot be read"), "{told}");
        for (old, new, who) in
            [(&wrong, &right, Who::Other), (&wrong, &wrong, Who::Other), (&right, &wrong, Who::Kubernetes)]
        {
            assert!(asked(old.clone(), new.clone(), who).unwrap_err().is_allowed());
        }
    }
}
