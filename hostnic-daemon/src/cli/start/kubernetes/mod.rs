//! The node in its cluster: who it is there, what it is told, and what it tells.

mod identity;
mod memory;
mod readiness;
mod scarcity;
mod shared;
mod subnets;

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use hostnic_core::enforcer::PolicyEnforcer;
use hostnic_core::id::SubnetId;
use hostnic_core::pods::PodDirectory;
use hostnic_core::store::BootId;
use hostnic_core::{Error, ErrorKind, Result};
use hostnic_kube::{
    Access, ChoiceRules, Cluster, ClusterConfig, NodeName, NodeSubnet, Notice, PodRules, ProxyMode,
    Readiness, ServiceRange, Severity, Telling,
};
use tokio::time::{sleep, timeout};

use super::services::{Services, UNKNOWN};
use crate::Waiting;
use crate::facts::Facts;
use crate::host_name;
use crate::settings::{NetworkPolicy, Settings};

use memory::Memory;

/// When to ask an API server again that did not answer.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// How long a start waits for the cluster to say which vxnet is this node's.
const SOON: Duration = Duration::from_secs(5);

/// The node in its cluster.
#[derive(Debug)]
pub(super) struct InCluster {
    cluster: Cluster,
    /// Of the last run in this boot, and kept up for the next one.
    memory: Memory,
}

impl InCluster {
    /// Begins to follow the cluster, without waiting for it. Says there that this node cannot serve pods yet.
    ///
    /// # Errors
    /// `Invalid` where the settings name no cluster that could be asked.
    pub(super) async fn connect(settings: &Settings) -> Result<Self> {
        let config = config(settings)?;
        let node = config.node.to_string();
        let cluster = Cluster::connect(config).await.map_err(|error| {
            let failed = Error::new(ErrorKind::Invalid, "connect to the cluster as node", &node);
            failed.detail("see --kubernetes and --kubeconfig").source(error)
        })?;
        let memory = Memory::beside(&settings.store.value, BootId::of_this_boot()?);
        // A restart takes a moment, and pods are served before anybody would hear of it.
        if memory.is_new() {
            cluster.set_readiness(Readiness::NotReady("the daemon starts".to_owned()));
        }
        Ok(Self { cluster, memory })
    }

    /// What the pods of this node ask for.
    pub(super) fn pods(&self) -> Arc<dyn PodDirectory> {
        self.cluster.pods()
    }

    /// Whom pods' addresses are told before these run, where anybody enforces network policies.
    pub(super) fn enforcer(&self, settings: &Settings) -> Option<Arc<dyn PolicyEnforcer>> {
        match settings.kubernetes.network_policy.value {
            NetworkPolicy::Calico => Some(Arc::new(self.cluster.calico())),
            NetworkPolicy::None => None,
        }
    }

    /// The subnets that the pool is to draw from at first: what the cluster says, if it says so soon, else those of the last
    /// run. NICs of others would be given back, only to be made anew.
    pub(super) async fn first_subnets(&mut self) -> Vec<SubnetId> {
        self.cluster.choose_subnet();
        let mut said = self.cluster.node_subnet();
        let known = timeout(SOON, said.wait_for(|said| *said != NodeSubnet::Unknown)).await;
        match known {
            Ok(Ok(said)) => match &*said {
                NodeSubnet::Known(subnet) => vec![subnet.clone()],
                _ => Vec::new(),
            },
            _ => self.memory.subnets(),
        }
    }

    /// The addresses of the cluster's services: what the cluster says, if it says so soon, else as it said before. Where it
    /// does not tell, that is told there.
    pub(super) async fn services(&mut self) -> Services {
        let remembered = self.memory.services();
        match timeout(SOON, self.cluster.service_range()).await {
            Ok(Ok(Some(ServiceRange { prefixes, told_by }))) => {
                self.memory.set_services(&prefixes);
                tracing::info!(services = ?prefixes, "the addresses of services are taken from {told_by}");
                Services::Told(prefixes, told_by.to_string())
            }
            answer if !remembered.is_empty() => {
                if let Ok(Err(error)) = answer {
                    tracing::warn!(error = %error.chain(), "the API server does not say which addresses services have; those of the last start are taken");
                }
                Services::Told(remembered.to_vec(), "the cluster, at an earlier start,".to_owned())
            }
            answer => {
                if let Ok(Err(error)) = answer {
                    tracing::warn!(error = %error.chain(), "the API server does not say which addresses services have");
                }
                tracing::warn!("{UNKNOWN}");
                let (severity, message) = (Severity::Warning, UNKNOWN.to_owned());
                self.cluster.tell_node(Notice { severity, reason: "NoServiceCIDR", message });
                Services::Untold
            }
        }
    }

