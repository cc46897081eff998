//! Jobs, subnets, the instance, reservations, rules and tags.

use hostnic_core::capability::{AddressReservation, InstanceDirectory, SecurityRules, Tagging};
use hostnic_core::cloud::{JobState, Submitted};
use hostnic_core::id::{JobId, SubnetId};
use hostnic_core::{ErrorKind, NicProvider};
use serde_json::{Value, json};

use crate::script::{Reply, id, job, jobs, mac, nic, nics, no, ok, provider};

fn row(id: &str, status: &str) -> Value {
    json!({"job_id": id, "job_action": "AttachNics", "status": status, "error_codes": "",
        "directive": json!({"nics": [mac(1), mac(2)]}).to_string()})
}

async fn state(replies: Vec<Reply>) -> JobState {
    let (provider, _) = provider(replies).await;
    provider.jobs(&[job("j-1")]).await.unwrap().remove(0).state
}

#[tokio::test(start_paused = true)]
async fn a_jobs_state_is_what_the_cloud_says_and_never_done_in_doubt() {
    for (status, expected) in [
        ("pending", JobState::Running),
        ("working", JobState::Running),
        ("successful", JobState::Succeeded),
        ("paused?", JobState::Unknown),
        ("", JobState::Unknown),
    ] {
        assert_eq!(state(vec![jobs(&[row("j-1", status)])]).await, expected, "{status}");
    }
    assert_eq!(state(vec![jobs(&[])]).await, JobState::Unknown);
    assert_eq!(state(vec![no(2100, "ResourceNotFound")]).await, JobState::Unknown);
    let JobState::Failed { nics, .. } = state(vec![jobs(&[row("j-1", "failed")])]).await else { panic!() };
    assert_eq!(nics, [id(1), id(2)]);
}

