//! Does the work on links that the state machine asks for, when it is due.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::Notify;

use super::cloud::Shared;
use super::job::{Plugged, Work};
use super::plug::Plug;
use crate::error::Result;

/// What has come to its end.
enum Ended {
    Job,
    Errand,
}

/// Runs until the cloud is gone: the links of each job at once, all else one after the other.
pub(super) async fn drive(cloud: Weak<Shared>, plug: Arc<dyn Plug>, wake: Arc<Notify>) {
    let mut running: FuturesUnordered<BoxFuture<'static, Ended>> = FuturesUnordered::new();
    let mut errands = VecDeque::new();
    let mut errand_runs = false;
    loop {
        let Some((work, due)) = cloud.upgrade().map(|cloud| cloud.take_work()) else { return };
        for work in work {
            if matches!(work, Work::Job { .. }) {
                running.push(Box::pin(run_job(work, Arc::clone(&plug), Weak::clone(&cloud))));
            } else {
                errands.push_back(work);
            }
        }
        if !errand_runs && let Some(errand) = errands.pop_front() {
            errand_runs = true;
            running.push(Box::pin(run_errand(errand, Arc::clone(&plug))));
        }
        tokio::select! {
            () = wake.notified() => {}
            () = sleep_until(due) => {}
            Some(ended) = running.next() => errand_runs &= matches!(ended, Ended::Job),
        }
    }
}

async fn sleep_until(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

async fn run_job(work: Work, plug: Arc<dyn Plug>, cloud: Weak<Shared>) -> Ended {
    let Work::Job { id, instance, plug: plugging, nics } = work else { return Ended::Job };
    let mut plugged = Plugged::default();
    for (nic, sources) in nics {
        let done = if plugging {
            plug.plug(&instance, &nic, &sources).await
        } else {
            plug.unplug(&instance, &nic).await
        };
        match done {
            Ok(()) => plugged.done.push(nic),
            Err(error) => _ = plugged.failed.insert(nic.id, error.chain().to_string()),
        }
    }
    if let Some(cloud) = cloud.upgrade() {
        cloud.end_job(&id, plugged);
    }
    Ended::Job
}

async fn run_errand(work: Work, plug: Arc<dyn Plug>) -> Ended {
    let done: Result<()> = match &work {
        Work::Job { .. } => Ok(()),
        Work::Plug { instance, nic, sources } => plug.plug(instance, nic, sources).await,
        Work::Unplug { instance, nic } => plug.unplug(instance, nic).await,
        Work::Sources { nic, sources } => plug.set_sources(nic, sources).await,
    };
    if let Err(error) = done {
        // Nobody waits for it: the cloud went on without asking.
        tracing::warn!(?work, error = %error.chain(), "the simulated cloud could not change a link");
    }
    Ended::Errand
}
