//! What may be done to an IPAMBlock by whoever is no program of hostnic.

use kube::ResourceExt;

use super::{Change, Verdict, is_bound};
use crate::admission::account::Who;
use crate::ipam::Block;
use crate::ipam::resources::IpamBlock;

const BY_HAND: &str =
    "blocks are written by hostnic's programs, and a block edited by hand can give an address to two pods";

pub(in crate::admission) fn judge(change: &Change<IpamBlock>, who: Who) -> Verdict {
    let (Change::Made(block) | Change::Changed { new: block, .. } | Change::Removed(block)) = change;
    let mut verdict = Verdict::about(format!("IPAMBlock {}", block.name_any()));
    if !is_bound(who) {
        return verdict;
    }
    match change {
        Change::Made(new) => readable(None, new, &mut verdict),
        Change::Changed { old, new } if old.spec == new.spec => {}
        Change::Changed { old, new } => {
            if (old.spec.id, &old.spec.cidr) == (new.spec.id, &new.spec.cidr) {
                readable(Some(old), new, &mut verdict);
                verdict.warn(BY_HAND);
            } else {
                verdict.deny(format!(
                    "it is the block {} of {}, and may not become {} of {}: leave id and cidr as they are",
                    old.spec.id, old.spec.cidr, new.spec.id, new.spec.cidr
                ));
            }
        }
        Change::Removed(old) => unused(old, &mut verdict),
    }
    verdict
}

/// Refuses what contradicts itself. What contradicted itself before may go on to, so that one who repairs a block need not do
/// it all at once.
fn readable(old: Option<&IpamBlock>, new: &IpamBlock, verdict: &mut Verdict) {
    let Some((block, flaws)) = Block::read(&new.spec) else {
        verdict.deny(format!(
            "spec.cidr is {:?}, which are no addresses of a block: write them as in 172.16.3.0/26",
            new.spec.cidr
        ));
        return;
    };
    let name = block.name().to_string();
    if old.is_none() && name != new.name_any() {
        verdict.deny(format!(
            "the block {} of {} is named {name}: give it this name",
            new.spec.id, new.spec.cidr
        ));
    }
    let before = old.and_then(|old| Block::read(&old.spec)).map(|(_, flaws)| flaws).unwrap_or_default();
    let mut news = flaws.iter().filter(|flaw| !before.contains(flaw));
    if let Some(first) = news.next() {
        let more = news.count();
        let more = if more > 0 { format!(", and {more} more like this") } else { String::new() };
        verdict.deny(format!(
            "it would contradict itself: {first}{more}; undo that, or leave the block to hostnic's programs"
        ));
    }
}

fn unused(old: &IpamBlock, verdict: &mut Verdict) {
    match Block::read(&old.spec).map(|(block, _)| block.usage().allocated) {
        Some(0) => {}
        Some(used) => verdict.deny(format!(
            "{used} of its addresses are pods': delete these first, or take the vxnet out of v-pool, which waits for them"
        )),
        // The controller makes it again, and nothing could be read of it.
        None => verdict.warn(format!("IPAMBlock {} could not be read, and whose its addresses are is not known", old.name_any())),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::ipam::Holder;

    fn object(change: impl FnOnce(&mut Block)) -> IpamBlock {
        let usable = Ipv4Addr::new(10, 0, 0, 2)..=Ipv4Addr::new(10, 0, 0, 13);
        let mut block = Block::new("4100-10-0-0-0-28".parse().unwrap(), &usable).unwrap();
        change(&mut block);
        IpamBlock::new("4100-10-0-0-0-28", block.write())
    }

    fn used() -> IpamBlock {
        object(|block| {
            block.claim(&Holder { handle: "test-web".into(), attributes: [].into() });
        })
    }

    fn changed(change: impl FnOnce(&mut IpamBlock), who: Who) -> Verdict {
        let old = used();
        let mut new = old.clone();
        change(&mut new);
        judge(&Change::Changed { old, new }, who)
    }

    #[test]
    fn a_block_stays_what_it_is_and_readable() {
        assert!(changed(|block| block.spec.id = 7, Who::Other).message().contains("leave id and cidr"));
        assert!(
            changed(|block| block.spec.cidr = "10.0.0.0/29".into(), Who::Other)
                .message()
                .contains("leave id and cidr")
        );
        let twice = changed(|block| block.spec.unallocated.push(2), Who::Other);
        assert!(twice.message().contains("10.0.0.2 is free and belongs to \"test-web\""), "{twice:?}");
        assert!(
            changed(|block| block.spec.unallocated.clear(), Who::Other)
                .message()
                .contains("and 10 more like this")
        );
        for who in [Who::Own, Who::Node, Who::Kubernetes] {
            assert!(changed(|block| block.spec.id = 7, who).is_allowed(), "{who:?}");
        }
        assert_eq!(changed(|block| block.metadata.labels = None, Who::Other).warnings.len(), 0);
    }

    #[test]
    fn a_broken_block_may_be_repaired_a_step_at_a_time() {
        let whole = used();
        let mut broken = whole.clone();
        broken.spec.unallocated = vec![3, 3, 2];
        let mut better = broken.clone();
        better.spec.unallocated = vec![3, 2];
        let judged = |old: &IpamBlock, new: &IpamBlock| {
            judge(&Change::Changed { old: old.clone(), new: new.clone() }, Who::Other).is_allowed()
        };
        assert!(judged(&broken, &better) && judged(&better, &whole) && !judged(&whole, &broken));
    }

    #[test]
    fn a_block_that_is_made_has_its_own_name() {
        let judged = |block| judge(&Change::Made(block), Who::Other);
        assert!(judged(used()).is_allowed());
        assert!(judged(IpamBlock::new("x", used().spec)).message().contains("is named 4100-10-0-0-0-28"));
        let mut none = used();
        none.spec.cidr = "x".into();
        assert!(judged(none).message().contains("no addresses of a block"));
    }

    #[test]
    fn a_block_with_pods_goes_only_by_the_programs() {
        let removed = |block, who| judge(&Change::Removed(block), who);
        assert!(removed(used(), Who::Other).message().contains("1 of its addresses are pods'"));
        assert!(removed(object(|_| {}), Who::Other).is_allowed());
        for who in [Who::Own, Who::Kubernetes] {
            assert!(removed(used(), who).is_allowed(), "{who:?}");
        }
    }
}
