//! Whoever enforces network policies is told a pod's address while the kernel is at work, and before the pod may run.

use std::pin::pin;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::attachment::PodRef;
use crate::error::{Error, ErrorKind, Result};
use crate::ipam::Lease;
use crate::ledger::{LeaseRecord, LeaseState};
use crate::point::Point;

use super::datapath::is_superseded;
use super::request::AddRequest;
use super::{Inner, add};

const TELL: &str = "tell network policies the address of pod";

/// What `kernel` comes to, once the pod's address is told as well, where anybody is to be told. The kernel's work is never left
/// half-way because of that; when the kernel fails, nobody is waited for.
///
/// # Errors
/// The kernel's; else, unless pods are to start all the same, why the address could not be told, of a kind with which runtimes try
/// again.
pub(super) async fn meanwhile_told<T>(
    inner: &Inner,
    request: &AddRequest,
    lease: &Lease,
    cancel: &CancellationToken,
    kernel: impl Future<Output = Result<T>>,
) -> Result<T> {
    let (mut kernel, mut telling) = (pin!(kernel), pin!(told(inner, request, lease)));
    let done = tokio::select! {
        // It is under way before the kernel has to do, which may keep the thread.
        biased;
        told = &mut telling => {
            let done = kernel.await?;
            return told.map(|()| done);
        }
        done = &mut kernel => done?,
    };
    tokio::select! {
        told = telling => told.map(|()| done),
        () = cancel.cancelled() => Err(add::called_off(request)),
    }
}

async fn told(inner: &Inner, request: &AddRequest, lease: &Lease) -> Result<()> {
    let (Some(enforcer), Some(pod)) = (&inner.enforcer, &request.pod) else { return Ok(()) };
    let address = lease.address.addr();
    let tell = enforcer.at(Point::TellEnforcer, |enforcer| enforcer.tell(pod, address));
    let error = match timeout(inner.config.policy_deadline, tell).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error,
        Err(_) => Error::new(ErrorKind::Transient, "hear from", "whoever is to tell them")
            .detail(format_args!("no answer within {:?}", inner.config.policy_deadline))
            .effect_unknown(),
    };
    if error.kind() == ErrorKind::Cancelled || !inner.config.policy_fail_open {
        return Err(untold(pod, error));
    }
    tracing::warn!(%pod, error = %error.chain(), "a pod starts before network policies know its address; they are told later");
    enforcer.unwatched().tell_later(pod, address);
    Ok(())
}

/// Where pods may start untold, those that run are told again when an agent starts: who was to be told later may have been
/// forgotten with the agent before.
pub(super) fn tell_again(inner: &Inner) {
    let Some(enforcer) = inner.enforcer.as_ref().filter(|_| inner.config.policy_fail_open) else { return };
    let running: Vec<_> = inner.ledger.read(|state| {
        let runs = |lease: &&LeaseRecord| lease.state == LeaseState::Active && !is_superseded(state, lease);
        let running = state.leases.values().filter(runs);
        running.filter_map(|lease| Some((lease.pod.clone()?, lease.lease.address.addr()))).collect()
    });
    for (pod, address) in running {
        enforcer.unwatched().tell_later(&pod, address);
    }
}

/// As a failure of the ADD, which is tried again whatever it was.
fn untold(pod: &PodRef, error: Error) -> Error {
    let kind = match error.kind() {
        kind @ (ErrorKind::Cancelled | ErrorKind::Throttled { .. } | ErrorKind::Unauthorised) => kind,
        _ => ErrorKind::Transient,
    };
    let why = match kind {
        ErrorKind::Cancelled => "it is gone, and needs none any more",
        _ => "it is not started without; it is tried again, and policyFailOpen would start it all the same",
    };
    Error::new(kind, TELL, pod).detail(why).source(error)
}
