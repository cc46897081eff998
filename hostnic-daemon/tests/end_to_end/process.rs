//! The daemon's program: its start and end, its listings, and its complaints.

use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::host::PATIENCE;
use crate::lifecycle::gateway;
use crate::machine::{Machine, Running};
use crate::trial;
use crate::witness;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_daemon_serves_pods_lists_them_and_ends_in_good_order", serves),
        trial("a_second_daemon_on_the_same_socket_or_store_is_refused_by_name_and_pid", second_daemon),
        trial("free_nics_are_given_back_and_the_daemon_is_stopped_by_commands", commanded),
        trial("a_daemon_listens_by_tcp_and_shows_itself_by_http_where_it_is_told", listens),
        trial("systemd_is_told_of_readiness_life_reload_and_end", notified),
        trial("a_daemon_that_was_killed_is_started_again_and_its_pods_keep_their_addresses", killed),
        trial(
            "a_daemon_that_was_killed_just_after_a_dels_answer_is_started_again_and_ends_it",
            killed_after_del,
        ),
        trial("wrong_flags_are_refused_by_name", wrong_flags),
        trial("what_asks_a_daemon_says_when_none_runs", none_runs),
    ]
}

/// The flags of a daemon that simulates its cloud.
const SIM: [&str; 4] = ["--provider", "sim", "--sim-job-ms", "50"];

/// A daemon in a cloud of its own, whose pool is filled.
async fn daemon(machine: &Machine, name: &str) -> Running {
    let daemon = machine.spawn(machine.start(&SIM), name);
    machine.until_filled(&daemon).await;
    daemon
}

async fn serves() {
    let machine = Machine::new().await;
    let before = witness::everything(machine.netns());
    let daemon = daemon(&machine, "log").await;
    let pods = [machine.pod("a").await, machine.pod("b").await];
    let mut given = Vec::new();
    for pod in &pods {
        given.push(pod.agrees_with(&machine.call("ADD", pod).succeeds().await));
    }
    pods[0].ping(gateway(given[0].address)).await;
    pods[0].ping(given[1].address).await;
    machine.call("STATUS", &pods[0]).succeeds().await;

    let listed = machine.listed("pods").await;
    for (pod, given) in pods.iter().zip(&given) {
        let attachment = format!("net/{}/eth0", pod.id());
        let row = listed.as_array().unwrap().iter().find(|row| row["attachment"] == attachment).unwrap();
        assert_eq!(row["pod"], format!("default/{}", pod.id()));
        assert_eq!(row["address"], format!("{}/24", given.address));
        assert_eq!((&row["state"], &row["netns"]), (&"active".into(), &pod.path().to_str().unwrap().into()));
        let nics = machine.listed("nics").await;
        let nic = nics.as_array().unwrap().iter().find(|nic| nic["mac"] == given.mac.as_str()).unwrap();
        assert_eq!(nic["id"], row["nic"]);
        assert_eq!(
            (&nic["addresses"][0]["state"], &nic["addresses"][0]["holder"]),
            (&"leased".into(), &attachment.into())
        );
    }
    let status = machine.listed("status").await;
    assert_eq!((&status["ready"], &status["pods"]["active"]), (&true.into(), &2.into()), "{status:#}");
    assert_eq!(status["pool"]["subnets"][0]["addresses"]["leased"], 2, "{status:#}");
    assert_eq!(status["gateways"], serde_json::json!([]), "{status:#}");
    assert!(status["api"]["calls_last_hour"].as_u64().unwrap() >= 3, "{status:#}");
    let screen = machine.asked(&["status"]).await.unwrap();
    assert!(screen.starts_with("node     ready\n") && screen.contains("pods     2 active"), "{screen}");
    let table = machine.asked(&["pods"]).await.unwrap();
    assert!(table.starts_with("ATTACHMENT") && table.contains(&given[0].address.to_string()), "{table}");
    let table = machine.asked(&["nics"]).await.unwrap();
    assert!(table.starts_with("NIC") && table.contains("leased") && table.contains("free"), "{table}");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(machine.listed("version").await, serde_json::json!({"program": version, "daemon": version}));
    assert!(machine.asked(&["version"]).await.unwrap().contains("daemon"));

    for pod in &pods {
        machine.call("DEL", pod).succeeds().await;
    }
    machine.until_released().await;
    for pod in &pods {
        pod.is_empty();
    }
    let (success, said) = daemon.ends_by(Signal::SIGTERM).await;
    assert!(success, "{said}");
    assert!(!machine.socket().exists());
    witness::assert_same(&before, &witness::everything(machine.netns()), "the machine");
    let left = std::fs::read_dir(machine.folder()).unwrap().map(|file| file.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with("hostnic-sim")).collect();
    assert!(left.is_empty(), "{left:?}");
}

