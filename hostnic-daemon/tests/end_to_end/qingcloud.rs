//! The daemon's program on QingCloud: over HTTP, with the simulator in the cloud's place.

use std::collections::BTreeSet;

use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::api::{ACCESS_KEY, Api, SECRET, flags};
use crate::lifecycle::gateway;
use crate::machine::{Machine, Running};
use crate::pod::Pod;
use crate::trial;
use crate::witness;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_daemon_on_qingcloud_serves_pods_and_keeps_its_nics_for_its_next_start", serves),
        trial("a_daemon_told_so_gives_its_free_nics_back_when_it_ends", gives_back),
        trial(
            "a_daemon_whose_cloud_is_out_of_reach_goes_on_with_its_pods_and_is_ready_when_it_is_back",
            out_of_reach,
        ),
        trial("the_calls_that_the_status_tells_are_those_that_the_cloud_counts", counted),
        trial("a_daemon_without_records_waits_for_its_cloud", waits),
        trial("a_daemon_that_nobody_tells_its_instance_knows_it_from_its_records", nameless),
        trial("a_refused_access_key_is_told_with_its_file_and_not_tried_on_and_on", refused_key),
        trial("a_vxnet_that_nobody_knows_is_named", unknown_vxnet),
        trial("flags_and_files_that_cannot_be_are_refused_before_anything_is_started", wrong_flags),
    ]
}

/// A daemon in the cloud of `api`, whose pool is filled.
async fn daemon(machine: &Machine, api: &Api, name: &str, more: &[&str]) -> Running {
    let daemon = spawn(machine, api, name, more);
    machine.until_filled(&daemon).await;
    daemon
}

fn spawn(machine: &Machine, api: &Api, name: &str, more: &[&str]) -> Running {
    let file = api.access_file();
    let mut command = machine.start(&flags(&file));
    command.args(more);
    machine.spawn(command, name)
}

/// Waits until the daemon says this.
async fn says(machine: &Machine, daemon: &Running, what: &str) {
    machine.until(daemon, what, async || daemon.said().contains(what)).await;
}

async fn serves() {
    let machine = Machine::new().await;
    let api = Api::start(&machine).await;
    let before = witness::everything(machine.netns());
    // Directives that have every library say all that it can.
    let first = daemon(&machine, &api, "log-1", &["--log-level", "trace,hostnic_core=trace"]).await;
    let pods = [machine.pod("a").await, machine.pod("b").await];
    let mut given = Vec::new();
    for pod in &pods {
        given.push(pod.agrees_with(&machine.call("ADD", pod).succeeds().await));
    }
    pods[0].ping(gateway(given[0].address)).await;
    pods[0].ping(given[1].address).await;
    machine.call("STATUS", &pods[0]).succeeds().await;
    let macs = api.macs().await;
    assert!(given.iter().all(|given| macs.contains(&given.mac)), "{given:?} are NICs of the cloud: {macs:?}");
    let command_line = std::fs::read_to_string(format!("/proc/{}/cmdline", first.pid())).unwrap();
    let listed = machine.listed("pods").await;
    let (success, said) = first.ends_by(Signal::SIGTERM).await;
    assert!(success, "{said}");
    for text in [&said, &command_line] {
        assert!(!text.contains(SECRET), "the secret was told: {text}");
    }
    assert!(api.macs().await.is_superset(&macs), "its NICs stay in the cloud");

    let second = daemon(&machine, &api, "log-2", &[]).await;
    assert_eq!(machine.listed("pods").await, listed);
    pods[0].ping(given[1].address).await;
    for pod in &pods {
        machine.call("DEL", pod).succeeds().await;
    }
    machine.until_released().await;
    pods.iter().for_each(Pod::is_empty);
    assert!(second.ends_by(Signal::SIGTERM).await.0);
    let third = daemon(&machine, &api, "log-3", &["--cleanup-cache-on-exit"]).await;
    assert!(third.ends_by(Signal::SIGTERM).await.0);
    assert_eq!(api.nics().await, Vec::<Value>::new());
    witness::assert_same(&before, &witness::everything(machine.netns()), "the machine");
    api.end().await;
}

async fn gives_back() {
    let machine = Machine::new().await;
    let api = Api::start(&machine).await;
    let first = daemon(&machine, &api, "log-1", &["--cleanup-cache-on-exit"]).await;
    let pod = machine.pod("a").await;
    let given = pod.agrees_with(&machine.call("ADD", &pod).succeeds().await);
    // One whose address still rests goes as well.
    let other = machine.pod("b").await;
    other.agrees_with(&machine.call("ADD", &other).succeeds().await);
    machine.call("DEL", &other).succeeds().await;
    let (success, said) = first.ends_by(Signal::SIGTERM).await;
    assert!(success && said.contains("given back"), "{said}");
    assert_eq!(api.macs().await, BTreeSet::from([given.mac.clone()]), "{said}");
    pod.ping(gateway(given.address)).await;

    let second = daemon(&machine, &api, "log-2", &["--cleanup-cache-on-exit"]).await;
    machine.call("DEL", &pod).succeeds().await;
    assert!(second.ends_by(Signal::SIGINT).await.0);
    assert_eq!(api.nics().await, Vec::<Value>::new());
    api.end().await;
}

