//! What there is in the demo's world, to be compared before and after.

use std::collections::BTreeSet;
use std::fs;

use hostnic_netlink::Netns;

use super::cloud::Cloud;
use super::node::Node;
use super::story::DemoError;
use crate::observe;

/// Everything that the kernel tells of the demo's own network, where the API listens.
pub(super) async fn outside() -> Result<BTreeSet<String>, DemoError> {
    let mut seen = observe::everything("demo", &Netns::current()?).await?;
    seen.extend(namespaces());
    seen.extend(processes());
    Ok(seen)
}

/// Everything that the cloud and the kernel tell of the cloud: its NICs, and what is in the nodes and the VPC.
pub(super) async fn inside(cloud: &Cloud, nodes: &[&Node]) -> Result<BTreeSet<String>, DemoError> {
    let mut seen: BTreeSet<String> =
        cloud.nics().await?.into_iter().map(|id| format!("cloud: NIC {id}")).collect();
    for node in nodes {
        seen.extend(observe::everything(&node.name, &node.netns()?).await?);
    }
    seen.extend(observe::everything("VPC", &cloud.vpc()?).await?);
    Ok(seen)
}

/// The network namespaces that have names: where the kernel mounts them.
fn namespaces() -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let named = mounts.lines().filter(|line| line.contains(" - nsfs "));
    named.filter_map(|line| line.split(' ').nth(4)).map(|path| format!("namespace {path}")).collect()
}

/// The other processes in the demo's world, told by their mount namespace, which nobody else is in.
fn processes() -> Vec<String> {
    let own = fs::read_link("/proc/self/ns/mnt").ok();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let others = pids.filter(|pid| *pid != std::process::id()).filter(|pid| {
        // One that is of somebody else may not be looked at, and is none of ours.
        own.is_some() && fs::read_link(format!("/proc/{pid}/ns/mnt")).ok() == own
    });
    let name = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    others.map(|pid| format!("process {pid} {}", name(&pid).trim())).collect()
}
