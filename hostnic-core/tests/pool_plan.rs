//! The planner, as a pure function: rules that hold for every view of a pool, and its choices in the usual cases, word
//! for word.
//!
//! `HOSTNIC_BLESS=1 cargo test -p hostnic-core --test pool_plan` writes the golden files anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says by panicking that it failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use hostnic_core::attachment::{AttachmentKey, AttachmentMark};
use hostnic_core::clock::BootTime;
use hostnic_core::id::{CreateToken, NicId, SubnetId};
use hostnic_core::ledger::NicState;
use hostnic_core::policy::{PolicyName, PolicyState, SubnetView};
use hostnic_core::pool::{
    Action, CreateView, Hold, NicView, Plan, PoolConfig, PoolView, Purpose, Shortage, Want, WishView, plan,
};
use proptest::prelude::*;

const CREATE_BATCH: u32 = 252;
const BATCH: u32 = 100;
const NOW: u64 = 10_000;

fn at(seconds: u64) -> BootTime {
    BootTime::new(Duration::from_secs(seconds))
}

fn subnet_id(n: usize) -> SubnetId {
    format!("vxnet-{n}").parse().unwrap()
}

fn nic_id(n: usize) -> NicId {
    format!("nic-{n:03}").parse().unwrap()
}

fn mark(n: usize) -> AttachmentMark {
    let key = AttachmentKey {
        network: "net".parse().unwrap(),
        container: format!("c{n}").parse().unwrap(),
        ifname: "eth0".parse().unwrap(),
    };
    key.mark()
}

fn config(subnets: usize) -> PoolConfig {
    PoolConfig::new((1..=subnets).map(subnet_id).collect())
}

/// A pool without anything, in which everything may be made.
fn empty(config: &PoolConfig) -> PoolView {
    let subnet = |id: &SubnetId| SubnetView { id: id.clone(), room: Some(250), set_aside: false };
    PoolView {
        now: at(NOW),
        nics: Vec::new(),
        creates: Vec::new(),
        waiting: 0,
        unmet_since: Some(at(NOW - 1)),
        wishes: Vec::new(),
        lending: 0,
        subnets: config.subnets.iter().map(subnet).collect(),
        gateways: Vec::new(),
        unshared: Vec::new(),
        nic_limit: Some(63),
        hold: Hold::No,
        draining: false,
        policy: PolicyState { last: None, draw: 1 },
    }
}

fn plan_of(view: &PoolView, config: &PoolConfig) -> Plan {
    plan(view, config, config.policy.policy().as_ref(), CREATE_BATCH, BATCH)
}

/// What carrying out a plan makes of a view at once, before any answer has come.
fn begun(view: &PoolView, plan: &Plan) -> PoolView {
    let mut view = PoolView { policy: plan.policy.clone(), ..view.clone() };
    let busy = |view: &mut PoolView, ids: &[NicId]| {
        view.nics.iter_mut().filter(|nic| ids.contains(&nic.id)).for_each(|nic| nic.busy = true);
    };
    for action in &plan.actions {
        match action {
            Action::Create { subnet, count } => {
                let number = view.creates.len();
                view.creates.push(CreateView {
                    token: format!("token{number:08}").parse().unwrap(),
                    count: *count,
                    purpose: Purpose::Pods,
                    running: true,
                    since: view.now,
                });
                view.unmet_since = None;
                let chosen = view.subnets.iter_mut().find(|s| s.id == *subnet).expect("a subnet of the pool");
                chosen.room =
                    chosen.room.map(|room| room.checked_sub(*count).expect("no more than the room"));
            }
            Action::CreateGateway(subnet) => {
                let number = view.creates.len();
                view.creates.push(CreateView {
                    token: format!("token{number:08}").parse().unwrap(),
                    count: 1,
                    purpose: Purpose::Gateway,
                    running: true,
                    since: view.now,
                });
                view.gateways.retain(|wanted| wanted != subnet);
                let chosen = view.subnets.iter_mut().find(|s| s.id == *subnet).expect("a subnet of the pool");
                chosen.room = chosen.room.map(|room| room.checked_sub(1).expect("no more than the room"));
            }
            Action::CreateShared(subnet) => {
                let number = view.creates.len();
                view.creates.push(CreateView {
                    token: format!("token{number:08}").parse().unwrap(),
                    count: 1,
                    purpose: Purpose::Shared,
                    running: true,
                    since: view.now,
                });
                view.unshared.retain(|wanted| wanted != subnet);
                if let Some(room) =
                    view.subnets.iter_mut().find(|s| s.id == *subnet).and_then(|s| s.room.as_mut())
                {
                    *room = room.saturating_sub(1);
                }
            }
            Action::CreateOwn { mark, subnet } => {
                let number = view.creates.len();
                view.creates.push(CreateView {
                    token: format!("token{number:08}").parse().unwrap(),
                    count: 1,
                    purpose: Purpose::Own,
                    running: true,
                    since: view.now,
                });
                view.wishes.retain(|wish| wish.mark != *mark);
                if let Some(room) =
                    view.subnets.iter_mut().find(|s| s.id == *subnet).and_then(|s| s.room.as_mut())
                {
                    *room = room.saturating_sub(1);
                }
            }
            Action::Lend { mark, .. } => {
                view.wishes.retain(|wish| wish.mark != *mark);
                view.lending += 1;
            }
            Action::Entrust { mark, nic } => {
                view.wishes.retain(|wish| wish.mark != *mark);
                let nic = view.nics.iter_mut().find(|n| n.id == *nic).expect("a NIC of the pool");
                nic.held = 1;
                nic.busy = true;
            }
            Action::LookUp(token) => {
                view.creates.iter_mut().filter(|c| c.token == *token).for_each(|c| c.running = true);
            }
            Action::Attach(nics) | Action::Detach(nics) | Action::Delete(nics) => busy(&mut view, nics),
            Action::Thaw(nic, address) => {
                let nic = view.nics.iter_mut().find(|n| n.id == *nic).expect("a NIC of the pool");
                nic.cooling.retain(|(cooling, _)| cooling != address);
                nic.free += 1;
                nic.free_since = view.now;
            }
        }
    }
    view
}

