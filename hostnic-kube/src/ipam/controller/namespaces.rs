//! Gives namespaces blocks, where the ConfigMap says that it is done without anybody.

use std::collections::BTreeSet;

use hostnic_core::{Error, ErrorKind, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, PartialObjectMeta, PostParams};

use super::store::Store;
use crate::error::api_error;
use crate::ipam::assign::{Candidate, assign};
use crate::ipam::mapping::{IPAM_KEY, Mapping};

/// The ConfigMap, and where it is.
const CONFIG: &str = "hostnic-ipam-config";
const NAMESPACE: &str = "kube-system";

/// Gives each namespace that needs one a block, if that is switched on; answers those for whom there was none.
///
/// # Errors
/// `Invalid` for a ConfigMap that contradicts itself, which is left as it is; `Conflict` when somebody else changed it
/// meanwhile; those of the API server.
pub(super) async fn give_blocks(store: &Store, blocks: &[Candidate]) -> Result<Vec<String>> {
    let api: Api<ConfigMap> = Api::namespaced(store.asker.client.clone(), NAMESPACE);
    let read = store.asker.ask(api.get_opt(CONFIG)).await;
    let Some(mut config) = read.map_err(|error| api_error("read", "ConfigMap hostnic-ipam-config", error))?
    else {
        return Ok(Vec::new());
    };
    let data = config.data.clone().unwrap_or_default();
    let wrong = |error| {
        Error::new(ErrorKind::Invalid, "read", "ConfigMap hostnic-ipam-config")
            .detail("nothing of it counts until it is corrected")
            .source(error)
    };
    let mapping = Mapping::read(&data).map_err(wrong)?;
    if !mapping.auto {
        return Ok(Vec::new());
    }
    let assigned = assign(&mapping, &namespaces(store).await?, blocks);
    if assigned.mapping != mapping {
        let text = assigned.mapping.write().map_err(|error| {
            Error::new(ErrorKind::Internal, "write", "ConfigMap hostnic-ipam-config").source(error)
        })?;
        config.data.get_or_insert_default().insert(IPAM_KEY.to_owned(), text);
        let written = store.asker.ask(api.replace(CONFIG, &PostParams::default(), &config)).await;
        written.map_err(|error| api_error("change", "ConfigMap hostnic-ipam-config", error))?;
        tracing::info!("namespaces have other blocks: see ConfigMap hostnic-ipam-config");
    }
    Ok(assigned.wanting)
}

/// The namespaces that are not about to go.
async fn namespaces(store: &Store) -> Result<BTreeSet<String>> {
    let all: Vec<PartialObjectMeta<Namespace>> = store.list_metadata("namespaces").await?;
    let stays = all.into_iter().filter(|namespace| namespace.metadata.deletion_timestamp.is_none());
    Ok(stays.filter_map(|namespace| namespace.metadata.name).collect())
}