async fn out_of_reach() {
    let machine = Machine::new().await;
    let api = Api::start(&machine).await;
    let first = daemon(&machine, &api, "log-1", &[]).await;
    let pods = [machine.pod("a").await, machine.pod("b").await];
    let mut given = Vec::new();
    for pod in &pods {
        given.push(pod.agrees_with(&machine.call("ADD", pod).succeeds().await));
    }
    let listed = machine.listed("pods").await;
    first.ends_by(Signal::SIGKILL).await;
    api.listen(false).await;

    let second = spawn(&machine, &api, "log-2", &["--cleanup-cache-on-exit"]);
    says(&machine, &second, "the cloud cannot be reached").await;
    assert_eq!(machine.listed("pods").await, listed);
    pods[0].ping(given[1].address).await;
    machine.call("DEL", &pods[1]).succeeds().await;
    let gone = async || !machine.listed("pods").await.to_string().contains(pods[1].id());
    machine.until(&second, "the pod is released", gone).await;
    pods[1].is_empty();
    api.listen(true).await;
    says(&machine, &second, "the cloud is reached again").await;
    let late = machine.pod("c").await;
    late.agrees_with(&machine.call("ADD", &late).succeeds().await);
    for pod in [&pods[0], &late] {
        machine.call("DEL", pod).succeeds().await;
    }
    assert!(second.ends_by(Signal::SIGTERM).await.0);
    assert_eq!(api.nics().await, Vec::<Value>::new());
    api.end().await;
}

async fn counted() {
    let machine = Machine::new().await;
    let api = Api::start(&machine).await;
    let daemon = daemon(&machine, &api, "log", &["--cleanup-cache-on-exit"]).await;
    let pod = machine.pod("a").await;
    let by_node = json!({"routes": [{"dst": "10.96.0.0/12", "gw": "0.0.0.0"}]});
    machine.call("ADD", &pod).with("ipam", by_node).succeeds().await;
    machine.call("DEL", &pod).succeeds().await;
    machine.until_released().await;
    // One may be under way when either is asked.
    let equal = async || machine.listed("status").await["api"]["calls_last_hour"] == api.calls().await;
    machine.until(&daemon, "both have counted the same", equal).await;
    let actions = machine.listed("status").await["api"]["actions"].to_string();
    // It is none of the provider's operations: a gateway was let forward.
    assert!(actions.contains("ModifyNicAttributes"), "{actions}");
    assert!(daemon.ends_by(Signal::SIGTERM).await.0);
    api.end().await;
}

async fn waits() {
    let machine = Machine::new().await;
    let api = Api::start(&machine).await;
    api.listen(false).await;
    let daemon = spawn(&machine, &api, "log", &["--cleanup-cache-on-exit"]);
    says(&machine, &daemon, "the cloud cannot be reached").await;
    let pod = machine.pod("a").await;
    machine.call("STATUS", &pod).fails(50).await;
    // What there is nothing to do for needs no cloud.
    machine.call("DEL", &pod).succeeds().await;
    api.listen(true).await;
    machine.until_filled(&daemon).await;
    machine.call("STATUS", &pod).succeeds().await;
    pod.agrees_with(&machine.call("ADD", &pod).succeeds().await);
    machine.call("DEL", &pod).succeeds().await;
    assert!(daemon.ends_by(Signal::SIGTERM).await.0);
    api.end().await;
}

async fn nameless() {
    let machine = Machine::new().await;
    let api = Api::start(&machine).await;
    let file = api.access_file();
    // There is no metadata service in this network, and nothing else that knows.
    let nameless = || {
        let mut command = machine.start(&flags(&file)[..4]);
        command.arg("--cleanup-cache-on-exit");
        command
    };
    let (success, said) = machine.spawn(nameless(), "log-1").ended().await;
    assert!(!success && said.contains("--instance"), "{said}");
    let first = daemon(&machine, &api, "log-2", &[]).await;
    let pod = machine.pod("a").await;
    pod.agrees_with(&machine.call("ADD", &pod).succeeds().await);
    let listed = machine.listed("pods").await;
    first.ends_by(Signal::SIGKILL).await;
    let second = machine.spawn(nameless(), "log-3");
    machine.until_filled(&second).await;
    assert_eq!(machine.listed("pods").await, listed);
    machine.call("DEL", &pod).succeeds().await;
    assert!(second.ends_by(Signal::SIGTERM).await.0);
    assert_eq!(api.nics().await, Vec::<Value>::new());
    api.end().await;
}