/// What each action is about, so that two of the same thing are seen.
fn subjects(plan: &Plan) -> Vec<String> {
    let mut subjects = Vec::new();
    for action in &plan.actions {
        match action {
            Action::Create { .. } => subjects.push("create".to_owned()),
            Action::CreateGateway(subnet) => subjects.push(format!("gateway in {subnet}")),
            Action::CreateShared(subnet) => subjects.push(format!("shared in {subnet}")),
            Action::CreateOwn { mark, .. } | Action::Lend { mark, .. } => subjects.push(mark.to_string()),
            Action::Entrust { mark, nic } => subjects.extend([mark.to_string(), nic.to_string()]),
            Action::LookUp(token) => subjects.push(token.to_string()),
            Action::Attach(nics) | Action::Detach(nics) | Action::Delete(nics) => {
                subjects.extend(nics.iter().map(ToString::to_string));
            }
            Action::Thaw(nic, address) => subjects.push(format!("{nic} {address}")),
        }
    }
    subjects
}

fn created(plan: &Plan) -> BTreeMap<&SubnetId, u32> {
    let mut created = BTreeMap::new();
    for action in &plan.actions {
        if let Action::Create { subnet, count } = action {
            *created.entry(subnet).or_default() += count;
        }
    }
    created
}

fn gateways_made(plan: &Plan) -> Vec<SubnetId> {
    let made = |a: &Action| if let Action::CreateGateway(id) = a { Some(id.clone()) } else { None };
    plan.actions.iter().filter_map(made).collect()
}

/// NICs that the plan makes, or takes in, for one attachment each, or for pods of one subnet to share.
fn alone(plan: &Plan) -> u32 {
    let alone =
        |a: &&Action| matches!(a, Action::CreateOwn { .. } | Action::Lend { .. } | Action::CreateShared(_));
    u32::try_from(plan.actions.iter().filter(alone).count()).unwrap()
}

fn detached(plan: &Plan) -> BTreeSet<&NicId> {
    plan.actions
        .iter()
        .filter_map(|a| if let Action::Detach(nics) = a { Some(nics) } else { None })
        .flatten()
        .collect()
}

prop_compose! {
    fn any_nic()(
        subnet in 1..=4usize,
        state in 0..8u8,
        failures in 0..7u32,
        age in 0..400u64,
        busy in prop::bool::weighted(0.2),
        not_before in prop::option::weighted(0.2, 0..20u64),
        addresses in prop::collection::vec((0..4u8, 0..100u64), 1..4),
        purpose in 0..12u8,
    ) -> NicView {
        let purpose = match purpose {
            0 => Purpose::Own,
            1 => Purpose::Lent,
            2 | 3 => Purpose::Shared,
            _ => Purpose::Pods,
        };
        let job = Some("job-1".parse().unwrap());
        let state = match state {
            0..=2 => NicState::Ready,
            3 => NicState::Attaching { job: None, failures },
            4 => NicState::Attaching { job, failures },
            5 => NicState::Detaching { job: None },
            6 if purpose != Purpose::Lent => NicState::Deleting,
            _ => NicState::Quarantined,
        };
        let mut nic = NicView {
            id: nic_id(0),
            subnet: subnet_id(subnet),
            purpose,
            since: at(NOW - age),
            busy,
            not_before: not_before.map(|n| at(NOW - 10 + n)),
            free: 0,
            free_since: BootTime::default(),
            held: 0,
            addresses: u32::try_from(addresses.len()).unwrap(),
            cooling: Vec::new(),
            state: state.clone(),
        };
        let idle = matches!(state, NicState::Detaching { .. } | NicState::Deleting | NicState::Quarantined);
        for (number, (what, since)) in addresses.into_iter().enumerate() {
            match what {
                _ if idle => {}
                // It is that pod's, or nobody's.
                what if purpose.is_one_pod() => nic.held = u32::from(what < 2),
                0 => nic.held += 1,
                1 => nic.cooling.push((IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(number).unwrap())), at(NOW - since))),
                _ if state == NicState::Ready => {
                    nic.free += 1;
                    nic.free_since = nic.free_since.max(at(NOW - since));
                }
                _ => {}
            }
        }
        if purpose == Purpose::Shared {
            // It has none of its own.
            (nic.addresses, nic.free, nic.cooling) = (0, 0, Vec::new());
        }
        nic
    }
}

