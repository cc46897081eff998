//! The first start of a boot on Kubernetes: while the API server is away the daemon is alive, says what it waits for, and ends
//! when it is told to; and what the API server says of its cluster is whose the records are.

use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::api::{Api, INSTANCE, flags};
use crate::machine::{Machine, Running};
use crate::site;
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
    vec![
        trial("a_first_start_without_the_api_server_is_alive_and_says_what_it_waits_for", waits),
        trial("a_node_serves_as_soon_as_its_cluster_is_known_and_keeps_clusters_apart", known),
    ]
}

/// As much of an API server as says which cluster it is of; it knows of nothing else.
async fn api_server(machine: &Machine, uid: &'static str) -> JoinHandle<()> {
    let listen = || std::net::TcpListener::bind("127.0.0.1:6443").unwrap();
    let listener = machine.open().run(listen).await.unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    tokio::spawn(async move {
        let mut answers = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            answers.spawn(answer(stream, uid));
        }
    })
}

/// One request, answered.
async fn answer(mut stream: TcpStream, uid: &str) -> std::io::Result<()> {
    let mut lines = BufReader::new(&mut stream).lines();
    let request = lines.next_line().await?.unwrap_or_default();
    // Nothing is sent before the head was read.
    while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}
    let metadata = json!({"name": "kube-system", "uid": uid});
    let (status, body) = match request.contains(" /api/v1/namespaces/kube-system") {
        true => (
            200,
            json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata}),
        ),
        false => {
            let (reason, message) = ("NotFound", "there is no such thing here");
            (
                404,
                json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": 404}),
            )
        }
    };
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} so\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await
}

/// Nobody listens there any more when this is done.
async fn stop(server: JoinHandle<()>) {
    server.abort();
    assert!(server.await.unwrap_err().is_cancelled());
}

/// Waits until the node is set up; what is told of it then.
async fn set_up(machine: &Machine, daemon: &Running) -> Value {
    let set_up = async || {
        machine
            .asked(&["status", "-o", "json"])
            .await
            .is_ok_and(|status| status.contains("\"mode\": \"veth\""))
    };
    machine.until(daemon, "the node is set up", set_up).await;
    machine.listed("status").await
}

async fn known() {
    let machine = Machine::new().await;
    let api = Api::start(&machine).await;
    site::furnish(&api, INSTANCE, &machine).await;
    ip(machine.netns(), &["link", "set", "lo", "up"]);
    let daemon = start(&machine, &api, "log-1");
    let waits =
        async || machine.asked(&["status"]).await.is_ok_and(|status| status.contains("which cluster"));
    machine.until(&daemon, "it waits", waits).await;
    let server = api_server(&machine, "cluster-one").await;
    let status = set_up(&machine, &daemon).await;
    let why = status["mode_reason"].as_str().unwrap();
    assert!(why.starts_with("a node of Kubernetes; the addresses of services are not known"), "{why}");
    assert_eq!(machine.page("/healthz").await, "ok\n");
    let (success, said) = daemon.ends_by(Signal::SIGTERM).await;
    assert!(success && said.contains("records begin anew"), "{said}");

    // In this boot it is remembered, so that nobody is waited for.
    stop(server).await;
    let daemon = start(&machine, &api, "log-2");
    set_up(&machine, &daemon).await;
    let (success, said) = daemon.ends_by(Signal::SIGTERM).await;
    assert!(success && !said.contains("records begin anew"), "{said}");

    // The cluster was made anew, and nobody has rebooted or cleaned up.
    let server = api_server(&machine, "cluster-two").await;
    let daemon = start(&machine, &api, "log-3");
    set_up(&machine, &daemon).await;
    let (success, said) = daemon.ends_by(Signal::SIGTERM).await;
    assert!(success && said.contains("i-node1:cluster-one") && said.contains("records begin anew"), "{said}");
    assert!(machine.folder().join("state.redb.other-host-1").exists());
    stop(server).await;
    api.end().await;
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
