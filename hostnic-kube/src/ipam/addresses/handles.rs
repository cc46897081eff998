//! The objects that say in which blocks a pod has addresses, as the Go version's tools look for them. The blocks themselves are what
//! counts: these follow.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, DeleteParams, PostParams};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::write::Counts;
use crate::client::Asker;
use crate::ipam::name::BlockName;
use crate::ipam::resources::{IpamHandle, IpamHandleSpec};

/// How long to wait after a write that had no answer.
const AGAIN: Duration = Duration::from_secs(2);

/// What is to be so of one handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// It has an address of this block.
    Holds(BlockName),
    /// It has none.
    Gone,
}

/// What is still to be written, the oldest first, and each handle once.
#[derive(Debug, Default)]
struct Due {
    order: VecDeque<String>,
    /// What is to be, and whether it is known that nothing was ever written.
    marks: BTreeMap<String, (Mark, bool)>,
}

impl Due {
    fn note(&mut self, handle: String, mark: Mark) {
        match self.marks.get_mut(&handle) {
            // Nobody heard that it was there.
            Some((Mark::Holds(_), true)) if mark == Mark::Gone => {
                self.marks.remove(&handle);
            }
            Some((present, _)) => *present = mark,
            None => {
                self.order.push_back(handle.clone());
                self.marks.insert(handle, (mark, mark != Mark::Gone));
            }
        }
    }

    fn next(&mut self) -> Option<(String, Mark)> {
        while let Some(handle) = self.order.pop_front() {
            if let Some((mark, _)) = self.marks.remove(&handle) {
                return Some((handle, mark));
            }
        }
        None
    }
}

/// Writes what is left here, one after the other, until nobody can leave any more.
pub(super) async fn write(
    asker: Asker,
    counts: Arc<Counts>,
    mut left: mpsc::UnboundedReceiver<(String, Mark)>,
) {
    let handles: Api<IpamHandle> = Api::all(asker.client.clone());
    let mut due = Due::default();
    loop {
        while let Ok((handle, mark)) = left.try_recv() {
            due.note(handle, mark);
        }
        let Some((handle, mark)) = due.next() else {
            match left.recv().await {
                Some((handle, mark)) => due.note(handle, mark),
                None => return,
            }
            continue;
        };
        Counts::count(&counts.writes);
        let answer = match mark {
            Mark::Holds(block) => {
                let object = object(&handle, block);
                asker.ask(handles.create(&PostParams::default(), &object)).await.map(drop)
            }
            Mark::Gone => asker.ask(handles.delete(&handle, &DeleteParams::default())).await.map(drop),
        };
        match answer {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(kube::Error::Api(status)) if (400..500).contains(&status.code) && status.code != 429 => {
                tracing::warn!(%handle, "IPAMHandle is not written: {}", status.message);
            }
            Err(error) => {
                tracing::debug!(%handle, "IPAMHandle is not written yet: {}", crate::error::brief(&error));
                due.note(handle, mark);
                sleep(AGAIN).await;
            }
            Ok(()) => {}
        }
    }
}

/// The object of a handle that has one address.
pub(in crate::ipam) fn object(handle: &str, block: BlockName) -> IpamHandle {
    // The Go version's own form: as the block's name, but the addresses as they are usually written.
    let key = format!("{}-{}", block.id(), block.cidr());
    let spec = IpamHandleSpec { handle: handle.to_owned(), block: [(key, 1)].into(), deleted: false };
    IpamHandle::new(handle, spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_and_went_before_it_was_written_is_not_written() {
        let block: BlockName = "4100-10-0-0-0-27".parse().unwrap();
        let mut due = Due::default();
        due.note("a".to_owned(), Mark::Holds(block));
        due.note("b".to_owned(), Mark::Holds(block));
        due.note("a".to_owned(), Mark::Gone);
        due.note("c".to_owned(), Mark::Gone);
        due.note("c".to_owned(), Mark::Holds(block));
        due.note("c".to_owned(), Mark::Gone);
        let written: Vec<_> = std::iter::from_fn(|| due.next()).collect();
        assert_eq!(written, [("b".to_owned(), Mark::Holds(block)), ("c".to_owned(), Mark::Gone)]);
    }

    #[test]
    fn a_handle_names_its_block_as_the_go_version_did() {
        let object = object("test-web-0-c1", "4100-172-16-3-0-26".parse().unwrap());
        assert_eq!(object.metadata.name.as_deref(), Some("test-web-0-c1"));
        assert_eq!(object.spec.block, [("4100-172.16.3.0/26".to_owned(), 1)].into());
    }
}
