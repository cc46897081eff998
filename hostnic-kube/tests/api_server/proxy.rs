//! A way to the API server that can be cut or slowed down, and that counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How the way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    /// Connections end, and new ones are closed at once.
    Cut,
    /// What is sent stays where it is; connections stay open.
    Stalled,
    /// Each piece of an answer is late.
    Slow(Duration),
}

pub(crate) struct Proxy {
    pub(crate) port: u16,
    way: watch::Sender<Way>,
    asked: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start(server: u16, way: Way) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (way, now) = watch::channel(way);
        let asked = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&asked);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (now, counted) = (now.clone(), Arc::clone(&counted));
                connections.spawn(Box::pin(carry(client, server, now, counted)));
            }
        });
        Self { port, way, asked, _tasks: tasks }
    }

    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }

    /// How many bytes the clients have sent so far: none more means that nothing more was asked.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn carry(mut client: TcpStream, server: u16, mut way: watch::Receiver<Way>, asked: Arc<AtomicU64>) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    let (mut from_client, mut from_server) = ([0; 16 * 1024], [0; 16 * 1024]);
    loop {
        let now = *way.borrow_and_update();
        if now == Way::Cut {
            return;
        }
        let stalled = now == Way::Stalled;
        tokio::select! {
            changed = way.changed() => if changed.is_err() { return },
            read = client.read(&mut from_client), if !stalled => {
                let Ok(count @ 1..) = read else { return };
                asked.fetch_add(count as u64, Ordering::SeqCst);
                if server.write_all(&from_client[..count]).await.is_err() { return }
            }
            read = server.read(&mut from_server), if !stalled => {
                let Ok(count @ 1..) = read else { return };
                if let Way::Slow(late) = now { tokio::time::sleep(late).await }
                if client.write_all(&from_server[..count]).await.is_err() { return }
            }
        }
    }
}
