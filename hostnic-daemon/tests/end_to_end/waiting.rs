//! The first start of a boot on Kubernetes while the API server is away: the daemon is alive, says what it waits for, and
//! ends when it is told to.

use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::api::{Api, flags};
use crate::machine::{Machine, Running};
use crate::trial;
use crate::witness::ip;

/// Where nobody listens.
const KUBECONFIG: &str = "apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: 'http://127.0.0.1:6443'}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
users: [{name: u, user: {token: t}}]
current-context: c
";

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("a_first_start_without_the_api_server_is_alive_and_says_what_it_waits_for", waits)]
}

fn start(machine: &Machine, api: &Api, log: &str) -> Running {
    let file = machine.folder().join("kubeconfig");
    std::fs::write(&file, KUBECONFIG).unwrap();
    let access = api.access_file();
    let mut command = machine.start_with(&flags(&access), &machine.store());
    command.args(["--kubernetes", "--node-name", "node1", "--cni-conf-dir", "off", "--kubeconfig"]).arg(file);
    machine.spawn(command, log)
}

async fn waits() {
    let machine = Machine::new().await;
    let api = Api::start(&machine).await;
    ip(machine.netns(), &["link", "set", "lo", "up"]);
    let daemon = start(&machine, &api, "log-1");
    let waits = async || {
        let asked = machine.asked(&["status", "-o", "json"]).await;
        asked.is_ok_and(|status| status.contains("which cluster this is, and nobody remembers"))
    };
    machine.until(&daemon, "it says what it waits for", waits).await;
    let status = machine.listed("status").await;
    assert_eq!((&status["ready"], &status["mode"]), (&false.into(), &"unknown".into()), "{status:#}");
    assert!(status["reason"].as_str().unwrap().contains("Connection refused"), "{status:#}");

    assert_eq!(machine.page("/healthz").await, "ok\n");
    let (head, body) = machine.answer("/readyz").await;
    assert!(head.starts_with("HTTP/1.0 503"), "{head}");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["ready"], false);
    assert!(body["reasons"][0].as_str().unwrap().contains("which cluster this is"), "{body:#}");
    assert!(machine.answer("/v1/pods").await.0.starts_with("HTTP/1.0 503"));

    let pod = machine.pod("early").await;
    let why = machine.call("ADD", &pod).fails(11).await;
    assert!(why.contains("which cluster this is"), "{why}");

    let (success, said) = daemon.ends_by(Signal::SIGTERM).await;
    assert!(success, "{said}");
    let daemon = start(&machine, &api, "log-2");
    machine.until(&daemon, "it waits again", waits).await;
    machine.asked(&["shutdown"]).await.unwrap();
    let (success, said) = daemon.ended().await;
    assert!(success, "{said}");
    api.end().await;
}