async fn second_daemon() {
    let machine = Machine::new().await;
    let first = daemon(&machine, "log").await;
    let (socket, store) = (machine.socket(), machine.folder().join("state.redb"));
    for (socket, store) in [
        (&socket, &store),
        (&socket, &machine.folder().join("other.redb")),
        (&machine.folder().join("other.sock"), &store),
    ] {
        let mut second = machine.program(&["start"]);
        second.args(SIM).arg("--socket").arg(socket).arg("--store").arg(store);
        let second = second.output().await.unwrap();
        let said = String::from_utf8(second.stderr).unwrap();
        assert!(!second.status.success(), "{said}");
        assert!(said.contains(&format!("hostnic-daemon (pid {})", first.pid())), "{said}");
    }
    // The first one is none the worse for it.
    let pod = machine.pod("a").await;
    pod.agrees_with(&machine.call("ADD", &pod).succeeds().await);
    machine.call("DEL", &pod).succeeds().await;
    assert!(first.ends_by(Signal::SIGINT).await.0);
}

async fn listens() {
    let machine = Machine::new().await;
    let up = machine.run(machine.netns(), "ip").args(["link", "set", "lo", "up"]).status().await.unwrap();
    assert!(up.success());
    let mut command = machine.start(&SIM);
    command.args(["--bind-addr", ":31080", "--manage-addr", "localhost:31081"]);
    let daemon = machine.spawn(command, "log");
    machine.until_filled(&daemon).await;
    assert!(daemon.said().contains("127.0.0.1:31080"), "{}", daemon.said());
    let asked = async |port: u16, text: &str| {
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port} && printf '{text}' >&3 && cat <&3");
        let output = machine.run(machine.netns(), "bash").args(["-c", &script]).output().await.unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let ready = asked(31081, "GET /readyz HTTP/1.0\\r\\n\\r\\n").await;
    assert!(ready.starts_with("HTTP/1.0 200") && ready.contains("\"ready\": true"), "{ready}");
    let gone = asked(31081, "GET /clearcache HTTP/1.0\\r\\n\\r\\n").await;
    assert!(gone.starts_with("HTTP/1.0 410") && gone.contains("hostnic-daemon clean"), "{gone}");
    // HTTP/2 is what the contract is spoken in, so that other requests are hung up on.
    assert!(!asked(31080, "GET / HTTP/1.0\\r\\n\\r\\n").await.contains("200"));

    let mut second = machine.program(&["start"]);
    let files = ["other.sock", "other.redb"].map(|file| machine.folder().join(file));
    second.args(SIM).arg("--socket").arg(&files[0]).arg("--store").arg(&files[1]);
    let second = second.args(["--bind-addr", "127.0.0.1:31080"]).output().await.unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(!second.status.success() && said.contains("127.0.0.1:31080"), "{said}");
    assert!(daemon.ends_by(Signal::SIGTERM).await.0);
}

