use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use hostnic_core::capability::{AddressReservation, ReservedAddress};
use hostnic_core::sim::{Cloud, Fault, Operation, SimProvider, When};
use hostnic_core::{Error, ErrorKind};

use super::super::ClusterGroup;
use super::*;

/// Takes no more than a hundred addresses at once.
#[derive(Debug)]
struct InParts(SimProvider);

#[async_trait]
impl AddressReservation for InParts {
    fn at_once(&self) -> u32 {
        100
    }

    async fn reserve(&self, subnet: &SubnetId, name: &str, first: IpAddr, last: IpAddr) -> Result<Submitted> {
        self.0.reserve(subnet, name, first, last).await
    }

    async fn reserved(&self, subnet: &SubnetId, name: &str) -> Result<Vec<ReservedAddress>> {
        self.0.reserved(subnet, name).await
    }

    async fn release(&self, ids: &[String]) -> Result<Submitted> {
        self.0.release(ids).await
    }
}

/// Refuses to say the group, once.
#[derive(Debug, Default)]
struct Reluctant(AtomicU32);

#[async_trait]
impl ClusterGroup for Reluctant {
    async fn group(&self) -> Result<Option<String>> {
        match self.0.fetch_add(1, Ordering::Relaxed) {
            0 => Err(Error::new(ErrorKind::Unauthorised, "look for the security group of", "cl-1")),
            _ => Ok(Some("sg-1".to_owned())),
        }
    }
}

struct Bench {
    cloud: Cloud,
    view: CloudView,
    vxnets: Vec<SubnetId>,
}

impl Bench {
    fn new() -> Self {
        let builder = Cloud::builder().router("rtr-1").instance("i-controller");
        let builder = builder.subnet("vxnet-a", "172.20.0.0/22").subnet("vxnet-b", "172.20.4.0/22");
        let cloud = builder.build().unwrap();
        let node = cloud.node(&"i-controller".parse().unwrap());
        let (provider, addresses) = (Arc::new(node.clone()), Arc::new(InParts(node)));
        let view = CloudView::new(PoolCloud { provider, addresses, security: None });
        Self { cloud, view, vxnets: ["vxnet-a", "vxnet-b"].map(|id| id.parse().unwrap()).to_vec() }
    }

    /// Claims what is wanted of a vxnet, as a reconciler does, and answers in how many rounds.
    async fn claim(&mut self, id: usize, wanted: RangeInclusive<u32>) -> usize {
        let id = self.vxnets[id].clone();
        for round in 0..100 {
            self.view.look(&self.vxnets).await.unwrap();
            if self.view.is_busy(&id) {
                continue;
            }
            let reserved = &self.view.of(&id).unwrap().reserved;
            let first = wanted.clone().map(Ipv4Addr::from).find(|address| !reserved.contains(address));
            let missing = first.map(|first| first..=Ipv4Addr::from(*wanted.end()));
            if !self.view.claim(&id, missing.as_slice()).await.unwrap() {
                return round;
            }
        }
        panic!("it is not claimed")
    }

    fn calls(&self, operation: Operation) -> u64 {
        self.cloud.calls().get(&operation).copied().unwrap_or(0)
    }
}

fn wanted(third: u8, count: u32) -> RangeInclusive<u32> {
    let first = u32::from(Ipv4Addr::new(172, 20, third, 2));
    first..=first + count - 1
}

#[tokio::test]
async fn a_vxnet_is_claimed_in_parts_and_listed_before_and_after() {
    let mut bench = Bench::new();
    bench.claim(0, wanted(0, 950)).await;
    assert_eq!((bench.calls(Operation::Reserve), bench.calls(Operation::Reserved)), (10, 3));
    assert_eq!(bench.view.of(&bench.vxnets[0]).unwrap().reserved.len(), 950);
    assert_eq!(bench.cloud.control().reservations().len(), 950);
}

#[tokio::test]
async fn a_claim_that_failed_or_whose_answer_was_lost_is_looked_at_before_it_is_made_again() {
    let mut bench = Bench::new();
    bench.cloud.inject(Operation::Reserve, When::Nth(2), Fault::FailJob);
    bench.claim(0, wanted(0, 300)).await;
    assert_eq!((bench.calls(Operation::Reserve), bench.calls(Operation::Reserved)), (4, 4));

    bench.cloud.inject(Operation::Reserve, When::Nth(1), Fault::LoseAnswer);
    let (id, missing) =
        (bench.vxnets[1].clone(), Ipv4Addr::new(172, 20, 4, 2)..=Ipv4Addr::new(172, 20, 4, 9));
    bench.view.claim(&id, &[missing]).await.unwrap_err();
    bench.claim(1, wanted(4, 8)).await;
    assert_eq!(bench.calls(Operation::Reserve), 5);
}

#[tokio::test]
async fn what_could_be_listed_is_known_though_another_list_failed() {
    let mut bench = Bench::new();
    bench.cloud.inject(Operation::Reserved, When::Nth(1), Fault::LoseRequest);
    bench.view.look(&bench.vxnets).await.unwrap_err();
    assert!(bench.view.of(&bench.vxnets[0]).is_none() && bench.view.of(&bench.vxnets[1]).is_some());
    bench.view.look(&bench.vxnets).await.unwrap();
    assert_eq!(bench.calls(Operation::Reserved), 3);
}

#[tokio::test]
async fn a_group_that_cannot_be_told_keeps_a_vxnet_waiting_and_is_asked_for_until_it_is_known() {
    let cloud =
        Cloud::builder().router("rtr-1").instance("i-controller").security_group("sg-1").build().unwrap();
    let node = Arc::new(cloud.node(&"i-controller".parse().unwrap()));
    let group = Arc::new(Reluctant::default());
    let security = Some((node.clone() as _, group.clone() as _));
    let mut view = CloudView::new(PoolCloud { provider: node.clone(), addresses: node, security });
    let [one, other] = ["172.20.0.0/22", "172.20.4.0/22"].map(|cidr| cidr.parse().unwrap());
    assert_eq!(view.open(one).await.unwrap_err().kind(), ErrorKind::Unauthorised);
    assert!(cloud.allowed("sg-1").is_empty());
    for cidr in [one, other, one] {
        view.open(cidr).await.unwrap();
    }
    assert_eq!((cloud.allowed("sg-1").len(), group.0.load(Ordering::Relaxed)), (2, 2));
}

#[test]
fn reservations_have_the_go_versions_name() {
    assert_eq!(name(&"vxnet-abc1234".parse().unwrap()), "hostnic_vxnet-abc1234");
}
