//! NICs: where the cloud's semantics are not those of the trait.

use std::net::IpAddr;

use hostnic_core::cloud::{NicFilter, Submitted};
use hostnic_core::provider::{CreateNics, NicAddresses};
use hostnic_core::{Effect, ErrorKind, NicProvider, QuotaScope};
use serde_json::{Value, json};

use crate::script::{Reply, id, job, jobs, mac, nic, nics, no, ok, provider};

fn request(count: u32, addresses: NicAddresses) -> CreateNics {
    let name = hostnic_core::cloud::NicName::parse("hostnic_i-1.abcdefgh").unwrap();
    CreateNics { subnet: "vxnet-1".parse().unwrap(), count, name, addresses }
}

fn vxnet(left: i64) -> Reply {
    let row = json!({"vxnet_id": "vxnet-1", "available_ip_count": left});
    ok(json!({"vxnet_set": [row], "total_count": 1}))
}

fn made(rows: &[(u8, Value)]) -> Reply {
    let rows: Vec<Value> = rows.iter().map(|(n, ip)| json!({"nic_id": mac(*n), "private_ip": ip})).collect();
    ok(json!({"nics": rows}))
}

#[tokio::test(start_paused = true)]
async fn chosen_addresses_are_answered_in_the_order_of_the_request() {
    let (provider, script) = provider([made(&[(1, "10.0.0.5".into()), (2, "10.0.0.4".into())])]).await;
    let addresses: Vec<IpAddr> = ["10.0.0.4", "10.0.0.5"].map(|a| a.parse().unwrap()).into();
    let nics = provider.create_nics(&request(2, NicAddresses::Fixed(addresses))).await.unwrap();
    assert_eq!(nics.iter().map(|nic| nic.id.clone()).collect::<Vec<_>>(), [id(2), id(1)]);
    let asked = &script.asked()[0];
    assert_eq!(asked.list("private_ips"), ["10.0.0.4", "10.0.0.5"]);
    assert_eq!((asked.get("count"), asked.get("nic_name")), ("2", "hostnic_i-1.abcdefgh"));
}

#[tokio::test(start_paused = true)]
async fn a_nic_without_address_is_asked_for_and_read() {
    for none in [Value::Null, "".into()] {
        let (provider, script) = provider([made(&[(1, none)])]).await;
        let nics = provider.create_nics(&request(1, NicAddresses::None)).await.unwrap();
        assert!(nics[0].addresses.is_empty());
        assert_eq!(script.asked()[0].get("disable_ip"), "1");
    }
}

