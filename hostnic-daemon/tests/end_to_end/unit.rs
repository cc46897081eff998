//! The daemon as deploy/systemd's unit confines it: with that it works, and with any capability less it does not.
//!
//! What systemd does is done by `setpriv`, `unshare` and `mount`: capabilities, no new privileges, a read-only file
//! system that still gets the mounts of pods' namespaces, and kernel settings that cannot be written.

use std::path::Path;

use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::api::{Api, flags};
use crate::build::DAEMON;
use crate::contained::contained;
use crate::host::PATIENCE;
use crate::machine::{Machine, Running};
use crate::plugin::Call;
use crate::trial;
use crate::witness;

const UNIT: &str = include_str!("../../../deploy/systemd/hostnic-daemon.service");
const BY_PROC: &str = include_str!("../../../deploy/systemd/drop-ins/namespaces-by-proc.conf");
const CNI: &str = include_str!("../../../deploy/systemd/10-hostnic.conflist");
const SYSCTLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/systemd/60-hostnic.conf");

/// ProtectSystem=strict with the runtime folder to be written, and ProtectKernelTunables=yes. Mounts that come later still
/// arrive. In a user namespace the root file system cannot always be changed.
const PROTECT: &str = r#"set -e
folder=$1; shift
mount --make-rslave /
mount --bind "$folder" "$folder"
mount -o remount,bind,ro /run
mount -o remount,bind,ro / || grep -qv ' 4294967295$' /proc/self/uid_map
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
exec "$@""#;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("the_capabilities_and_protections_of_the_unit_suffice_and_none_can_be_spared", confined)]
}

/// The capabilities that a unit or drop-in names.
fn capabilities(unit: &str) -> Vec<String> {
    let value = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
    value.split_whitespace().map(|name| name.strip_prefix("CAP_").unwrap().to_lowercase()).collect()
}

/// The daemon with these capabilities and no more.
fn daemon(machine: &Machine, access_file: &Path, capabilities: &[String], log: &str) -> Running {
    for protection in ["ProtectSystem=strict", "ProtectKernelTunables=yes", "NoNewPrivileges=yes"] {
        assert!(UNIT.lines().any(|line| line == protection), "{protection} is what is done here");
    }
    let set: String = capabilities.iter().map(|name| format!(",+{name}")).collect();
    let mut command = machine.run(machine.netns(), "unshare");
    command.args(["--mount", "--propagation", "unchanged", "sh", "-c", PROTECT, "sh"]);
    command.arg(machine.folder()).arg("setpriv").arg(format!("--bounding-set=-all{set}"));
    command.args(["--inh-caps=-all", "--no-new-privs", DAEMON, "start"]).args(flags(access_file));
    command.args(["--pool-low", "1", "--pool-high", "4", "--manage-addr", "off", "--cleanup-cache-on-exit"]);
    for (flag, file) in [("--socket", "hostnic.sock"), ("--store", "state.redb")] {
        command.arg(flag).arg(machine.folder().join(file));
    }
    machine.spawn(command, log)
}

/// What a pod asks for by the configuration that is shipped: a route by the node itself.
fn shipped(call: Call) -> Call {
    let list: Value = serde_json::from_str(CNI).unwrap();
    call.with("ipam", list["plugins"][0]["ipam"].clone()).with("timeout", json!(5))
}

