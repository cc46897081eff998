//! What the doctor asks the cloud.

use std::collections::BTreeSet;
use std::sync::Arc;

use hostnic_core::cloud::{NicFilter, NicName};
use hostnic_core::id::{MacAddr, SubnetId};
use hostnic_core::layer::{Deadline, Stack};
use hostnic_core::{Chain, NicProvider};
use hostnic_qingcloud::{Client, QingCloudProvider};

use crate::cli::access::Access;
use crate::doctor::{CloudFacts, Finding, cloud_findings};
use crate::settings::{Provider, Settings};

/// The MAC addresses of the NICs in this machine; none where the cloud does not tell.
#[derive(Debug, Default)]
pub(super) struct NicsHere {
    /// Those with a name of ours.
    pub(super) ours: BTreeSet<MacAddr>,
    /// Others in a vxnet of pods, which may serve as gateways.
    pub(super) theirs: BTreeSet<MacAddr>,
}

/// What is wrong in the cloud, and the NICs in this machine.
pub(super) async fn examine(settings: &Settings) -> (Vec<Finding>, NicsHere) {
    // A simulated cloud lives in its daemon, and has nothing to be wrong.
    if settings.provider.value == Provider::Sim {
        return Default::default();
    }
    let mut findings = Vec::new();
    // On Kubernetes the node's annotation names it.
    if settings.vxnets.value.is_empty() && !settings.kubernetes.enabled.value {
        findings.push(Finding::error(
            "vxnet",
            "none is configured: the daemon does not start",
            "name those that pods get their NICs from, as in --vxnet vxnet-a,vxnet-b",
        ));
    }
    let access = match Access::read(settings) {
        Ok(access) => access,
        Err(error) => {
            findings.push(Finding::error(
                "access file",
                Chain(&error),
                "see docs/configuration.md for the file and where it is looked for",
            ));
            return (findings, NicsHere::default());
        }
    };
    let file = access.file.display().to_string();
    let odd = |warning| Finding::warning(&file, warning, "correct the file");
    findings.extend(access.warnings.iter().map(odd));
    match access.connect().await {
        Ok(provider) => {
            let vxnets = settings.vxnets.value.clone();
            let (facts, here) = ask(provider, &file, vxnets).await;
            findings.extend(cloud_findings(&facts));
            (findings, here)
        }
        Err(error) => {
            findings.push(Finding::error(
                "instance",
                error.chain(),
                "give this machine's instance id by --instance or in /etc/qingcloud/instance-id",
            ));
            (findings, NicsHere::default())
        }
    }
}

async fn ask(provider: QingCloudProvider, file: &str, vxnets: Vec<SubnetId>) -> (CloudFacts, NicsHere) {
    let (client, instance) = (Arc::clone(provider.client()), provider.instance_id().clone());
    let provider = Stack::new().deadline(Deadline::default()).around(Arc::new(provider));
    let mut facts = CloudFacts::ask(&*provider, file, vxnets).await;
    let mut found = NicsHere::default();
    if facts.instance.is_ok() {
        facts.unbound = unbound(&client, &facts).await;
        let here = NicFilter { instance: Some(instance), ..NicFilter::default() };
        // Whatever is wrong with this call was wrong with those before it.
        let nics = provider.list_nics(&here).await.unwrap_or_default();
        for nic in nics {
            if NicName::parse(&nic.name).is_some() {
                found.ours.insert(nic.mac);
            } else if facts.subnets.0.contains(&nic.subnet) {
                found.theirs.insert(nic.mac);
            }
        }
    }
    facts.clock_ahead = client.clock_ahead();
    (facts, found)
}

/// The vxnets that were left out because they have no router: without one a vxnet has no addresses either.
async fn unbound(client: &Client, facts: &CloudFacts) -> BTreeSet<SubnetId> {
    let (asked, Ok(described)) = &facts.subnets else { return BTreeSet::new() };
    let left_out: Vec<&SubnetId> =
        asked.iter().filter(|id| described.iter().all(|subnet| subnet.id != **id)).collect();
    if left_out.is_empty() {
        return BTreeSet::new();
    }
    let rows = client.operation().describe_vxnets(&left_out).await.unwrap_or_default();
    let bound_to_none = |id: &SubnetId| {
        rows.iter()
            .any(|row| row.vxnet_id == id.as_str() && row.router.is_none() && row.vpc_router_id.is_empty())
    };
    left_out.into_iter().filter(|id| bound_to_none(id)).cloned().collect()
}