async fn notified() {
    let machine = Machine::new().await;
    let path = machine.folder().join("notify");
    let words = tokio::net::UnixDatagram::bind(&path).unwrap();
    let config = machine.folder().join("config.yaml");
    std::fs::write(&config, "log-level: info\n").unwrap();
    let mut command = machine.start(&SIM);
    command.arg("--config").arg(&config).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    let daemon = machine.spawn(command, "log");
    let heard = async |part: &str| {
        let come = async {
            loop {
                let mut buffer = [0; 1024];
                let length = words.recv(&mut buffer).await.unwrap();
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if text.contains(part) {
                    return text;
                }
            }
        };
        let heard = tokio::time::timeout(PATIENCE, come).await;
        heard.unwrap_or_else(|_| panic!("systemd never heard {part}; the daemon said: {}", daemon.said()))
    };
    assert!(heard("READY=1").await.contains("STATUS="));
    heard("WATCHDOG=1").await;
    heard("STATUS=ready; 0 pods, 1 free NICs").await;
    std::fs::write(&config, "log-level: debug\npool-high: 4\ncooling: 7\n").unwrap();
    daemon.kill(Signal::SIGHUP);
    assert!(heard("RELOADING=1").await.contains("MONOTONIC_USEC="));
    let reloaded = heard("READY=1").await;
    assert!(reloaded.contains("log-level debug; these wait for a restart: cooling 7"), "{reloaded}");
    heard("WATCHDOG=1").await;
    std::fs::write(&config, "log-level: [\n").unwrap();
    daemon.kill(Signal::SIGHUP);
    assert!(heard("READY=1").await.contains("those in force stay"));
    daemon.kill(Signal::SIGTERM);
    heard("STOPPING=1").await;
    assert!(daemon.ended().await.0);
}

async fn commanded() {
    let machine = Machine::new().await;
    let daemon = daemon(&machine, "log").await;
    let pod = machine.pod("a").await;
    machine.call("ADD", &pod).succeeds().await;
    machine.until_filled(&daemon).await;
    let before = machine.listed("nics").await;
    let said = machine.asked(&["clean"]).await.unwrap();
    assert!(said.contains("given back; 1 NIC of pods stay"), "{said}");
    machine.until_filled(&daemon).await;
    let ids = |nics: &Value| -> Vec<String> {
        nics.as_array().unwrap().iter().map(|nic| nic["id"].as_str().unwrap().to_owned()).collect()
    };
    let after = ids(&machine.listed("nics").await);
    let kept: Vec<String> = ids(&before).into_iter().filter(|id| after.contains(id)).collect();
    assert_eq!(kept.len(), 1, "only the pod's own stays: {kept:?}");
    assert_eq!(machine.listed("clean").await["held"], 1);
    machine.call("DEL", &pod).succeeds().await;

    assert!(machine.asked(&["shutdown"]).await.unwrap().contains("is stopping"));
    let (success, said) = daemon.ended().await;
    assert!(success && said.contains("told to stop by a command"), "{said}");
    assert!(!machine.socket().exists());
    let complaint = machine.asked(&["clean"]).await.unwrap_err();
    assert!(complaint.contains("hostnic-daemon start"), "{complaint}");
}

/// The simulated cloud ends with its daemon, so the next daemon's cloud does not know the old NICs: what counts is that
/// the pods keep what they have all the same, and give it back.
async fn killed() {
    let machine = Machine::new().await;
    let first = daemon(&machine, "log-1").await;
    let pod = machine.pod("a").await;
    let result = machine.call("ADD", &pod).succeeds().await;
    let given = pod.agrees_with(&result);
    let before = machine.listed("pods").await;
    first.ends_by(Signal::SIGKILL).await;
    machine.call("DEL", &pod).fails(11).await;

    let second = daemon(&machine, "log-2").await;
    assert_eq!(machine.listed("pods").await, before);
    assert_eq!(pod.agrees_with(&result), given);
    machine.call("CHECK", &pod).with("prevResult", result.clone()).succeeds().await;
    assert_eq!(machine.call("ADD", &pod).succeeds().await, result);
    let next = machine.pod("b").await;
    assert_ne!(next.agrees_with(&machine.call("ADD", &next).succeeds().await).mac, given.mac);
    for pod in [&pod, &next] {
        machine.call("DEL", pod).succeeds().await;
    }
    machine.until_released().await;
    for pod in [&pod, &next] {
        pod.is_empty();
    }
    assert!(second.ends_by(Signal::SIGTERM).await.0);
}

