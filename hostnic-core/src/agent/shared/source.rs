//! What whoever gives addresses is told: what the records say is held, and when that is all.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::attachment::{AttachmentMark, PodRef};
use crate::error::Error;
use crate::ipam::ClaimedAddress;
use crate::ledger::State;
use crate::point::Point;

use super::super::{Inner, datapath};

/// The pause after the first attempt that failed; doubled from then on.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Tells what is held, and, when cloud and kernel have been compared, that this is all. Nobody but pods that share NICs waits
/// for any of it.
pub(super) async fn run(inner: &Inner) {
    let side = &inner.shared;
    if side.has_source() {
        let held = inner.ledger.read(held);
        let deadline = inner.config.source_deadline;
        let mut pause = PAUSE;
        while let Err(error) =
            side.ask(Point::RestoreAddresses, deadline, |source| source.restore(&held)).await
        {
            failed(inner, error, &mut pause, "the addresses of running pods could not be told").await;
        }
    }
    side.trouble.send_replace(None);
    side.restored.send_replace(true);
    if side.has_source() {
        settle(inner).await;
    }
}

async fn settle(inner: &Inner) {
    let side = &inner.shared;
    // The sender lives as long as the agent.
    let _ = side.known.subscribe().wait_for(|known| *known).await;
    // What nobody holds goes to others then: so no NIC may ask in the name of a pod that is gone.
    side.nics.silent_about(inner, None).await;
    let (deadline, mut pause) = (inner.config.source_deadline, PAUSE);
    while let Err(error) = side.ask(Point::SettleAddresses, deadline, |source| source.settled()).await {
        failed(inner, error, &mut pause, "that all addresses of this node are known could not be told").await;
    }
}

async fn failed(inner: &Inner, error: Error, pause: &mut Duration, what: &str) {
    tracing::warn!(error = %error.chain(), ?pause, "{what}; it is tried again");
    let error = Arc::new(error);
    if *pause == PAUSE {
        inner.failures.tell(error.clone());
    }
    inner.shared.trouble.send_replace(Some(error));
    sleep(*pause).await;
    *pause = (*pause * 2).min(LONGEST_PAUSE);
}

/// What attachments hold by the records; also those that are being released, so that the release finds it.
fn held(state: &State) -> Vec<(AttachmentMark, Option<PodRef>, ClaimedAddress)> {
    let shared = state.leases.values().filter(|lease| datapath::shared(&lease.plan).is_some());
    let claimed = shared.map(|record| {
        let lease = &record.lease;
        let claimed =
            ClaimedAddress { address: lease.address, subnet: lease.subnet.clone(), gateway: lease.gateway };
        (record.mark.clone(), record.pod.clone(), claimed)
    });
    claimed.collect()
}
