//! NICs that pods share: who waits for that of a subnet, how it is made, and what keeps it from being made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::attachment::AttachmentKey;
use crate::error::{Error, ErrorKind, QuotaScope, Result};
use crate::id::SubnetId;
use crate::ledger::{CreateIntent, LeaseRecord, LeaseState, NicRecord, NicState, State};
use crate::provider::NicAddresses;
use crate::refusal::Refusal;
use crate::route::PodDatapath;

use super::inflight::Inflight;
use super::ipam::{hopeless, in_vain};
use super::plan::Shortage;
use super::wish::Refused;
use super::{Pool, Shared, create, make};

/// The subnets in which pods wait for a NIC to share, or are about to be recorded on it.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    wanted: BTreeMap<SubnetId, Wanted>,
    /// Why none could be made there lately.
    refused: BTreeMap<SubnetId, Refused>,
}

#[derive(Debug, Default)]
struct Wanted {
    pods: u32,
    shortage: Option<Shortage>,
}

impl Sharing {
    fn begin(&mut self, subnet: &SubnetId) {
        self.wanted.entry(subnet.clone()).or_default().pods += 1;
    }

    fn end(&mut self, subnet: &SubnetId) {
        if let Some(wanted) = self.wanted.get_mut(subnet) {
            wanted.pods -= 1;
            if wanted.pods == 0 {
                self.wanted.remove(subnet);
            }
        }
    }

    /// How many pods wait in the subnet, or are about to be recorded.
    pub(super) fn pods(&self, subnet: &SubnetId) -> u32 {
        self.wanted.get(subnet).map_or(0, |wanted| wanted.pods)
    }

    /// Takes note of what the plan can do nothing for.
    pub(super) fn planned(&mut self, unshared: &[(SubnetId, Shortage)]) {
        for (subnet, wanted) in &mut self.wanted {
            wanted.shortage = unshared.iter().find(|(other, _)| other == subnet).map(|(_, why)| *why);
        }
    }

    /// One is being made: whatever kept it from that before may be over.
    pub(super) fn trying(&mut self, subnet: &SubnetId) {
        self.refused.remove(subnet);
    }

    fn refuse(&mut self, subnet: &SubnetId, why: Refused) {
        self.refused.insert(subnet.clone(), why);
    }

    /// The subnets where one is needed: for pods that wait, and for those whose NIC is lost to them.
    pub(super) fn subnets(&self, state: &State) -> BTreeSet<SubnetId> {
        let bereft = state.leases.values().filter(|lease| is_bereft(state, lease));
        let bereft = bereft.map(|lease| lease.lease.subnet.clone());
        bereft.chain(self.wanted.keys().cloned()).collect()
    }
}

/// Whether a pod that shares a NIC, and goes on living, has none any more that will carry it.
fn is_bereft(state: &State, lease: &LeaseRecord) -> bool {
    matches!(lease.plan.datapath, PodDatapath::Shared(_))
        && lease.state != LeaseState::Releasing
        && !state.nics.get(&lease.lease.nic).is_some_and(serves)
}

/// Whether pods share the NIC, or can as soon as it is in.
fn serves(nic: &NicRecord) -> bool {
    nic.role.is_shared() && matches!(nic.state, NicState::Attaching { .. } | NicState::Ready)
}

/// Whether a subnet has no NIC that pods can share, nor one on its way.
pub(super) fn is_lacking(state: &State, inflight: &Inflight, subnet: &SubnetId) -> bool {
    let there = state.nics.values().filter(|nic| serves(nic)).map(|nic| &nic.subnet.id);
    let intents = state.intents.values().chain(inflight.creates.values());
    let coming = intents.filter(|intent| intent.role.is_shared()).map(|intent| &intent.subnet);
    !there.chain(coming).any(|id| id == subnet)
}

/// A NIC that pods share, kept in the node for one pod more until its lease is recorded: dropped then, or when nothing
/// comes of it.
pub struct SharedSeat {
    shared: Arc<Shared>,
    nic: NicRecord,
}

impl SharedSeat {
    /// The NIC, as it was recorded when it was chosen.
    pub fn nic(&self) -> &NicRecord {
        &self.nic
    }
}

impl fmt::Debug for SharedSeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSeat").field("nic", &self.nic).finish_non_exhaustive()
    }
}

impl Drop for SharedSeat {
    fn drop(&mut self) {
        leave(&self.shared, &self.nic.subnet.id);
    }
}

fn leave(shared: &Shared, subnet: &SubnetId) {
    shared.inflight().sharing.end(subnet);
    shared.wake.notify_one();
}

/// A pod's wait; over when this is dropped, unless it has become a seat.
struct Waiting<'a> {
    pool: &'a Pool,
    subnet: Option<&'a SubnetId>,
}

impl<'a> Waiting<'a> {
    fn begin(pool: &'a Pool, subnet: &'a SubnetId) -> Self {
        pool.shared.inflight().sharing.begin(subnet);
        pool.shared.wake.notify_one();
        Self { pool, subnet: Some(subnet) }
    }

