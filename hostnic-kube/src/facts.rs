//! What is asked of the cluster once.

use std::fmt;

use hostnic_core::error::{Error, ErrorKind, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node};
use kube::api::{Api, ListParams, PartialObjectMeta};
use serde::Deserialize;

use crate::client::Asker;
use crate::config::NodeName;
use crate::error::api_error;

pub(crate) const KUBE_SYSTEM: &str = "kube-system";

/// Which cluster this is: the uid of the namespace `kube-system`, which lives as long as the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClusterUid(String);

impl ClusterUid {
    /// The uid itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClusterUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How kube-proxy has services reach their back ends, as far as the cluster tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyMode {
    /// By iptables, which is also its default.
    Iptables,
    /// By IPVS, which hairpin does not work with.
    Ipvs,
    /// By something else, under this name.
    Other(String),
    /// The cluster does not tell: there is no ConfigMap of kube-proxy (k3s brings its own), or it says nothing of the kind.
    Untold,
}

pub(crate) async fn cluster_uid(asker: &Asker) -> Result<ClusterUid> {
    const READ: &str = "read namespace";
    let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(asker.client.clone());
    let namespace =
        asker.ask(namespaces.get(KUBE_SYSTEM)).await.map_err(|e| api_error(READ, KUBE_SYSTEM, e))?;
    match namespace.metadata.uid {
        Some(uid) if !uid.is_empty() => Ok(ClusterUid(uid)),
        _ => Err(Error::new(ErrorKind::Internal, READ, KUBE_SYSTEM).detail("the API server gave it no uid")),
    }
}

/// The uid of a node's object.
pub(crate) async fn node_uid(asker: &Asker, node: &NodeName) -> Result<String> {
    let nodes: Api<PartialObjectMeta<Node>> = Api::all(asker.client.clone());
    // The right to list is there already, and to get one would be one more.
    let own = ListParams::default().fields(&format!("metadata.name={node}"));
    let found = asker.ask(nodes.list(&own)).await.map_err(|error| api_error("look for node", node, error))?;
    let uid = found.items.into_iter().find_map(|node| node.metadata.uid);
    uid.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "look for node", node)
            .detail("the cluster has no node of that name; correct the name of this node (node-name)")
    })
}

pub(crate) async fn proxy_mode(asker: &Asker) -> Result<ProxyMode> {
    let maps: Api<ConfigMap> = Api::namespaced(asker.client.clone(), KUBE_SYSTEM);
    let map = asker
        .ask(maps.get_opt("kube-proxy"))
        .await
        .map_err(|e| api_error("read ConfigMap", format_args!("{KUBE_SYSTEM}/kube-proxy"), e))?;
    // kubeadm's key. Nobody else is known to have another.
    Ok(map.and_then(|map| map.data?.remove("config.conf")).map_or(ProxyMode::Untold, |text| mode_in(&text)))
}

fn mode_in(config: &str) -> ProxyMode {
    #[derive(Deserialize)]
    struct KubeProxyConfiguration {
        mode: Option<String>,
    }
    match serde_saphyr::from_str::<KubeProxyConfiguration>(config) {
        Ok(config) => match config.mode.as_deref().unwrap_or_default() {
            "" | "iptables" => ProxyMode::Iptables,
            "ipvs" => ProxyMode::Ipvs,
            other => ProxyMode::Other(other.to_owned()),
        },
        Err(_) => ProxyMode::Untold,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_is_read_from_kubeadms_file() {
        let file = |mode: &str| {
            format!(
                "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nipvs:\n  strictARP: false\n{mode}\n"
            )
        };
        assert_eq!(mode_in(&file("mode: ipvs")), ProxyMode::Ipvs);
        assert_eq!(mode_in(&file("mode: \"\"")), ProxyMode::Iptables);
        assert_eq!(mode_in(&file("")), ProxyMode::Iptables);
        assert_eq!(mode_in(&file("mode: iptables")), ProxyMode::Iptables);
        assert_eq!(mode_in(&file("mode: nftables")), ProxyMode::Other("nftables".to_owned()));
        assert_eq!(mode_in("mode: [unclosed"), ProxyMode::Untold);
    }
}
