//! What may be done to a VxNetPool.

use std::collections::BTreeSet;

use kube::ResourceExt;

use super::{Change, Verdict};
use crate::ipam::resources::{IpPool, V_POOL, VxNetPool};

/// Larger blocks would be objects that the API server refuses.
const BLOCKS: std::ops::RangeInclusive<u8> = 16..=32;

/// `pools` are the pools that there are; they count only where `blockSize` changes.
pub(in crate::admission) fn judge(change: &Change<VxNetPool>, pools: &[IpPool]) -> Verdict {
    match change {
        Change::Made(new) => {
            let mut verdict = about(new);
            valid(new, &mut verdict);
            counts(new, &mut verdict);
            verdict
        }
        Change::Changed { old, new } => {
            let mut verdict = about(new);
            if old.spec != new.spec {
                valid(new, &mut verdict);
                counts(new, &mut verdict);
            }
            if new.name_any() == V_POOL && old.spec.block_size != new.spec.block_size {
                followed(old.spec.block_size, new, pools, &mut verdict);
            }
            verdict
        }
        Change::Removed(old) => {
            let mut verdict = about(old);
            if old.name_any() == V_POOL && !old.spec.vxnets.is_empty() {
                verdict.warn(
                    "the pools of v-pool's vxnets stay, and nobody cares for them; to give vxnets back, take them out of v-pool",
                );
            }
            verdict
        }
    }
}

fn about(pool: &VxNetPool) -> Verdict {
    Verdict::about(format!("VxNetPool {}", pool.name_any()))
}

fn counts(pool: &VxNetPool, verdict: &mut Verdict) {
    if pool.name_any() != V_POOL {
        verdict.warn(format!("only the VxNetPool {V_POOL} counts; nothing comes of {}", pool.name_any()));
    }
}

fn valid(pool: &VxNetPool, verdict: &mut Verdict) {
    let size = pool.spec.block_size;
    if !BLOCKS.contains(&size) {
        verdict.deny(format!(
            "spec.blockSize is {size}: write a prefix length of {} to {}",
            BLOCKS.start(),
            BLOCKS.end()
        ));
    }
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<&str> =
        pool.spec.vxnets.iter().map(|vxnet| &*vxnet.name).filter(|name| !seen.insert(*name)).collect();
    for name in twice {
        verdict.deny(format!("spec.vxnets names {name} more than once: name each vxnet once"));
    }
}

/// Pools that there are keep the blocks that they were cut into; another size is only for vxnets without one. Where there are
/// none, the change would do nothing and v-pool would say what is not so.
fn followed(was: u8, new: &VxNetPool, pools: &[IpPool], verdict: &mut Verdict) {
    let has_pool = |name: &str| pools.iter().any(|pool| pool.name_any() == name);
    let (cut, uncut): (Vec<&str>, Vec<&str>) =
        new.spec.vxnets.iter().map(|vxnet| &*vxnet.name).partition(|name| has_pool(name));
    if cut.is_empty() {
        return;
    }
    let (is, kept) = (new.spec.block_size, cut.join(", "));
    if uncut.is_empty() {
        verdict.deny(format!(
            "spec.blockSize may not change from {was} to {is}, since {kept} have been cut into blocks, which stay as they are: \
             take a vxnet out of v-pool, and put it in again when its IPPool has gone"
        ));
    } else {
        verdict.warn(format!("blockSize {is} is for {} only; {kept} keep their blocks", uncut.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipam::resources::{IpPoolSpec, VxNetPoolSpec};

    fn pool(name: &str, vxnets: &[&str], block_size: u8) -> VxNetPool {
        let told = serde_json::json!(
            vxnets.iter().map(|name| serde_json::json!({ "name": name })).collect::<Vec<_>>()
        );
        let vxnets = serde_json::from_value(told).unwrap();
        VxNetPool::new(name, VxNetPoolSpec { vxnets, block_size, ..VxNetPoolSpec::default() })
    }

    #[test]
    fn only_v_pool_counts_and_each_vxnet_once() {
        let judged = |pool| judge(&Change::Made(pool), &[]);
        assert_eq!(judged(pool("v-pool", &["vxnet-a", "vxnet-b"], 26)).warnings, Vec::<String>::new());
        let other = judged(pool("w-pool", &["vxnet-a"], 26));
        assert!(other.is_allowed() && other.warnings[0].contains("only the VxNetPool v-pool counts"));
        let wrong = judged(pool("v-pool", &["vxnet-a", "vxnet-b", "vxnet-a"], 8)).message();
        assert!(wrong.contains("vxnet-a more than once") && wrong.contains("blockSize is 8"), "{wrong}");
    }

    #[test]
    fn blocks_are_of_another_size_only_where_none_were_cut() {
        let cut = [IpPool::new("vxnet-a", IpPoolSpec::default())];
        let judged = |vxnets: &[&str], pools: &[IpPool]| {
            let (old, new) = (pool("v-pool", &["vxnet-a"], 26), pool("v-pool", vxnets, 27));
            judge(&Change::Changed { old, new }, pools)
        };
        assert!(judged(&["vxnet-a"], &[]).is_allowed());
        assert!(judged(&["vxnet-a"], &cut).message().contains("may not change from 26 to 27"));
        let new = judged(&["vxnet-a", "vxnet-b"], &cut);
        assert_eq!(
            (new.is_allowed(), &*new.warnings[0]),
            (true, "blockSize 27 is for vxnet-b only; vxnet-a keep their blocks")
        );
        assert!(judged(&["vxnet-b"], &cut).warnings.is_empty());
    }

    #[test]
    fn what_was_wrong_before_the_rules_keeps_nobody_from_the_rest() {
        let old = pool("v-pool", &["vxnet-a", "vxnet-a"], 8);
        let mut new = old.clone();
        new.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
        assert!(judge(&Change::Changed { old, new }, &[]).is_allowed());
    }

    #[test]
    fn who_deletes_v_pool_hears_what_stays() {
        assert_eq!(judge(&Change::Removed(pool("v-pool", &["vxnet-a"], 26)), &[]).warnings.len(), 1);
        assert!(judge(&Change::Removed(pool("x", &["vxnet-a"], 26)), &[]).warnings.is_empty());
    }
}
