//! Watches that go on, whatever the API server does.

use std::fmt::Debug;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use kube::Resource;
use kube::api::Api;
use kube::runtime::watcher::{self, Config, Event, watcher};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tracing::{debug, warn};

/// How long a list may take from one object to the next.
const LIST_STALLS: Duration = Duration::from_secs(20);
/// The first and the longest pause after a failure. The longest is how late a change may be seen when the API server is back.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// The changes of the objects of `api` that `config` selects. Failures are logged, once each time things turn bad, and
/// repeated with growing pauses; the stream never ends.
pub(crate) fn events_of<K>(api: Api<K>, config: Config, what: &'static str) -> impl Stream<Item = Event<K>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let fresh = move || Box::pin(watcher(api.clone(), config.clone()));
    let start = Following { stream: fresh(), listing: true, failures: 0 };
    stream::unfold((start, fresh), move |(mut at, fresh)| async move {
        loop {
            let next = if at.listing {
                timeout(LIST_STALLS, at.stream.next()).await
            } else {
                Ok(at.stream.next().await)
            };
            let failure = match next {
                Ok(Some(Ok(event))) => {
                    at.seen(&event, what);
                    return Some((event, (at, fresh)));
                }
                // The API server no longer knows where this was; it lists everything next.
                Ok(Some(Err(watcher::Error::WatchError(status)))) if status.code == 410 => {
                    debug!("{what} are listed anew: {}", status.message);
                    tokio::time::sleep(PAUSES.0).await;
                    continue;
                }
                Ok(Some(Err(error))) => describe(&error),
                Ok(None) => {
                    (at.stream, at.listing) = (fresh(), true);
                    "the watch ended".to_owned()
                }
                // An answer that stalls half-way: only a new request helps.
                Err(_) => {
                    at.stream = fresh();
                    "the list stalled".to_owned()
                }
            };
            at.failed(&failure, what).await;
        }
    })
}

struct Following<S> {
    stream: S,
    listing: bool,
    failures: u32,
}

impl<S> Following<S> {
    fn seen<K>(&mut self, event: &Event<K>, what: &'static str) {
        // A list that begins says nothing yet about whether it can be read.
        if matches!(event, Event::Init) {
            self.listing = true;
            return;
        }
        self.listing = matches!(event, Event::InitApply(_));
        if std::mem::take(&mut self.failures) > 0 {
            debug!("following {what} again");
        }
    }

    async fn failed(&mut self, failure: &str, what: &'static str) {
        if self.failures == 0 {
            warn!("cannot follow {what}: {failure}; what is known of it is used until it works again");
        } else {
            debug!("still cannot follow {what}: {failure}");
        }
        let (first, longest) = PAUSES;
        let pause = first.saturating_mul(1 << self.failures.min(10)).min(longest);
        self.failures = self.failures.saturating_add(1);
        tokio::time::sleep(pause).await;
    }
}

fn describe(error: &watcher::Error) -> String {
    use watcher::Error as E;
    match error {
        E::InitialListFailed(error) | E::WatchStartFailed(error) | E::WatchFailed(error) => {
            crate::error::brief(error)
        }
        E::WatchError(status) => format!("the API server says ({}): {}", status.code, status.message),
        E::NoResourceVersion => "the API server gave no resource version".to_owned(),
    }
}
