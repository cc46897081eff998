//! Of several processes, one works.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hostnic_kube::{Candidate, Leader};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams};
use libtest_mimic::Trial;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::trial;
use crate::world::{World, eventually};

const NAME: &str = "hostnic-controller";

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![trial(world, "one_of_two_works_and_the_other_follows", |world| async move { follows(&world).await })]
}

/// Who is at work at this moment, and how many ever were at once.
#[derive(Debug, Default)]
struct Works {
    now: AtomicUsize,
    most: AtomicUsize,
    begun: [AtomicUsize; 3],
}

struct Process {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

async fn process(world: &World, number: usize, works: &Arc<Works>) -> Process {
    let candidate = Candidate {
        namespace: "kube-system".to_owned(),
        name: NAME.to_owned(),
        identity: format!("process-{number}"),
    };
    let leader = Leader::new(&world.controller_access(), candidate).await.unwrap();
    let (stop, works) = (CancellationToken::new(), works.clone());
    let work = move |ending: CancellationToken| {
        let works = works.clone();
        async move {
            let _at_work = AtWork::begin(&works);
            works.begun[number].fetch_add(1, Ordering::SeqCst);
            ending.cancelled().await;
        }
    };
    Process { task: tokio::spawn(leader.run(stop.clone(), work)), stop }
}

struct AtWork(Arc<Works>);

impl AtWork {
    fn begin(works: &Arc<Works>) -> Self {
        let now = works.now.fetch_add(1, Ordering::SeqCst) + 1;
        works.most.fetch_max(now, Ordering::SeqCst);
        Self(works.clone())
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Works {
    async fn begun(&self, number: usize, times: usize) {
        let begun = || async { (self.begun[number].load(Ordering::SeqCst) >= times).then_some(()) };
        eventually(&format!("process {number} works"), begun).await;
    }
}

async fn follows(world: &World) {
    let leases: Api<Lease> = Api::namespaced(world.admin().await, "kube-system");
    let works = Arc::new(Works::default());
    let first = process(world, 0, &works).await;
    works.begun(0, 1).await;
    let second = process(world, 1, &works).await;
    // Two renewals, in which the other one looks as well.
    let renewed = || async { leases.get(NAME).await.ok()?.spec?.renew_time };
    for _ in 0..2 {
        let before = renewed().await;
        eventually("the lease is renewed", || async { (renewed().await != before).then_some(()) }).await;
    }
    assert_eq!(works.begun[1].load(Ordering::SeqCst), 0);

    // Who ends in good order gives it up, and nobody waits for it to run out.
    let ended = Instant::now();
    first.stop.cancel();
    first.task.await.unwrap();
    works.begun(1, 1).await;
    assert!(ended.elapsed() < Duration::from_secs(10), "{:?}", ended.elapsed());

    // Who is killed says nothing: then it runs out.
    let third = process(world, 2, &works).await;
    let killed = Instant::now();
    second.task.abort();
    works.begun(2, 1).await;
    assert!(killed.elapsed() > Duration::from_secs(10), "{:?}", killed.elapsed());

    // Somebody takes it away: it is taken again, by whoever is there.
    let mut lease = leases.get(NAME).await.unwrap();
    lease.spec.as_mut().unwrap().holder_identity = Some("somebody else".to_owned());
    lease.spec.as_mut().unwrap().lease_duration_seconds = Some(1);
    leases.replace(NAME, &Default::default(), &lease).await.unwrap();
    works.begun(2, 2).await;
    third.stop.cancel();
    third.task.await.unwrap();
    assert_eq!(works.most.load(Ordering::SeqCst), 1);
    leases.delete(NAME, &DeleteParams::default()).await.unwrap();
}
