//! The cluster is told whether this node can serve pods.

use std::convert::Infallible;
use std::time::Duration;

use hostnic_kube::{Cluster, Readiness};
use tokio::time::{Instant, sleep};

use crate::facts::Facts;

/// How often is looked: nobody waits for it but the scheduler.
const LOOK: Duration = Duration::from_secs(1);
/// For how long a node cannot serve pods before it is told: troubles of the cloud mostly end by themselves, and pods are
/// served from what is warm meanwhile.
const LASTING: Duration = Duration::from_secs(30);

/// Tells the cluster, for ever.
pub(super) async fn tell(cluster: &Cluster, facts: &Facts) -> Infallible {
    let mut said = Said::default();
    loop {
        if let Some(readiness) = said.step(facts.unready(), Instant::now()) {
            cluster.set_readiness(readiness);
        }
        sleep(LOOK).await;
    }
}

/// What was said, and since when it is otherwise.
#[derive(Debug, Default)]
struct Said {
    ready: Option<bool>,
    unready_since: Option<Instant>,
}

impl Said {
    /// What is to be said where the node cannot serve pods for these reasons; nothing where it is said already.
    fn step(&mut self, reasons: Vec<String>, now: Instant) -> Option<Readiness> {
        if reasons.is_empty() {
            self.unready_since = None;
            return (self.ready.replace(true) != Some(true)).then_some(Readiness::Ready);
        }
        let since = *self.unready_since.get_or_insert(now);
        if now.duration_since(since) < LASTING || self.ready == Some(false) {
            return None;
        }
        self.ready = Some(false);
        Some(Readiness::NotReady(reasons.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_told_at_once_and_trouble_only_when_it_lasts() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let why = || vec!["no cloud".to_owned()];
        let mut said = Said::default();
        assert_eq!(said.step(why(), at(0)), None);
        assert_eq!(said.step(vec![], at(1)), Some(Readiness::Ready));
        assert_eq!(said.step(vec![], at(2)), None);
        assert_eq!(said.step(why(), at(3)), None);
        assert_eq!(said.step(why(), at(32)), None);
        assert_eq!(said.step(vec![], at(32)), None);
        assert_eq!(said.step(why(), at(40)), None);
        assert_eq!(said.step(why(), at(70)), Some(Readiness::NotReady("no cloud".into())));
        assert_eq!(said.step(why(), at(71)), None);
        assert_eq!(said.step(vec![], at(72)), Some(Readiness::Ready));
    }
}