    /// Which cluster this is. Waits for it only where nobody remembers.
    pub(super) async fn identity(&mut self, waiting: &Waiting) -> String {
        identity::of_cluster(&self.cluster, &mut self.memory, waiting).await
    }

    /// Keeps node and cluster in step.
    ///
    /// Ends when the node turns out to be in another cluster than its records are of, and, where it `may_change` its mode, when that is
    /// to be another one: it has to start again.
    pub(super) async fn keep(&mut self, facts: &Facts, may_change: bool) -> Error {
        let Self { cluster, memory } = self;
        let recorded = memory.cluster().map(str::to_owned);
        tokio::select! {
            error = identity::contradicted(cluster, recorded) => error,
            error = shared::begins(cluster, facts, may_change) => error,
            never = subnets::follow(cluster, memory, facts) => match never {},
            never = readiness::tell(cluster, facts) => match never {},
            never = scarcity::tell(cluster, facts) => match never {},
            never = tell_hairpin(cluster, facts) => match never {},
        }
    }

    /// Lets go of the cluster; what stands there stays.
    pub(super) async fn end(self) {
        self.cluster.stop().await;
    }
}

/// The cluster of the settings.
fn config(settings: &Settings) -> Result<ClusterConfig> {
    let kubernetes = &settings.kubernetes;
    let node = match &kubernetes.node_name.value {
        Some(name) => name.clone(),
        None => NodeName::new(host_name().to_lowercase())?,
    };
    let access = match &kubernetes.kubeconfig.value {
        Some(file) => Access::Kubeconfig(file.clone()),
        None => Access::InCluster,
    };
    let any = kubernetes.annotation_vxnets.value.is_empty();
    let usual = ClusterConfig::new(node, access);
    Ok(ClusterConfig {
        pods: PodRules { annotation_vxnets: (!any).then(|| kubernetes.annotation_vxnets.value.clone()) },
        choice: ChoiceRules {
            subnets: settings.vxnets.value.clone(),
            max_nic: NonZeroU32::new(settings.max_nics.value).unwrap_or(usual.choice.max_nic),
        },
        telling: Telling { nic_annotation: kubernetes.nic_annotation.value, ..usual.telling },
        ..usual
    })
}

/// Says that hairpin works with kube-proxy in iptables mode only, where it is in another.
async fn tell_hairpin(cluster: &Cluster, facts: &Facts) -> Infallible {
    let mut veth = facts.veth.subscribe();
    loop {
        veth.borrow_and_update();
        let mode = match facts.hairpin() {
            true => cluster.proxy_mode().await,
            false => Ok(ProxyMode::Untold),
        };
        match mode {
            Ok(ProxyMode::Ipvs) => {
                let message = "hairpin is on, and kube-proxy uses IPVS, with which services are not reached by hairpin; set \
                               hairpin to false in hostnic-cfg-cm, or kube-proxy's mode to iptables";
                tracing::warn!("{message}");
                let (severity, message) = (Severity::Warning, message.to_owned());
                cluster.tell_node(Notice { severity, reason: "HairpinWithIpvs", message });
            }
            Ok(_) => {}
            Err(_) => {
                sleep(ASK_AGAIN).await;
                continue;
            }
        }
        if veth.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Files, Invocation, resolve};

    fn of(variables: &[(&str, &str)]) -> ClusterConfig {
        let usual = [("KUBERNETES", "true"), ("SERVICE_CIDR", "10.96.0.0/12"), ("NODE_NAME", "i-1")];
        let named = |(name, value): (&str, &str)| (format!("HOSTNIC_{name}"), value.to_owned());
        let environment = usual.into_iter().chain(variables.iter().copied()).map(named).collect();
        let invocation = Invocation { environment, ..Invocation::default() };
        config(&resolve(&invocation, &Files::default()).unwrap().0).unwrap()
    }

    #[test]
    fn the_cluster_is_told_what_the_settings_say() {
        let plain = of(&[]);
        assert_eq!(plain, ClusterConfig::new("i-1".parse().unwrap(), Access::InCluster));
        let told = of(&[
            ("KUBECONFIG", "/k"),
            ("VXNET", "vxnet-a,vxnet-b"),
            ("MAX_NICS", "60"),
            ("ANNOTATION_VXNET", "vxnet-c"),
            ("NIC_ANNOTATION", "true"),
        ]);
        assert_eq!(told.access, Access::Kubeconfig("/k".into()));
        assert_eq!((told.choice.subnets.len(), told.choice.max_nic.get()), (2, 60));
        assert_eq!(told.choice.nodes_per_subnet(), 4);
        assert_eq!(told.pods.annotation_vxnets, Some(vec!["vxnet-c".parse().unwrap()]));
        assert!(told.telling.nic_annotation && !told.telling.attached_events);
    }
}