#[tokio::test(start_paused = true)]
async fn another_number_than_asked_for_is_an_error_after_which_nics_may_exist() {
    for answer in [made(&[]), made(&[(1, Value::Null)]), ok(json!({}))] {
        let (provider, _) = provider([answer]).await;
        let error = provider.create_nics(&request(2, NicAddresses::Assigned(1))).await.unwrap_err();
        assert_eq!(error.effect(), Effect::Unknown);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_refused_create_means_is_looked_up() {
    let assigned = || request(2, NicAddresses::Assigned(1));
    let fixed = || request(1, NicAddresses::Fixed(vec!["10.0.0.4".parse().unwrap()]));
    let quota = || no(2500, "QuotasExceeded, no more");
    let crowd: Vec<Value> = (0..100).map(|n| nic(n, "", 0)).collect();
    let page = |first: u8| {
        let rows: Vec<Value> = (first..first.saturating_add(100)).map(|n| nic(n, "", 0)).collect();
        ok(json!({"nic_set": rows, "total_count": 251}))
    };
    let throttled = ErrorKind::Throttled { retry_after: Some(std::time::Duration::from_secs(60)) };
    let cases: Vec<(CreateNics, Vec<Reply>, ErrorKind)> = vec![
        (assigned(), vec![quota(), vxnet(1)], ErrorKind::Quota(QuotaScope::Subnet)),
        (assigned(), vec![quota(), vxnet(9000), nics(&crowd)], ErrorKind::Quota(QuotaScope::Account)),
        (
            assigned(),
            vec![quota(), vxnet(9000), page(0), page(100), page(156)],
            ErrorKind::Quota(QuotaScope::Subnet),
        ),
        (assigned(), vec![no(1400, "PermissionDenied"), vxnet(9), nics(&[])], ErrorKind::Unauthorised),
        (assigned(), vec![no(2500, "too many API requests")], throttled),
        (assigned(), vec![quota(), Reply::Lost], ErrorKind::Quota(QuotaScope::Account)),
        (fixed(), vec![no(1400, "PermissionDenied, 10.0.0.4 is in use")], ErrorKind::Conflict),
        (fixed(), vec![no(2100, "ResourceNotFound, vxnet")], ErrorKind::NotFound),
        (request(0, NicAddresses::None), vec![], ErrorKind::Invalid),
        (request(253, NicAddresses::None), vec![], ErrorKind::Invalid),
        (request(1, NicAddresses::Assigned(2)), vec![], ErrorKind::Invalid),
        (request(1, NicAddresses::Fixed(vec![])), vec![], ErrorKind::Invalid),
        (request(1, NicAddresses::Fixed(vec!["fd00::1".parse().unwrap()])), vec![], ErrorKind::Invalid),
    ];
    for (request, replies, kind) in cases {
        let (provider, _) = provider(replies).await;
        let error = provider.create_nics(&request).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (kind, Effect::None), "{request:?}: {}", error.chain());
    }
}

#[tokio::test(start_paused = true)]
async fn why_nics_are_not_attached_is_looked_up() {
    let denied = || no(1400, "PermissionDenied, no");
    let others: Vec<Value> = (10..72).map(|n| nic(n, "i-1", 0)).chain([nic(9, "i-1", 1)]).collect();
    let busy = json!({"job_id": "j-1", "job_action": "AttachNics", "status": "working",
        "directive": json!({"nics": [mac(1)]}).to_string()});
    let cases: Vec<(Vec<Reply>, ErrorKind)> = vec![
        (vec![no(2100, "ResourceNotFound")], ErrorKind::NotFound),
        (vec![denied(), nics(&[nic(1, "i-1", 0), nic(2, "", 0)])], ErrorKind::Conflict),
        (vec![denied(), nics(&[nic(2, "", 0)])], ErrorKind::NotFound),
        (vec![denied(), nics(&[nic(1, "", 0), nic(2, "", 0)]), jobs(&[busy])], ErrorKind::Conflict),
        (
            vec![denied(), nics(&[nic(1, "", 0), nic(2, "", 0)]), jobs(&[]), nics(&others)],
            ErrorKind::Quota(QuotaScope::Instance),
        ),
        // Nothing is in the way that lists show: it is the instance's state.
        (
            vec![denied(), nics(&[nic(1, "", 0), nic(2, "", 0)]), jobs(&[]), nics(&others[1..])],
            ErrorKind::Conflict,
        ),
    ];
    for (replies, kind) in cases {
        let (provider, _) = provider(replies).await;
        let error = provider.attach_nics(&[id(1), id(2)]).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (kind, Effect::None), "{}", error.chain());
    }
}

#[tokio::test(start_paused = true)]
async fn attaching_is_one_request_when_all_goes_well() {
    let (provider, script) = provider([ok(json!({"job_id": "j-1"}))]).await;
    assert_eq!(provider.attach_nics(&[id(1), id(2), id(1)]).await.unwrap(), Submitted::Job(job("j-1")));
    let asked = &script.asked()[0];
    assert_eq!((asked.list("nics"), asked.get("instance")), (vec![&*mac(1), &*mac(2)], "i-1"));
}

