//! What happens, in order.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::Instant;

use super::picture::{picture, pings};
use super::report::{Ping, Pod, Report};
use super::teller::Teller;
use super::world::{Host, World};
use crate::plugin::{Added, PluginError};
use crate::sandbox::Sandbox;

/// Pods on each node.
const PODS: usize = 3;

/// Why the demo stopped.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Something of the project failed.
    #[error(transparent)]
    Hostnic(#[from] hostnic_core::Error),
    /// The plugin failed.
    #[error(transparent)]
    Plugin(#[from] PluginError),
}

/// A pod that runs.
struct Running<'a> {
    host: &'a Host,
    sandbox: Sandbox,
    pod: Pod,
}

/// Runs it all. `folder` must be empty and on a tmpfs or disk; `keep` waits, with everything up, until it is dropped or ends.
///
/// # Errors
/// What failed. What does not add up without an error is in the report.
pub async fn run(
    plugin: &Path,
    folder: &Path,
    teller: Teller,
    keep: Option<impl Future<Output = ()>>,
) -> Result<Report, DemoError> {
    let begun = Instant::now();
    let world = teller.step("a VPC with two subnets, two nodes", async {
        let world = World::create(folder).await?;
        let subnets: Vec<String> = world.subnets.iter().map(ToString::to_string).collect();
        Ok::<_, DemoError>((world, subnets.join(", ")))
    });
    let world = world.await?;
    let hosts = teller.step("a node agent on each, its pool warm", async {
        let hosts = world.start_nodes(plugin).await?;
        let nics: usize = hosts.iter().map(|host| host.node.agent().nics().len()).sum();
        Ok::<_, DemoError>((hosts, format!("{nics} NICs attached")))
    });
    let hosts = hosts.await?;
    let mut running =
        teller.step("three pods a node, by the CNI plugin's own process", add(&world, &hosts)).await?;
    running.sort_by(|a, b| a.pod.name.cmp(&b.pod.name));
    let pods: Vec<Pod> = running.iter().map(|r| r.pod.clone()).collect();
    let pinged = teller.step("a ping from every pod to every other", ping_all(&running)).await?;
    let subnets: Vec<String> = world.subnets.iter().map(ToString::to_string).collect();
    teller.say(format!("\n{}\n\n{}\n", picture(&subnets, &pods), pings(&pinged)));
    if let Some(keep) = keep {
        invite(&teller, &hosts, &running);
        keep.await;
    }
    teller.step("every pod deleted, by the plugin", delete(running)).await?;
    let leases: usize = hosts.iter().map(|host| host.node.agent().leases().len()).sum();
    teller.step("every NIC given back to the cloud", give_back(hosts)).await?;
    let mut leftovers = world.leftovers().await?;
    leftovers.extend((leases > 0).then(|| format!("{leases} leases")));
    let drops = world.cloud.fabric().police_drops().await?;
    let calls = world.cloud.cloud().calls();
    world.cloud.fabric().shutdown().await?;
    let report = Report {
        pods,
        pings: pinged,
        cloud_calls: calls.iter().map(|(operation, count)| (operation.verb().to_owned(), *count)).collect(),
        police_drops: drops
            .iter()
            .map(|d| format!("{}: {} x {}", d.nic, d.reason.as_str(), d.packets))
            .collect(),
        leftovers,
        took_ms: begun.elapsed().as_millis(),
    };
    conclude(&teller, &report);
    Ok(report)
}

async fn add<'a>(world: &World, hosts: &'a [Host]) -> Result<(Vec<Running<'a>>, String), DemoError> {
    let wanted = hosts.iter().enumerate().flat_map(|(h, host)| {
        (0..PODS).map(move |p| (host, format!("pod-{}{}", h + 1, ['a', 'b', 'c'].get(p).unwrap_or(&'z'))))
    });
    let started = wanted.map(|(host, name)| async move {
        let sandbox = Sandbox::create(&world.sandboxes(), &name).await?;
        let added = host.plugin.add(&sandbox).await?;
        let pod = describe(world, host, &name, &added);
        Ok::<_, DemoError>(Running { host, sandbox, pod })
    });
    let running = try_join_all(started).await?;
    let slowest = running.iter().map(|r| r.pod.add_ms).fold(0.0, f64::max);
    let outcome = format!("{} pods, slowest ADD {slowest:.0} ms", running.len());
    Ok((running, outcome))
}