prop_compose! {
    fn any_subnet()(room in prop::option::of(0..40u32), set_aside in prop::bool::weighted(0.2)) -> (Option<u32>, bool) {
        (room, set_aside)
    }
}

prop_compose! {
    fn any_wish()(
        existing in any::<bool>(),
        subnet in prop::option::of(1..=4usize),
        left in prop::option::weighted(0.3, 0..40usize),
        in_the_way in prop::option::weighted(0.1, 0..40usize),
        not_before in prop::option::weighted(0.2, 0..20u64),
    ) -> WishView {
        WishView {
            mark: mark(0),
            want: if existing { Want::Existing(nic_id(900)) } else { Want::Made(subnet.map(subnet_id)) },
            left: left.into_iter().map(nic_id).collect(),
            in_the_way: in_the_way.map(nic_id),
            not_before: not_before.map(|n| at(NOW - 10 + n)),
        }
    }
}

prop_compose! {
    fn any_view()(
        mut nics in prop::collection::vec(any_nic(), 0..40),
        creates in prop::collection::vec((1..5u32, any::<bool>(), 0..20u64), 0..3),
        waiting in 0..40u32,
        mut wishes in prop::collection::vec(any_wish(), 0..6),
        lending in 0..2u32,
        unmet in prop::option::of(0..2u64),
        subnets in prop::collection::vec(any_subnet(), 3),
        gateways in prop::collection::btree_set(1..=3usize, 0..3),
        unshared in prop::collection::btree_set(1..=5usize, 0..4),
        nic_limit in prop::option::weighted(0.9, 1..64u32),
        hold in 0..6u8,
        draining in prop::bool::weighted(0.1),
        draw in any::<u64>(),
    ) -> PoolView {
        nics.iter_mut().enumerate().for_each(|(n, nic)| nic.id = nic_id(n));
        wishes.iter_mut().enumerate().for_each(|(n, wish)| wish.mark = mark(n));
        PoolView {
            now: at(NOW),
            nics,
            creates: creates
                .into_iter()
                .enumerate()
                .map(|(n, (count, running, age))| CreateView {
                    token: CreateToken::from_bits([u8::try_from(n).unwrap(); 10]),
                    count,
                    purpose: Purpose::Pods,
                    running,
                    since: at(NOW - age),
                })
                .collect(),
            waiting,
            wishes,
            lending,
            unmet_since: unmet.map(|age| at(NOW - age)),
            subnets: subnets
                .into_iter()
                .enumerate()
                .map(|(n, (room, set_aside))| SubnetView { id: subnet_id(n + 1), room, set_aside })
                .collect(),
            gateways: gateways.into_iter().map(subnet_id).collect(),
            unshared: unshared.into_iter().map(subnet_id).collect(),
            nic_limit,
            hold: match hold {
                0 => Hold::Unsettled,
                1 => Hold::Until(at(NOW + 5)),
                _ => Hold::No,
            },
            draining,
            policy: PolicyState { last: None, draw },
        }
    }
}

prop_compose! {
    fn any_config()(
        low in 0..6u32,
        above in 0..6u32,
        max_nics in 1..=63u32,
        addresses_per_nic in 1..4u32,
        policy in 0..3u8,
    ) -> PoolConfig {
        let policy = [PolicyName::FailRotate, PolicyName::RoundRotate, PolicyName::Random][usize::from(policy)];
        PoolConfig { low, high: low + above, max_nics, addresses_per_nic, policy, ..config(3) }
    }
}

/// Free addresses on ready NICs of configured subnets that are not on their way out.
fn free(view: &PoolView) -> u32 {
    let configured =
        |nic: &&NicView| nic.purpose == Purpose::Pods && view.subnets.iter().any(|s| s.id == nic.subnet);
    let stays = |nic: &&NicView| nic.state == NicState::Ready && !nic.busy;
    view.nics.iter().filter(configured).filter(stays).map(|n| n.free).sum()
}

