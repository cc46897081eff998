//! A way to the API server that can be cut or slowed down, and that counts.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// How the way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    /// Connections end, and new ones are closed at once.
    Cut,
    /// What is sent stays where it is; connections stay open.
    Stalled,
    /// Each piece of an answer is late, one after the other.
    Slow(Duration),
    /// Each request is that late, as by a long way: what is sent in one go arrives in one go.
    Far(Duration),
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
    let mut on_the_way: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
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
                let late = if let Way::Far(late) = now { late } else { Duration::ZERO };
                on_the_way.push_back((Instant::now() + late, from_client[..count].to_vec()));
            }
            () = sleep_until(on_the_way.front().map_or_else(Instant::now, |(at, _)| *at)),
                if !on_the_way.is_empty() && !stalled =>
            {
                let Some((_, piece)) = on_the_way.pop_front() else { continue };
                if server.write_all(&piece).await.is_err() { return }
            }
            read = server.read(&mut from_server), if !stalled => {
                let Ok(count @ 1..) = read else { return };
                if let Way::Slow(late) = now { tokio::time::sleep(late).await }
                if client.write_all(&from_server[..count]).await.is_err() { return }
            }
        }
    }
}
