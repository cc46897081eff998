//! Sees to it that the node's object says what is wanted.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use super::plan::{Step, Subject, Wanted, steps};
use super::view::NodeView;
use crate::client::Asker;
use crate::config::NodeName;
use crate::error::brief;

/// How soon the same is written again where somebody else undid it: seldom enough that two who disagree do no harm.
const REPAIR: Duration = Duration::from_secs(30);
/// The first and the longest pause after a write that failed.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

struct Writer {
    asker: Asker,
    nodes: Api<Node>,
    node: NodeName,
    /// What was written last, and when. What the watch shows may be older.
    written: HashMap<Subject, (Wanted, Instant)>,
    failures: u32,
}

/// Writes whatever of `wanted` the node's object does not say, for ever.
pub(crate) async fn keep(
    asker: Asker,
    node: NodeName,
    mut view: watch::Receiver<NodeView>,
    mut wanted: watch::Receiver<Wanted>,
) {
    let mut writer =
        Writer { nodes: Api::all(asker.client.clone()), asker, node, written: HashMap::new(), failures: 0 };
    loop {
        let seen = view.borrow_and_update().clone();
        let to_be = wanted.borrow_and_update().clone();
        let again = match seen {
            NodeView::Seen(seen) => writer.write(steps(&seen, &to_be, Timestamp::now()), &to_be).await,
            NodeView::Unknown | NodeView::Missing => None,
        };
        tokio::select! {
            changed = view.changed() => if changed.is_err() { return },
            changed = wanted.changed() => if changed.is_err() { return },
            () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {}
        }
    }
}

impl Writer {
    /// Says when to look again, where that is before something changes.
    async fn write(&mut self, steps: Vec<Step>, wanted: &Wanted) -> Option<Instant> {
        let mut again: Option<Instant> = None;
        for step in steps {
            let before = self.written.get(&step.subject()).filter(|(was, _)| was == wanted);
            let not_before = before.map(|(_, at)| *at + REPAIR).filter(|at| *at > Instant::now());
            let look_at = match not_before {
                Some(at) => at,
                None => match self.send(&step).await {
                    Ok(()) => {
                        self.failures = 0;
                        self.written.insert(step.subject(), (wanted.clone(), Instant::now()));
                        continue;
                    }
                    Err(error) => self.failed(&step, &error),
                },
            };
            again = Some(again.map_or(look_at, |at| at.min(look_at)));
        }
        again
    }

    async fn send(&self, step: &Step) -> Result<(), kube::Error> {
        let (patch, status): (Value, bool) = step.patch();
        let (name, params, patch) = (self.node.as_str(), PatchParams::default(), Patch::Strategic(patch));
        let answer = if status {
            self.asker.ask(self.nodes.patch_status(name, &params, &patch)).await
        } else {
            self.asker.ask(self.nodes.patch(name, &params, &patch)).await
        };
        answer.map(drop)
    }

    fn failed(&mut self, step: &Step, error: &kube::Error) -> Instant {
        // Somebody changed the object since the watch showed it; the watch will show that.
        let raced = matches!(error, kube::Error::Api(status) if status.code == 409);
        if raced || self.failures > 0 {
            debug!("the node's {:?} is not told yet: {}", step.subject(), brief(error));
        } else {
            warn!("the node's {:?} cannot be told: {}; it is tried again", step.subject(), brief(error));
        }
        let (first, longest) = PAUSES;
        let pause = first.saturating_mul(1 << self.failures.min(10)).min(longest);
        self.failures = self.failures.saturating_add(1);
        Instant::now() + pause
    }
}
