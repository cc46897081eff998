//! The contract of a provider, quotas, lists and time.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hostnic_core::capability::{AddressReservation, SecurityRules, Tagging};
use hostnic_core::cloud::{JobState, Nic, NicAttachment, NicFilter, Submitted};
use hostnic_core::id::{MacAddr, NicId};
use hostnic_core::provider::{Capabilities, CreateNics, NicAddresses};
use hostnic_core::sim::{Cloud, Durations, Operation, Outcome, Quotas};
use hostnic_core::{ErrorKind, NicProvider, QuotaScope};
use tokio::time::{advance, sleep, timeout};

use crate::{attached, builder, carrier, create, job, kind, node, request, secs, state};

#[tokio::test(start_paused = true)]
async fn a_nic_is_created_attached_detached_and_deleted() {
    let cloud = builder().build().unwrap();
    let node = node(&cloud);
    let nics = attached(&node, 2).await;
    let here = NicFilter { instance: Some("i-1".parse().unwrap()), ..NicFilter::default() };
    assert_eq!(node.list_nics(&here).await.unwrap().len(), 2);
    assert_eq!(kind(node.attach_nics(&nics[..1]).await), ErrorKind::Conflict);
    assert_eq!(kind(node.delete_nics(&nics).await), ErrorKind::Conflict);
    let detach = job(node.detach_nics(&nics).await);
    sleep(secs(5)).await;
    assert_eq!(state(&node, &detach).await, JobState::Succeeded);
    assert_eq!(node.detach_nics(&nics).await.unwrap(), Submitted::Complete);
    node.delete_nics(&nics).await.unwrap();
    node.delete_nics(&nics).await.unwrap();
    assert_eq!(kind(node.attach_nics(&nics).await), ErrorKind::NotFound);
    assert!(cloud.snapshot().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_job_ends_exactly_when_it_is_due() {
    let cloud = builder().build().unwrap();
    let node = node(&cloud);
    let nics = create(&node, 1).await;
    let attach = job(node.attach_nics(&nics).await);
    advance(secs(10) - std::time::Duration::from_millis(1)).await;
    assert_eq!(state(&node, &attach).await, JobState::Running);
    assert_eq!(carrier(&cloud, &nics[0]), None);
    assert_eq!(kind(node.attach_nics(&nics).await), ErrorKind::Conflict, "it is in transition");
    assert_eq!(kind(node.detach_nics(&nics).await), ErrorKind::Conflict, "it is in transition");
    assert_eq!(kind(node.delete_nics(&nics).await), ErrorKind::Conflict, "it is in transition");
    advance(std::time::Duration::from_millis(1)).await;
    assert_eq!(state(&node, &attach).await, JobState::Succeeded);
    assert_eq!(carrier(&cloud, &nics[0]).as_deref(), Some("i-1"));
}

#[tokio::test(start_paused = true)]
async fn a_refused_attach_changes_nothing_for_any_of_its_nics() {
    let cloud = builder().build().unwrap();
    let node = node(&cloud);
    let nics = create(&node, 2).await;
    let unknown = NicId::new("52:54:00:00:00:00").unwrap();
    let with_unknown = [nics.clone(), vec![unknown]].concat();
    assert_eq!(kind(node.attach_nics(&with_unknown).await), ErrorKind::NotFound);
    sleep(secs(60)).await;
    assert_eq!(carrier(&cloud, &nics[0]), None);
    job(node.attach_nics(&nics).await);
}

#[tokio::test(start_paused = true)]
async fn the_primary_nic_and_those_of_others_are_not_detached() {
    let cloud = builder().primary_nic("i-1", "vxnet-1").build().unwrap();
    let primary = cloud.snapshot().into_keys().collect::<Vec<_>>();
    assert_eq!(kind(node(&cloud).detach_nics(&primary).await), ErrorKind::Conflict);
    let others = attached(&cloud.node(&"i-2".parse().unwrap()), 1).await;
    assert_eq!(kind(node(&cloud).detach_nics(&others).await), ErrorKind::Conflict);
    assert_eq!(carrier(&cloud, &others[0]).as_deref(), Some("i-2"));
}

#[tokio::test(start_paused = true)]
async fn quotas_refuse_with_their_scope_and_take_nothing() {
    let quotas = Quotas { nics_per_subnet: 5, nics_per_instance: 3, nics_per_account: Some(6) };
    let cloud = builder().subnet("vxnet-2", "10.0.0.0/24").quotas(quotas).build().unwrap();
    let node = node(&cloud);
    assert_eq!(kind(node.create_nics(&request(6)).await), ErrorKind::Quota(QuotaScope::Subnet));
    let nics = create(&node, 5).await;
    let subnet = node.subnets(&["vxnet-1".parse().unwrap()]).await.unwrap().remove(0);
    assert_eq!(subnet.room, Some(0));
    let elsewhere = CreateNics { subnet: "vxnet-2".parse().unwrap(), ..request(2) };
    assert_eq!(kind(node.create_nics(&elsewhere).await), ErrorKind::Quota(QuotaScope::Account));
    assert_eq!(kind(node.attach_nics(&nics[..3]).await), ErrorKind::Quota(QuotaScope::Instance));
    // What is being attached counts, though it is not attached yet.
    job(node.attach_nics(&nics[..2]).await);
    assert_eq!(kind(node.attach_nics(&nics[2..3]).await), ErrorKind::Quota(QuotaScope::Instance));
    assert_eq!(cloud.snapshot().len(), 5);
}

#[tokio::test]
async fn a_subnet_without_free_addresses_is_full_and_takes_nothing() {
    let cloud = builder().subnet("vxnet-s", "10.0.0.0/29").build().unwrap();
    let node = node(&cloud);
    let small = |count| CreateNics { subnet: "vxnet-s".parse().unwrap(), ..request(count) };
    assert_eq!(kind(node.create_nics(&small(6)).await), ErrorKind::Quota(QuotaScope::Subnet));
    assert_eq!(node.create_nics(&small(5)).await.unwrap().len(), 5);
}

#[tokio::test]
async fn requests_beyond_the_capabilities_are_refused() {
    let capabilities = Capabilities {
        create_batch: 4,
        batch: 2,
        addresses_per_nic: 3,
        fixed_addresses: false,
        bare_nics: false,
    };
    let cloud = builder().capabilities(capabilities).build().unwrap();
    let node = node(&cloud);
    assert_eq!(kind(node.create_nics(&request(0)).await), ErrorKind::Invalid);
    assert_eq!(kind(node.create_nics(&request(5)).await), ErrorKind::Invalid);
    let with = |addresses| CreateNics { addresses, ..request(1) };
    assert_eq!(kind(node.create_nics(&with(NicAddresses::Assigned(4))).await), ErrorKind::Invalid);
    assert_eq!(kind(node.create_nics(&with(NicAddresses::None)).await), ErrorKind::Unsupported);
    let fixed = NicAddresses::Fixed(vec!["192.168.50.9".parse().unwrap()]);
    assert_eq!(kind(node.create_nics(&with(fixed)).await), ErrorKind::Unsupported);
    let three = node.create_nics(&with(NicAddresses::Assigned(3))).await.unwrap().remove(0);
    assert_eq!(three.addresses.iter().collect::<BTreeSet<_>>().len(), 3);
    let nics = create(&node, 3).await;
    assert_eq!(kind(node.attach_nics(&nics).await), ErrorKind::Invalid);
    assert_eq!(kind(node.delete_nics(&nics).await), ErrorKind::Invalid);
    assert_eq!(cloud.snapshot().len(), 4);
}

#[tokio::test]
async fn fixed_addresses_are_given_as_asked_and_never_twice() {
    let cloud = builder().build().unwrap();
    let node = node(&cloud);
    let fixed = |texts: &[&str]| {
        let addresses = texts.iter().map(|text| text.parse().unwrap()).collect();
        CreateNics {
            addresses: NicAddresses::Fixed(addresses),
            ..request(u32::try_from(texts.len()).unwrap())
        }
    };
    let made = node.create_nics(&fixed(&["192.168.50.3", "192.168.50.2"])).await.unwrap();
    assert_eq!(made[0].addresses, ["192.168.50.3".parse::<IpAddr>().unwrap()]);
    assert_eq!(kind(node.create_nics(&fixed(&["192.168.50.9", "192.168.50.3"])).await), ErrorKind::Conflict);
    assert_eq!(kind(node.create_nics(&fixed(&["192.168.50.1"])).await), ErrorKind::Conflict, "the gateway");
    assert_eq!(kind(node.create_nics(&fixed(&["192.168.51.9"])).await), ErrorKind::Invalid);
    assert_eq!(kind(node.create_nics(&fixed(&["192.168.50.9", "192.168.50.9"])).await), ErrorKind::Invalid);
    let next = node.create_nics(&request(1)).await.unwrap();
    assert_eq!(next[0].addresses, ["192.168.50.4".parse::<IpAddr>().unwrap()]);
}

#[tokio::test(start_paused = true)]
async fn lists_show_every_change_only_after_the_lag() {
    let cloud = builder().durations(Durations::default()).list_lag(secs(3)).build().unwrap();
    let node = node(&cloud);
    let all = NicFilter::default();
    let nics = create(&node, 1).await;
    advance(secs(2)).await;
    assert!(node.list_nics(&all).await.unwrap().is_empty());
    job(node.attach_nics(&nics).await);
    advance(secs(1)).await;
    assert_eq!(node.list_nics(&all).await.unwrap()[0].attachment, NicAttachment::Available);
    advance(secs(2)).await;
    assert_ne!(node.list_nics(&all).await.unwrap()[0].attachment, NicAttachment::Available);
    cloud.vanish(&nics[0]).unwrap();
    assert_eq!(node.list_nics(&all).await.unwrap().len(), 1);
    advance(secs(3)).await;
    assert!(node.list_nics(&all).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_dropped_call_began_goes_on_in_the_cloud() {
    let cloud = builder()
        .latency(Operation::CreateNics, secs(2))
        .latency(Operation::AttachNics, secs(2))
        .build()
        .unwrap();
    let node = node(&cloud);
    assert!(timeout(secs(1), node.create_nics(&request(1))).await.is_err());
    let named = NicFilter { name: Some(request(1).name), ..NicFilter::default() };
    let nic = node.list_nics(&named).await.unwrap().remove(0).id;
    assert!(timeout(secs(1), node.attach_nics(std::slice::from_ref(&nic))).await.is_err());
    sleep(secs(9)).await;
    assert_eq!(carrier(&cloud, &nic).as_deref(), Some("i-1"));
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_and_calls_make_the_same_cloud() {
    async fn run(seed: u64) -> String {
        let cloud = builder().seed(seed).build().unwrap();
        let node = node(&cloud);
        let nics = create(&node, 4).await;
        let attach = job(node.attach_nics(&nics[1..]).await);
        sleep(secs(10)).await;
        format!("{attach} {:?} {:?}", cloud.snapshot(), cloud.history())
    }
    assert_eq!(run(7).await, run(7).await);
    assert_ne!(run(7).await, run(8).await);
}

#[tokio::test(start_paused = true)]
async fn a_terminated_instance_is_unknown_and_frees_its_nics() {
    let cloud = builder().primary_nic("i-1", "vxnet-1").build().unwrap();
    let node = node(&cloud);
    let nics = attached(&node, 1).await;
    let coming = create(&node, 1).await;
    let attach = job(node.attach_nics(&coming).await);
    cloud.terminate(&"i-1".parse().unwrap());
    assert_eq!(kind(node.instance().await), ErrorKind::NotFound);
    assert_eq!(kind(node.attach_nics(&nics).await), ErrorKind::NotFound);
    sleep(secs(10)).await;
    assert!(matches!(state(&node, &attach).await, JobState::Failed { nics, .. } if nics == coming));
    let left = cloud.snapshot();
    assert_eq!(left.len(), 2, "the primary NIC went with the instance");
    assert!(left.values().all(|nic| nic.attachment == NicAttachment::Available));
}

#[tokio::test]
async fn a_nic_of_somebody_else_takes_its_addresses_and_is_listed() {
    let cloud = builder().build().unwrap();
    let mac: MacAddr = "52:54:00:00:00:01".parse().unwrap();
    let foreign = Nic {
        id: NicId::new(mac.to_string()).unwrap(),
        mac,
        name: "theirs".to_owned(),
        subnet: "vxnet-1".parse().unwrap(),
        addresses: vec!["192.168.50.2".parse().unwrap()],
        attachment: NicAttachment::Attached { instance: "i-2".parse().unwrap(), primary: false },
    };
    cloud.insert_nic(foreign.clone()).unwrap();
    assert_eq!(kind(cloud.insert_nic(foreign.clone())), ErrorKind::Conflict);
    let ours = node(&cloud).create_nics(&request(1)).await.unwrap().remove(0);
    assert_ne!(ours.addresses, foreign.addresses);
    assert_eq!(node(&cloud).list_nics(&NicFilter::default()).await.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_reserved_address_is_given_to_no_nic_until_it_is_released() {
    let cloud = builder().build().unwrap();
    let node = node(&cloud);
    let subnet = "vxnet-1".parse().unwrap();
    let (first, last) = ("192.168.50.2".parse().unwrap(), "192.168.50.4".parse().unwrap());
    job(node.reserve(&subnet, "pods", first, last).await);
    assert!(node.reserved(&subnet, "pods").await.unwrap().is_empty(), "its job has not ended");
    assert_eq!(kind(node.reserve(&subnet, "pods", last, last).await), ErrorKind::Conflict);
    sleep(secs(1)).await;
    let reserved = node.reserved(&subnet, "pods").await.unwrap();
    assert_eq!(reserved.len(), 3);
    let nic = node.create_nics(&request(1)).await.unwrap().remove(0);
    assert_eq!(nic.addresses, ["192.168.50.5".parse::<IpAddr>().unwrap()]);
    let ids: Vec<_> = reserved.into_iter().map(|r| r.id).collect();
    job(node.release(&ids).await);
    sleep(secs(1)).await;
    assert!(node.reserved(&subnet, "pods").await.unwrap().is_empty());
    assert_eq!(node.release(&ids).await.unwrap(), Submitted::Complete);
    job(node.reserve(&subnet, "pods", first, last).await);
}

#[tokio::test]
async fn rules_and_tags_are_kept_and_may_be_set_twice() {
    let cloud = builder().security_group("sg-1").build().unwrap();
    let node = node(&cloud);
    let range = "10.0.0.0/8".parse().unwrap();
    for _ in 0..2 {
        node.allow_from("sg-1", range).await.unwrap();
    }
    assert_eq!(cloud.allowed("sg-1"), BTreeSet::from([range]));
    assert_eq!(kind(node.allow_from("sg-2", range).await), ErrorKind::NotFound);
    let nics = create(&node, 1).await;
    node.tag_nics("tag-1", &nics).await.unwrap();
    assert_eq!(cloud.tags(&nics[0]), BTreeSet::from(["tag-1".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn the_history_holds_every_call_with_its_size_time_and_outcome() {
    let cloud = builder().build().unwrap();
    let node = node(&cloud);
    create(&node, 3).await;
    advance(secs(2)).await;
    _ = node.create_nics(&request(0)).await;
    let history = cloud.history();
    assert_eq!((history[0].items, history[0].at, history[0].outcome), (3, secs(0), Outcome::Answered));
    assert_eq!((history[1].at, history[1].outcome), (secs(2), Outcome::Refused(ErrorKind::Invalid)));
    assert_eq!(cloud.calls()[&Operation::CreateNics], 2);
}

#[test]
fn what_does_not_fit_together_is_told_when_the_cloud_is_built() {
    assert_eq!(kind(Cloud::builder().subnet("vxnet 1", "10.0.0.0/24").build()), ErrorKind::Invalid);
    assert_eq!(kind(Cloud::builder().subnet("vxnet-1", "10.0.0.0").build()), ErrorKind::Invalid);
    assert_eq!(kind(Cloud::builder().subnet("vxnet-1", "10.0.0.0/31").build()), ErrorKind::Invalid);
    assert_eq!(
        kind(Cloud::builder().instance("i-1").primary_nic("i-1", "vxnet-1").build()),
        ErrorKind::NotFound
    );
}
