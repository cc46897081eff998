//! What happens, in order.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;

use futures::future::try_join_all;
use hostnic_daemon::SimSubnet;
use tokio::time::Instant;

use super::Programs;
use super::admin::{AdminError, Counts};
use super::cloud::{ADMIN, Cloud, VXNETS};
use super::node::{Agent, Node};
use super::picture::{calls, picture, pings};
use super::process::ProcessError;
use super::report::{Calls, LastWord, Ping, Pod, Report};
use super::teller::Teller;
use super::world::{inside, outside};
use crate::plugin::{Added, PluginError};
use crate::sandbox::Sandbox;

/// The nodes, by their instance ids.
const NODES: [&str; 2] = ["i-node1", "i-node2"];
/// Pods on each node.
const PODS: usize = 3;
/// Where runtimes keep the namespaces of pods.
const SANDBOXES: &str = "/run/netns";

/// Why the demo stopped.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Something of the project failed.
    #[error(transparent)]
    Hostnic(#[from] hostnic_core::Error),
    /// The plugin failed.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A process failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The simulator could not be asked.
    #[error(transparent)]
    Admin(#[from] AdminError),
}

/// A pod that runs.
struct Running<'a> {
    agent: &'a Agent,
    sandbox: Sandbox,
    pod: Pod,
}

/// Runs it all, on the main thread of the process. `folder` must be empty and on a tmpfs or disk; `keep` waits, with
/// everything up, until it is dropped or ends.
///
/// # Errors
/// What failed; the processes are killed, and their logs are in `folder`. What does not add up without an error is in
/// the report.
pub async fn run(
    programs: &Programs,
    folder: &Path,
    teller: Teller,
    keep: Option<impl Future<Output = ()>>,
) -> Result<Report, DemoError> {
    let begun = Instant::now();
    let subnets = VXNETS.map(|(id, prefix)| format!("{id}={prefix}"));
    let empty = outside().await?;
    let opened = teller.step("the cloud's API, two vxnets, two instances", async {
        let nodes = try_join_all(NODES.map(|name| Node::create(folder.join(name), name))).await?;
        let cloud = Cloud::start(&programs.simulator, &folder.join("cloud"), &nodes).await?;
        let outcome = format!("process {}", cloud.pid());
        Ok::<_, DemoError>(((nodes, cloud), outcome))
    });
    let (nodes, cloud) = opened.await?;
    let before = inside(&cloud, &nodes.iter().collect::<Vec<_>>()).await?;
    let agents =
        teller.step("a hostnic-daemon in each, its pool warm", start(programs, &cloud, nodes)).await?;
    let warm = cloud.admin.counts().await?;

    let mut running = teller.step("three pods a node, by the CNI plugin", add(&agents)).await?;
    running.sort_by(|a, b| a.pod.name.cmp(&b.pod.name));
    let pods: Vec<Pod> = running.iter().map(|r| r.pod.clone()).collect();
    let pinged = teller.step("a ping from every pod to every other", ping_all(&running)).await?;
    teller.say(format!("\n{}\n\n{}\n", picture(&subnets, &pods), pings(&pinged)));
    if let Some(keep) = keep {
        invite(&teller, &agents, &running);
        keep.await;
    }
    teller.step("every pod deleted, by the plugin", delete(running)).await?;
    let (agents, last_words) = teller.step("every lease ended", last_words(agents)).await?;
    let served = cloud.admin.counts().await?;

    let nodes = teller.step("the daemons told to stop, every NIC given back", stop(agents)).await?;
    let ended = cloud.admin.counts().await?;
    let after = inside(&cloud, &nodes.iter().collect::<Vec<_>>()).await?;
    let drops = cloud.admin.dropped().await?;
    let mut leftovers: Vec<String> = after.difference(&before).cloned().collect();
    leftovers.extend(teller.step("the cloud taken down", close(cloud, nodes, &empty)).await?);
    let report = Report {
        pods,
        pings: pinged,
        cloud_calls: by_phase(&warm, &served, &ended),
        last_words,
        police_drops: drops.iter().map(|d| format!("{}: {} x {}", d.nic, d.reason, d.packets)).collect(),
        leftovers,
        took_ms: begun.elapsed().as_millis(),
    };
    conclude(&teller, &report);
    Ok(report)
}

async fn start(
    programs: &Programs,
    cloud: &Cloud,
    nodes: Vec<Node>,
) -> Result<(Vec<Agent>, String), DemoError> {
    let starts = nodes.into_iter().map(|node| node.start(programs, &cloud.access_file, PODS));
    let agents = try_join_all(starts).await?;
    let pids: Vec<String> = agents.iter().map(|agent| agent.pid().to_string()).collect();
    Ok((agents, format!("processes {}", pids.join(" and "))))
}

