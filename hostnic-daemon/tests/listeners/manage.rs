//! The manage address.

use std::collections::BTreeMap;
use std::time::Duration;

use hostnic_cni::contract::{Add, Client, Del, NextHop, WantedRoute};
use hostnic_core::ErrorKind;
use hostnic_core::gateway::GatewayConfig;
use hostnic_core::sim::{Fault, KernelFault, KernelOperation, Operation, When};
use hostnic_daemon::Listeners;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::http::{ask, exchange, get};
use crate::world::{LOOPBACK, World, call, free, key, until};

/// The samples of an exposition, by name and labels.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    text.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
}

#[tokio::test]
async fn metrics_tell_pods_pool_calls_and_how_operations_ended() {
    let world = World::new();
    let node = world.node(world.listeners()).await;
    let address = node.manage_address().unwrap();
    let mut client = Client::connect(&world.socket()).await.unwrap();
    client.add(&world.pod("web-0")).await.unwrap();
    world.kernel.inject(KernelOperation::SetupPod, When::Next(1), KernelFault::Before(ErrorKind::Invalid));
    client.add(&world.pod("web-1")).await.unwrap_err();
    client.del(&Del { key: key("web-0"), netns: None, call: call() }).await.unwrap();
    client.add(&world.pod("web-2")).await.unwrap();
    until(node.agent(), |agent| free(agent) == 2).await;

    let answer = get(address, "/metrics").await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").starts_with("application/openmetrics-text; version=1.0.0"));
    assert!(answer.body.ends_with("# EOF\n"));
    let samples = samples(&answer.body);
    let expected = [
        (r#"hostnic_ready"#, 1.0),
        // Four NICs were made; what the cloud told before is reckoned on.
        (r#"hostnic_subnet_room{subnet="vxnet-b"}"#, 252.0),
        (r#"hostnic_pods{state="active"}"#, 1.0),
        (r#"hostnic_pods{state="preparing"}"#, 0.0),
        (r#"hostnic_pool_nics{subnet="vxnet-a",state="ready"}"#, 3.0),
        (r#"hostnic_pool_addresses{subnet="vxnet-a",state="free"}"#, 2.0),
        (r#"hostnic_pool_addresses{subnet="vxnet-a",state="leased"}"#, 1.0),
        (r#"hostnic_pool_addresses{subnet="vxnet-b",state="free"}"#, 0.0),
        (r#"hostnic_pool_limit{limit="low"}"#, 2.0),
        (r#"hostnic_operations_total{operation="add",result="ok"}"#, 2.0),
        (r#"hostnic_operations_total{operation="add",result="invalid"}"#, 1.0),
        (r#"hostnic_operations_total{operation="del",result="ok"}"#, 1.0),
        (r#"hostnic_operation_duration_seconds_count{operation="add",result="ok"}"#, 2.0),
        (r#"hostnic_operation_duration_seconds_count{operation="add",result="invalid"}"#, 1.0),
        (r#"hostnic_policy_choices_total{policy="FailRotate",subnet="vxnet-a"}"#, 3.0),
        (r#"hostnic_policy_choices_total{policy="FailRotate",subnet="vxnet-b"}"#, 0.0),
        (r#"hostnic_cloud_calls_hourly_limit"#, 2000.0),
        (r#"hostnic_repairs_total{repair="adopted"}"#, 0.0),
        (r#"hostnic_repair_failures_total"#, 0.0),
        (
            r#"grpc_server_started_total{grpc_method="Add",grpc_service="hostnic.v1.Node",grpc_type="unary"}"#,
            3.0,
        ),
        (
            r#"grpc_server_handled_total{grpc_code="OK",grpc_method="Add",grpc_service="hostnic.v1.Node",grpc_type="unary"}"#,
            2.0,
        ),
        (
            r#"grpc_server_handled_total{grpc_code="InvalidArgument",grpc_method="Add",grpc_service="hostnic.v1.Node",grpc_type="unary"}"#,
            1.0,
        ),
    ];
    for (name, value) in expected {
        assert_eq!(samples.get(name), Some(&value), "{name} in\n{}", answer.body);
    }
    let creates = samples[r#"hostnic_cloud_calls_total{action="create_nics",outcome="ok"}"#];
    assert!(creates >= 1.0);
    assert_eq!(samples[r#"hostnic_cloud_calls_last_hour{action="create_nics"}"#], creates);
    assert!(samples["process_start_time_seconds"] > 1_700_000_000.0);
    assert!(samples["hostnic_store_commit_duration_seconds_count"] > 5.0);
    assert_eq!(samples[&format!("hostnic_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))], 1.0);
    let of_go: Vec<&String> =
        samples.keys().filter(|name| name.starts_with("hostnic_vxnet_pod_count")).collect();
    assert_eq!(of_go.len(), 1, "{of_go:?}");
    assert!(
        of_go[0]
            .contains(r#"node_name="node-1",vxnet_name="vxnet-a",pod_namespace="default",pod_name="web-2""#)
    );
    node.stop(crate::world::PATIENCE).await;
}

#[tokio::test]
async fn a_pod_whose_network_was_changed_counts_as_repaired() {
    let world = World::new();
    let node = world.node(world.listeners()).await;
    let pod = world.pod("web-0");
    Client::connect(&world.socket()).await.unwrap().add(&pod).await.unwrap();
    world.kernel.strip_pod_link(&pod.netns, &pod.key.ifname);
    node.agent().compare_now().await.unwrap();
    let metrics = get(node.manage_address().unwrap(), "/metrics").await.body;
    assert_eq!(samples(&metrics)[r#"hostnic_repairs_total{repair="set_up_again"}"#], 1.0, "{metrics}");
    node.stop(crate::world::PATIENCE).await;
}

#[tokio::test]
async fn a_repair_that_fails_in_the_background_is_among_the_last_errors() {
    let world = World::new();
    let node = world.node(world.listeners()).await;
    let address = node.manage_address().unwrap();
    let pod = world.pod("web-0");
    Client::connect(&world.socket()).await.unwrap().add(&pod).await.unwrap();
    world.kernel.strip_pod_link(&pod.netns, &pod.key.ifname);
    world.kernel.inject(KernelOperation::SetupPod, When::Next(1), KernelFault::Before(ErrorKind::Transient));
    node.agent().compare_now().await.unwrap();
    let errors = get(address, "/v1/errors").await.json();
    assert_eq!(errors.as_array().unwrap().len(), 1, "{errors:#}");
    assert_eq!((&errors[0]["kind"], &errors[0]["times"]), (&"transient".into(), &1.into()), "{errors:#}");
    let metrics = get(address, "/metrics").await.body;
    assert_eq!(samples(&metrics)["hostnic_repair_failures_total"], 1.0);
    node.stop(crate::world::PATIENCE).await;
}

#[tokio::test]
async fn the_nodes_own_nics_that_routes_go_by_are_shown_alike_by_command_and_by_http() {
    let mut world = World::new();
    world.config.gateways = Some(GatewayConfig::new());
    let node = world.node(world.listeners()).await;
    let address = node.manage_address().unwrap();
    assert_eq!(get(address, "/v1/gateways").await.json(), json!([]));
    let mut client = Client::connect(&world.socket()).await.unwrap();
    let by_host = WantedRoute { destination: "10.96.0.0/12".parse().unwrap(), next_hop: NextHop::Host };
    let pod = Add { routes: vec![by_host], ..world.pod("web-0") };
    let interface = client.add(&pod).await.unwrap();
    let shown = get(address, "/v1/gateways").await.json();
    let [gateway] = shown.as_array().unwrap().as_slice() else { panic!("{shown:#}") };
    assert_eq!((&gateway["subnet"], &gateway["state"]), (&"vxnet-a".into(), &"ready".into()));
    assert_eq!((&gateway["owner"], &gateway["link"]), (&"hostnic".into(), &"hostnic0".into()));
    let by_node = interface.routes.iter().find(|route| route.destination == pod.routes[0].destination);
    assert_eq!(gateway["address"], by_node.unwrap().next_hop.unwrap().to_string());
    let [told] = client.status().await.unwrap().state.gateways.try_into().unwrap();
    assert_eq!((gateway["nic"].as_str(), gateway["mac"].as_str()), (Some(&*told.nic), Some(&*told.mac)));
    drop(client);
    node.stop(crate::world::PATIENCE).await;
}

#[tokio::test]
async fn the_node_is_listed_in_json() {
    let world = World::new();
    let node = world.node(world.listeners()).await;
    let address = node.manage_address().unwrap();
    let mut client = Client::connect(&world.socket()).await.unwrap();
    let interface = client.add(&world.pod("web-0")).await.unwrap();
    until(node.agent(), |agent| free(agent) == 2).await;

    let pods = get(address, "/v1/pods").await;
    assert_eq!(pods.header("content-type"), "application/json");
    let pods = pods.json();
    assert_eq!(pods.as_array().unwrap().len(), 1);
    assert_eq!(pods[0]["pod"], "default/web-0");
    assert_eq!(pods[0]["address"], interface.address.to_string());
    assert_eq!(pods[0]["state"], "active");
    let nics = get(address, "/v1/nics").await.json();
    let held = |nic: &&serde_json::Value| nic["addresses"][0]["holder"] == "net/web-0/eth0";
    assert_eq!(nics.as_array().unwrap().iter().filter(held).count(), 1, "{nics:#}");
    let pool = get(address, "/v1/pool").await.json();
    assert_eq!(pool["policy"], "FailRotate");
    assert_eq!(pool["low"], 2);
    assert_eq!(pool["subnets"][0]["subnet"], "vxnet-a");
    assert_eq!(pool["subnets"][0]["addresses"], json!({"coming": 0, "free": 2, "leased": 1, "cooling": 0}));
    assert_eq!(pool["subnets"][0]["nics"]["ready"], 3);
    assert_eq!(pool["subnets"][1]["room"], 252);
    node.stop(crate::world::PATIENCE).await;
}

#[tokio::test]
async fn a_node_that_cannot_serve_says_why_and_is_healthy_all_the_same() {
    let mut world = World::new();
    world.config.survey_patience = Duration::from_millis(100);
    let refused = Fault::Refuse(ErrorKind::Unauthorised);
    world.cloud.inject(Operation::Instance, When::Always, refused);
    let node = world.cold(world.listeners()).await.unwrap();
    let address = node.manage_address().unwrap();
    // The comparison gives up when the cloud has refused to describe the node.
    node.agent().compare_now().await.unwrap_err();
    let ready = get(address, "/readyz").await;
    assert_eq!(ready.status, 503);
    let ready = ready.json();
    assert_eq!(ready["ready"], false);
    assert!(ready["reasons"][0].as_str().unwrap().contains("instance"), "{ready}");
    assert_eq!(get(address, "/healthz").await.status, 200);
    let errors = get(address, "/v1/errors").await.json();
    assert_eq!(errors[0]["kind"], "unauthorised", "{errors:#}");
    assert!(errors[0]["times"].as_u64().unwrap() >= 1);
    node.stop(crate::world::PATIENCE).await;

    let world = World::new();
    let node = world.node(world.listeners()).await;
    let ready = get(node.manage_address().unwrap(), "/readyz").await;
    assert_eq!((ready.status, ready.json()), (200, json!({"ready": true, "reasons": []})));
    node.stop(crate::world::PATIENCE).await;
}

#[tokio::test]
async fn nothing_can_be_changed_here() {
    let world = World::new();
    let node = world.node(world.listeners()).await;
    let address = node.manage_address().unwrap();
    let before = node.agent().nics();
    for (method, path, status) in [
        ("GET", "/clearcache", 410),
        ("POST", "/shutdown", 410),
        ("POST", "/v1/nics", 405),
        ("DELETE", "/v1/pods", 405),
        ("GET", "/v2", 404),
    ] {
        let answer = ask(address, method, path).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
    }
    assert_eq!(node.agent().nics(), before);
    assert_eq!(get(address, "/readyz").await.status, 200);
    let head = ask(address, "HEAD", "/healthz").await;
    assert_eq!((head.status, &*head.body), (200, ""));
    node.stop(crate::world::PATIENCE).await;
}

#[tokio::test]
async fn those_who_ask_for_too_much_or_too_slowly_keep_nobody_from_asking() {
    let world = World::new();
    let node = world.node(world.listeners()).await;
    let address = node.manage_address().unwrap();
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(64 << 10));
    let answer = exchange(address, long.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert!(exchange(address, b"no HTTP\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    // More than there are places for, and none of them says what it wants.
    let mut silent = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /metr").await.unwrap();
        silent.push(stream);
    }
    assert_eq!(get(address, "/healthz").await.status, 200);
    node.stop(crate::world::PATIENCE).await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_refused_before_the_node_is_touched() {
    let world = World::new();
    let other = TcpListener::bind(LOOPBACK).await.unwrap();
    let taken = other.local_addr().unwrap();
    let listeners = Listeners { manage: Some(taken), ..world.listeners() };
    let error = world.cold(listeners).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
    assert!(world.kernel.calls().is_empty());
    assert!(world.cloud.calls().is_empty());
}
