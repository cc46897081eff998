use proptest::prelude::*;
use serde_json::json;

use super::*;

fn holder(handle: &str) -> Holder {
    Holder { handle: handle.to_owned(), attributes: BTreeMap::from([("pod".to_owned(), handle.to_owned())]) }
}

/// Sixteen addresses, of which four are for no pod.
fn block() -> Block {
    let usable = Ipv4Addr::new(172, 16, 3, 2)..=Ipv4Addr::new(172, 16, 3, 13);
    Block::new("4100-172-16-3-0-28".parse().unwrap(), &usable).unwrap()
}

fn at(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 16, 3, last)
}

#[test]
fn a_block_of_the_go_version_is_read_and_written_as_it_was() {
    let told = json!({
        "id": 4100, "cidr": "172.16.3.0/30", "deleted": false,
        "allocations": [0, null, 1, 0], "unallocated": [1],
        "attributes": [
            {"handle_id": "kubesphere-reserved-handle", "secondary": {"note": "kubesphere reserved"}},
            {"handle_id": "test-web-0-cf81", "secondary": {
                "ip": "172.16.3.2", "namespace": "test", "node": "worker-p001", "pod": "web-0",
                "timestamp": "2023-02-21 06:43:51.273829 +0000 UTC m=+1.2"
            }},
        ],
    });
    let spec: IpamBlockSpec = serde_json::from_value(told.clone()).unwrap();
    let (block, flaws) = Block::read(&spec).unwrap();
    assert_eq!(flaws, []);
    assert_eq!(block.usage(), Usage { capacity: 4, reserved: 2, allocated: 1, free: 1 });
    assert_eq!(block.held_by("test-web-0-cf81").collect::<Vec<_>>(), [at(2)]);
    assert_eq!(serde_json::to_value(block.write()).unwrap(), told);
}

#[test]
fn empty_lists_that_go_writes_as_null_are_read() {
    let told = json!({"id": 4100, "cidr": "172.16.3.0/31", "deleted": false, "unallocated": [0, 1],
        "allocations": [null, null], "attributes": null});
    let (block, flaws) = Block::read(&serde_json::from_value(told).unwrap()).unwrap();
    assert_eq!((flaws, block.usage().free), (vec![], 2));
}

#[test]
fn addresses_are_taken_from_the_front_and_come_back_at_the_end() {
    let mut block = block();
    assert_eq!(block.usage(), Usage { capacity: 16, reserved: 4, allocated: 0, free: 12 });
    assert_eq!(block.claim(&holder("a")), Some(at(2)));
    assert_eq!(block.claim(&holder("b")), Some(at(3)));
    assert_eq!(block.release("a"), [at(2)]);
    let rest: Vec<_> = std::iter::from_fn(|| block.claim(&holder("c"))).collect();
    assert_eq!(rest.first().zip(rest.last()), Some((&at(4), &at(2))));
    assert_eq!(block.claim(&holder("d")), None);
    assert_eq!(block.usage(), Usage { capacity: 16, reserved: 4, allocated: 12, free: 0 });
}

#[test]
fn an_address_is_had_by_one_and_refused_with_the_reason() {
    let mut block = block();
    block.claim_this(at(7), &holder("a")).unwrap();
    block.claim_this(at(7), &holder("a")).unwrap();
    assert_eq!(block.claim_this(at(7), &holder("b")), Err(Refusal::Taken("a".into())));
    assert_eq!(block.claim_this(at(0), &holder("b")), Err(Refusal::Reserved));
    assert_eq!(block.claim_this(at(16), &holder("b")), Err(Refusal::Outside(block.name())));
    assert!(!block.release_this(at(7), "b") && block.release_this(at(7), "a"));
    assert!(block.release(RESERVED).is_empty());
    block.removed = true;
    assert_eq!(block.claim_this(at(7), &holder("a")), Err(Refusal::Removed(block.name())));
    assert_eq!(block.claim(&holder("a")), None);
}

#[test]
fn stock_becomes_a_pods() {
    let mut block = block();
    let address = block.claim(&holder("hostnic-stock-1")).unwrap();
    assert!(!block.hand_over(address, "hostnic-stock-2", &holder("pod")));
    assert!(block.hand_over(address, "hostnic-stock-1", &holder("pod")));
    assert!(!block.hand_over(address, "hostnic-stock-1", &holder("other")));
    assert_eq!(
        block.held().map(|(address, holder)| (address, holder.handle.as_str())).collect::<Vec<_>>(),
        [(address, "pod")]
    );
}

