//! The pool as an [`Ipam`]: a NIC's own address is what its pods get.

use std::net::IpAddr;

use async_trait::async_trait;
use ipnet::IpNet;

use crate::attachment::{AttachmentKey, AttachmentMark};
use crate::clock::BootTime;
use crate::error::{Error, ErrorKind, QuotaScope, Result};
use crate::ipam::{Ipam, Lease, LeaseRequest};
use crate::ledger::{AddressState, LeaseState, NicRecord, NicRole, NicState, State};
use crate::pods::NicWish;
use crate::refusal::Refusal;

use super::inflight::Inflight;
use super::plan::Shortage;
use super::{Pool, Shared, wish};

const LEASE: &str = "lease an address for";

/// A place in the queue; left by dropping it, served or not.
struct Ticket<'a> {
    shared: &'a Shared,
    number: u64,
}

impl<'a> Ticket<'a> {
    fn take(shared: &'a Shared) -> Self {
        let number = shared.inflight().take_ticket();
        shared.wake.notify_one();
        Self { shared, number }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.shared.inflight().waiting.remove(&self.number);
        // Whoever comes next in the queue may be served now, and fewer NICs may be needed.
        self.shared.tell();
        self.shared.wake.notify_one();
    }
}

/// An attachment's wait for a NIC of its own; over when this is dropped.
struct Waiting<'a> {
    shared: &'a Shared,
    mark: AttachmentMark,
}

impl<'a> Waiting<'a> {
    fn begin(shared: &'a Shared, request: &LeaseRequest) -> Self {
        let mark = request.key.mark();
        shared.inflight().wishes.begin(&mark, &request.nic);
        shared.wake.notify_one();
        Self { shared, mark }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.inflight().wishes.end(&self.mark);
        self.shared.wake.notify_one();
    }
}

/// How an attachment waits.
enum Place<'a> {
    Queue(Ticket<'a>),
    Alone(#[expect(dead_code, reason = "it is held")] Waiting<'a>),
}

#[async_trait]
impl Ipam for Pool {
    /// Nothing to do: the pool's records are the agent's.
    async fn restore(&self, _leases: &[(AttachmentMark, Lease)]) -> Result<()> {
        Ok(())
    }

    async fn allocate(&self, request: &LeaseRequest) -> Result<Lease> {
        let shared = self.shared.as_ref();
        let place = match request.nic {
            NicWish::Any => Place::Queue(Ticket::take(shared)),
            NicWish::Made { .. } | NicWish::Existing(_) => Place::Alone(Waiting::begin(shared, request)),
        };
        let mut news = shared.news.subscribe();
        let served = async {
            loop {
                news.borrow_and_update();
                let served = match &place {
                    Place::Queue(ticket) => serve(shared, request, ticket.number)?,
                    Place::Alone(_) => serve_alone(shared, request)?,
                };
                if let Some(lease) = served {
                    return Ok(lease);
                }
                // The sender lives as long as the pool, which this borrows.
                let _ = news.changed().await;
            }
        };
        match tokio::time::timeout(request.patience, served).await {
            Ok(served) => served,
            Err(_) => Err(too_late(&shared.inflight(), request)),
        }
    }

    async fn release(&self, mark: &AttachmentMark, _used: bool) -> Result<()> {
        self.shared.inflight().reserved.remove(mark);
        self.shared.tell();
        self.shared.wake.notify_one();
        Ok(())
    }
}

/// The lease of a request for a particular NIC, when that is in.
fn serve_alone(shared: &Shared, request: &LeaseRequest) -> Result<Option<Lease>> {
    let mark = request.key.mark();
    let mut inflight = shared.inflight();
    if let Some(lease) = inflight.reserved.get(&mark) {
        return Ok(Some(lease.clone()));
    }
    let found = shared.parts.ledger.read(|state| {
        if let Some(record) = state.leases.get(&mark) {
            return Some(record.lease.clone());
        }
        let ready = state.nics.values().find(|nic| {
            let in_order = nic.state == NicState::Ready && !inflight.busy.contains(&nic.id);
            in_order && nic.role.pod() == Some(&mark) && wish::fits(&request.nic, nic)
        })?;
        lease(ready, ready.addresses.first()?.address)
    });
    if let Some(lease) = found {
        inflight.reserved.insert(mark, lease.clone());
        return Ok(Some(lease));
    }
    let Some(wish) = inflight.wishes.get(&mark) else { return Ok(None) };
    if let Some(refused) = wish.refused_at_last() {
        return Err(refused.error(LEASE, &request.key));
    }
    let draws = matches!(request.nic, NicWish::Made { subnet: None, .. });
    if draws && inflight.sources.is_empty() {
        return Err(Refusal::NoSubnet.into_error(LEASE, &request.key));
    }
    let Some(shortage) = wish.shortage() else { return Ok(None) };
    match shared.parts.ledger.read(|state| hopeless(state, &inflight, shortage)) {
        Some(why) => Err(in_vain(inflight.reason.as_ref(), &request.key, &why, Some(shortage))),
        None => Ok(None),
    }
}

/// Nothing came within the patience of whoever waited.
fn too_late(inflight: &Inflight, request: &LeaseRequest) -> Error {
    let refused = inflight.wishes.get(&request.key.mark()).and_then(|wish| wish.refused());
    if let Some(refused) = refused {
        return refused.error(LEASE, &request.key);
    }
    let cause = inflight.reason.as_ref().or(inflight.attach_trouble.as_ref());
    in_vain(cause, &request.key, "no NIC became ready in time", None)
}

/// An address that could be given, how long it has been its NIC's own, and its NIC.
type Candidate<'a> = (BootTime, &'a NicRecord, IpAddr);

