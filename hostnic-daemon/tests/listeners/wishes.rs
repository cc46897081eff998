//! What pods ask for is asked of whoever knows it, and what became of that is told there.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hostnic_cni::contract::{Add, Call, CallError, Client};
use hostnic_cni::error::{CniError, Code};
use hostnic_core::attachment::PodRef;
use hostnic_core::ipam::Lease;
use hostnic_core::pods::{NicWish, PodDirectory, PodWishes};
use hostnic_core::{Error, ErrorKind, Result};
use hostnic_daemon::Node;
use tokio::sync::Notify;

use crate::world::{PATIENCE, World, call};

/// What pods ask for by their names, and what they were told.
#[derive(Debug, Default)]
struct Directory {
    told: Mutex<Vec<String>>,
    /// Somebody waits for an answer that never comes.
    unheard: Notify,
}

#[async_trait]
impl PodDirectory for Directory {
    async fn wishes(&self, pod: &PodRef) -> Result<PodWishes> {
        let made_in = |subnet: &str| PodWishes {
            nic: NicWish::Made { subnet: Some(subnet.parse().unwrap()), address: None },
            ..PodWishes::default()
        };
        match pod.name.as_str() {
            "gone" => Err(Error::new(ErrorKind::NotFound, "read pod", pod)),
            "wrong" => Err(Error::new(ErrorKind::Invalid, "read the annotations of pod", pod)),
            "unheard" => {
                self.unheard.notify_one();
                std::future::pending().await
            }
            "elsewhere" => Ok(made_in("vxnet-b")),
            "nowhere" => Ok(made_in("vxnet-none")),
            _ => Ok(PodWishes::default()),
        }
    }

    fn attached(&self, pod: &PodRef, lease: &Lease) {
        self.told.lock().unwrap().push(format!("{} has one in {}", pod.name, lease.subnet));
    }

    fn failed(&self, pod: &PodRef, error: &Error) {
        self.told.lock().unwrap().push(format!("{} has none: {}", pod.name, error.operation()));
    }
}

async fn node(world: &World) -> (Node, Arc<Directory>, Client) {
    let directory = Arc::new(Directory::default());
    let node = world.cold_asking(world.listeners(), Some(directory.clone())).await.unwrap();
    node.agent().ready().await;
    let client = Client::connect(&world.socket()).await.unwrap();
    (node, directory, client)
}

async fn refused(client: &mut Client, pod: &Add) -> CniError {
    match client.add(pod).await {
        Err(CallError::Refused(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_pod_gets_what_it_asks_for_and_its_owner_hears_of_it() {
    let world = World::new();
    let (node, directory, mut client) = node(&world).await;
    for name in ["plain", "elsewhere"] {
        client.add(&world.pod(name)).await.unwrap();
    }
    let nameless = Add { pod: None, ..world.pod("nameless") };
    client.add(&nameless).await.unwrap();
    assert_eq!(*directory.told.lock().unwrap(), ["plain has one in vxnet-a", "elsewhere has one in vxnet-b"]);
    drop(client);
    node.stop(PATIENCE).await;
}

#[tokio::test]
async fn what_cannot_be_asked_or_given_is_to_be_tried_again_and_leaves_nothing() {
    let world = World::new();
    let (node, directory, mut client) = node(&world).await;
    for name in ["gone", "wrong", "nowhere"] {
        let error = refused(&mut client, &world.pod(name)).await;
        assert_eq!(error.code, Code::TryAgainLater, "{error:?}");
        assert!(directory.told.lock().unwrap().last().unwrap().starts_with(&format!("{name} has none")));
    }
    assert_eq!(node.agent().leases(), []);
    drop(client);
    node.stop(PATIENCE).await;
}

#[tokio::test]
async fn who_waits_for_something_keeps_no_daemon_from_stopping() {
    let world = World::new();
    let (node, directory, mut client) = node(&world).await;
    let call = Call { remaining: Duration::from_secs(60), ..call() };
    let pod = Add { call, ..world.pod("unheard") };
    let (error, ()) = tokio::join!(refused(&mut client, &pod), async {
        directory.unheard.notified().await;
        tokio::time::timeout(Duration::from_secs(10), node.stop(Duration::from_secs(120))).await.unwrap();
    });
    assert_eq!(error.code, Code::TryAgainLater, "{error:?}");
    assert!(error.message.contains("the daemon stops"), "{error:?}");
}

#[tokio::test]
async fn nobody_is_waited_for_longer_than_the_plugin_has() {
    let world = World::new();
    let (node, directory, mut client) = node(&world).await;
    // Two seconds of it are for the answer.
    let call = Call { remaining: Duration::from_millis(2_200), ..call() };
    let error = refused(&mut client, &Add { call, ..world.pod("unheard") }).await;
    assert_eq!(error.code, Code::TryAgainLater, "{error:?}");
    assert!(error.message.contains("default/unheard"), "{error:?}");
    assert_eq!(directory.told.lock().unwrap().len(), 1);
    drop(client);
    node.stop(PATIENCE).await;
}
