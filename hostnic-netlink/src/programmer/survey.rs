//! Looks into the namespaces of a node for links that carry a mark.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use futures::StreamExt;
use hostnic_core::attachment::{AttachmentMark, IfName, NetnsPath, Sandbox};
use hostnic_core::route::{MarkedLink, MarkedVethEnd};
use hostnic_core::{Error, ErrorKind, Result};
use ipnet::IpNet;

use super::alias::{Alias, Part, is_silenced};
use super::node::Node;
use super::pod::{Pod, open_planned};
use crate::connection::Connection;
use crate::link::Link;
use crate::netns::Netns;
use crate::route::{KernelRoute, MAIN_TABLE};

/// How many namespaces are looked into at the same time: each takes a socket while it is.
const AT_ONCE: usize = 8;

/// Where namespaces are looked for.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) folders: Vec<PathBuf>,
    /// Wherever one is bind-mounted, too.
    pub(super) mounted: bool,
}

/// A marked link in a pod.
#[derive(Debug)]
pub(super) enum Found {
    /// A NIC.
    Nic(MarkedLink),
    /// The pod's end of a veth.
    Veth(MarkedVethEnd),
    /// The pod's end of a veth to services, and to which.
    Services(AttachmentMark, Vec<IpNet>),
}

/// The marked links in all namespaces in these places, but for the node's own. What cannot be looked into is
/// left out: it may be going away, or be none of ours.
pub(super) async fn marked_links(node: &Node, places: Places) -> Result<Vec<Found>> {
    let own = node.netns().sandbox();
    let found = tokio::task::spawn_blocking(move || namespaces(&places, own))
        .await
        .map_err(|e| Error::new(ErrorKind::Internal, "look for", "network namespaces").source(e))?;
    // Paths, not descriptors: a namespace is held only while it is looked into.
    let looks = found.into_iter().map(|(sandbox, path)| async move {
        look_into(node, &path, sandbox).await.unwrap_or_else(|error| {
            tracing::debug!(error = %error.chain(), "a namespace was not looked into");
            Vec::new()
        })
    });
    Ok(futures::stream::iter(looks).buffer_unordered(AT_ONCE).concat().await)
}

/// The namespaces in the places, each once, by one of its paths.
fn namespaces(places: &Places, node: Sandbox) -> BTreeMap<Sandbox, PathBuf> {
    let entries =
        places.folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let mounted = if places.mounted { mounted() } else { Vec::new() };
    let open = mounted.into_iter().chain(entries.map(|entry| entry.path()));
    let open = open.filter_map(|path| Some((Netns::open(&path).ok()?.sandbox(), path)));
    open.filter(|(sandbox, _)| *sandbox != node).collect()
}

/// Where network namespaces are mounted; nowhere where the kernel does not tell.
fn mounted() -> Vec<PathBuf> {
    let told = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_else(|error| {
        tracing::debug!(%error, "the mounts could not be read");
        String::new()
    });
    told.lines().filter_map(mounted_namespace).collect()
}

/// The mount point of a line of mountinfo that is about a network namespace.
fn mounted_namespace(line: &str) -> Option<PathBuf> {
    let mut fields = line.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    // What is escaped are blanks and backslashes, which are in no path that runtimes make.
    (root.starts_with("net:[") && !point.contains('\\')).then(|| PathBuf::from(point))
}

async fn look_into(node: &Node, path: &Path, sandbox: Sandbox) -> Result<Vec<Found>> {
    let netns_path = NetnsPath::new(path)?;
    let netns = open_planned(&*node.visitor()?, &netns_path, sandbox).await?;
    let pod = Pod::enter(netns, node).await?;
    let found = look(pod.connection(), &netns_path, sandbox).await;
    pod.leave().await;
    found
}

async fn look(connection: &Connection, netns: &NetnsPath, sandbox: Sandbox) -> Result<Vec<Found>> {
    let mut links = connection.links().await?;
    links.retain(|link| link.mark().is_some());
    if links.is_empty() {
        return Ok(Vec::new());
    }
    let (addresses, routes) = futures::try_join!(connection.addresses(), connection.routes())?;
    let marked = |link: Link| {
        let alias = Alias::of(&link)?;
        let ifname = IfName::new(&link.name).ok()?;
        match alias.part {
            Part::Moved => {}
            Part::PodEnd => {
                let (mac, netns) = (link.mac?, netns.clone());
                return Some(Found::Veth(MarkedVethEnd { mark: alias.mark, mac, ifname, netns, sandbox }));
            }
            Part::ServicePodEnd => {
                let by_node =
                    routes.iter().filter(|route| route.link == link.index && route.next_hop.is_some());
                let services = by_node.map(|route| route.destination).collect();
                return Some(Found::Services(alias.mark, services));
            }
            // Nobody but us marks links so, and not in pods.
            Part::Nic | Part::HostEnd | Part::ServiceHostEnd | Part::SharedHostEnd => return None,
        }
        let of_link = addresses.iter().filter(|address| address.link == link.index);
        let routable = of_link.map(|address| address.address).filter(|address| !link_local(address));
        Some(Found::Nic(MarkedLink {
            mark: alias.mark,
            mac: link.mac?,
            ifname,
            netns: netns.clone(),
            sandbox,
            addresses: routable.collect(),
            silenced: is_silenced(&link),
            gateway: routes.iter().filter(|route| route.link == link.index).find_map(default_next_hop),
            services: None,
        }))
    };
    Ok(links.into_iter().filter_map(marked).collect())
}

fn default_next_hop(route: &KernelRoute) -> Option<IpAddr> {
    route.next_hop.filter(|_| route.destination.prefix_len() == 0 && route.table == MAIN_TABLE)
}

/// Addresses that the kernel gives to every link by itself.
pub(super) fn link_local(address: &IpNet) -> bool {
    matches!(address, IpNet::V6(net) if net.addr().is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_all_mounts_those_of_network_namespaces_are_found() {
        let line =
            "633 561 0:4 net:[4026532301] /run/mesos/isolators/network/cni/c1/ns rw shared:5 - nsfs nsfs rw";
        assert_eq!(
            mounted_namespace(line).as_deref(),
            Some(Path::new("/run/mesos/isolators/network/cni/c1/ns"))
        );
        for other in [
            "634 561 0:4 uts:[4026532302] /run/utsns/a rw shared:5 - nsfs nsfs rw",
            "28 1 0:25 / /run rw,nosuid - tmpfs tmpfs rw,mode=755",
            "28 1 0:4 net:[4026532301] /run/odd\\040name rw - nsfs nsfs rw",
            "28 1 0:4 net:[4026532301]",
            "",
        ] {
            assert_eq!(mounted_namespace(other), None, "{other:?}");
        }
    }
}
