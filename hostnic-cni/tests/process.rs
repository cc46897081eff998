//! The binary itself, as a runtime starts it.

#![allow(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

mod support;

use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use support::{Answers, FakeDaemon, PluginCall, previous};

const PLUGIN: &str = env!("CARGO_BIN_EXE_hostnic");

/// Starts `program` with nothing in its environment but what the call says.
fn start(program: &Path, call: &PluginCall) -> Output {
    let mut child = Command::new(program)
        .env_clear()
        .envs(&call.environment)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A plugin that fails before it reads closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(&call.input());
    child.wait_with_output().unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_container_is_attached_checked_and_detached_under_either_name() {
    let daemon = FakeDaemon::start(Answers::default());
    let bin = tempfile::tempdir().unwrap();
    for name in ["hostnic", "qingcni"] {
        let program = bin.path().join(name);
        symlink(PLUGIN, &program).unwrap();
        let run = |command: &str, previous: Option<&Value>| {
            let mut call = daemon.call(command).with("type", json!(name));
            if let Some(previous) = previous {
                call = call.with("prevResult", previous.clone());
            }
            let output = start(&program, &call);
            assert!(output.status.success(), "{name} {command}: {output:?}");
            assert_eq!(output.stderr, b"");
            output
        };
        let result = json_of(&run("ADD", None));
        assert_eq!(result, previous(&daemon.netns()));
        assert_eq!(run("CHECK", Some(&result)).stdout, b"");
        assert_eq!(run("DEL", Some(&result)).stdout, b"");
        assert_eq!(run("DEL", None).stdout, b"");
    }
    assert_eq!(daemon.asked().len(), 8);
}

#[test]
fn version_needs_neither_input_nor_environment() {
    let nothing = Path::new("/nonexistent");
    let call = PluginCall::new("VERSION", nothing, nothing)
        .unset(&["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"])
        .stdin("");
    let output = start(Path::new(PLUGIN), &call);
    assert!(output.status.success());
    assert_eq!(json_of(&output)["supportedVersions"].as_array().unwrap().len(), 7);
}

#[test]
fn a_failure_is_json_on_standard_output_and_a_status_that_is_not_zero() {
    let nothing = Path::new("/nonexistent");
    for (call, code) in [
        (PluginCall::new("ADD", nothing, nothing).unset(&["CNI_COMMAND"]), 4),
        (PluginCall::new("ADD", nothing, nothing).stdin("{"), 6),
        (PluginCall::new("DEL", nothing, nothing), 11),
        (PluginCall::new("STATUS", nothing, nothing), 50),
    ] {
        let output = start(Path::new(PLUGIN), &call);
        assert!(!output.status.success());
        assert_eq!(json_of(&output)["code"], code);
        assert_eq!(output.stderr, b"");
    }
}

#[test]
fn a_result_that_nobody_can_read_is_no_success() {
    let daemon = FakeDaemon::start(Answers::default());
    let call = daemon.call("ADD");
    let config = daemon.netns().with_file_name("config.json");
    std::fs::write(&config, call.input()).unwrap();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = Command::new(PLUGIN)
        .env_clear()
        .envs(&call.environment)
        .stdin(std::fs::File::open(&config).unwrap())
        .stdout(full)
        .status()
        .unwrap();
    assert!(!status.success());
}

#[test]
#[ignore = "a measurement, not a test: cargo test --release -p hostnic-cni --test process -- --ignored --nocapture"]
fn measure_what_a_call_costs() {
    use hostnic_core::clock::{Clock, SystemClock};

    const RUNS: u32 = 500;
    let daemon = FakeDaemon::start(Answers::default());
    for command in ["VERSION", "ADD"] {
        let call = daemon.call(command);
        let mut took: Vec<_> = (0..RUNS)
            .map(|_| {
                let before = SystemClock.now();
                assert!(start(Path::new(PLUGIN), &call).status.success());
                SystemClock.now().since(before)
            })
            .collect();
        took.sort();
        let at = |share: usize| took[took.len() * share / 100];
        println!("{command}: p50 {:?}, p99 {:?} from fork to exit, {RUNS} runs", at(50), at(99));
    }
    println!("memory while a DEL waits for its answer: {}", memory_while_waiting());
}

/// The most memory that a plugin has had when its request has reached the daemon. What `wait4` tells after its end would
/// count the memory of the process that started it.
fn memory_while_waiting() -> String {
    let daemon = FakeDaemon::start(Answers { silent: true, ..Answers::default() });
    let call = daemon.call("DEL");
    let mut child =
        Command::new(PLUGIN).env_clear().envs(&call.environment).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&call.input()).unwrap();
    while daemon.asked().is_empty() {
        std::thread::yield_now();
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.unwrap().trim().to_owned()
}
