//! Pods that share the NIC of their subnet: their addresses, the NIC, and the way back of both.

mod found;
mod nics;
mod plan;
mod release;
mod source;
mod status;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::attachment::{AttachmentKey, AttachmentMark, PodRef};
use crate::error::{Error, ErrorKind, Result};
use crate::id::NicId;
use crate::ipam::{AddressRequest, AddressSource, ClaimedAddress, Lease};
use crate::ledger::{LeaseRecord, LeaseState, State};
use crate::pods::NicWish;
use crate::point::{Guarded, Point, Points};
use crate::pool::SharedSeat;
use crate::refusal::Refusal;
use crate::route::{Hairpin, NicTable};

use super::request::AddRequest;
use super::{Inner, add, datapath};

pub(super) use found::{rebuild, tell_held};
pub(super) use nics::{Nics, compare};
pub(super) use plan::table_of;
pub use release::ReleaseCounts;
pub(super) use release::Releases;
pub(super) use status::shown;
pub use status::{SharedNicPhase, SharedNicStatus};

/// What an agent has for pods that share NICs.
#[derive(Debug)]
pub(super) struct SharedSide {
    /// Where their addresses come from; `None` where there are to be no such pods.
    source: Option<Guarded<dyn AddressSource>>,
    pub(super) nics: Nics,
    pub(super) releases: Releases,
    /// Whether the source knows what the records say.
    restored: watch::Sender<bool>,
    /// Why not, where it was tried.
    trouble: watch::Sender<Option<Arc<Error>>>,
    /// Whether it has been told of all that pods of this node hold, found ones included.
    known: watch::Sender<bool>,
    /// Pods without a lease of which it was told.
    told: Mutex<BTreeSet<AttachmentMark>>,
}

/// How long a comparison waits until what the records say has been told.
const FOUND_PATIENCE: Duration = Duration::from_secs(1);

/// What of it is to be done by a task of its own.
pub(super) type Orders = release::Queue;

impl SharedSide {
    pub(super) fn new(source: Option<Arc<dyn AddressSource>>, points: Points) -> (Self, Orders) {
        let (releases, orders) = Releases::new();
        let side = Self {
            source: source.map(|source| Guarded::new(source, points)),
            nics: Nics::default(),
            releases,
            restored: watch::Sender::new(false),
            trouble: watch::Sender::new(None),
            known: watch::Sender::new(false),
            told: Mutex::default(),
        };
        (side, orders)
    }

    /// Waits until the source knows what the records say: nothing may be claimed or released before.
    pub(super) async fn restored(&self) {
        // The sender lives as long as this.
        let _ = self.restored.subscribe().wait_for(|restored| *restored).await;
    }

    /// Why pods cannot be served, where that is so.
    pub(super) fn trouble(&self) -> Option<String> {
        if *self.restored.borrow() {
            return None;
        }
        let why = self.trouble.borrow().as_ref().map(|error| error.chain().to_string());
        Some(why.unwrap_or_else(|| "the addresses of running pods are being told".to_owned()))
    }

    /// Says that the source has been told of all that pods of this node hold.
    pub(super) fn all_is_known(&self) {
        self.known.send_if_modified(|known| !std::mem::replace(known, true));
    }

    /// Whether there is anybody to tell.
    pub(super) fn has_source(&self) -> bool {
        self.source.is_some()
    }

