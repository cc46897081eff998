//! Commands on the socket, and plugins on a TCP address.

use std::net::SocketAddr;
use std::time::Duration;

use hostnic_cni::contract::{CallError, Cleaned, Client, Endpoint};
use hostnic_core::ErrorKind;
use hostnic_core::sim::{KernelFault, KernelOperation, When};
use hostnic_daemon::Listeners;
use tokio::net::TcpListener;

use crate::world::{LOOPBACK, PATIENCE, World, free, until};

async fn by_tcp(address: SocketAddr) -> Client {
    let endpoint = Endpoint::Tcp(address.to_string().parse().unwrap());
    Client::connect_to(&endpoint).await.unwrap()
}

fn with_tcp(world: &World, address: SocketAddr) -> Listeners {
    Listeners { tcp: Some(address), ..world.listeners() }
}

#[tokio::test]
async fn pods_are_served_by_tcp_as_by_the_socket_and_commands_are_refused_there() {
    let world = World::new();
    let mut node = world.node(with_tcp(&world, LOOPBACK)).await;
    let mut client = by_tcp(node.tcp_address().unwrap()).await;
    let pod = world.pod("web-0");
    let interface = client.add(&pod).await.unwrap();
    let mut by_socket = Client::connect(&world.socket()).await.unwrap();
    assert_eq!(by_socket.add(&pod).await.unwrap(), interface, "it is the same node");
    until(node.agent(), |agent| free(agent) == 2).await;
    let before = node.agent().nics();
    for refused in [client.clean(PATIENCE).await.map(drop), client.shutdown().await] {
        let Err(CallError::Refused(reason)) = refused else { panic!("{refused:?}") };
        assert!(reason.message.contains("--socket"), "{reason}");
    }
    assert_eq!(node.agent().nics(), before);
    assert!(tokio::time::timeout(Duration::ZERO, node.told_to_end()).await.is_err());
    assert!(tokio::time::timeout(Duration::ZERO, node.failed()).await.is_err());
    drop((client, by_socket));
    node.stop(PATIENCE).await;
}

#[tokio::test]
async fn clean_gives_back_what_is_free_and_says_what_it_did() {
    let world = World::new();
    let node = world.node(world.listeners()).await;
    let mut client = Client::connect(&world.socket()).await.unwrap();
    client.add(&world.pod("web-0")).await.unwrap();
    until(node.agent(), |agent| free(agent) == 2).await;
    let cleaned = client.clean(PATIENCE).await.unwrap();
    assert_eq!(cleaned, Cleaned { given_back: 2, left: 0, held: 1 });
    // The pool fills up again, and pods are served.
    until(node.agent(), |agent| free(agent) == 2).await;
    client.add(&world.pod("web-1")).await.unwrap();
    drop(client);
    node.stop(PATIENCE).await;
}

#[tokio::test]
async fn shutdown_tells_the_host_and_the_node_ends_in_good_order() {
    let world = World::new();
    let node = world.node(world.listeners()).await;
    let told = node.told_to_end();
    Client::connect(&world.socket()).await.unwrap().shutdown().await.unwrap();
    tokio::time::timeout(PATIENCE, told).await.unwrap();
    node.stop(PATIENCE).await;
    assert!(!world.socket().exists());
}

#[tokio::test]
async fn an_address_that_other_machines_reach_takes_an_explicit_word() {
    let world = World::new();
    let everywhere: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let error = world.cold(with_tcp(&world, everywhere)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("--bind-addr 0.0.0.0:0 --allow-remote"), "{error}");
    let listeners = Listeners { allow_remote: true, ..with_tcp(&world, everywhere) };
    world.node(listeners).await.stop(PATIENCE).await;
}

#[tokio::test]
async fn a_tcp_address_that_is_taken_is_refused_before_the_node_is_touched() {
    let world = World::new();
    let other = TcpListener::bind(LOOPBACK).await.unwrap();
    let taken = other.local_addr().unwrap();
    let error = world.cold(with_tcp(&world, taken)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
    assert!(world.kernel.calls().is_empty());
}

#[tokio::test]
async fn a_second_node_on_the_same_socket_is_refused_by_the_pid_of_the_first() {
    let world = World::new();
    let node = world.node(world.listeners()).await;
    let error = world.cold(world.listeners()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
    // The first one is not disturbed.
    Client::connect(&world.socket()).await.unwrap().version().await.unwrap();
    node.stop(PATIENCE).await;
}

#[tokio::test]
async fn the_status_tells_pods_pool_calls_and_what_went_wrong() {
    let world = World::new();
    let node = world.node(world.listeners()).await;
    let mut client = Client::connect(&world.socket()).await.unwrap();
    client.add(&world.pod("web-0")).await.unwrap();
    world.kernel.inject(KernelOperation::SetupPod, When::Next(1), KernelFault::Before(ErrorKind::Invalid));
    client.add(&world.pod("web-1")).await.unwrap_err();
    until(node.agent(), |agent| free(agent) == 2).await;
    let status = client.status().await.unwrap();
    assert_eq!(status.not_ready, None);
    let state = status.state;
    assert_eq!((state.mode.as_str(), state.daemon.as_str()), ("passthrough", env!("CARGO_PKG_VERSION")));
    assert_eq!(state.pods.unwrap().active, 1);
    let pool = state.pool.unwrap();
    assert_eq!((pool.policy.as_str(), pool.low, pool.high, pool.max_nics), ("FailRotate", 2, 5, 63));
    let [a, b] = [&state.subnets[0], &state.subnets[1]];
    let of_a = a.addresses.unwrap();
    assert_eq!((a.subnet.as_str(), of_a.free, of_a.leased), ("vxnet-a", 2, 1));
    assert_eq!((b.subnet.as_str(), b.addresses.unwrap().free), ("vxnet-b", 0));
    let api = state.api.unwrap();
    assert_eq!(api.limit, 2000);
    let calls = |name: &str| api.actions.iter().find(|action| action.action == name).unwrap().calls;
    assert!(calls("create_nics") >= 1 && calls("attach_nics") >= 1, "{api:?}");
    let [error] = state.errors.as_slice() else { panic!("{:?}", state.errors) };
    assert_eq!((error.kind.as_str(), error.times), ("invalid", 1));
    assert!(error.first_unix_s >= state.started_unix_s && error.last_unix_s >= error.first_unix_s);
    drop(client);
    node.stop(PATIENCE).await;
}