async fn add<'a>(agents: &'a [Agent]) -> Result<(Vec<Running<'a>>, String), DemoError> {
    let vxnets = VXNETS.iter().map(|(id, prefix)| format!("{id}={prefix}").parse());
    let vxnets: Vec<SimSubnet> = vxnets.collect::<Result<_, _>>().map_err(hostnic_core::Error::from)?;
    let wanted = agents.iter().enumerate().flat_map(|(a, agent)| {
        (0..PODS).map(move |p| (agent, format!("pod-{}{}", a + 1, ['a', 'b', 'c'].get(p).unwrap_or(&'z'))))
    });
    let started = wanted.map(|(agent, name)| async {
        let sandbox = Sandbox::create(Path::new(SANDBOXES), &name).await?;
        let added = agent.plugin.add(&sandbox).await?;
        let pod = describe(&vxnets, agent, name, &added);
        Ok::<_, DemoError>(Running { agent, sandbox, pod })
    });
    let running = try_join_all(started).await?;
    let slowest = running.iter().map(|r| r.pod.add_ms).fold(0.0, f64::max);
    let outcome = format!("{} pods, slowest ADD {slowest:.0} ms", running.len());
    Ok((running, outcome))
}

fn describe(vxnets: &[SimSubnet], agent: &Agent, name: String, added: &Added) -> Pod {
    let address = added.address().unwrap_or(Ipv4Addr::UNSPECIFIED);
    let subnet = vxnets.iter().find(|s| s.prefix.contains(&std::net::IpAddr::V4(address)));
    Pod {
        name,
        node: agent.node.name.clone(),
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
    try_join_all(running.iter().map(|r| r.agent.plugin.del(&r.sandbox))).await?;
    for pod in running {
        pod.sandbox.remove()?;
    }
    Ok(((), format!("{count} pods gone")))
}

/// What each daemon has left when all is deleted.
async fn last_words(mut agents: Vec<Agent>) -> Result<((Vec<Agent>, Vec<LastWord>), String), DemoError> {
    let told = try_join_all(agents.iter_mut().map(Agent::last_word)).await?;
    let nics: usize = told.iter().map(|word| word.nics).sum();
    Ok(((agents, told), format!("0 leases, {nics} NICs in the pools")))
}

async fn stop(agents: Vec<Agent>) -> Result<(Vec<Node>, String), DemoError> {
    let nodes = try_join_all(agents.into_iter().map(Agent::stop)).await?;
    Ok((nodes, "both ended well".to_owned()))
}

/// Ends the simulator and removes the nodes. Answers what is there and was not at first.
async fn close(
    cloud: Cloud,
    nodes: Vec<Node>,
    empty: &BTreeSet<String>,
) -> Result<(Vec<String>, String), DemoError> {
    let mut left = cloud.stop().await?;
    for node in nodes {
        node.remove()?;
    }
    left.extend(outside().await?.difference(empty).cloned());
    let outcome =
        if left.is_empty() { "nothing left".to_owned() } else { format!("{} things left", left.len()) };
    Ok((left, outcome))
}

/// From what was counted at the end of each phase to what was called in it.
fn by_phase(warm: &Counts, served: &Counts, ended: &Counts) -> Vec<Calls> {
    let of = |counts: &Counts, action: &str| counts.get(action).copied().unwrap_or(0);
    let calls = |action: &String| {
        let [start, until_end, all] = [warm, served, ended].map(|counts| of(counts, action));
        Calls { action: action.clone(), start, pods: until_end - start, end: all - until_end }
    };
    ended.keys().map(calls).collect()
}

/// How to look around.
fn invite(teller: &Teller, agents: &[Agent], running: &[Running<'_>]) {
    let users = if nix::unistd::geteuid().is_root() && !in_user_namespace() {
        ""
    } else {
        " -U --preserve-credentials"
    };
    let enter = format!("nsenter -t {}{users} -m -n", std::process::id());
    teller.say("It stays up until you press Ctrl-C, which gives everything back. To look around:");
    for agent in agents {
        teller.say(format!("  {enter} nsenter --net={} ip addr", agent.node.netns_path().display()));
        teller.say(format!("  {enter} {}", agent.ask("nics")));
        teller.say(format!("  {enter} cat {}", agent.node.log().display()));
    }
    if let Some(pod) = running.first() {
        teller.say(format!("  {enter} nsenter --net={} ip route", pod.sandbox.path().display()));
    }
    teller.say(format!("  {enter} curl -s http://{ADMIN}/history"));
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
    teller.say(format!("\n{}\n", calls(&report.cloud_calls)));
    let what = "NICs, links, addresses, routes, rules, leases, namespaces and processes left over";
    teller.say(verdict(what, &report.leftovers));
    teller.say(verdict("frames that a cloud would have dropped", &report.police_drops));
    let outcome = if report.is_good() { "All is well" } else { "Something went wrong: see above" };
    teller.say(format!("\n{outcome}; it took {:.1} s.", report.took_ms as f64 / 1000.0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_by_the_phase_in_which_they_were_made() {
        let counts = |list: &[(&str, u64)]| list.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        let warm: Counts = counts(&[("CreateNics", 2)]);
        let served = counts(&[("AttachNics", 1), ("CreateNics", 5)]);
        let ended = counts(&[("AttachNics", 1), ("CreateNics", 5), ("DeleteNics", 3)]);
        let row = |action: &str, start, pods, end| Calls { action: action.to_owned(), start, pods, end };
        let told = by_phase(&warm, &served, &ended);
        let expected = [row("AttachNics", 0, 1, 0), row("CreateNics", 2, 3, 0), row("DeleteNics", 0, 0, 3)];
        assert_eq!(told, expected);
        let table = calls(&told);
        assert_eq!(
            table.lines().last().unwrap().split_whitespace().collect::<Vec<_>>(),
            ["all", "2", "4", "3", "9"]
        );
    }
}
