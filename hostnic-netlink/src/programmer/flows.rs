//! Ends what connection tracking knows of pods that are gone, of all that end at about the same time in one walk through
//! its table.

use std::net::IpAddr;
use std::time::Duration;

use hostnic_core::point::{Point, Points};
use hostnic_core::{Error, ErrorKind, Result};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::conntrack::Conntrack;
use crate::netns::Netns;

/// Walks take at most this part of the time: the table is as long on a small node as on a large one.
const SHARE: u32 = 100;
/// The longest pause between two walks.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// Somebody who waits for the next walk.
#[derive(Debug)]
struct Asked {
    addresses: Vec<IpAddr>,
    done: oneshot::Sender<()>,
}

/// Connection tracking of the node, asked by the endings of many pods. Its task ends when this is dropped.
#[derive(Debug)]
pub(super) struct Flows {
    asked: mpsc::UnboundedSender<Asked>,
    _task: JoinSet<()>,
}

impl Flows {
    /// Begins to wait for pods that end in the node whose namespace this is.
    pub(super) fn follow(node: Netns, points: Points) -> Self {
        let (asked, queue) = mpsc::unbounded_channel();
        let mut task = JoinSet::new();
        task.spawn(run(Conntrack::new(node), points, queue));
        Self { asked, _task: task }
    }

    /// Lets connection tracking forget what pods with these addresses did: a later pod with such an address is not taken for
    /// them, nor are answers sent to it. Returns after a walk that began after this was called; where there was one just
    /// before, that is within a second. What cannot be forgotten ends by itself; nobody's end fails for it.
    ///
    /// # Errors
    /// `Cancelled` when whoever walks is stopping: flows may be left.
    pub(super) async fn forget(&self, addresses: Vec<IpAddr>) -> Result<()> {
        if addresses.is_empty() {
            return Ok(());
        }
        let stopping = || {
            Error::new(ErrorKind::Cancelled, "forget flows of", "a pod that is gone")
                .detail("the node is stopping")
        };
        let (done, walked) = oneshot::channel();
        self.asked.send(Asked { addresses, done }).map_err(|_| stopping())?;
        walked.await.map_err(|_| stopping())
    }
}

async fn run(conntrack: Conntrack, points: Points, mut queue: mpsc::UnboundedReceiver<Asked>) {
    let mut asked = Vec::new();
    while queue.recv_many(&mut asked, usize::MAX).await > 0 {
        let addresses: Vec<IpAddr> = asked.iter().flat_map(|asked| asked.addresses.iter().copied()).collect();
        let begun = Instant::now();
        if let Err(error) = points.pass(Point::ForgetFlows, || conntrack.forget(&addresses)).await {
            tracing::warn!(error = %error.chain(), "the flows of pods that are gone are remembered until they time out");
        }
        // Whoever does not wait any more needs no answer.
        asked.drain(..).for_each(|asked| asked.done.send(()).unwrap_or_default());
        sleep(rest(begun.elapsed())).await;
    }
}

/// How long to wait for more pods that end after a walk that took so long.
fn rest(walk: Duration) -> Duration {
    walk.saturating_mul(SHARE).min(LONGEST_REST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_table_is_walked_through_once_a_second_and_nobody_waits_where_nothing_is_tracked() {
        assert_eq!(rest(Duration::from_micros(100)), Duration::from_millis(10));
        assert_eq!(rest(Duration::from_millis(30)), LONGEST_REST);
    }
}