fn describe(world: &World, host: &Host, name: &str, added: &Added) -> Pod {
    let address = added.address().unwrap_or(Ipv4Addr::UNSPECIFIED);
    let subnet = world.subnets.iter().find(|s| s.prefix.contains(&std::net::IpAddr::V4(address)));
    Pod {
        name: name.to_owned(),
        node: host.name.clone(),
        mac: added.mac().to_owned(),
        address,
        subnet: subnet.map_or_else(|| "-".to_owned(), |s| s.id.to_string()),
        add_ms: added.took.as_secs_f64() * 1000.0,
    }
}

async fn ping_all(running: &[Running<'_>]) -> Result<(Vec<Ping>, String), DemoError> {
    let mut pinged = Vec::new();
    for (number, from) in running.iter().enumerate() {
        let others = running.iter().filter(|to| to.pod.name != from.pod.name);
        let sent = others.map(|to| async move {
            let number = u16::try_from(number).unwrap_or(0);
            let reply = from.sandbox.ping(to.pod.address, number).await;
            Ping {
                from: from.pod.name.clone(),
                to: to.pod.name.clone(),
                same_node: from.pod.node == to.pod.node,
                same_subnet: from.pod.subnet == to.pod.subnet,
                ms: reply.ok().map(|time| time.as_secs_f64() * 1000.0),
            }
        });
        pinged.extend(futures::future::join_all(sent).await);
    }
    let answered = pinged.iter().filter(|ping| ping.ms.is_some()).count();
    let outcome = format!("{answered} of {} answered", pinged.len());
    Ok((pinged, outcome))
}

async fn delete(running: Vec<Running<'_>>) -> Result<((), String), DemoError> {
    let count = running.len();
    try_join_all(running.iter().map(|r| r.host.plugin.del(&r.sandbox))).await?;
    for pod in running {
        pod.sandbox.remove()?;
    }
    Ok(((), format!("{count} pods gone")))
}

async fn give_back(hosts: Vec<Host>) -> Result<((), String), DemoError> {
    let drained = hosts.into_iter().map(|host| async move {
        let left = host.node.agent().drain(Duration::from_secs(20)).await;
        host.node.stop(Duration::from_secs(5)).await;
        left
    });
    let left: usize = futures::future::join_all(drained).await.into_iter().sum();
    Ok(((), if left == 0 { "none left".to_owned() } else { format!("{left} left") }))
}

/// How to look around.
fn invite(teller: &Teller, hosts: &[Host], running: &[Running<'_>]) {
    let users = if nix::unistd::geteuid().is_root() && !in_user_namespace() {
        ""
    } else {
        " -U --preserve-credentials"
    };
    let enter = format!("nsenter -t {}{users} -m", std::process::id());
    teller.say("It stays up until you press Ctrl-C. To look around:");
    for host in hosts {
        teller.say(format!("  {enter} nsenter --net={} ip addr", host.netns));
    }
    if let Some(pod) = running.first() {
        teller.say(format!("  {enter} nsenter --net={} ip route", pod.sandbox.path().display()));
    }
    teller.say("");
}

/// Whether this process is root only in a user namespace of its own.
fn in_user_namespace() -> bool {
    std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !map.contains("4294967295"))
}

fn conclude(teller: &Teller, report: &Report) {
    let verdict = |what: &str, left: &[String]| {
        if left.is_empty() {
            format!("  {what}: none")
        } else {
            format!("  {what}:\n    {}", left.join("\n    "))
        }
    };
    teller.say(verdict("NICs, links, addresses, routes, rules and leases left over", &report.leftovers));
    teller.say(verdict("frames that a cloud would have dropped", &report.police_drops));
    let outcome = if report.is_good() { "All is well" } else { "Something went wrong: see above" };
    teller.say(format!("\n{outcome}; it took {:.1} s.", report.took_ms as f64 / 1000.0));
}