#[test]
fn what_contradicts_itself_is_told_and_nobodys_address_is_given_twice() {
    let told = json!({
        "id": 4100, "cidr": "172.16.3.0/29", "deleted": false,
        "allocations": [0, 0, 9, null, null], "unallocated": [1, 3, 3, 8], "attributes": [{"handle_id": "a"}],
    });
    let (mut block, flaws) = Block::read(&serde_json::from_value(told).unwrap()).unwrap();
    assert_eq!(
        flaws,
        [
            Flaw::Length { told: 5, size: 8 },
            Flaw::Unowned(at(2)),
            Flaw::Doubled { address: at(1), handle: "a".into() },
            Flaw::Stray(3),
            Flaw::Stray(8),
            Flaw::Leaked(at(4)),
            Flaw::Leaked(at(5)),
            Flaw::Leaked(at(6)),
            Flaw::Leaked(at(7)),
        ]
    );
    let given: Vec<_> = std::iter::from_fn(|| block.claim(&holder("b"))).collect();
    assert_eq!(given, [3, 4, 5, 6, 7].map(at));
    assert_eq!(Block::read(&block.write()).unwrap(), (block, vec![]));
}

#[test]
fn what_tells_of_no_block_is_none() {
    for cidr in ["", "172.16.3.0", "fd00::/120", "10.0.0.0/8"] {
        assert_eq!(
            Block::read(&IpamBlockSpec { cidr: cidr.into(), ..IpamBlockSpec::default() }),
            None,
            "{cidr}"
        );
    }
}

#[derive(Debug, Clone)]
enum Step {
    Claim(u8),
    ClaimThis(u8, u8),
    HandOver(u8, u8, u8),
    Release(u8),
    ReleaseThis(u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let (pod, last) = (0..5_u8, 0..18_u8);
    prop_oneof![
        pod.clone().prop_map(Step::Claim),
        (last.clone(), pod.clone()).prop_map(|(a, p)| Step::ClaimThis(a, p)),
        (last.clone(), pod.clone(), pod.clone()).prop_map(|(a, p, q)| Step::HandOver(a, p, q)),
        pod.clone().prop_map(Step::Release),
        (last, pod).prop_map(|(a, p)| Step::ReleaseThis(a, p)),
    ]
}

proptest! {
    /// Whatever is done, each address is free, reserved or one holder's, as a plain map has it; and what is written says so.
    #[test]
    fn no_address_is_lost_or_had_twice(steps in prop::collection::vec(step(), 0..60)) {
        let mut block = block();
        let mut expected: BTreeMap<Ipv4Addr, String> = BTreeMap::new();
        let handle = |pod: u8| format!("pod-{pod}");
        for step in steps {
            match step {
                Step::Claim(pod) => {
                    if let Some(address) = block.claim(&holder(&handle(pod))) {
                        prop_assert_eq!(expected.insert(address, handle(pod)), None);
                    } else {
                        prop_assert_eq!(expected.len(), 12);
                    }
                }
                Step::ClaimThis(last, pod) => {
                    let present = expected.get(&at(last)).cloned();
                    let done = block.claim_this(at(last), &holder(&handle(pod)));
                    let may = (2..=13).contains(&last) && present.is_none_or(|present| present == handle(pod));
                    prop_assert_eq!(done.is_ok(), may);
                    if may { expected.insert(at(last), handle(pod)); }
                }
                Step::HandOver(last, from, to) => {
                    let may = expected.get(&at(last)) == Some(&handle(from));
                    prop_assert_eq!(block.hand_over(at(last), &handle(from), &holder(&handle(to))), may);
                    if may { expected.insert(at(last), handle(to)); }
                }
                Step::Release(pod) => {
                    let mut released = block.release(&handle(pod));
                    released.sort();
                    let gone: Vec<_> = expected.extract_if(.., |_, held| *held == handle(pod)).map(|(a, _)| a).collect();
                    prop_assert_eq!(released, gone);
                }
                Step::ReleaseThis(last, pod) => {
                    let may = expected.get(&at(last)) == Some(&handle(pod));
                    prop_assert_eq!(block.release_this(at(last), &handle(pod)), may);
                    if may { expected.remove(&at(last)); }
                }
            }
            let held: BTreeMap<_, _> = block.held().map(|(a, holder)| (a, holder.handle.clone())).collect();
            prop_assert_eq!(&held, &expected);
            let usage = block.usage();
            prop_assert_eq!(usage.reserved + usage.allocated + usage.free, usage.capacity);
            prop_assert_eq!(Block::read(&block.write()).unwrap(), (block.clone(), vec![]));
        }
    }
}
