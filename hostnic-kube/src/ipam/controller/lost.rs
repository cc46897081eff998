//! Pods whose addresses no block tells of any more.
//!
//! Nobody but us removes a block that somebody uses, unless he is told to remove a pool with all that is the pool's, first
//! (`--cascade=foreground`): then Kubernetes does, whoever has addresses of them. That a block is not there is no sign that nobody uses it.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use hostnic_core::Result;
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, Object};
use serde::{Deserialize, Serialize};

use super::plan;
use super::store::Store;
use crate::ipam::cut;
use crate::ipam::name::LOCAL;
use crate::ipam::resources::{IpPoolSpec, IpamBlock};

/// A pod as far as it says which address it has.
type Addressed = Object<Spec, Status>;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    host_network: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Status {
    #[serde(default)]
    phase: String,
    #[serde(default, rename = "podIP")]
    address: String,
}

/// The addresses of a pool that no block tells of though one should.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Gap {
    usable: RangeInclusive<Ipv4Addr>,
    /// What the blocks that are there tell of.
    told: Vec<Ipv4Net>,
}

/// How many pods have addresses of a pool of whose blocks only these are left. Without effect.
///
/// # Errors
/// Those of the API server, which is asked for pods only where a block is missing.
pub(super) async fn lost(store: &Store, pool: &IpPoolSpec, left: &[IpamBlock]) -> Result<u32> {
    let Some(gap) = Gap::of(pool, left) else { return Ok(0) };
    let pods: Api<Addressed> = Api::all_with(store.asker.client.clone(), &ApiResource::erase::<Pod>(&()));
    let mut lost = 0_u32;
    let count = |pod: Addressed| lost += u32::from(address(&pod).is_some_and(|address| gap.has(address)));
    store.each(&pods, "pods", count).await?;
    Ok(lost)
}

impl Gap {
    /// `None` where each block is there that the pool is cut into.
    fn of(pool: &IpPoolSpec, left: &[IpamBlock]) -> Option<Self> {
        let cidr: Ipv4Net = pool.cidr.parse().ok()?;
        let usable = plan::range(pool).unwrap_or_else(|| cidr.network()..=cidr.broadcast());
        let blocks = pool.block_size.and_then(|size| cut::blocks(LOCAL, cidr, size, &usable).ok());
        let names: BTreeSet<String> = left.iter().map(ResourceExt::name_any).collect();
        let whole =
            blocks.is_some_and(|blocks| blocks.iter().all(|block| names.contains(&block.name().to_string())));
        let told = left.iter().filter_map(|block| block.spec.cidr.parse().ok()).collect();
        (!whole).then_some(Self { usable, told })
    }

    fn has(&self, address: Ipv4Addr) -> bool {
        self.usable.contains(&address) && !self.told.iter().any(|told| told.contains(&address))
    }
}

/// The address that a pod has in a network of its own.
fn address(pod: &Addressed) -> Option<Ipv4Addr> {
    let status = pod.status.as_ref()?;
    let over = matches!(status.phase.as_str(), "Succeeded" | "Failed");
    if over || pod.spec.host_network { None } else { status.address.parse().ok() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pool() -> IpPoolSpec {
        IpPoolSpec {
            cidr: "10.0.0.0/28".into(),
            range_start: "10.0.0.2".into(),
            range_end: "10.0.0.12".into(),
            block_size: Some(29),
            ..IpPoolSpec::default()
        }
    }

    fn left(numbers: &[u8]) -> Vec<IpamBlock> {
        let usable = "10.0.0.2".parse().unwrap()..="10.0.0.12".parse().unwrap();
        let blocks = cut::blocks(LOCAL, "10.0.0.0/28".parse().unwrap(), 29, &usable).unwrap();
        let block = |number: &u8| &blocks[usize::from(*number)];
        numbers.iter().map(|n| IpamBlock::new(&block(n).name().to_string(), block(n).write())).collect()
    }

    #[test]
    fn an_address_is_lost_where_its_block_is_missing() {
        let lost = |left: &[IpamBlock]| {
            let gap = Gap::of(&pool(), left)?;
            Some((0..16).filter(|last| gap.has(Ipv4Addr::new(10, 0, 0, *last))).collect::<Vec<u8>>())
        };
        assert_eq!(lost(&left(&[0, 1])), None);
        assert_eq!(lost(&left(&[0])), Some((8..=12).collect()));
        assert_eq!(lost(&[]), Some((2..=12).collect()));
        // One that does not say how it was cut may lack any.
        let uncut = IpPoolSpec { block_size: None, ..pool() };
        assert_eq!(
            Gap::of(&uncut, &left(&[0, 1])).map(|gap| gap.has(Ipv4Addr::new(10, 0, 0, 9))),
            Some(false)
        );
    }

    #[test]
    fn what_has_the_address_of_its_node_or_none_any_more_lost_nothing() {
        let told = |host: bool, phase: &str, told: Option<&str>| {
            let mut pod = json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" },
                "spec": { "hostNetwork": host }, "status": { "phase": phase },
            });
            if let Some(told) = told {
                pod["status"]["podIP"] = told.into();
            }
            address(&serde_json::from_value(pod).unwrap())
        };
        assert_eq!(told(false, "Running", Some("10.0.0.3")), Some(Ipv4Addr::new(10, 0, 0, 3)));
        assert_eq!(told(true, "Running", Some("10.0.0.3")), None);
        assert_eq!(told(false, "Succeeded", Some("10.0.0.3")), None);
        assert_eq!((told(false, "Pending", None), told(false, "Running", Some("fd00::1"))), (None, None));
    }
}
