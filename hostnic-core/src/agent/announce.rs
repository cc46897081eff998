//! Pods behind veths are announced once more a while after their ADD: who missed the first time would go on sending to the
//! NIC that had the address before.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::attachment::AttachmentMark;
use crate::ledger::LeaseState;
use crate::point::Point;
use crate::route::PodPlan;

use super::{Inner, datapath};

/// How long after the ADD.
const LATER: Duration = Duration::from_secs(1);

/// Pods that are to be announced, in the order in which they are due.
pub(super) type Due = mpsc::UnboundedReceiver<(Instant, AttachmentMark)>;

/// Where pods are left that are to be announced. There are never more of them than ADDs in a second.
#[derive(Debug)]
pub(super) struct Announcer(mpsc::UnboundedSender<(Instant, AttachmentMark)>);

impl Announcer {
    pub(super) fn new() -> (Self, Due) {
        let (sender, due) = mpsc::unbounded_channel();
        (Self(sender), due)
    }

    /// Has a pod that was just set up announced again. No effect where its NIC was moved into it: the pod's own kernel does it.
    pub(super) fn later(&self, plan: &PodPlan) {
        if datapath::veth(plan).is_some() || datapath::shared(plan).is_some() {
            // Nobody listens any more where the agent is stopping.
            drop(self.0.send((Instant::now() + LATER, plan.mark.clone())));
        }
    }

    /// Has a pod announced again as soon as may be, whose NIC is another one by now.
    pub(super) fn now(&self, plan: &PodPlan) {
        // As above.
        drop(self.0.send((Instant::now(), plan.mark.clone())));
    }
}

/// Announces what is due, until it is dropped.
pub(super) async fn run(inner: &Inner, mut due: Due) {
    while let Some((at, mark)) = due.recv().await {
        sleep_until(at).await;
        let lease = inner.ledger.read(|state| state.leases.get(&mark).cloned());
        // After its DEL began the address is not the pod's to be announced.
        let Some(lease) = lease.filter(|lease| lease.state == LeaseState::Active) else { continue };
        let told = inner.kernel(Point::AnnouncePodAgain, |kernel| kernel.announce_pod(&lease.plan)).await;
        if let Err(error) = told {
            tracing::debug!(%mark, error = %error.chain(), "a pod's address could not be announced again");
        }
    }
}
