//! Which addresses the cluster's services have.

use std::fmt;

use hostnic_core::error::{ErrorKind, Result};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use serde::Deserialize;

use crate::client::Asker;
use crate::error::api_error;
use crate::facts::KUBE_SYSTEM;

/// kubeadm's record of how it made the cluster, and its key there.
const KUBEADM: (&str, &str) = ("kubeadm-config", "ClusterConfiguration");

/// The addresses of the cluster's services, as the cluster tells them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRange {
    /// The addresses; at least one range.
    pub prefixes: Vec<IpNet>,
    /// Who told them.
    pub told_by: ToldBy,
}

/// What in a cluster tells the addresses of services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ToldBy {
    /// The objects that the API server allocates from (Kubernetes 1.33 and later).
    ServiceCidrs,
    /// What kubeadm was told when it made the cluster.
    Kubeadm,
}

impl fmt::Display for ToldBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ServiceCidrs => "the cluster's ServiceCIDRs",
            Self::Kubeadm => "ConfigMap kubeadm-config",
        })
    }
}

pub(crate) async fn service_range(asker: &Asker) -> Result<Option<ServiceRange>> {
    for (told_by, prefixes) in
        [(ToldBy::ServiceCidrs, service_cidrs(asker).await?), (ToldBy::Kubeadm, kubeadm(asker).await?)]
    {
        if !prefixes.is_empty() {
            return Ok(Some(ServiceRange { prefixes, told_by }));
        }
    }
    Ok(None)
}

/// Those that the API server allocates from; none where it has no such objects.
async fn service_cidrs(asker: &Asker) -> Result<Vec<IpNet>> {
    const SUBJECT: &str = "servicecidrs";
    let kind = ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("networking.k8s.io", "v1", "ServiceCIDR"),
        SUBJECT,
    );
    let objects: Api<DynamicObject> = Api::all_with(asker.client.clone(), &kind);
    match asker.ask(objects.list(&ListParams::default())).await.map_err(|e| api_error("list", SUBJECT, e)) {
        Ok(listed) => {
            let texts = listed.items.iter().flat_map(|object| object.data["spec"]["cidrs"].as_array());
            Ok(texts.flatten().filter_map(|text| prefix(text.as_str()?)).collect())
        }
        Err(error) => untold(error),
    }
}

/// What kubeadm was told; none where the cluster was made in another way.
async fn kubeadm(asker: &Asker) -> Result<Vec<IpNet>> {
    let (name, key) = KUBEADM;
    let maps: Api<ConfigMap> = Api::namespaced(asker.client.clone(), KUBE_SYSTEM);
    let map = asker.ask(maps.get_opt(name)).await;
    match map.map_err(|e| api_error("read ConfigMap", format_args!("{KUBE_SYSTEM}/{name}"), e)) {
        Ok(map) => Ok(map.and_then(|map| map.data?.remove(key)).map_or(Vec::new(), |text| subnets_in(&text))),
        Err(error) => untold(error),
    }
}

/// What is not there, or what this account may not read, tells nothing; only an API server that is away may do so later.
fn untold(error: hostnic_core::Error) -> Result<Vec<IpNet>> {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::Unauthorised => {
            tracing::debug!(error = %error.chain(), "the addresses of services are not told there");
            Ok(Vec::new())
        }
        _ => Err(error),
    }
}

/// Two of them, one for each family, are one text with a comma.
fn subnets_in(config: &str) -> Vec<IpNet> {
    #[derive(Deserialize)]
    struct ClusterConfiguration {
        networking: Option<Networking>,
    }
    #[derive(Deserialize)]
    struct Networking {
        #[serde(rename = "serviceSubnet")]
        service_subnet: Option<String>,
    }
    let read = serde_saphyr::from_str::<ClusterConfiguration>(config).ok();
    let text = read.and_then(|read| read.networking?.service_subnet).unwrap_or_default();
    text.split(',').filter_map(prefix).collect()
}

fn prefix(text: &str) -> Option<IpNet> {
    let prefix: IpNet = text.trim().parse().ok()?;
    (prefix.prefix_len() > 0).then(|| prefix.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_are_read_from_kubeadms_file() {
        let file = |networking: &str| {
            format!(
                "apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\nnetworking:{networking}\netcd: {{}}\n"
            )
        };
        let read = |text: &str| subnets_in(text).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            read(&file("\n  dnsDomain: cluster.local\n  serviceSubnet: 10.233.0.0/18")),
            ["10.233.0.0/18"]
        );
        assert_eq!(
            read(&file("\n  serviceSubnet: 10.96.0.1/12, fd00::/108")),
            ["10.96.0.0/12", "fd00::/108"]
        );
        for nothing in [file(" {}"), file("\n  serviceSubnet: 0.0.0.0/0"), "networking: [unclosed".to_owned()]
        {
            assert_eq!(read(&nothing), Vec::<String>::new(), "{nothing}");
        }
    }
}
