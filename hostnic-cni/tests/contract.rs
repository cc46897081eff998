//! The client and the server of the contract, with each other.

#![allow(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hostnic_cni::contract::{
    Add, Call, CallError, Check, Cleaned, Client, ControlService, Del, Endpoint, Freed, Gc, Interface,
    NodeService, NodeStatus, TcpLimits, serve, serve_owner, serve_tcp, v1,
};
use hostnic_cni::error::CniError;
use hostnic_core::clock::BootTime;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{Notify, oneshot};

use support::{Answers, FakeDaemon};

fn add() -> Add {
    Add {
        key: hostnic_core::attachment::AttachmentKey {
            network: "net".parse().unwrap(),
            container: "c1".parse().unwrap(),
            ifname: "eth0".parse().unwrap(),
        },
        netns: hostnic_core::attachment::NetnsPath::new("/run/netns/a").unwrap(),
        pod: None,
        routes: vec![],
        mtu: None,
        is_gateway: false,
        ip_masq: false,
        call: Call { started_at: BootTime::default(), remaining: Duration::from_secs(5) },
    }
}

/// Never ends an ADD, and tells when one began and when its future was dropped.
#[derive(Default)]
struct Waiting {
    began: Mutex<Option<oneshot::Sender<()>>>,
    dropped: Mutex<Option<oneshot::Sender<()>>>,
}

#[async_trait]
impl NodeService for Waiting {
    async fn add(&self, _: Add) -> Result<Interface, CniError> {
        // Its receiver learns of the drop.
        let _guard = self.dropped.lock().unwrap().take();
        self.began.lock().unwrap().take().map(|began| began.send(()));
        std::future::pending().await
    }
    async fn del(&self, _: Del) -> Result<(), CniError> {
        Ok(())
    }
    async fn check(&self, _: Check) -> Result<Interface, CniError> {
        Ok(support::interface())
    }
    async fn gc(&self, _: Gc) -> Result<Freed, CniError> {
        Ok(Freed::default())
    }
    async fn status(&self) -> NodeStatus {
        NodeStatus::default()
    }
    async fn nics(&self) -> Result<Vec<v1::Nic>, CniError> {
        Ok(vec![])
    }
    async fn pods(&self) -> Result<Vec<v1::PodAttachment>, CniError> {
        Ok(vec![])
    }
    fn version(&self) -> String {
        String::new()
    }
}

#[tokio::test]
async fn an_add_whose_caller_goes_away_is_dropped_in_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let (began, has_begun) = oneshot::channel();
    let (dropped, was_dropped) = oneshot::channel();
    let node = Waiting { began: Mutex::new(Some(began)), dropped: Mutex::new(Some(dropped)) };
    let server =
        tokio::spawn(serve(UnixListener::bind(&socket).unwrap(), Arc::new(node), std::future::pending()));
    let caller = tokio::spawn(async move {
        let mut client = Client::connect(&socket).await.unwrap();
        client.add(&add()).await
    });
    has_begun.await.unwrap();
    caller.abort();
    // The sender goes with the ADD's future.
    assert!(was_dropped.await.is_err());
    server.abort();
}

#[tokio::test]
async fn a_server_told_to_stop_ends_when_its_last_caller_has_gone() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let (stop, stopped) = oneshot::channel::<()>();
    let until = async { drop(stopped.await) };
    let listener = UnixListener::bind(&socket).unwrap();
    let server = tokio::spawn(serve(listener, Arc::new(Waiting::default()), until));
    let mut client = Client::connect(&socket).await.unwrap();
    client.status().await.unwrap();
    stop.send(()).unwrap();
    drop(client);
    server.await.unwrap().unwrap();
}

#[test]
fn listings_and_the_version_arrive_and_so_does_the_reason_of_a_refusal() {
    let daemon = FakeDaemon::start(Answers::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = Client::connect(&daemon.socket()).await.unwrap();
        assert_eq!(client.nics().await.unwrap()[0].id, "nic-1");
        assert_eq!(client.version().await.unwrap(), "0.0.0-test");
        let Err(CallError::Refused(reason)) = client.pods().await else { panic!("not refused") };
        assert_eq!(reason.code.number(), 11);
    });
}

#[test]
fn commands_are_refused_to_who_comes_by_tcp_and_where_nobody_takes_them() {
    let daemon = FakeDaemon::start(Answers::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tcp = Endpoint::Tcp(daemon.tcp().to_string().parse().unwrap());
        for endpoint in [tcp, Endpoint::Socket(daemon.socket())] {
            let mut client = Client::connect_to(&endpoint).await.unwrap();
            let refused = [client.clean(Duration::from_secs(5)).await.map(drop), client.shutdown().await];
            for refusal in refused {
                let Err(CallError::Refused(reason)) = refusal else { panic!("{endpoint}: {refusal:?}") };
                assert_eq!(reason.code.number(), 103);
                assert!(reason.message.contains("unix socket"), "{reason}");
            }
            // All else is served.
            assert_eq!(client.version().await.unwrap(), "0.0.0-test");
        }
    });
}