/// The lease of the request, when it is its turn and there is one.
fn serve(shared: &Shared, request: &LeaseRequest, ticket: u64) -> Result<Option<Lease>> {
    let mark = request.key.mark();
    let now = shared.now();
    let mut inflight = shared.inflight();
    if let Some(lease) = inflight.reserved.get(&mark) {
        return Ok(Some(lease.clone()));
    }
    if inflight.sources.is_empty() && shared.parts.ledger.read(|state| !state.leases.contains_key(&mark)) {
        return Err(Refusal::NoSubnet.into_error(LEASE, &request.key));
    }
    let ahead = inflight.waiting.range(..ticket).count();
    let found = shared.parts.ledger.read(|state| {
        if let Some(record) = state.leases.get(&mark) {
            return Some(record.lease.clone());
        }
        let rested = now.since_boot().saturating_sub(shared.config.least_cooling);
        let mut free = candidates(state, &inflight, |s| match s {
            AddressState::Free { since } => Some(*since),
            _ => None,
        });
        // What has rested for a while is better than waiting, but only when nothing else is left.
        free.extend(candidates(state, &inflight, |s| match s {
            AddressState::Cooling { since } if since.since_boot() <= rested => Some(*since),
            _ => None,
        }));
        if free.len() <= ahead {
            return None;
        }
        free.first().and_then(|(_, nic, address)| lease(nic, *address))
    });
    if let Some(lease) = found {
        inflight.reserved.insert(mark, lease.clone());
        return Ok(Some(lease));
    }
    let behind = inflight.waiting.len().saturating_sub(ahead);
    match &inflight.unserved {
        Some(unserved) if behind <= unserved.count as usize => {
            match shared.parts.ledger.read(|state| hopeless(state, &inflight, unserved.reason)) {
                Some(why) => {
                    Err(in_vain(inflight.reason.as_ref(), &request.key, &why, Some(unserved.reason)))
                }
                None => Ok(None),
            }
        }
        _ => Ok(None),
    }
}

