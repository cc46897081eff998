//! What may be done to an IPAMHandle by whoever is no program of hostnic.

use kube::ResourceExt;

use super::{Change, Verdict, is_bound};
use crate::admission::account::Who;
use crate::ipam::resources::IpamHandle;

pub(in crate::admission) fn judge(change: &Change<IpamHandle>, who: Who) -> Verdict {
    let (Change::Made(handle) | Change::Changed { new: handle, .. } | Change::Removed(handle)) = change;
    let mut verdict = Verdict::about(format!("IPAMHandle {}", handle.name_any()));
    if !is_bound(who) {
        return verdict;
    }
    match change {
        Change::Made(new) if new.spec.handle != new.name_any() => {
            verdict.deny(format!(
                "spec.handleID is {}: a handle is named after it; write its name",
                new.spec.handle
            ));
        }
        Change::Changed { old, new } if old.spec.handle != new.spec.handle => {
            verdict
                .deny(format!("spec.handleID is {} and may not change: leave it as it is", old.spec.handle));
        }
        Change::Removed(old) => {
            let blocks: Vec<&str> = old
                .spec
                .block
                .iter()
                .filter(|(_, count)| **count > 0)
                .map(|(block, _)| block.as_str())
                .collect();
            // One that is about to be removed has given its addresses back, or is having it done.
            if !blocks.is_empty() && !old.spec.deleted {
                verdict.deny(format!(
                    "it has addresses of {}, which nobody would give back without it: delete the pod, with which it goes",
                    blocks.join(", ")
                ));
            }
        }
        _ => {}
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(id: &str, count: u32) -> IpamHandle {
        let spec =
            serde_json::json!({ "handleID": id, "block": { "4100-10.0.0.0/28": count }, "deleted": false });
        IpamHandle::new("test-web", serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn a_handle_is_named_after_itself() {
        let judged = |change| judge(&change, Who::Other);
        assert!(judged(Change::Made(handle("test-web", 1))).is_allowed());
        assert!(!judged(Change::Made(handle("other", 1))).is_allowed());
        let (old, new) = (handle("test-web", 1), handle("other", 1));
        assert!(judged(Change::Changed { old, new }).message().contains("may not change"));
    }

    #[test]
    fn a_handle_with_addresses_goes_with_its_pod() {
        let removed = |handle, who| judge(&Change::Removed(handle), who);
        assert!(
            removed(handle("test-web", 1), Who::Other).message().contains("addresses of 4100-10.0.0.0/28")
        );
        assert!(removed(handle("test-web", 0), Who::Other).is_allowed());
        assert!(removed(handle("test-web", 1), Who::Node).is_allowed());
        let mut leaving = handle("test-web", 1);
        leaving.spec.deleted = true;
        assert!(removed(leaving, Who::Other).is_allowed());
    }
}