/// Ends an ADD when it is told to.
#[derive(Default)]
struct Slow {
    began: Notify,
    end: Notify,
}

#[async_trait]
impl NodeService for Slow {
    async fn add(&self, _: Add) -> Result<Interface, CniError> {
        self.began.notify_one();
        self.end.notified().await;
        Ok(support::interface())
    }
    async fn del(&self, _: Del) -> Result<(), CniError> {
        Ok(())
    }
    async fn check(&self, _: Check) -> Result<Interface, CniError> {
        Ok(support::interface())
    }
    async fn gc(&self, _: Gc) -> Result<Freed, CniError> {
        Ok(Freed::default())
    }
    async fn status(&self) -> NodeStatus {
        NodeStatus::default()
    }
    async fn nics(&self) -> Result<Vec<v1::Nic>, CniError> {
        Ok(vec![])
    }
    async fn pods(&self) -> Result<Vec<v1::PodAttachment>, CniError> {
        Ok(vec![])
    }
    fn version(&self) -> String {
        "slow".to_owned()
    }
}

/// What nobody should have to wait for, and what fails a test that would hang.
const IDLE: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(30);

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap()
}

/// Waits until the server closes the connection, whatever it says before.
async fn until_closed(mut silent: TcpStream) {
    let mut said = Vec::new();
    let _ = in_time(silent.read_to_end(&mut said)).await;
}

#[tokio::test]
async fn who_comes_by_tcp_and_asks_nothing_is_cut_off_and_who_waits_for_an_answer_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let slow = Arc::new(Slow::default());
    let limits = TcpLimits { idle: IDLE, ..TcpLimits::default() };
    let server = tokio::spawn(serve_tcp(listener, slow.clone(), limits, std::future::pending()));
    let endpoint = Endpoint::Tcp(address.to_string().parse().unwrap());
    let mut client = Client::connect_to(&endpoint).await.unwrap();
    let adding = tokio::spawn(async move { client.add(&add()).await.map(|interface| (client, interface)) });
    in_time(slow.began.notified()).await;
    // The second comes when the first is over: two times as long as a connection may be idle.
    for _ in 0..2 {
        until_closed(TcpStream::connect(address).await.unwrap()).await;
    }
    slow.end.notify_one();
    let (client, interface) = in_time(adding).await.unwrap().unwrap();
    assert_eq!(interface, support::interface());
    drop(client);
    server.abort();
}

#[tokio::test]
async fn silent_connections_by_tcp_keep_others_waiting_no_longer_than_they_may_be_idle() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = TcpLimits { connections: 2, idle: IDLE };
    let node = Arc::new(Slow::default());
    let server = tokio::spawn(serve_tcp(listener, node, limits, std::future::pending()));
    let begun = tokio::time::Instant::now();
    let mut silent = Vec::new();
    for _ in 0..2 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let endpoint = Endpoint::Tcp(address.to_string().parse().unwrap());
    let served = async {
        let mut client = Client::connect_to(&endpoint).await.unwrap();
        client.version().await.unwrap()
    };
    assert_eq!(in_time(served).await, "slow");
    assert!(begun.elapsed() >= IDLE, "there were places for two");
    for silent in silent {
        until_closed(silent).await;
    }
    server.abort();
}

/// Notes the commands that it was given.
#[derive(Default)]
struct Commands(Mutex<Vec<Duration>>);

#[async_trait]
impl ControlService for Commands {
    async fn clean(&self, patience: Duration) -> Result<Cleaned, CniError> {
        self.0.lock().unwrap().push(patience);
        Ok(Cleaned { given_back: 3, left: 1, held: 2 })
    }
    async fn shutdown(&self) -> Result<(), CniError> {
        Ok(())
    }
}

#[tokio::test]
async fn commands_arrive_by_the_owners_socket() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let commands = Arc::new(Commands::default());
    let listener = UnixListener::bind(&socket).unwrap();
    let node = Arc::new(Waiting::default());
    let server = tokio::spawn(serve_owner(listener, node, commands.clone(), std::future::pending()));
    let mut client = Client::connect(&socket).await.unwrap();
    let cleaned = client.clean(Duration::from_secs(7)).await.unwrap();
    assert_eq!(cleaned, Cleaned { given_back: 3, left: 1, held: 2 });
    client.shutdown().await.unwrap();
    assert_eq!(*commands.0.lock().unwrap(), [Duration::from_secs(7)]);
    server.abort();
}
