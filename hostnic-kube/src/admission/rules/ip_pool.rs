//! What may be done to an IPPool.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use ipnet::Ipv4Net;
use kube::ResourceExt;

use super::{Change, Verdict, is_bound};
use crate::admission::account::Who;
use crate::ipam::LOCAL;
use crate::ipam::resources::{FINALIZER, IpPool, IpPoolSpec};

/// The longest prefix of a pool, and the shortest of its blocks: larger blocks would be objects that the API server refuses.
const LONGEST_POOL: u8 = 31;
const BLOCKS: std::ops::RangeInclusive<u8> = 16..=32;

/// What of a pool may not change, since its blocks were cut by it and pods have addresses of them: the name, and how to read it.
type Field = (&'static str, fn(&IpPoolSpec) -> Option<String>);
const FIXED: [Field; 6] = [
    ("type", |spec| text(&spec.kind)),
    ("cidr", |spec| text(&spec.cidr)),
    ("rangeStart", |spec| text(&spec.range_start)),
    ("rangeEnd", |spec| text(&spec.range_end)),
    ("blockSize", |spec| spec.block_size.map(|size| size.to_string())),
    // The ids of its blocks are made of it.
    ("vlanConfig.vlanId", |spec| {
        spec.vlan_config.as_ref().filter(|vlan| vlan.vlan_id != 0).map(|vlan| vlan.vlan_id.to_string())
    }),
];

fn text(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

/// `others` are the pools that there are; only those of [`Change::Made`] count.
pub(in crate::admission) fn judge(change: &Change<IpPool>, who: Who, others: &[IpPool]) -> Verdict {
    match change {
        Change::Made(new) => {
            let mut verdict = about(new);
            valid(&new.spec, &mut verdict);
            apart(new, others, &mut verdict);
            verdict
        }
        Change::Changed { old, new } => {
            let mut verdict = about(new);
            fixed(&old.spec, &new.spec, &mut verdict);
            if verdict.is_allowed()
                && old.spec != new.spec
                && FIXED.iter().any(|(_, of)| of(&old.spec) != of(&new.spec))
            {
                valid(&new.spec, &mut verdict);
            }
            let is_held = |pool: &IpPool| pool.finalizers().iter().any(|name| name == FINALIZER);
            if is_bound(who) && is_held(old) && !is_held(new) && used(old) > 0 {
                verdict.deny(format!(
                    "{} pods have addresses of it, and without the finalizer {FINALIZER} it could go before they do: leave \
                     the finalizer to the controller, which takes it away when the last of them has gone",
                    used(old)
                ));
            }
            verdict
        }
        Change::Removed(old) => removed(old, who),
    }
}

fn about(pool: &IpPool) -> Verdict {
    Verdict::about(format!("IPPool {}", pool.name_any()))
}

fn used(pool: &IpPool) -> u32 {
    pool.status.as_ref().map_or(0, |status| status.allocations)
}

/// The finalizer keeps a pool that is in use, so it may be deleted at any time. One without would be gone at once, and its
/// blocks with it, while pods have addresses of them.
fn removed(old: &IpPool, who: Who) -> Verdict {
    let mut verdict = about(old);
    if !is_bound(who) {
        return verdict;
    }
    let used = used(old);
    if old.finalizers().iter().any(|name| name == FINALIZER) {
        verdict.warn(format!(
            "IPPool {} goes when the pods with its addresses, {used} now, have gone, and is made again while its vxnet is in v-pool",
            old.name_any()
        ));
    } else if used > 0 {
        verdict.deny(format!(
            "{used} pods have addresses of it, and nothing would keep it until they have gone: delete them first, or add \
             the finalizer {FINALIZER}"
        ));
    }
    verdict
}

/// What there is against a removal of a pool after that of its blocks. Kubernetes removes these at once, whoever has addresses of them,
/// and it is they that say so.
pub(in crate::admission) fn after_its_blocks(change: &Change<IpPool>, who: Who, verdict: &mut Verdict) {
    if let Change::Removed(old) = change
        && is_bound(who)
        && used(old) > 0
    {
        verdict.deny(format!(
            "{} pods have addresses of it, and its blocks, which say whose they are, would be removed before these pods have gone: delete it \
             without --cascade=foreground; its blocks go with it when the last pod has gone",
            used(old)
        ));
    }
}

fn fixed(old: &IpPoolSpec, new: &IpPoolSpec, verdict: &mut Verdict) {
    let changed = |(name, of): &Field| {
        let (was, is) = (of(old)?, of(new));
        let told = is.as_deref().unwrap_or("empty");
        (is.as_ref() != Some(&was)).then(|| format!("spec.{name} is {was} and may not become {told}"))
    };
    let changes: Vec<String> = FIXED.iter().filter_map(changed).collect();
    if !changes.is_empty() {
        verdict.deny(format!(
            "{}, since its blocks were cut by that: take the vxnet out of v-pool, and put it in again when this pool has gone",
            changes.join(", ")
        ));
    }
}

fn valid(spec: &IpPoolSpec, verdict: &mut Verdict) {
    let Some(cidr) = cidr(spec, verdict) else { return };
    let shortest = cidr.prefix_len().max(*BLOCKS.start());
    if let Some(size) = spec.block_size.filter(|size| !(shortest..=*BLOCKS.end()).contains(size)) {
        verdict.deny(format!(
            "spec.blockSize is {size}, and blocks of {cidr} may have prefixes of {shortest} to {}: choose one of these",
            BLOCKS.end()
        ));
    }
    if let Err(reason) = range(spec, cidr) {
        verdict.deny(reason);
    }
}

fn cidr(spec: &IpPoolSpec, verdict: &mut Verdict) -> Option<Ipv4Net> {
    let Ok(cidr) = spec.cidr.parse::<Ipv4Net>() else {
        verdict.deny(format!(
            "spec.cidr is {:?}: write the vxnet's IPv4 addresses, such as 172.16.3.0/24",
            spec.cidr
        ));
        return None;
    };
    if cidr != cidr.trunc() {
        verdict.deny(format!(
            "spec.cidr is {cidr}, and bits behind the prefix mean nothing: write {}",
            cidr.trunc()
        ));
    }
    if cidr.prefix_len() > LONGEST_POOL {
        verdict.deny(format!(
            "spec.cidr is {cidr}, which is one address: write a prefix of {LONGEST_POOL} or shorter"
        ));
    }
    Some(cidr)
}

/// The addresses for pods; all of `cidr` where none are told.
fn range(spec: &IpPoolSpec, cidr: Ipv4Net) -> Result<RangeInclusive<Ipv4Addr>, String> {
    if spec.range_start.is_empty() && spec.range_end.is_empty() {
        return Ok(cidr.network()..=cidr.broadcast());
    }
    let end = |name: &str, text: &str| {
        let told = if text.is_empty() { "missing" } else { text };
        let address = text.parse::<Ipv4Addr>().ok().filter(|address| cidr.contains(address));
        address.ok_or_else(|| {
            format!("spec.{name} is {told}: write an address of {cidr}, or leave both ends of the range out")
        })
    };
    let (first, last) = (end("rangeStart", &spec.range_start)?, end("rangeEnd", &spec.range_end)?);
    if first > last {
        return Err(format!("spec.rangeStart {first} is behind spec.rangeEnd {last}: exchange them"));
    }
    Ok(first..=last)
}

/// The id in the names of a pool's blocks, as the Go version has it.
fn id(spec: &IpPoolSpec) -> u32 {
    match spec.kind.as_str() {
        "local" => LOCAL,
        "vlan" => spec.vlan_config.as_ref().map_or(0, |vlan| vlan.vlan_id).saturating_add(1),
        "porter" => 4098,
        "calico" => 4099,
        _ => 0,
    }
}

/// Pools of one id have blocks of the same names where their addresses overlap, whatever their ranges are; so it is the whole
/// `cidr` that counts. VLANs are networks of their own, in which the same addresses are others.
fn apart(new: &IpPool, others: &[IpPool], verdict: &mut Verdict) {
    let Ok(cidr) = new.spec.cidr.parse::<Ipv4Net>() else { return };
    let overlaps = |other: &&IpPool| {
        let theirs = other.spec.cidr.parse::<Ipv4Net>();
        let overlaps =
            theirs.is_ok_and(|theirs| cidr.contains(&theirs.network()) || theirs.contains(&cidr.network()));
        other.name_any() != new.name_any() && id(&other.spec) == id(&new.spec) && overlaps
    };
    for other in others.iter().filter(overlaps) {
        verdict.deny(format!(
            "spec.cidr {cidr} overlaps with {} of IPPool {}, and no address may be of two pools: choose other addresses, or \
             take that pool's vxnet out of v-pool first",
            other.spec.cidr,
            other.name_any()
        ));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ipam::resources::IpPoolStatus;

    fn pool(name: &str, cidr: &str) -> IpPool {
        let spec = IpPoolSpec {
            kind: "local".into(),
            cidr: cidr.into(),
            block_size: Some(26),
            ..IpPoolSpec::default()
        };
        IpPool::new(name, spec)
    }

    fn made(change: impl FnOnce(&mut IpPoolSpec)) -> Verdict {
        let mut new = pool("a", "172.16.3.0/24");
        change(&mut new.spec);
        judge(&Change::Made(new), Who::Other, &[])
    }

    fn changed(change: impl FnOnce(&mut IpPool)) -> Verdict {
        let mut old = pool("a", "172.16.3.0/24");
        (old.spec.range_start, old.spec.range_end) = ("172.16.3.2".into(), "172.16.3.99".into());
        old.metadata.finalizers = Some(vec![FINALIZER.into()]);
        old.status = Some(IpPoolStatus { allocations: 3, ..IpPoolStatus::default() });
        let mut new = old.clone();
        change(&mut new);
        judge(&Change::Changed { old, new }, Who::Other, &[])
    }

    #[test]
    fn a_pool_that_means_something_may_be_made() {
        assert!(made(|_| {}).is_allowed());
        assert!(made(|spec| spec.block_size = None).is_allowed());
        assert!(
            made(|spec| (spec.range_start, spec.range_end) = ("172.16.3.0".into(), "172.16.3.255".into()))
                .is_allowed()
        );
    }

    #[test]
    fn a_pool_that_means_nothing_says_what_to_write() {
        let message = |change: fn(&mut IpPoolSpec)| made(change).message();
        assert!(message(|spec| spec.cidr = "x".into()).contains("spec.cidr is \"x\": write"));
        assert!(message(|spec| spec.cidr = "172.16.3.7/24".into()).ends_with("write 172.16.3.0/24"));
        assert!(
            message(|spec| (spec.cidr, spec.block_size) = ("10.0.0.1/32".into(), None))
                .contains("one address")
        );
        assert!(message(|spec| spec.block_size = Some(23)).contains("prefixes of 24 to 32"));
        assert!(
            message(|spec| (spec.cidr, spec.block_size) = ("10.0.0.0/8".into(), Some(15)))
                .contains("16 to 32")
        );
        assert!(message(|spec| spec.range_start = "172.16.3.2".into()).contains("spec.rangeEnd is missing"));
        let out = |spec: &mut IpPoolSpec| {
            (spec.range_start, spec.range_end) = ("172.16.3.2".into(), "172.16.4.2".into())
        };
        assert!(message(out).contains("spec.rangeEnd is 172.16.4.2: write an address of 172.16.3.0/24"));
        let turned = |spec: &mut IpPoolSpec| {
            (spec.range_start, spec.range_end) = ("172.16.3.9".into(), "172.16.3.2".into())
        };
        assert!(message(turned).contains("exchange"));
    }

    #[test]
    fn what_blocks_were_cut_by_stays() {
        type Change = fn(&mut IpPoolSpec);
        let fields: [(&str, Change); 5] = [
            ("type", |spec| spec.kind = "vlan".into()),
            ("cidr", |spec| spec.cidr = "172.16.3.0/25".into()),
            ("blockSize", |spec| spec.block_size = None),
            ("rangeStart", |spec| spec.range_start = "172.16.3.3".into()),
            ("rangeEnd", |spec| spec.range_end.clear()),
        ];
        for (name, change) in fields {
            let verdict = changed(|pool| change(&mut pool.spec));
            assert!(verdict.message().contains(&format!("spec.{name} is ")), "{name}: {verdict:?}");
        }
        let both = changed(|pool| (pool.spec.cidr, pool.spec.block_size) = ("10.0.0.0/8".into(), Some(20)));
        assert!(
            both.message().contains("spec.cidr") && both.message().contains("spec.blockSize"),
            "{both:?}"
        );
        assert!(
            changed(|pool| (pool.spec.disabled, pool.spec.gateway) = (true, "172.16.3.1".into()))
                .is_allowed()
        );
    }

    #[test]
    fn what_was_never_told_may_be_told_if_it_is_right() {
        let old = pool("a", "172.16.3.0/24");
        let with = |last: &str| {
            let mut new = old.clone();
            (new.spec.range_start, new.spec.range_end) = ("172.16.3.2".into(), last.into());
            judge(&Change::Changed { old: old.clone(), new }, Who::Other, &[])
        };
        assert!(with("172.16.3.99").is_allowed());
        assert!(!with("172.16.4.99").is_allowed());
        // What was wrong before the rules were there keeps nobody from the rest.
        let old = pool("a", "172.16.3.7/24");
        let mut new = old.clone();
        new.spec.disabled = true;
        assert!(judge(&Change::Changed { old, new }, Who::Other, &[]).is_allowed());
    }

    #[test]
    fn no_address_is_of_two_pools_unless_of_two_networks() {
        let others = [pool("b", "172.16.0.0/16"), pool("c", "10.0.0.0/24")];
        let judged = |new: IpPool| judge(&Change::Made(new), Who::Other, &others);
        assert!(judged(pool("a", "172.16.3.0/24")).message().contains("172.16.0.0/16 of IPPool b"));
        assert!(!judged(pool("a", "10.0.0.0/23")).is_allowed());
        assert!(judged(pool("a", "10.0.1.0/24")).is_allowed());
        assert!(judged(pool("b", "172.16.0.0/16")).is_allowed(), "itself");
        let mut vlan = pool("a", "172.16.3.0/24");
        (vlan.spec.kind, vlan.spec.vlan_config) =
            ("vlan".into(), serde_json::from_str(r#"{"vlanId": 7, "master": "eth0"}"#).unwrap());
        assert!(judged(vlan).is_allowed());
    }

    #[test]
    fn a_pool_in_use_may_be_deleted_only_if_something_keeps_it() {
        let mut used = pool("a", "172.16.3.0/24");
        used.status = Some(IpPoolStatus { allocations: 3, ..IpPoolStatus::default() });
        let removed = |pool: &IpPool, who| judge(&Change::Removed(pool.clone()), who, &[]);
        assert!(removed(&used, Who::Other).message().contains("3 pods have addresses of it"));
        assert!(removed(&used, Who::Kubernetes).is_allowed());
        used.metadata.finalizers = Some(vec![FINALIZER.into()]);
        let kept = removed(&used, Who::Other);
        assert!(kept.is_allowed() && kept.warnings.len() == 1);
        assert!(removed(&pool("a", "172.16.3.0/24"), Who::Other).warnings.is_empty());
        assert!(changed(|pool| pool.metadata.finalizers = None).message().contains("leave the finalizer"));
    }

    #[test]
    fn a_pool_in_use_may_not_be_deleted_after_its_blocks() {
        let removed = |allocations: u32, who| {
            let mut pool = pool("a", "172.16.3.0/24");
            pool.metadata.finalizers = Some(vec![FINALIZER.into()]);
            pool.status = Some(IpPoolStatus { allocations, ..IpPoolStatus::default() });
            let change = Change::Removed(pool);
            let mut verdict = judge(&change, who, &[]);
            after_its_blocks(&change, who, &mut verdict);
            verdict
        };
        assert!(removed(3, Who::Other).message().contains("3 pods have addresses of it, and its blocks"));
        assert!(removed(3, Who::Kubernetes).is_allowed() && removed(0, Who::Other).is_allowed());
    }

    proptest! {
        /// Two pools overlap, whichever comes first, exactly if there is an address that both have.
        #[test]
        fn overlap_is_that_of_sets(a in 0_u32..64, b in 0_u32..64, long in 26_u8..32, short in 26_u8..32) {
            let cidr = |n: u32, prefix| Ipv4Net::new(Ipv4Addr::from(0x0a00_0000 + n), prefix).unwrap().trunc();
            let (one, two) = (cidr(a, long), cidr(b, short));
            let shared = one.network() <= two.broadcast() && two.network() <= one.broadcast();
            let plain = |name, cidr: Ipv4Net| {
                let mut pool = pool(name, &cidr.to_string());
                pool.spec.block_size = None;
                pool
            };
            let judged = |new, other| judge(&Change::Made(new), Who::Other, &[other]).is_allowed();
            prop_assert_eq!(judged(plain("a", one), plain("b", two)), !shared);
            prop_assert_eq!(judged(plain("b", two), plain("a", one)), !shared);
        }
    }
}