#[tokio::test(start_paused = true)]
async fn a_job_done_with_failure_names_the_nics_that_are_where_they_were() {
    let look = nics(&[nic(1, "i-1", 0), nic(2, "", 0)]);
    let state_ = state(vec![jobs(&[row("j-1", "done with failure")]), look]).await;
    let JobState::Failed { nics, reason } = state_ else { panic!("{state_:?}") };
    assert_eq!(nics, [id(2)]);
    assert!(reason.contains("done with failure"), "{reason}");

    let mut told = row("j-1", "done with failure");
    told["error_codes"] = format!("{}: 5000", mac(1)).into();
    let state = state(vec![jobs(&[told])]).await;
    let JobState::Failed { nics, .. } = state else { panic!("{state:?}") };
    assert_eq!(nics, [id(1)]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_job_among_others_is_left_out_when_it_is_named_and_found_by_halves_otherwise() {
    let asked: Vec<JobId> = ["j-1", "j-2", "j-3"].map(job).into();
    let expected = [JobState::Succeeded, JobState::Unknown, JobState::Running];
    let unnamed = || no(2100, "ResourceNotFound, a job");
    let by_halves = vec![
        unnamed(),
        unnamed(),
        jobs(&[row("j-3", "working")]),
        unnamed(),
        jobs(&[row("j-1", "successful")]),
    ];
    let both = jobs(&[row("j-3", "working"), row("j-1", "successful")]);
    let by_name = vec![no(2100, "ResourceNotFound, resource [j-2] not found"), both];
    for replies in [by_halves, by_name] {
        let (provider, script) = provider(replies).await;
        let states: Vec<_> = provider.jobs(&asked).await.unwrap().into_iter().map(|job| job.state).collect();
        assert_eq!(states, expected);
        script.asked();
    }
}

fn vxnet(id: &str) -> Value {
    json!({"vxnet_id": id, "vpc_router_id": "rtr-1", "available_ip_count": "7", "router": {
        "router_id": "rtr-1", "manager_ip": "10.0.0.1", "ip_network": "10.0.0.0/24",
        "dyn_ip_start": "10.0.0.2", "dyn_ip_end": "10.0.0.254"}})
}

fn vxnets(rows: &[Value]) -> Reply {
    ok(json!({"vxnet_set": rows, "total_count": rows.len()}))
}

#[tokio::test(start_paused = true)]
async fn subnets_come_in_order_and_those_of_the_base_network_too() {
    let replies = [vxnets(&[vxnet("vxnet-1"), vxnet("vxnet-2")]), vxnets(&[vxnet("vxnet-0")])];
    let (provider, script) = provider(replies).await;
    let ids: Vec<SubnetId> =
        ["vxnet-2", "vxnet-9", "vxnet-0", "vxnet-1"].map(|id| id.parse().unwrap()).into();
    let subnets = provider.subnets(&ids).await.unwrap();
    let found: Vec<_> = subnets.iter().map(|subnet| subnet.id.as_str()).collect();
    assert_eq!(found, ["vxnet-2", "vxnet-0", "vxnet-1"]);
    assert_eq!(subnets[0].room, Some(7));
    let asked = script.asked();
    assert_eq!((asked[1].list("vxnets"), asked[1].get("vxnet_type")), (vec!["vxnet-9", "vxnet-0"], "2"));
}

#[tokio::test(start_paused = true)]
async fn an_instance_of_a_cluster_is_found_with_its_router() {
    let none = ok(json!({"instance_set": [], "total_count": 0}));
    let instance = json!({"instance_id": "i-1", "status": "running", "vxnets": [
        {"vxnet_id": "vxnet-2", "nic_id": mac(2), "role": 0}, {"vxnet_id": "vxnet-1", "nic_id": mac(1), "role": 1}]});
    let found = ok(json!({"instance_set": [instance], "total_count": 1}));
    let (provider, script) = provider([none, found, vxnets(&[vxnet("vxnet-1")])]).await;
    let instance = provider.instance().await.unwrap();
    assert_eq!((instance.router.unwrap().as_str(), instance.nic_limit), ("rtr-1", 63));
    let asked = script.asked();
    assert_eq!((asked[1].get("is_cluster_node"), asked[2].list("vxnets")), ("1", vec!["vxnet-1"]));
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_gone_is_not_found() {
    let none = || ok(json!({"instance_set": [], "total_count": 0}));
    let gone = json!({"instance_id": "i-1", "status": "terminated"});
    for replies in
        [vec![none(), none()], vec![ok(json!({"instance_set": [gone]}))], vec![no(2100, "x"), no(2100, "x")]]
    {
        let (provider, _) = provider(replies).await;
        let error = provider.instance().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}

#[tokio::test(start_paused = true)]
async fn many_reservations_are_given_back_in_parts_one_after_the_other() {
    let ids: Vec<String> = (0..150).map(|n| format!("vip-{n}")).collect();
    let replies = [
        ok(json!({"job_id": "j-1"})),
        jobs(&[row("j-1", "working")]),
        jobs(&[row("j-1", "successful")]),
        ok(json!({"job_id": "j-2"})),
    ];
    let (provider, script) = provider(replies).await;
    assert_eq!(provider.release(&ids).await.unwrap(), Submitted::Job(job("j-2")));
    let asked = script.asked();
    assert_eq!((asked[0].list("vips").len(), asked[3].list("vips").len()), (100, 50));
}

#[tokio::test(start_paused = true)]
async fn a_range_is_reserved_with_its_size_and_unknown_reservations_count_as_given_back() {
    let (provider, script) =
        provider([ok(json!({"job_id": "j-1"})), no(1400, "in use"), no(2100, "ResourceNotFound")]).await;
    let subnet: SubnetId = "vxnet-1".parse().unwrap();
    let [first, last] = ["10.0.0.9", "10.0.1.8"].map(|a| a.parse().unwrap());
    let _job = provider.reserve(&subnet, "n", first, last).await.unwrap();
    let error = provider.reserve(&subnet, "n", first, last).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(provider.reserve(&subnet, "n", last, first).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(provider.release(&["vip-1".to_owned()]).await.unwrap(), Submitted::Complete);
    let asked = &script.asked()[0];
    let sent = (asked.get("vxnet_id"), asked.get("vip_range"), asked.get("count"));
    assert_eq!(sent, ("vxnet-1", "10.0.0.9-10.0.1.8", "256"));
}

fn group(is_applied: u8) -> Reply {
    ok(json!({"security_group_set": [{"security_group_id": "sg-1", "is_applied": is_applied}]}))
}

fn rules(rows: &[Value]) -> Reply {
    ok(json!({"security_group_rule_set": rows, "total_count": rows.len()}))
}

#[tokio::test(start_paused = true)]
async fn a_rule_is_added_once_and_put_in_force() {
    let source = "10.0.0.0/24".parse().unwrap();
    let weaker = json!({"security_group_rule_id": "sgr-1", "protocol": "tcp", "action": "accept",
        "priority": 0, "direction": 0, "val3": "10.0.0.0/24"});
    let replies = [
        group(1),
        rules(&[weaker]),
        ok(json!({"security_group_rules": ["sgr-2"]})),
        ok(json!({"job_id": "j-1"})),
        jobs(&[row("j-1", "working")]),
        jobs(&[row("j-1", "successful")]),
    ];
    let (adding, script) = provider(replies).await;
    adding.allow_from("sg-1", source).await.unwrap();
    let added = &script.asked()[2];
    let rule = (added.get("rules.1.protocol"), added.get("rules.1.val3"), added.get("rules.1.action"));
    assert_eq!(rule, ("all", "10.0.0.0/24", "accept"));

    let there = || {
        rules(&[json!({"security_group_rule_id": "sgr-2", "protocol": "all", "action": "accept",
            "priority": "0", "direction": 0, "val3": "10.0.0.0/16"})])
    };
    let (in_force, script) = provider([group(1), there()]).await;
    in_force.allow_from("sg-1", source).await.unwrap();
    assert_eq!(script.actions().len(), 2);

    let replies = [group(0), there(), ok(json!({"job_id": "j-1"})), jobs(&[row("j-1", "successful")])];
    let (not_applied, script) = provider(replies).await;
    not_applied.allow_from("sg-1", source).await.unwrap();
    assert_eq!(script.actions()[2], "ApplySecurityGroup");

    let (unknown, _) = provider([no(2100, "ResourceNotFound")]).await;
    assert_eq!(unknown.allow_from("sg-1", source).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_tag_is_found_or_made_by_its_name_and_put_on_many() {
    let tags = ok(json!({"tag_set": [{"tag_id": "tag-1", "tag_name": "pods and more"}], "total_count": 1}));
    let made = ok(json!({"tag_id": "tag-2"}));
    let (provider, script) = provider([tags, made, ok(json!({})), ok(json!({}))]).await;
    let nics: Vec<_> = (0..30).map(id).collect();
    provider.tag_nics("pods", &nics).await.unwrap();
    let asked = script.asked();
    assert_eq!(asked[2].get("resource_tag_pairs.25.resource_id"), mac(24));
    assert_eq!(asked[3].get("resource_tag_pairs.5.tag_id"), "tag-2");
    assert_eq!(asked[3].get("resource_tag_pairs.6.tag_id"), "");
}

fn instances(rows: &[(&str, &str)]) -> Reply {
    let rows: Vec<_> = rows.iter().map(|(id, status)| json!({"instance_id": id, "status": status})).collect();
    ok(json!({"instance_set": rows, "total_count": rows.len()}))
}

async fn existing(replies: Vec<Reply>) -> Vec<String> {
    let (provider, script) = provider(replies).await;
    let ids = ["i-1", "i-2", "i-3"].map(|id| id.parse().unwrap()).into();
    let existing = provider.existing(&ids).await.unwrap();
    script.asked();
    existing.into_iter().map(|id| id.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn instances_exist_until_they_are_terminated_and_cluster_nodes_are_asked_for() {
    let replies =
        vec![instances(&[("i-1", "stopped"), ("i-2", "terminated")]), instances(&[("i-3", "running")])];
    assert_eq!(existing(replies).await, ["i-1", "i-3"]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_instance_does_not_hide_the_others() {
    let refused = || no(2100, "ResourceNotFound");
    // The list, both ways; then each alone, both ways until it is found.
    let replies = vec![
        refused(),
        refused(),
        instances(&[("i-1", "running")]),
        refused(),
        instances(&[("i-2", "running")]),
        refused(),
        refused(),
    ];
    assert_eq!(existing(replies).await, ["i-1", "i-2"]);
}