    /// Asks the source, which is there, for no longer than `deadline`.
    async fn ask<'a, T, F: Future<Output = Result<T>>>(
        &'a self,
        point: Point,
        deadline: Duration,
        call: impl FnOnce(&'a dyn AddressSource) -> F,
    ) -> Result<T> {
        let Some(source) = &self.source else {
            return Err(Error::new(ErrorKind::Unsupported, "ask for", "addresses of pods that share a NIC")
                .detail("there is nobody to ask on this node"));
        };
        match timeout(deadline, source.at(point, call)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::new(ErrorKind::Transient, "ask for", "addresses of pods that share a NIC")
                .detail(format!("no answer within {deadline:?}"))
                .effect_unknown()),
        }
    }

    /// Tells the source what a pod holds that nobody had recorded.
    pub(super) async fn restore_found(
        &self,
        inner: &Inner,
        held: &[(AttachmentMark, Option<PodRef>, ClaimedAddress)],
    ) -> Result<()> {
        if self.source.is_none() || held.is_empty() {
            return Ok(());
        }
        // A comparison serves other pods, too, and is made again.
        if timeout(FOUND_PATIENCE, self.restored()).await.is_err() {
            return Err(Error::new(ErrorKind::Transient, "tell", "the addresses of pods that were found")
                .detail(self.trouble().unwrap_or_default()));
        }
        self.ask(Point::RestoreFound, inner.config.source_deadline, |source| source.restore(held)).await
    }

    /// Tells the source what pods hold that are not in sight; what it was told before it is not told again.
    pub(super) async fn tell_unseen(
        &self,
        inner: &Inner,
        held: &[(AttachmentMark, Option<PodRef>, ClaimedAddress)],
    ) -> Result<()> {
        let new: Vec<_> = {
            let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            held.iter().filter(|(mark, ..)| !told.contains(mark)).cloned().collect()
        };
        self.restore_found(inner, &new).await?;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        *told = held.iter().map(|(mark, ..)| mark.clone()).collect();
        Ok(())
    }

    /// A routing table for a NIC that has none; `None` where all are taken.
    pub(super) fn free_table(inner: &Inner, state: &State) -> Option<NicTable> {
        match &inner.veth {
            Some(side) => side.free_table(inner, state),
            None => datapath::free_table(NicTable::FIRST, &BTreeSet::new(), state),
        }
    }
}

/// Keeps everything of such pods going that nobody waits for, until it is dropped.
pub(super) async fn run(inner: &Inner, orders: Orders) {
    tokio::join!(nics::run(inner), release::run(inner, orders), source::run(inner));
}

/// Refuses what cannot be a pod's that shares its NIC, and answers the pod.
pub(super) fn offered<'a>(inner: &Inner, request: &'a AddRequest) -> Result<&'a PodRef> {
    let refused = |kind, why: String| Err(Error::new(kind, "add", &request.key).detail(why));
    if !inner.shared.has_source() {
        return refused(
            ErrorKind::Unsupported,
            "pods of this node cannot share a NIC; ask for another way, or for none".to_owned(),
        );
    }
    if inner.veth.as_ref().is_some_and(|side| side.config().hairpin == Hairpin::On) {
        return refused(
            ErrorKind::Unsupported,
            "pods cannot share a NIC on a node with hairpin on; switch it off, or ask for another way"
                .to_owned(),
        );
    }
    if request.wishes.nic != NicWish::Any {
        return refused(
            ErrorKind::Invalid,
            "it asks for a NIC of its own and for one that is shared; leave one of the two out".to_owned(),
        );
    }
    if let Some(route) = request.routes.first() {
        return refused(
            ErrorKind::Unsupported,
            format!(
                "route {} cannot be one pod's where pods share a NIC; leave routes out of the network's configuration",
                route.destination
            ),
        );
    }
    match &request.pod {
        Some(pod) => Ok(pod),
        None => refused(
            ErrorKind::Invalid,
            "the runtime did not say which pod it is, and addresses belong to pods; it has to pass the pod's name and namespace"
                .to_owned(),
        ),
    }
}

/// Waits until an address that the attachment had before is back: claimed meanwhile, it would be taken away again.
pub(super) async fn until_released(
    inner: &Inner,
    request: &AddRequest,
    mark: &AttachmentMark,
    cancel: &CancellationToken,
) -> Result<()> {
    if !inner.shared.releases.is_pending(mark) {
        return Ok(());
    }
    tokio::select! {
        () = inner.shared.releases.ended(mark) => Ok(()),
        () = cancel.cancelled() => Err(add::called_off(request)),
        () = tokio::time::sleep(request.patience) => {
            Err(Error::new(ErrorKind::Transient, "add", &request.key)
                .detail("the address that it had before is not given back yet; try again"))
        }
    }
}

