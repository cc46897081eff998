//! The way back from a lease, wherever it stopped.

use crate::error::Result;
use crate::ledger::{LeaseRecord, LeaseState};
use crate::point::Point;

use super::{Inner, datapath, shared, step};

/// Takes the lease out of the kernel, the records and the Ipam, in the order that makes every crash recoverable. The
/// caller holds the attachment's pass.
pub(super) async fn undo(inner: &Inner, record: &LeaseRecord) -> Result<()> {
    if datapath::shared(&record.plan).is_some() && record.state == LeaseState::Preparing {
        shared::undone(inner, &record.mark).await?;
    }
    inner.kernel(Point::TearDownPod, |kernel| kernel.teardown_pod(&record.plan)).await?;
    forget(inner, record).await
}

/// Ends a lease that the kernel has nothing of any more. Ending it again succeeds. Where the pod shares its NIC, that is only
/// begun: the lease ends when its address is back where it came from.
pub(super) async fn forget(inner: &Inner, record: &LeaseRecord) -> Result<()> {
    if datapath::shared(&record.plan).is_some() {
        inner.shared.releases.order(&record.mark);
        return Ok(());
    }
    // Without an answer nobody used the address, so it need not rest.
    let used = record.link.is_some() || record.state == LeaseState::Active;
    let now = inner.now();
    let end = |state: &_| Ok((step::end(state, &record.mark, used, now), ()));
    inner.ledger.transact(Point::EndLease, end).await?;
    inner.ipam.release(&record.mark, used).await
}