async fn killed_after_del() {
    let machine = Machine::new().await;
    let first = daemon(&machine, "log-1").await;
    let pod = machine.pod("a").await;
    pod.agrees_with(&machine.call("ADD", &pod).succeeds().await);
    machine.call("DEL", &pod).succeeds().await;
    first.ends_by(Signal::SIGKILL).await;
    assert!(pod.link("eth0").is_none());
    let second = daemon(&machine, "log-2").await;
    machine.until_released().await;
    pod.is_empty();
    assert!(second.ends_by(Signal::SIGTERM).await.0);
}

async fn wrong_flags() {
    let machine = Machine::new().await;
    let cases: &[(&[&str], &str)] = &[
        (&["stop"], "stop"),
        (&["start", "--provider", "aws"], "aws"),
        (&["start", "--provider", "sim", "--sim-subnet", "192.168.50.0/24"], "192.168.50.0/24"),
        (&["start", "--provider", "sim", "--sim-subnet", "vxnet-a=192.168.50.1/24"], "192.168.50.1/24"),
        (&["start", "--provider", "sim", "--instance", "a b"], "a b"),
        (&["start", "--provider", "sim", "--pool-low", "few"], "few"),
        (&["start", "--provider", "sim", "--pool-low", "9", "--pool-high", "5"], "--pool-low 9"),
        (&["start", "--provider", "sim", "--max-nics", "64"], "64"),
        (&["start", "--provider", "sim", "--policy", "Best"], "Best"),
        (&["start", "--provider", "sim", "--log-level", "hostnic=loud"], "loud"),
        (&["start", "--provider", "sim", "--log-format", "xml"], "xml"),
        (&["start", "--provider", "sim", "--store", "/proc/none/state.redb"], "/proc/none"),
        (&["start", "--provider", "sim", "--socket", "/proc/none/hostnic.sock"], "/proc/none"),
        (&["nics", "-o", "yaml"], "yaml"),
    ];
    for (arguments, named) in cases {
        let mut command = machine.program(arguments);
        // Whatever is not wrong must not touch another trial's files.
        if arguments.contains(&"sim") {
            for (flag, file) in [("--socket", "wrong.sock"), ("--store", "wrong.redb")] {
                if !arguments.contains(&flag) {
                    command.arg(flag).arg(machine.folder().join(file));
                }
            }
        }
        let output = tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(said.contains(named), "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    }
    let subnets = ["vxnet-a=192.168.50.0/24", "vxnet-b=192.168.50.128/25"];
    let mut overlapping = machine.start(&SIM);
    let output =
        overlapping.args(subnets.iter().flat_map(|subnet| ["--sim-subnet", subnet])).output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("192.168.50.128/25"), "{said}");
    let left: Vec<_> =
        std::fs::read_dir(machine.folder()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("hostnic-sim")), "{left:?}");
}

async fn none_runs() {
    let machine = Machine::new().await;
    for what in ["nics", "pods"] {
        let complaint = machine.asked(&[what]).await.unwrap_err();
        assert!(complaint.contains("hostnic-daemon start"), "{complaint}");
        assert!(complaint.contains(machine.socket().to_str().unwrap()), "{complaint}");
    }
    assert_eq!(machine.listed("version").await["daemon"], Value::Null);
    assert!(machine.asked(&["version"]).await.unwrap().contains("not running"));
}
