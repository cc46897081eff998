//! Pods for which there is no NIC wait for their turn, where an orchestrator has placed them.
//!
//! Such a pod cannot go elsewhere any more. An ADD that failed at once would be made again and again, each time with a sandbox of its
//! own, and hardly at the moment when a NIC becomes free.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::attachment::PodRef;
use crate::error::{Error, ErrorKind, Result};
use crate::pods::PodDirectory;
use crate::pool::Supply;
use crate::refusal::Refusal;

/// What a pod that waits waits for, and for how long.
#[derive(Debug)]
pub struct Turn {
    /// Where it is told why it waits, and from where it is known when it is not to run any more.
    pub pods: Arc<dyn PodDirectory>,
    /// The pod.
    pub pod: PodRef,
    /// What the node has left ([`Agent::supply`](crate::agent::Agent::supply)).
    pub supply: watch::Receiver<Supply>,
    /// When the waiting is over.
    pub until: Instant,
}

impl Turn {
    /// Tries again whenever there may be a NIC, as long as there was none; `attempt` hears how long it may take. The pod's owner is
    /// told at once that it waits.
    ///
    /// Who waits longest has no right to be first. Dropping the future drops the attempt that runs.
    ///
    /// # Errors
    /// Those of the last attempt, when the time is over and when the pod is not to run any more; `Cancelled` when an attempt ran
    /// at that moment, which is dropped; at once what does not pass with time.
    pub async fn wait<T, F: Future<Output = Result<T>>>(
        mut self,
        attempt: impl Fn(Duration) -> F,
    ) -> Result<T> {
        let mut waits = false;
        loop {
            self.supply.borrow_and_update();
            let left = self.until.saturating_duration_since(Instant::now());
            let answer = tokio::select! {
                biased;
                answer = attempt(left) => answer,
                () = self.pods.over(&self.pod) => return Err(self.over()),
            };
            match &answer {
                Err(error) if passes_with_time(error) && Instant::now() < self.until => {
                    // Of many that wait, all but one try in vain each time.
                    if !std::mem::replace(&mut waits, true) {
                        tracing::info!(pod = %self.pod, error = %error.chain(), "a pod waits for a NIC");
                    }
                    self.pods.failed(&self.pod, error);
                }
                _ => return answer,
            }
            if !self.comes().await {
                return answer;
            }
        }
    }

    fn over(&self) -> Error {
        Error::new(ErrorKind::Cancelled, "lease an address for pod", &self.pod)
            .detail("it is deleted or has ended, so that it needs none any more")
    }

    /// Waits until something changed and there may be a NIC; false when there is no point in waiting any longer.
    async fn comes(&mut self) -> bool {
        let supply = &mut self.supply;
        let free = async {
            loop {
                if supply.changed().await.is_err() {
                    return false;
                }
                if !supply.borrow_and_update().is_scarce() {
                    return true;
                }
            }
        };
        tokio::select! {
            free = timeout_at(self.until, free) => free.unwrap_or(false),
            () = self.pods.over(&self.pod) => false,
        }
    }
}

/// Whether the pod has no NIC only because others have them all.
fn passes_with_time(error: &Error) -> bool {
    matches!(error.refusal(), Some(Refusal::NodeFull { .. } | Refusal::SubnetsFull | Refusal::AccountFull))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;
    use tokio::sync::Notify;

    use super::*;
    use crate::ipam::Lease;
    use crate::pods::PodWishes;

    #[derive(Debug, Default)]
    struct Directory {
        told: Mutex<Vec<String>>,
        over: Notify,
    }

    #[async_trait]
    impl PodDirectory for Directory {
        async fn wishes(&self, _: &PodRef) -> Result<PodWishes> {
            Ok(PodWishes::default())
        }

        async fn over(&self, _: &PodRef) {
            self.over.notified().await;
        }

        fn attached(&self, _: &PodRef, _: &Lease) {}

        fn failed(&self, _: &PodRef, error: &Error) {
            self.told.lock().unwrap().push(error.to_string());
        }
    }

    const FULL: Supply = Supply { free: 0, firm: true };
    const ONE: Supply = Supply { free: 1, firm: true };
    const PATIENCE: Duration = Duration::from_secs(50);

    fn full() -> Error {
        Refusal::NodeFull { limit: 3 }.into_error("lease an address for", "net/p/eth0")
    }

    struct Scene {
        directory: Arc<Directory>,
        supply: watch::Sender<Supply>,
        attempts: AtomicU32,
    }

    impl Scene {
        fn new() -> Self {
            let supply = watch::Sender::new(FULL);
            Self { directory: Arc::default(), supply, attempts: AtomicU32::new(0) }
        }

        /// Waits; the pod is refused so often.
        async fn wait(&self, refused: u32, error: impl Fn() -> Error) -> Result<u32> {
            let turn = Turn {
                pods: self.directory.clone(),
                pod: PodRef { namespace: "n".to_owned(), name: "p".to_owned(), uid: None },
                supply: self.supply.subscribe(),
                until: Instant::now() + PATIENCE,
            };
            turn.wait(|_| {
                let attempt = self.attempts.fetch_add(1, Ordering::SeqCst);
                std::future::ready(if attempt < refused { Err(error()) } else { Ok(attempt) })
            })
            .await
        }

        fn attempts(&self) -> u32 {
            self.attempts.load(Ordering::SeqCst)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_without_a_nic_is_told_and_has_the_next_one() {
        let scene = Scene::new();
        let free = async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            assert_eq!((scene.attempts(), scene.directory.told.lock().unwrap().len()), (1, 1));
            // Somebody else has it.
            scene.supply.send_replace(ONE);
            tokio::time::sleep(Duration::from_secs(10)).await;
            scene.supply.send_replace(FULL);
            tokio::time::sleep(Duration::from_secs(10)).await;
            scene.supply.send_replace(ONE);
        };
        let (answer, ()) = tokio::join!(scene.wait(2, full), free);
        assert_eq!((answer.unwrap(), scene.attempts()), (2, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_longer_than_the_runtime_or_for_a_pod_that_is_over() {
        let (scene, begun) = (Scene::new(), Instant::now());
        let error = scene.wait(9, full).await.unwrap_err();
        assert_eq!((error.refusal(), begun.elapsed()), (Some(&Refusal::NodeFull { limit: 3 }), PATIENCE));
        let (scene, begun) = (Scene::new(), Instant::now());
        scene.directory.over.notify_one();
        assert!(scene.wait(9, full).await.is_err());
        assert_eq!((scene.attempts(), begun.elapsed()), (1, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_ends_with_its_pod() {
        let scene = Scene::new();
        scene.directory.over.notify_one();
        let turn = Turn {
            pods: scene.directory.clone(),
            pod: PodRef { namespace: "n".to_owned(), name: "p".to_owned(), uid: None },
            supply: scene.supply.subscribe(),
            until: Instant::now() + PATIENCE,
        };
        let error = turn.wait(|_| std::future::pending::<Result<()>>()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_pass_with_time_is_answered_at_once() {
        let (scene, begun) = (Scene::new(), Instant::now());
        scene.supply.send_replace(ONE);
        let refused = || Error::new(ErrorKind::Invalid, "lease an address for", "net/p/eth0");
        assert!(scene.wait(9, refused).await.is_err());
        assert_eq!((scene.attempts(), begun.elapsed()), (1, Duration::ZERO));
        assert!(scene.directory.told.lock().unwrap().is_empty());
    }
}