#[tokio::test(start_paused = true)]
async fn detaching_leaves_out_what_is_done_already() {
    let free = || nics(&[nic(2, "", 0)]);
    let begun = || ok(json!({"job_id": "j-1"}));
    let replies = [nics(&[nic(1, "i-1", 0), nic(2, "", 0)]), jobs(&[]), free(), begun()];
    let (some, script) = provider(replies).await;
    let submitted = some.detach_nics(&[id(1), id(2), id(3)]).await.unwrap();
    assert_eq!(submitted, Submitted::Job(job("j-1")));
    assert_eq!(script.asked()[3].list("nics"), [mac(1)]);

    let (none, script) = provider([free(), jobs(&[]), free()]).await;
    assert_eq!(none.detach_nics(&[id(2), id(3)]).await.unwrap(), Submitted::Complete);
    assert_eq!(script.actions(), ["DescribeNics", "DescribeJobs", "DescribeNics"]);

    let (all, script) = provider([nics(&[nic(1, "i-1", 0)]), begun()]).await;
    assert_eq!(all.detach_nics(&[id(1)]).await.unwrap(), Submitted::Job(job("j-1")));
    assert_eq!(script.actions(), ["DescribeNics", "DetachNics"]);
}

#[tokio::test(start_paused = true)]
async fn a_nic_whose_attach_ends_between_two_looks_is_detached() {
    // First it is being attached and shown as free, then its job has ended and is shown no more.
    let replies =
        [nics(&[nic(2, "", 0)]), jobs(&[]), nics(&[nic(2, "i-1", 0)]), ok(json!({"job_id": "j-2"}))];
    let (provider, script) = provider(replies).await;
    assert_eq!(provider.detach_nics(&[id(2)]).await.unwrap(), Submitted::Job(job("j-2")));
    assert_eq!(script.asked()[3].list("nics"), [mac(2)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_ours_to_detach_is_a_conflict_and_nothing_is_sent() {
    let busy = json!({"job_id": "j-1", "job_action": "AttachNics", "status": "pending",
        "resource_ids": format!("{} i-1", mac(2))});
    for replies in [
        vec![nics(&[nic(1, "i-1", 0), nic(2, "i-1", 1)])],
        vec![nics(&[nic(1, "i-1", 0), nic(2, "i-2", 0)])],
        vec![nics(&[nic(1, "i-1", 0), nic(2, "", 0)]), jobs(&[busy])],
    ] {
        let (provider, script) = provider(replies).await;
        let error = provider.detach_nics(&[id(1), id(2)]).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Conflict, Effect::None));
        assert!(!script.actions().contains(&"DetachNics".to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn deleting_leaves_out_what_is_gone_already() {
    let (one, _) = provider([no(2100, "ResourceNotFound")]).await;
    one.delete_nics(&[id(1)]).await.unwrap();

    let named = no(2100, &format!("ResourceNotFound, [{}] of type nic not found", mac(2)));
    let (by_name, script) = provider([named, ok(json!({}))]).await;
    by_name.delete_nics(&[id(1), id(2)]).await.unwrap();
    assert_eq!(script.asked()[1].list("nics"), [mac(1)]);

    let unnamed = || no(2100, "ResourceNotFound");
    let (by_look, script) = provider([unnamed(), nics(&[nic(1, "", 0)]), ok(json!({}))]).await;
    by_look.delete_nics(&[id(1), id(2)]).await.unwrap();
    assert_eq!(script.asked()[2].list("nics"), [mac(1)]);

    let both = nics(&[nic(1, "", 0), nic(2, "", 0)]);
    let (lagging, _) = provider([unnamed(), both]).await;
    let error = lagging.delete_nics(&[id(1), id(2)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
}

#[tokio::test(start_paused = true)]
async fn a_list_by_name_has_only_those_with_exactly_that_name() {
    let mut exact = nic(1, "", 0);
    exact["nic_name"] = "hostnic_i-1".into();
    let mut longer = nic(2, "", 0);
    longer["nic_name"] = "hostnic_i-12.abcdefgh".into();
    let (provider, _) = provider([nics(&[exact, longer])]).await;
    let name = hostnic_core::cloud::NicName::parse("hostnic_i-1").unwrap();
    let filter = NicFilter { name: Some(name), ..NicFilter::default() };
    let listed = provider.list_nics(&filter).await.unwrap();
    assert_eq!(listed.into_iter().map(|nic| nic.id).collect::<Vec<_>>(), [id(1)]);
}