async fn refused_key() {
    let machine = Machine::new().await;
    let api = Api::start(&machine).await;
    let wrong = api.write_access_file("wrong.yaml", "n0t-the-secret");
    let daemon = machine.spawn(machine.start(&flags(&wrong)), "log");
    let named = format!("refuses the access key {ACCESS_KEY} of {}", wrong.display());
    says(&machine, &daemon, &named).await;
    let pod = machine.pod("a").await;
    let why = machine.call("STATUS", &pod).fails(50).await;
    assert!(why.contains(&named), "{why}");
    let why = machine.call("ADD", &pod).with("timeout", json!(3)).fails(11).await;
    assert!(why.contains(&named), "{why}");
    let calls = api.calls().await;
    assert!(calls <= 6, "{calls} calls with a key that is refused");
    let (success, said) = daemon.ends_by(Signal::SIGTERM).await;
    assert!(success && !said.contains("n0t-the-secret"), "{said}");
    api.end().await;
}

async fn unknown_vxnet() {
    let machine = Machine::new().await;
    let api = Api::start(&machine).await;
    let file = api.access_file();
    let mut flags = flags(&file);
    flags[3] = "vxnet-zzz";
    let daemon = machine.spawn(machine.start(&flags), "log");
    says(&machine, &daemon, "vxnet-zzz").await;
    let remedy = format!("has no such vxnet for the access key of {}; correct --vxnet", file.display());
    says(&machine, &daemon, &remedy).await;
    let pod = machine.pod("a").await;
    let unready = async || machine.call("STATUS", &pod).run().await.stdout.contains("vxnet-zzz");
    machine.until(&daemon, "STATUS names the vxnet", unready).await;
    let calls = api.calls().await;
    assert!(calls <= 10, "{calls} calls for a vxnet that nobody knows");
    assert!(daemon.ends_by(Signal::SIGTERM).await.0);
    api.end().await;
}

/// What is refused, and all that the complaint must name.
async fn wrong_flags() {
    let machine = Machine::new().await;
    let file = |name: &str, text: &str| {
        let path = machine.folder().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = file("good.yaml", "qy_access_key_id: K\nqy_secret_access_key: Secr3t\nzone: pek3a\n");
    let no_zone = file("no-zone.yaml", "qy_access_key_id: K\nqy_secret_access_key: Secr3t\n");
    let half = file("half.yaml", "qy_access_key_id: K\nzone: pek3a\n");
    let no_yaml = file("no.yaml", "qy_secret_access_key: [Secr3t\n");
    let port = file("port.yaml", "qy_access_key_id: K\nqy_secret_access_key: Secr3t\nport: many\n");
    let vxnet = ["--vxnet", "vxnet-a"];
    let cases: &[(&[&str], &[&str])] = &[
        (&[], &["--vxnet", "missing"]),
        (&["--vxnet", "vxnet-a,a/b"], &["--vxnet", "a/b"]),
        (&["--vxnet", "vxnet-xxxxxxx"], &["--vxnet", "vxnet-xxxxxxx", "placeholder"]),
        (
            &["--vxnet", "vxnet-a", "--access-file", "/none.yaml"],
            &["--access-file /none.yaml", "No such file"],
        ),
        (&["--access-file", &half, vxnet[0], vxnet[1]], &[&half, "qy_secret_access_key"]),
        (&["--access-file", &no_yaml, vxnet[0], vxnet[1]], &[&no_yaml, "line"]),
        (&["--access-file", &port, vxnet[0], vxnet[1]], &[&port, "port"]),
        (&["--access-file", &no_zone, vxnet[0], vxnet[1]], &[&no_zone, "--zone"]),
        (&["--access-file", &good, "--zone", "a b", vxnet[0], vxnet[1]], &["--zone", "a b"]),
        (&["--access-file", &good, "--instance", "", vxnet[0], vxnet[1]], &["--instance"]),
        (&["--access-file", &good, "--cooling", "soon", vxnet[0], vxnet[1]], &["--cooling", "soon"]),
        (&["--access-file", &good, "--max-nics", "64", vxnet[0], vxnet[1]], &["--max-nics", "64", "1 to 63"]),
        (
            &["--access-file", &good, "--pool-low", "9", "--pool-high", "5", vxnet[0], vxnet[1]],
            &["--pool-low 9", "--pool-high 5"],
        ),
        (
            &[vxnet[0], vxnet[1], "--sim-subnet", "s=10.0.0.0/24"],
            &["--sim-subnet s=10.0.0.0/24", "--provider sim"],
        ),
        (&["--provider", "sim", "--zone", "pek3a"], &["--zone pek3a", "--provider qingcloud"]),
    ];
    for (arguments, named) in cases {
        let mut command = machine.program(&["start", "--log-level", "trace"]);
        command.args(*arguments);
        for (flag, file) in [("--socket", "wrong.sock"), ("--store", "wrong.redb")] {
            command.arg(flag).arg(machine.folder().join(file));
        }
        let output = command.output().await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        for name in *named {
            assert!(said.contains(name), "{arguments:?} is to be refused naming {name}: {said}");
        }
        assert!(!said.contains("Secr3t") && !said.contains("panicked"), "{arguments:?}: {said}");
        for file in ["wrong.sock", "wrong.redb"] {
            assert!(!machine.folder().join(file).exists(), "{arguments:?} made {file}");
        }
    }
}