/// Addresses whose state `since` accepts, on ready NICs that nothing is happening to, oldest first.
fn candidates<'a>(
    state: &'a State,
    inflight: &Inflight,
    since: impl Fn(&AddressState) -> Option<BootTime>,
) -> Vec<Candidate<'a>> {
    let usable = state.nics.values().filter(|nic| {
        nic.state == NicState::Ready
            && nic.role == NicRole::Pods
            && !inflight.busy.contains(&nic.id)
            && inflight.sources.contains(&nic.subnet.id)
    });
    let promised =
        |address: &IpAddr| inflight.reserved.values().any(|lease| lease.address.addr() == *address);
    let mut found: Vec<Candidate<'_>> = usable
        .flat_map(|nic| nic.addresses.iter().map(move |a| (nic, a)))
        .filter_map(|(nic, a)| Some((since(&a.state)?, nic, a.address)))
        .filter(|(_, _, address)| !promised(address))
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.id.cmp(&b.1.id)));
    found
}

fn lease(nic: &NicRecord, address: IpAddr) -> Option<Lease> {
    Some(Lease {
        nic: nic.id.clone(),
        mac: nic.mac,
        subnet: nic.subnet.id.clone(),
        // A prefix length that is valid for the subnet is valid for an address of the same family.
        address: IpNet::new(address, nic.subnet.prefix.prefix_len()).ok()?,
        gateway: nic.subnet.gateway,
    })
}

/// Why waiting is in vain; `None` where something may still come.
pub(super) fn hopeless(state: &State, inflight: &Inflight, reason: Shortage) -> Option<String> {
    match reason {
        Shortage::NodeFull { limit } => {
            let coming = state.nics.values().any(|nic| {
                let left = nic.role.pod().is_some() && !nic.has_holder() && !inflight.wishes.awaits(nic);
                let unused = nic.role.is_shared()
                    && nic.state == NicState::Ready
                    && !state.is_leased(nic)
                    && inflight.sharing.pods(&nic.subnet.id) == 0;
                left || unused
                    || matches!(nic.state, NicState::Detaching { .. } | NicState::Deleting)
                    || nic.addresses.iter().any(|a| matches!(a.state, AddressState::Cooling { .. }))
            });
            let released = state.leases.values().any(|lease| lease.state == LeaseState::Releasing);
            (!coming && !released)
                .then(|| format!("this node has all the {limit} NICs that it may have, and each has its pod"))
        }
        Shortage::NoSubnet => {
            (!inflight.may_pass()).then(|| "every subnet is full or refuses NICs".to_owned())
        }
        Shortage::OnHold => (!inflight.may_pass()).then(|| "the cloud refuses to make NICs".to_owned()),
    }
}

pub(super) fn in_vain(
    cause: Option<&(ErrorKind, String)>,
    key: &AttachmentKey,
    why: &str,
    shortage: Option<Shortage>,
) -> Error {
    let (kind, said) = match cause {
        Some((kind, said)) => (told(*kind), format!("; the cloud's last word: {said}")),
        None => (ErrorKind::Exhausted, String::new()),
    };
    let error = Error::new(kind, LEASE, key).detail(format!("{why}{said}"));
    match refusal(cause.map(|(kind, _)| *kind), shortage) {
        Some(refusal) => error.refusal_of(refusal),
        None => error,
    }
}

/// Exactly why, where that is known.
fn refusal(cause: Option<ErrorKind>, shortage: Option<Shortage>) -> Option<Refusal> {
    match (cause, shortage) {
        (_, Some(Shortage::NodeFull { limit })) => Some(Refusal::NodeFull { limit }),
        (Some(ErrorKind::Throttled { .. }), _) => Some(Refusal::Throttled),
        (Some(ErrorKind::Quota(QuotaScope::Account)), _) => Some(Refusal::AccountFull),
        (None | Some(ErrorKind::Quota(QuotaScope::Subnet)), Some(Shortage::NoSubnet)) => {
            Some(Refusal::SubnetsFull)
        }
        _ => None,
    }
}

/// What the cloud's word about a NIC is to whoever asks for an address. That a NIC or a subnet is not found, say, must
/// not be taken for the pod's namespace.
fn told(kind: ErrorKind) -> ErrorKind {
    match kind {
        ErrorKind::Quota(_) | ErrorKind::Throttled { .. } | ErrorKind::Unauthorised => kind,
        // The pool tries those again.
        ErrorKind::Transient | ErrorKind::Internal => ErrorKind::Transient,
        _ => ErrorKind::Exhausted,
    }
}