/// Free addresses, and those that will be when what is under way has ended.
fn supply(view: &PoolView, config: &PoolConfig) -> u32 {
    let configured =
        |nic: &&NicView| nic.purpose == Purpose::Pods && view.subnets.iter().any(|s| s.id == nic.subnet);
    let comes = |n: &&NicView| match n.state {
        NicState::Attaching { job: None, failures } => failures < 5 || n.held > 0,
        NicState::Attaching { .. } => true,
        _ => false,
    };
    let coming = view.nics.iter().filter(configured).filter(comes);
    let made: u32 = view.creates.iter().map(|c| c.count).sum();
    free(view)
        + coming.map(|n| n.addresses - n.held - u32::try_from(n.cooling.len()).unwrap()).sum::<u32>()
        + made * config.addresses_per_nic
}

fn total(view: &PoolView) -> u32 {
    let there = u32::try_from(view.nics.len()).unwrap() + view.lending;
    there + view.creates.iter().map(|c| c.count).sum::<u32>()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_plan_exceeds_the_limits_or_touches_what_is_not_its_to_touch(view in any_view(), config in any_config()) {
        let plan = plan_of(&view, &config);
        let created = created(&plan);
        let gateways = gateways_made(&plan);
        let sum = created.values().sum::<u32>() + u32::try_from(gateways.len()).unwrap();
        prop_assert!(gateways.iter().all(|id| view.gateways.contains(id)));
        let alone = alone(&plan);
        if sum + alone > 0 {
            let limit = config.max_nics.min(view.nic_limit.expect("nothing is made before the limit is known"));
            prop_assert!(total(&view) + sum + alone <= limit);
            prop_assert!(view.hold != Hold::Unsettled && !view.draining);
        }
        let makes = |a: &Action| matches!(a, Action::CreateOwn { .. } | Action::CreateShared(_));
        if sum > 0 || plan.actions.iter().any(makes) {
            prop_assert_eq!(view.hold, Hold::No);
        }
        for subnet in created.keys().copied().chain(&gateways).collect::<BTreeSet<_>>() {
            let count = plan_created_in(&plan, subnet);
            let subnet = view.subnets.iter().find(|s| s.id == *subnet).expect("configured");
            prop_assert!(subnet.usable());
            prop_assert!(subnet.room.is_none_or(|room| count <= room));
        }
        let all = subjects(&plan);
        let nics: Vec<_> = view.nics.iter().filter(|n| all.contains(&n.id.to_string())).collect();
        prop_assert!(nics.iter().all(|n| !n.busy), "a busy NIC is left alone");
        let detached = detached(&plan);
        for nic in nics.iter().filter(|n| detached.contains(&n.id)) {
            prop_assert!(nic.held == 0, "{:?} is held", nic.id);
            if nic.state == NicState::Ready {
                prop_assert!(nic.cooling.is_empty(), "{:?} cools", nic.id);
                prop_assert!(view.hold != Hold::Unsettled, "nothing is given back before the first comparison");
            } else {
                prop_assert!(nic.not_before.is_none_or(|at| at <= view.now), "{:?} is to be left alone", nic.id);
            }
        }
        let lent = |id: &NicId| view.nics.iter().any(|nic| nic.id == *id && nic.purpose == Purpose::Lent);
        let mut attaches = 0;
        for action in &plan.actions {
            if let Action::Attach(nics) | Action::Detach(nics) | Action::Delete(nics) = action {
                prop_assert!(nics.len() == 1 || !nics.iter().any(lent), "what is lent has a call of its own");
                attaches += usize::from(matches!(action, Action::Attach(_)) && !lent(&nics[0]));
            }
        }
        prop_assert!(attaches <= 1, "one attach for all");
        prop_assert!(plan.wake.is_none_or(|at| at > view.now), "a plan never asks to be made again at once");
    }

    #[test]
    fn a_plan_that_was_begun_is_not_repeated(view in any_view(), config in any_config()) {
        let mut view = view;
        let mut seen = BTreeSet::new();
        for round in 0.. {
            let plan = plan_of(&view, &config);
            if plan.actions.is_empty() {
                break;
            }
            for subject in subjects(&plan).into_iter().collect::<BTreeSet<_>>() {
                prop_assert!(seen.insert(subject.clone()), "{} again in round {}", subject, round);
            }
            view = begun(&view, &plan);
        }
    }

    #[test]
    fn what_is_short_is_made_and_no_more(view in any_view(), config in any_config()) {
        let per_nic = config.addresses_per_nic;
        let (wanted, had) = (view.waiting + config.low, supply(&view, &config));
        let plan = plan_of(&view, &config);
        let created: u32 = created(&plan).values().sum();
        if created > 0 {
            prop_assert!(had + (created - 1) * per_nic < wanted, "each NIC is needed");
        }
        let gathered = view.unmet_since.is_some_and(|since| since.after(config.gather) <= view.now);
        let may = gathered && view.hold == Hold::No && !view.draining && view.nic_limit.is_some();
        let full = |subnet: &SubnetView| {
            !subnet.usable()
                || subnet.room.is_some_and(|room| room <= plan_made_in(&plan, &subnet.id))
        };
        if may && had + created * per_nic < wanted {
            let limit = config.max_nics.min(view.nic_limit.unwrap());
            let created = created + u32::try_from(gateways_made(&plan).len()).unwrap() + alone(&plan);
            prop_assert!(
                total(&view) + created >= limit || view.subnets.iter().all(full),
                "{} made, {} wanted, {} there", created, wanted, had
            );
        }
    }

    #[test]
    fn what_is_given_back_leaves_the_low_watermark_and_takes_only_what_is_above_the_high_one(
        view in any_view(), config in any_config(),
    ) {
        let view = PoolView { draining: false, wishes: Vec::new(), unshared: Vec::new(), ..view };
        let plan = plan_of(&view, &config);
        let gone = detached(&plan);
        let surplus: Vec<_> = view.nics.iter().filter(|n| {
            gone.contains(&n.id) && n.state == NicState::Ready && n.purpose == Purpose::Pods && view.subnets.iter().any(|s| s.id == n.subnet)
        }).collect();
        if !surplus.is_empty() {
            let given: u32 = surplus.iter().map(|n| n.free).sum();
            let largest = surplus.iter().map(|n| n.free).max().unwrap();
            prop_assert_eq!(view.waiting, 0);
            prop_assert!(free(&view) - given >= config.low);
            prop_assert!(free(&view) - given + largest > config.high);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_wish_is_decided_on_once_and_makes_no_more_place_than_it_takes(
        view in any_view(), config in any_config(),
    ) {
        let plan = plan_of(&view, &config);
        let mut decided: Vec<&AttachmentMark> = plan.refused.iter().map(|(mark, _)| mark).collect();
        let mut left = BTreeSet::new();
        for action in &plan.actions {
            match action {
                Action::CreateOwn { mark, .. } | Action::Lend { mark, .. } => decided.push(mark),
                Action::Entrust { mark, nic } => {
                    decided.push(mark);
                    prop_assert!(left.insert(nic), "{} is left to two", nic);
                    let nic = view.nics.iter().find(|n| n.id == *nic).unwrap();
                    prop_assert!(nic.purpose.is_one_pod() && nic.held == 0 && !nic.busy);
                }
                _ => {}
            }
        }
        let distinct: BTreeSet<_> = decided.iter().collect();
        prop_assert_eq!(distinct.len(), decided.len());
        let due = view.wishes.iter().filter(|wish| wish.not_before.is_none_or(|at| at <= view.now));
        let open = due.filter(|wish| !decided.contains(&&wish.mark)).count();
        let calm = PoolView { wishes: Vec::new(), ..view.clone() };
        let (with, without) = (detached(&plan).len(), detached(&plan_of(&calm, &config)).len());
        let open = open + view.wishes.iter().filter(|wish| wish.in_the_way.is_some()).count();
        // What a wish has taken is no place for those that take any NIC.
        let taken = |action: &&Action| matches!(action, Action::CreateOwn { .. } | Action::Lend { .. });
        let queued = view.waiting > 0;
        let open = open + if queued { plan.actions.iter().filter(taken).count() } else { 0 };
        if !view.draining {
            prop_assert!(with <= without + open, "{} go for {} that wait, {} otherwise", with, open, without);
        }
    }
}

/// The same, with what is made for one attachment alone.
fn plan_made_in(plan: &Plan, subnet: &SubnetId) -> u32 {
    let own = |a: &&Action| matches!(a, Action::CreateOwn { subnet: id, .. } | Action::CreateShared(id) if id == subnet);
    plan_created_in(plan, subnet) + u32::try_from(plan.actions.iter().filter(own).count()).unwrap()
}

fn plan_created_in(plan: &Plan, subnet: &SubnetId) -> u32 {
    let gateways = gateways_made(plan).into_iter().filter(|id| id == subnet).count();
    created(plan).get(subnet).copied().unwrap_or_default() + u32::try_from(gateways).unwrap()
}

#[test]
fn a_gateway_is_made_once_where_there_is_room_and_is_no_supply() {
    let config = PoolConfig { low: 1, high: 1, max_nics: 2, ..config(2) };
    let wanted = PoolView { gateways: vec![subnet_id(2)], ..empty(&config) };
    let first = plan_of(&wanted, &config);
    assert_eq!(gateways_made(&first), [subnet_id(2)]);
    // It is one of the two NICs that the node may have, and the pod's is the other.
    assert_eq!(created(&first), BTreeMap::from([(&subnet_id(1), 1)]));
    assert_eq!(plan_of(&begun(&wanted, &first), &config).actions, []);

    // One that is there is nothing that a pod could have, and is kept.
    let gateway = NicView { purpose: Purpose::Gateway, state: NicState::Ready, ..made(0, 1, at(NOW)) };
    let there = PoolView { nics: vec![gateway.clone()], ..empty(&config) };
    let plan = plan_of(&there, &config);
    assert_eq!((created(&plan).values().sum::<u32>(), detached(&plan).len()), (1, 0));
    // A node that gives all back keeps it as long as pods are in its subnet.
    for (held, left) in [(1, 0), (0, 1)] {
        let nics = vec![NicView { held, ..gateway.clone() }];
        let draining = PoolView { nics, draining: true, gateways: vec![subnet_id(2)], ..empty(&config) };
        let plan = plan_of(&draining, &config);
        assert_eq!((plan.actions.len(), detached(&plan).len()), (left, left));
    }

    for no_room in [
        PoolView { nic_limit: Some(0), ..wanted.clone() },
        PoolView { hold: Hold::Unsettled, ..wanted.clone() },
        PoolView {
            subnets: vec![SubnetView { room: Some(0), ..wanted.subnets[1].clone() }],
            ..wanted.clone()
        },
    ] {
        assert_eq!(gateways_made(&plan_of(&no_room, &config)), []);
    }
    // A pod may be in a subnet that the pool does not draw from.
    let elsewhere = PoolView { subnets: vec![wanted.subnets[0].clone()], ..wanted };
    assert_eq!(gateways_made(&plan_of(&elsewhere, &config)), [subnet_id(2)]);
}

#[test]
fn requests_are_gathered_before_nics_are_made_for_them() {
    let config = config(1);
    let view = PoolView { waiting: 1, unmet_since: None, ..empty(&config) };
    let first = plan_of(&view, &config);
    assert!(first.short && first.actions.is_empty(), "{first:?}");
    assert_eq!(first.wake, Some(view.now.after(config.gather)));
    let later = PoolView { unmet_since: Some(view.now), now: view.now.after(config.gather), ..view };
    assert_eq!(plan_of(&later, &config).actions, [Action::Create { subnet: subnet_id(1), count: 4 }]);
}

#[test]
fn nics_wait_a_little_for_others_that_are_being_made_and_no_longer() {
    let config = config(1);
    let mut view = PoolView { waiting: 2, ..empty(&config) };
    view.nics = (0..3).map(|n| made(n, 1, view.now)).collect();
    view.creates = vec![CreateView {
        token: CreateToken::from_bits([1; 10]),
        count: 2,
        purpose: Purpose::Pods,
        running: true,
        since: view.now,
    }];
    let waits = plan_of(&view, &config);
    assert_eq!(waits.actions, []);
    assert_eq!(waits.wake, Some(view.now.after(config.attach_gather)));
    let late = PoolView { now: view.now.after(config.attach_gather), ..view };
    assert_eq!(plan_of(&late, &config).actions, [Action::Attach((0..3).map(nic_id).collect())]);
}

#[test]
fn a_nic_that_was_just_looked_at_is_left_alone_for_a_while() {
    let config = config(1);
    let later = at(NOW + 5);
    for state in [
        NicState::Attaching { job: None, failures: 0 },
        NicState::Detaching { job: None },
        NicState::Deleting,
    ] {
        let mut view = empty(&config);
        view.nics = vec![NicView { state: state.clone(), not_before: Some(later), ..made(0, 1, view.now) }];
        view.nic_limit = Some(1);
        let plan = plan_of(&view, &config);
        assert_eq!(plan.actions, [], "{state:?}");
        assert_eq!(plan.wake, Some(later), "{state:?}");
    }
}

/// A NIC that was just made.
fn made(n: usize, subnet: usize, now: BootTime) -> NicView {
    NicView {
        id: nic_id(n),
        subnet: subnet_id(subnet),
        purpose: Purpose::Pods,
        state: NicState::Attaching { job: None, failures: 0 },
        since: now,
        busy: false,
        not_before: None,
        free: 0,
        free_since: BootTime::default(),
        held: 0,
        addresses: 1,
        cooling: Vec::new(),
    }
}

/// How a subnet answers creates.
#[derive(Clone, Copy)]
enum Subnet {
    Roomy,
    /// The cloud told that there is no room.
    Full,
    /// There is room for so many, but nobody was told.
    FullSoon(u32),
    Failing,
}

/// Carries plans out until nothing is left to do, and tells each step.
fn story(config: &PoolConfig, subnets: &[Subnet], waiting: u32, draw: u64) -> String {
    let mut view = PoolView { waiting, ..empty(config) };
    view.policy.draw = draw;
    for (seen, real) in view.subnets.iter_mut().zip(subnets) {
        seen.room = match real {
            Subnet::Full => Some(0),
            Subnet::FullSoon(_) => None,
            Subnet::Roomy | Subnet::Failing => Some(250),
        };
    }
    let mut told = String::new();
    loop {
        let plan = plan_of(&view, config);
        if plan.actions.is_empty() {
            if let Some(unserved) = plan.unserved {
                writeln!(told, "{} wait in vain: {:?}", unserved.count, unserved.reason).unwrap();
            }
            break;
        }
        view.policy = plan.policy.clone();
        for action in &plan.actions {
            carry_out(&mut view, subnets, action, &mut told);
        }
    }
    told
}

fn carry_out(view: &mut PoolView, subnets: &[Subnet], action: &Action, told: &mut String) {
    match action {
        Action::Create { subnet, count } => {
            let number = view.subnets.iter().position(|s| s.id == *subnet).unwrap();
            let taken = view.nics.iter().filter(|n| n.subnet == *subnet).count();
            let refused = match subnets[number] {
                Subnet::Roomy => None,
                Subnet::Full => panic!("it was known to be full"),
                Subnet::FullSoon(room) => (taken + *count as usize > room as usize).then_some("full"),
                Subnet::Failing => Some("failed"),
            };
            writeln!(told, "create {count} in {subnet}: {}", refused.unwrap_or("done")).unwrap();
            if refused.is_some() {
                view.subnets[number].set_aside = true;
                return;
            }
            let next = view.nics.len();
            view.nics.extend((next..next + *count as usize).map(|n| made(n, number + 1, view.now)));
        }
        Action::Attach(nics) => {
            writeln!(told, "attach {}", nics.len()).unwrap();
            for nic in view.nics.iter_mut().filter(|n| nics.contains(&n.id)) {
                nic.state = NicState::Attaching { job: Some("job-1".parse().unwrap()), failures: 0 };
            }
        }
        other => writeln!(told, "{other:?}").unwrap(),
    }
}

fn golden(name: &str, text: &str) {
    let path = format!("{}/tests/golden/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("HOSTNIC_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, wanted, "{path} differs; if that is meant, write it anew with HOSTNIC_BLESS=1");
}

#[test]
fn sixty_pods_over_three_subnets() {
    use Subnet::{Failing, Full, FullSoon, Roomy};
    let cases: [(&str, [Subnet; 3]); 5] = [
        ("three roomy subnets", [Roomy, Roomy, Roomy]),
        ("the first is full, as the cloud tells", [Full, Roomy, Roomy]),
        ("the first takes 5, which nobody knows", [FullSoon(5), Roomy, Roomy]),
        ("the first fails", [Failing, Roomy, Roomy]),
        ("none can be used", [Full, Failing, FullSoon(0)]),
    ];
    for policy in [PolicyName::RoundRotate, PolicyName::FailRotate, PolicyName::Random] {
        let config = PoolConfig { policy, low: 0, high: 0, ..config(3) };
        let mut text = format!("{policy}\n");
        for (name, subnets) in cases {
            write!(text, "\n{name}:\n{}", story(&config, &subnets, 60, 7)).unwrap();
        }
        golden(&format!("sixty_pods_{policy}"), &text);
    }
}

#[test]
fn random_choices_are_even_within_three_sigma() {
    let config = PoolConfig { policy: PolicyName::Random, low: 0, high: 0, ..config(3) };
    let (mut sums, mut seen) = ([0u32; 3], BTreeSet::new());
    let runs = 100;
    for draw in 0..runs {
        let mut view = PoolView { waiting: 60, ..empty(&config) };
        view.policy.draw = draw;
        let plan = plan_of(&view, &config);
        let counts: Vec<u32> = (1..=3).map(|n| plan_created_in(&plan, &subnet_id(n))).collect();
        assert_eq!(counts.iter().sum::<u32>(), 60);
        assert_eq!(plan_of(&view, &config), plan, "the same seed gives the same plan");
        sums.iter_mut().zip(&counts).for_each(|(sum, count)| *sum += count);
        seen.insert(counts);
    }
    let draws = f64::from(u32::try_from(runs).unwrap()) * 60.0;
    let sigma = (draws * (1.0 / 3.0) * (2.0 / 3.0)).sqrt();
    for sum in sums {
        assert!((f64::from(sum) - draws / 3.0).abs() < 3.0 * sigma, "{sums:?}, sigma {sigma}");
    }
    assert!(seen.len() > 10, "seeds differ");
}

#[test]
fn who_waits_in_vain_is_told_why() {
    let config = PoolConfig { max_nics: 2, low: 0, ..config(1) };
    let view = PoolView { waiting: 5, ..empty(&config) };
    let unserved = plan_of(&view, &config).unserved.unwrap();
    assert_eq!((unserved.count, unserved.reason), (3, Shortage::NodeFull { limit: 2 }));
    let mut aside = view.clone();
    aside.subnets[0].set_aside = true;
    let unserved = plan_of(&aside, &config).unserved.unwrap();
    assert_eq!((unserved.count, unserved.reason), (5, Shortage::NoSubnet));
    let held = PoolView { hold: Hold::Until(at(NOW + 1)), ..view };
    let unserved = plan_of(&held, &config).unserved.unwrap();
    assert_eq!((unserved.count, unserved.reason), (5, Shortage::OnHold));
}

/// One that pods could share, and none does since `since`.
fn unused(n: usize, subnet: usize, since: BootTime) -> NicView {
    NicView { purpose: Purpose::Shared, state: NicState::Ready, addresses: 0, ..made(n, subnet, since) }
}

#[test]
fn what_pods_share_is_made_on_demand_and_goes_when_its_time_is_over() {
    let config = PoolConfig { low: 0, high: 0, ..config(2) };
    let wanted = PoolView { unshared: vec![subnet_id(2), subnet_id(7)], ..empty(&config) };
    let plan = plan_of(&wanted, &config);
    assert_eq!(plan.actions, [Action::CreateShared(subnet_id(2)), Action::CreateShared(subnet_id(7))]);
    assert_eq!(plan_of(&begun(&wanted, &plan), &config).actions, []);
    let held = PoolView { hold: Hold::Until(at(NOW + 1)), ..wanted };
    assert_eq!(plan_of(&held, &config).unshared, [2, 7].map(|n| (subnet_id(n), Shortage::OnHold)));

    let young = PoolView { nics: vec![unused(0, 9, at(NOW))], ..empty(&config) };
    let plan = plan_of(&young, &config);
    assert_eq!((plan.actions.len(), plan.wake), (0, Some(at(NOW).after(config.free_period))));
    let old = PoolView { now: at(NOW).after(config.free_period), ..young.clone() };
    assert_eq!(plan_of(&old, &config).actions, [Action::Detach(vec![nic_id(0)])]);
    let mut used = old.clone();
    used.nics[0].held = 1;
    assert_eq!(plan_of(&used, &config).actions, []);
    let unsettled = PoolView { hold: Hold::Unsettled, ..old };
    assert_eq!(plan_of(&unsettled, &config).actions, []);
    // Of two in a subnet one is enough.
    let twins = PoolView { nics: vec![unused(0, 9, at(NOW)), unused(1, 9, at(NOW))], ..empty(&config) };
    assert_eq!(plan_of(&twins, &config).actions, [Action::Detach(vec![nic_id(1)])]);
}

#[test]
fn on_a_full_node_what_was_without_pods_longest_makes_way_first() {
    let config = PoolConfig { low: 2, high: 4, max_nics: 4, ..config(2) };
    let warm = |n| NicView { state: NicState::Ready, free: 1, ..made(n, 1, at(NOW - 90)) };
    let nics = || vec![warm(0), warm(1), unused(2, 8, at(NOW - 10)), unused(3, 9, at(NOW - 20))];
    let gone = |unshared: &[usize]| {
        let unshared = unshared.iter().map(|n| subnet_id(*n)).collect();
        let plan = plan_of(&PoolView { nics: nics(), unshared, ..empty(&config) }, &config);
        (detached(&plan).into_iter().cloned().collect::<Vec<_>>(), plan.unshared)
    };
    assert_eq!(gone(&[]), (vec![], vec![]));
    assert_eq!(gone(&[5]), (vec![nic_id(3)], vec![]));
    assert_eq!(gone(&[5, 6, 7]), (vec![nic_id(1), nic_id(2), nic_id(3)], vec![]));
    let full = Shortage::NodeFull { limit: 4 };
    assert_eq!(gone(&[3, 4, 5, 6, 7]).1, [(subnet_id(7), full)]);
    // Pods that take any NIC have those make way that pods could share.
    let queue = PoolView { nics: nics(), waiting: 3, ..empty(&config) };
    let queue = PoolView { unmet_since: Some(at(NOW - 5)), ..queue };
    assert_eq!(detached(&plan_of(&queue, &config)), BTreeSet::from([&nic_id(3)]));
    let supply = PoolView { nics: nics()[2..].to_vec(), unshared: Vec::new(), ..empty(&config) };
    assert_eq!(plan_of(&supply, &config).unshared, []);
}