/// An address for the pod, and a place on the NIC of its subnet. After an error, or when it is called off, the address is on its
/// way back.
pub(super) async fn allocate(
    inner: &Inner,
    request: &AddRequest,
    pod: &PodRef,
    cancel: &CancellationToken,
) -> Result<(Lease, SharedSeat)> {
    let found = tokio::select! {
        found = find(inner, request, pod) => found,
        () = cancel.cancelled() => Err(add::called_off(request)),
    };
    if found.is_err() {
        // The future may have been dropped just as something was claimed.
        inner.shared.releases.order(&request.key.mark());
    }
    found
}

async fn find(inner: &Inner, request: &AddRequest, pod: &PodRef) -> Result<(Lease, SharedSeat)> {
    let end = Instant::now() + request.patience;
    let left = || end.saturating_duration_since(Instant::now());
    if timeout(left(), inner.shared.restored()).await.is_err() {
        let why = inner.shared.trouble().unwrap_or_default();
        return Err(Error::new(ErrorKind::Transient, "add", &request.key).detail(why));
    }
    let wanted = AddressRequest {
        key: request.key.clone(),
        pod: pod.clone(),
        candidates: request.wishes.addresses.clone(),
        patience: left(),
    };
    // It keeps to the request's patience itself, and says then why there is none.
    let deadline = wanted.patience + inner.config.source_deadline;
    let claimed = inner.shared.ask(Point::ClaimAddress, deadline, |source| source.claim(&wanted)).await?;
    until_ended(inner, &request.key.mark(), &claimed).await;
    let seated = async {
        let seat = inner.pool.share(&claimed.subnet, &request.key, left()).await?;
        Ok((lease(&request.key, claimed, &seat)?, seat))
    };
    let seated = seated.await;
    if seated.is_err() {
        inner.tally.claimed_in_vain();
    }
    seated
}

/// An address that has just been given back is nobody else's in the records before the lease is over of whoever had it: after a
/// crash it would be given back once more.
async fn until_ended(inner: &Inner, mark: &AttachmentMark, claimed: &ClaimedAddress) {
    let before = inner.ledger.read(|state| {
        let same = |lease: &&LeaseRecord| {
            lease.state == LeaseState::Releasing
                && lease.mark != *mark
                && lease.lease.address.addr() == claimed.address.addr()
        };
        state.leases.values().find(same).map(|lease| lease.mark.clone())
    });
    if let Some(before) = before {
        inner.shared.releases.ended(&before).await;
    }
}

/// # Errors
/// `Invalid` for an address that is not of the NIC's subnet: the kernel would not know where it belongs.
fn lease(key: &AttachmentKey, claimed: ClaimedAddress, seat: &SharedSeat) -> Result<Lease> {
    let nic = seat.nic();
    let address: IpAddr = claimed.address.addr();
    if !nic.subnet.prefix.contains(&address) {
        let (subnet, prefix) = (claimed.subnet, nic.subnet.prefix);
        return Err(Refusal::AddressOutside { address, subnet, prefix }.into_error("add", key));
    }
    Ok(Lease {
        nic: nic.id.clone(),
        mac: nic.mac,
        subnet: claimed.subnet,
        address: claimed.address,
        gateway: claimed.gateway,
    })
}

/// Waits until the kernel has the NIC for pods; at once where it has.
pub(super) async fn in_place(
    inner: &Inner,
    request: &AddRequest,
    nic: &NicId,
    cancel: &CancellationToken,
) -> Result<()> {
    tokio::select! {
        biased;
        done = inner.shared.nics.in_place(nic) => done,
        () = cancel.cancelled() => Err(add::called_off(request)),
        () = tokio::time::sleep(request.patience) => {
            Err(Error::new(ErrorKind::Transient, "add", &request.key)
                .detail("the NIC that it shares was not set up in time"))
        }
    }
}

/// Records that an ADD came to nothing, so that its address goes back however long that takes.
pub(super) async fn undone(inner: &Inner, mark: &AttachmentMark) -> Result<()> {
    let now = inner.now();
    inner.ledger.transact(Point::UndoShared, |state| Ok((plan::undone(state, mark, now), ()))).await
}