/// A pod added and deleted, or what kept it from that.
async fn serves(machine: &Machine, daemon: &mut Running, name: &str) -> Result<(), String> {
    let up = async {
        loop {
            if daemon.has_ended() {
                let said = daemon.said();
                return Err(format!("does not start: {}", said.lines().last().unwrap_or_default()));
            }
            if machine.asked(&["nics", "-o", "json"]).await.is_ok_and(|nics| nics.contains("\"free\"")) {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, up).await.unwrap_or_else(|_| panic!("{}", daemon.said()))?;
    // Its namespace is mounted when the daemon runs already.
    let pod = machine.pod(name).await;
    let added = shipped(machine.call("ADD", &pod)).run().await;
    let answer: Value = serde_json::from_str(&added.stdout).unwrap();
    if !added.success {
        return Err(format!("ADD fails: {}", answer["msg"].as_str().unwrap()));
    }
    let by_node = answer["routes"].as_array().unwrap().iter().find(|route| route["dst"] == "10.96.0.0/12");
    assert_ne!(by_node.unwrap()["gw"], answer["ips"][0]["gateway"], "{answer:#}");
    pod.agrees_with(&answer);
    let gateway = by_node.unwrap()["gw"].as_str().unwrap().parse().unwrap();
    pod.ping(gateway).await;
    shipped(machine.call("DEL", &pod)).succeeds().await;
    machine.until_released().await;
    pod.is_empty();
    Ok(())
}

async fn serves_by_proc(machine: &Machine) -> Result<(), String> {
    let (_process, netns) = contained().await;
    let call = |command| Call::new(command, &machine.socket(), "contained", Path::new(&netns));
    let added = call("ADD").with("timeout", json!(5)).run().await;
    let answer: Value = serde_json::from_str(&added.stdout).unwrap();
    if !added.success {
        return Err(format!("ADD fails: {}", answer["msg"].as_str().unwrap()));
    }
    call("DEL").succeeds().await;
    machine.until_released().await;
    Ok(())
}

async fn confined() {
    let machine = Machine::new().await;
    let api = Api::start(&machine).await;
    let file = api.access_file();
    // As systemd has it for all of the machine.
    witness::run(machine.netns(), &["mount", "--make-shared", "/run"]);
    witness::run(machine.netns(), &["sysctl", "--quiet", "--load", SYSCTLS]);
    let whole = capabilities(UNIT);
    let mut table = Vec::new();

    for (number, less) in whole.iter().enumerate() {
        let rest: Vec<String> = whole.iter().filter(|name| *name != less).cloned().collect();
        let mut daemon = daemon(&machine, &file, &rest, &format!("log-{number}"));
        let kept = serves(&machine, &mut daemon, &format!("less{number}")).await;
        let Err(why) = kept else { panic!("{less} can be spared") };
        table.push((format!("without CAP_{}", less.to_uppercase()), why));
        daemon.kill_if_running();
        daemon.ended().await;
    }
    let mut daemon_ = daemon(&machine, &file, &whole, "log-whole");
    let kept = serves(&machine, &mut daemon_, "whole").await;
    assert_eq!(kept, Ok(()), "{}", daemon_.said());
    table.push((format!("with {}", whole.join(", ").to_uppercase()), "ADD, gateway, DEL work".to_owned()));
    let Err(why) = serves_by_proc(&machine).await else { panic!("the drop-in is not needed") };
    table.push(("the same, pod named by /proc/PID".to_owned(), why));
    let (success, said) = daemon_.ends_by(Signal::SIGTERM).await;
    assert!(success, "{said}");

    // Nobody has set it for the daemon, and the daemon cannot.
    witness::run(machine.netns(), &["sysctl", "--quiet", "net.ipv4.ip_forward=0"]);
    let daemon_ = daemon(&machine, &file, &whole, "log-forward");
    machine.until_filled(&daemon_).await;
    let (success, said) = daemon_.ends_by(Signal::SIGTERM).await;
    let told = "net.ipv4.ip_forward is 0 and has to be 1, and the daemon cannot set it";
    assert!(success && said.contains(told) && said.contains("sysctl -w net.ipv4.ip_forward=1"), "{said}");
    witness::run(machine.netns(), &["sysctl", "--quiet", "--load", SYSCTLS]);

    let more = [whole, capabilities(BY_PROC)].concat();
    let daemon_ = daemon(&machine, &file, &more, "log-more");
    machine.until_filled(&daemon_).await;
    assert_eq!(serves_by_proc(&machine).await, Ok(()), "{}", daemon_.said());
    table.push(("with SYS_PTRACE, pod named by /proc/PID".to_owned(), "ADD, DEL work".to_owned()));
    let (success, said) = daemon_.ends_by(Signal::SIGTERM).await;
    assert!(success, "{said}");
    println!("\n{:<40} | outcome", "capabilities");
    for (with, outcome) in &table {
        println!("{with:<40} | {outcome}");
    }
    api.end().await;
}