    fn seat(mut self, nic: NicRecord) -> SharedSeat {
        self.subnet = None;
        SharedSeat { shared: self.pool.shared.clone(), nic }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(subnet) = self.subnet {
            leave(&self.pool.shared, subnet);
        }
    }
}

impl Pool {
    /// The NIC of the node that pods of this subnet share, for one of them: at once where it is in, and otherwise when it is
    /// made and in, no later than `patience`. However many wait, one is made.
    ///
    /// Dropping the future leaves nothing but the NIC, which is given back when no pod has it for
    /// [`PoolConfig::free_period`](super::PoolConfig::free_period).
    ///
    /// # Errors
    /// As [`Ipam::allocate`](crate::Ipam::allocate), and as soon as waiting cannot help.
    pub async fn share(
        &self,
        subnet: &SubnetId,
        key: &AttachmentKey,
        patience: Duration,
    ) -> Result<SharedSeat> {
        let waiting = Waiting::begin(self, subnet);
        let mut news = self.shared.news.subscribe();
        let served = async {
            loop {
                news.borrow_and_update();
                if let Some(nic) = serve(&self.shared, subnet, key)? {
                    return Ok::<_, Error>(nic);
                }
                // The sender lives as long as the pool, which this borrows.
                let _ = news.changed().await;
            }
        };
        match tokio::time::timeout(patience, served).await {
            Ok(served) => Ok(waiting.seat(served?)),
            Err(_) => Err(too_late(&self.shared.inflight(), subnet, key)),
        }
    }
}

fn serve(shared: &Shared, subnet: &SubnetId, key: &AttachmentKey) -> Result<Option<NicRecord>> {
    let now = shared.now();
    let inflight = shared.inflight();
    let ready = shared.parts.ledger.read(|state| {
        let ready = state.nics.values().filter(|nic| {
            nic.state == NicState::Ready
                && nic.role.is_shared()
                && nic.subnet.id == *subnet
                && !inflight.busy.contains(&nic.id)
        });
        // Should there be two, that which has pods.
        ready.max_by_key(|nic| state.leases_on(&nic.id).count()).cloned()
    });
    if ready.is_some() {
        return Ok(ready);
    }
    let refused = inflight.sharing.refused.get(subnet).filter(|_| inflight.is_aside(subnet, now));
    if let Some(refused) = refused.filter(|refused| refused.is_last()) {
        return Err(refused.error(WAIT, key));
    }
    let Some(shortage) = inflight.sharing.wanted.get(subnet).and_then(|wanted| wanted.shortage) else {
        return Ok(None);
    };
    match shared.parts.ledger.read(|state| hopeless(state, &inflight, shortage)) {
        Some(why) => Err(in_vain(inflight.reason.as_ref(), key, &why, Some(shortage))),
        None => Ok(None),
    }
}

const WAIT: &str = "find a NIC to share for";

fn too_late(inflight: &Inflight, subnet: &SubnetId, key: &AttachmentKey) -> Error {
    if let Some(refused) = inflight.sharing.refused.get(subnet) {
        return refused.error(WAIT, key);
    }
    let cause = inflight.reason.as_ref().or(inflight.attach_trouble.as_ref());
    in_vain(cause, key, &format!("the NIC that pods of subnet {subnet} share was not ready in time"), None)
}

/// Carries the create of a NIC to be shared out.
pub(super) async fn make(shared: &Shared, intent: &CreateIntent) -> Result<()> {
    let result = ask(shared, intent).await;
    shared.inflight().creates.remove(&intent.token);
    result
}

async fn ask(shared: &Shared, intent: &CreateIntent) -> Result<()> {
    // The planner makes nothing before it is known.
    let Some(instance) = shared.inflight().instance.clone() else { return Ok(()) };
    let subnet = match make::subnet(shared, &instance, &intent.subnet, None).await {
        Ok(subnet) => subnet,
        Err(refused) => {
            let error = refused.error("create NICs in", &intent.subnet);
            shared.inflight().sharing.refuse(&intent.subnet, refused);
            return create::never_sent(shared, intent, &error);
        }
    };
    match create::order(shared, intent, instance.id, NicAddresses::None).await? {
        Ok(nics) => {
            shared.inflight().create_succeeded(&intent.subnet);
            create::record(shared, intent, &subnet, &nics).await
        }
        Err(error) => {
            let why = why(shared, intent, &error);
            shared.inflight().sharing.refuse(&intent.subnet, why);
            create::refused(shared, intent, &error).await
        }
    }
}

fn why(shared: &Shared, intent: &CreateIntent, error: &Error) -> Refused {
    match error.kind() {
        ErrorKind::Quota(QuotaScope::Subnet) => Refused::at_last(Refusal::SubnetFull(intent.subnet.clone())),
        ErrorKind::NotFound => {
            shared.inflight().subnets.remove(&intent.subnet);
            Refused::at_last(Refusal::UnknownSubnet(intent.subnet.clone()))
        }
        _ => Refused::by_cloud(error),
    }
}
