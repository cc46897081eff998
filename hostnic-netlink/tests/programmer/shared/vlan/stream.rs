//! Packets from one place to another, every few milliseconds, none of which may be lost.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::veth::world::{socket, speak};
use crate::world::eventually;

const EVERY: Duration = Duration::from_millis(5);

/// A stream under way.
pub(super) struct Stream {
    name: String,
    sent: Arc<AtomicU64>,
    heard: Arc<AtomicU64>,
    /// The longest time that passed between two packets that were heard, in microseconds.
    gap: Arc<AtomicU64>,
    mouth: JoinSet<()>,
    _ear: JoinSet<()>,
}

impl Stream {
    pub(super) async fn start(name: &str, from: &Path, to: &Path, at: SocketAddr) -> Self {
        let [sent, heard, gap] = [(); 3].map(|()| Arc::new(AtomicU64::new(0)));
        let (ear, mouth) = (socket(to, at).await, speak(from, "0.0.0.0").await);
        mouth.connect(at).await.unwrap();
        let (mut hears, mut speaks) = (JoinSet::new(), JoinSet::new());
        let (count, longest) = (heard.clone(), gap.clone());
        hears.spawn(async move {
            let mut last = None::<Instant>;
            loop {
                ear.recv(&mut [0; 16]).await.unwrap();
                let now = Instant::now();
                let passed = last.replace(now).map_or(Duration::ZERO, |last| now - last);
                longest.fetch_max(passed.as_micros().try_into().unwrap(), Relaxed);
                count.fetch_add(1, Relaxed);
            }
        });
        let count = sent.clone();
        speaks.spawn(async move {
            let mut tick = interval(EVERY);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                // Refused is lost: it counts as sent.
                let _ = mouth.send(b"packet").await;
                count.fetch_add(1, Relaxed);
            }
        });
        Self { name: name.to_owned(), sent, heard, gap, mouth: speaks, _ear: hears }
    }

    /// Ends it, and answers how many were sent, and the longest time without one.
    pub(super) async fn end(mut self) -> (u64, Duration) {
        self.mouth.shutdown().await;
        let what = || {
            format!("{}: {} of {} packets came", self.name, self.heard.load(Relaxed), self.sent.load(Relaxed))
        };
        eventually(&what(), || self.heard.load(Relaxed) == self.sent.load(Relaxed)).await;
        (self.sent.load(Relaxed), Duration::from_micros(self.gap.load(Relaxed)))
    }
}
