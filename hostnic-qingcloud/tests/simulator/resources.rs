//! Every action does what it says.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::client::{Client, text};
use crate::{config, finish, start, start_with};

#[tokio::test]
async fn a_nic_is_created_attached_detached_and_deleted() {
    let (simulator, client) = start().await;
    let made = client.ok("CreateNics", "vxnet=vxnet-aaaaaaa&count=2&nic_name=hostnic_i-node1").await;
    let nic = text(&made, "/nics/0/nic_id").to_owned();
    assert_eq!(text(&made, "/nics/0/private_ip"), "192.168.50.2");
    let listed = client.ok("DescribeNics", "nic_name=hostnic_i-node1").await;
    assert_eq!(listed["total_count"], 2);
    let item = &listed["nic_set"][0];
    assert_eq!(
        (text(item, "/status"), text(item, "/instance_id"), &item["role"]),
        ("available", "", &0.into())
    );
    assert!(text(item, "/create_time").ends_with('Z'));

    let begun = client.ok("AttachNics", &format!("nics.1={nic}&instance=i-node1")).await;
    let job = text(&begun, "/job_id").to_owned();
    let one = format!("nics.1={nic}");
    assert_eq!(text(&client.ok("DescribeNics", &one).await, "/nic_set/0/status"), "available");
    assert_eq!(client.refused("DeleteNics", &one).await.0, 1400);
    finish(&simulator);
    let jobs = client.ok("DescribeJobs", &format!("jobs.1={job}")).await;
    let directive: Value = serde_json::from_str(text(&jobs, "/job_set/0/directive")).unwrap();
    assert_eq!(directive["nics"][0], nic.as_str());
    assert_eq!(
        (text(&jobs, "/job_set/0/status"), text(&jobs, "/job_set/0/job_action")),
        ("successful", "AttachNics")
    );
    let here = client.ok("DescribeNics", "instances.1=i-node1&status=in-use&vxnet_type=1").await;
    let sequences: Vec<_> = here["nic_set"].as_array().unwrap().iter().map(|n| &n["sequence"]).collect();
    assert_eq!(sequences, [0, 1]);

    assert_eq!(client.refused("AttachNics", &format!("nics.1={nic}&instance=i-node2")).await.0, 1400);
    client.ok("DetachNics", &one).await;
    finish(&simulator);
    client.ok("ModifyNicAttributes", &format!("nic={nic}&nic_name=other&private_ip=192.168.50.77")).await;
    let after = client.ok("DescribeNics", &one).await;
    assert_eq!(
        (text(&after, "/nic_set/0/nic_name"), text(&after, "/nic_set/0/private_ip")),
        ("other", "192.168.50.77")
    );
    client.ok("DeleteNics", &one).await;
    let (code, message) = client.refused("DetachNics", &one).await;
    assert_eq!(code, 2100);
    assert!(message.contains("ResourceNotFound"));
    assert_eq!(client.ok("DescribeNics", &one).await["total_count"], 0);
}

#[tokio::test]
async fn chosen_addresses_and_none_at_all_are_given_as_asked() {
    let (_simulator, client) = start().await;
    let fixed = "vxnet=vxnet-aaaaaaa&count=2&private_ips.1=192.168.50.90&private_ips.2=192.168.50.91";
    let made = client.ok("CreateNics", fixed).await;
    assert_eq!(text(&made, "/nics/1/private_ip"), "192.168.50.91");
    assert_eq!(client.refused("CreateNics", fixed).await.0, 1400);
    let bare = client.ok("CreateNics", "vxnet=vxnet-aaaaaaa&disable_ip=1").await;
    assert_eq!(text(&bare, "/nics/0/private_ip"), "");
    assert_eq!(client.refused("CreateNics", "vxnet=vxnet-zzzzzzz").await.0, 2100);
    assert_eq!(client.refused("CreateNics", "vxnet=vxnet-aaaaaaa&private_ips.1=10.0.0.1").await.0, 1101);
}

#[tokio::test]
async fn quotas_of_vxnet_and_instance_hold() {
    let (_simulator, client) = start().await;
    let made = client.ok("CreateNics", "vxnet=vxnet-aaaaaaa&count=252").await;
    assert_eq!(client.refused("CreateNics", "vxnet=vxnet-aaaaaaa").await.0, 2500);
    let nics: Vec<&str> = (0..64).map(|n| text(&made, &format!("/nics/{n}/nic_id"))).collect();
    let list: String = nics.iter().enumerate().map(|(n, nic)| format!("nics.{}={nic}&", n + 1)).collect();
    assert_eq!(client.refused("AttachNics", &format!("{list}instance=i-node1")).await.0, 2500);
}

#[tokio::test]
async fn pages_hold_20_or_what_is_asked_for_and_never_more_than_100() {
    let (_simulator, client) = start().await;
    client.ok("CreateNics", "vxnet=vxnet-aaaaaaa&count=150&nic_name=many").await;
    let page = async |arguments: &str| {
        let body = client.ok("DescribeNics", &format!("nic_name=many{arguments}")).await;
        assert_eq!(body["total_count"], 150);
        let nics = body["nic_set"].as_array().unwrap();
        nics.iter().map(|nic| text(nic, "/nic_id").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(page("").await.len(), 20);
    assert_eq!(page("&limit=0").await.len(), 20);
    assert_eq!(page("&limit=252&offset=150").await.len(), 0);
    let (first, second) = (page("&limit=252").await, page("&limit=100&offset=100").await);
    assert_eq!((first.len(), second.len()), (100, 50));
    assert_eq!(first.into_iter().chain(second).collect::<BTreeSet<_>>().len(), 150);
}

#[tokio::test]
async fn vxnets_are_listed_by_type_and_join_and_leave_the_router() {
    let (simulator, client) = start().await;
    let listed =
        client.ok("DescribeVxnets", "vxnets.1=vxnet-aaaaaaa&vxnets.2=vxnet-0&vxnets.3=vxnet-none").await;
    assert_eq!(listed["total_count"], 1);
    let vxnet = &listed["vxnet_set"][0];
    assert_eq!(text(vxnet, "/router/ip_network"), "192.168.50.0/24");
    assert_eq!(text(vxnet, "/router/manager_ip"), "192.168.50.1");
    assert_eq!(text(vxnet, "/vpc_router_id"), "rtr-simulate");
    assert_eq!(vxnet["available_ip_count"], 252);
    let base = client.ok("DescribeVxnets", "vxnets.1=vxnet-0&vxnet_type=2").await;
    assert_eq!((&base["total_count"], &base["vxnet_set"][0]["router"]), (&1.into(), &Value::Null));

    let made = client.ok("CreateVxnets", "vxnet_type=1&vxnet_name=new&count=1").await;
    let id = text(&made, "/vxnets/0").to_owned();
    assert_eq!(client.refused("CreateNics", &format!("vxnet={id}")).await.0, 1400);
    let join = format!("router=rtr-simulate&vxnet={id}&ip_network=192.168.60.0/24&features=1");
    client.ok("JoinRouter", &join).await;
    assert_eq!(client.refused("DeleteVxnets", &format!("vxnets.1={id}")).await.0, 1400);
    finish(&simulator);
    let members = client.ok("DescribeRouterVxnets", &format!("router=rtr-simulate&vxnet={id}")).await;
    assert_eq!(text(&members, "/router_vxnet_set/0/dyn_ip_end"), "192.168.60.254");
    client.ok("CreateNics", &format!("vxnet={id}")).await;
    let leave = format!("router=rtr-simulate&vxnets.1={id}");
    assert_eq!(client.refused("LeaveRouter", &leave).await.0, 1400);
    let nics = client.ok("DescribeNics", &format!("vxnets.1={id}")).await;
    client.ok("DeleteNics", &format!("nics.1={}", text(&nics, "/nic_set/0/nic_id"))).await;
    client.ok("LeaveRouter", &leave).await;
    finish(&simulator);
    client.ok("DeleteVxnets", &format!("vxnets.1={id}")).await;
    let routers = client.ok("DescribeRouters", "routers.1=rtr-simulate&verbose=1").await;
    assert_eq!(text(&routers, "/router_set/0/vpc_network"), "192.168.0.0/16");
}

#[tokio::test]
async fn instances_show_their_nics_and_cluster_nodes_only_when_asked_for() {
    let (_simulator, client) = start().await;
    let listed = client.ok("DescribeInstances", "instances.1=i-node1").await;
    assert_eq!(text(&listed, "/instance_set/0/vxnets/0/vxnet_id"), "vxnet-primary");
    assert_eq!(listed["instance_set"][0]["vxnets"][0]["role"], 1);
    let inside = client.ok("DescribeVxnetInstances", "vxnet=vxnet-primary&instances.1=i-node2").await;
    assert_eq!(text(&inside, "/instance_set/0/private_ip"), "192.168.255.3");

    let mut config = config();
    config.cluster = Some("cl-simulate".into());
    let (simulator, client) = start_with(config).await;
    assert_eq!(client.ok("DescribeInstances", "").await["total_count"], 0);
    assert_eq!(client.ok("DescribeInstances", "is_cluster_node=1").await["total_count"], 2);
    let clusters = client.ok("DescribeClusters", "clusters.1=cl-simulate").await;
    assert_eq!(text(&clusters, "/cluster_set/0/security_group_id"), "sg-simulate");
    let nodes = client.ok("DescribeClusterNodes", "cluster=cl-simulate").await;
    assert_eq!(text(&nodes, "/node_set/0/instance_id").split_at(6).0, "i-node");
    assert_eq!(text(&nodes, "/node_set/0/host_machine"), "sim01n01");
    let moved = text(&nodes, "/node_set/0/private_ip").parse().unwrap();
    simulator.cloud().set_host_machine(moved, "sim01n02");
    let nodes = client.ok("DescribeClusterNodes", "cluster=cl-simulate").await;
    assert_eq!(text(&nodes, "/node_set/0/host_machine"), "sim01n02");
    assert_eq!(text(&nodes, "/node_set/1/host_machine"), "sim01n01");
    assert_eq!(client.refused("DescribeClusterNodes", "cluster=cl-none").await.0, 2100);
}

#[tokio::test]
async fn vips_take_addresses_until_they_are_released() {
    let (simulator, client) = start().await;
    let range = "vxnet_id=vxnet-aaaaaaa&vip_name=v&count=3&vip_range=192.168.50.10-192.168.50.12";
    client.ok("AllocateVips", range).await;
    let listed = async || client.ok("DescribeVips", "vxnets.1=vxnet-aaaaaaa&vip_name=v").await;
    assert_eq!(listed().await["total_count"], 0);
    finish(&simulator);
    let vips = listed().await;
    assert_eq!(
        (vips["total_count"].as_u64(), text(&vips, "/vip_set/0/vip_addr")),
        (Some(3), "192.168.50.10")
    );
    assert_eq!(client.refused("AllocateVips", range).await.0, 1400);
    assert_eq!(client.refused("CreateNics", "vxnet=vxnet-aaaaaaa&private_ips.1=192.168.50.11").await.0, 1400);
    let ids: String =
        (0..3).map(|n| format!("vips.{}={}&", n + 1, text(&vips, &format!("/vip_set/{n}/vip_id")))).collect();
    client.ok("ReleaseVips", &ids).await;
    finish(&simulator);
    assert_eq!(listed().await["total_count"], 0);
    assert_eq!(client.refused("ReleaseVips", &ids).await.0, 2100);
    let wrong = "vxnet_id=vxnet-aaaaaaa&count=9&vip_range=192.168.50.10-192.168.50.12";
    assert_eq!(client.refused("AllocateVips", wrong).await.0, 1101);
}

#[tokio::test]
async fn tags_are_attached_listed_with_their_resources_and_detached() {
    let (_simulator, client) = start().await;
    let nic = text(&client.ok("CreateNics", "vxnet=vxnet-aaaaaaa").await, "/nics/0/nic_id").to_owned();
    let tag = text(&client.ok("CreateTag", "tag_name=pods").await, "/tag_id").to_owned();
    assert_eq!(client.refused("CreateTag", "tag_name=pods").await.0, 2110);
    let pair = |id: &str| {
        let field = |name: &str, value: &str| format!("resource_tag_pairs.1.{name}={value}");
        [field("tag_id", &tag), field("resource_type", "nic"), field("resource_id", id)].join("&")
    };
    assert_eq!(client.refused("AttachTags", &pair("52:54:00:00:00:00")).await.0, 2100);
    client.ok("AttachTags", &pair(&nic)).await;
    assert_eq!(client.ok("DescribeNics", &format!("tags.1={tag}")).await["total_count"], 1);
    let tags = client.ok("DescribeTags", "search_word=pods&verbose=1&limit=0").await;
    assert_eq!(text(&tags, "/tag_set/0/resource_tag_pairs/0/resource_id"), nic);
    client.ok("DetachTags", &pair(&nic)).await;
    assert_eq!(client.ok("DescribeNics", &format!("tags.1={tag}")).await["total_count"], 0);
    client.ok("DeleteTags", &format!("tags.1={tag}")).await;
}

#[tokio::test]
async fn a_security_group_is_applied_when_its_job_has_ended() {
    let (simulator, client) = start().await;
    let applied = async || {
        let groups = client.ok("DescribeSecurityGroups", "security_groups.1=sg-simulate&verbose=1").await;
        groups["security_group_set"][0]["is_applied"] == 1
    };
    assert!(applied().await);
    let rule = "security_group=sg-simulate&rules.1.protocol=all&rules.1.priority=0&rules.1.action=accept&\
                rules.1.direction=0&rules.1.val1=&rules.1.val3=192.168.50.0/24&\
                rules.1.security_group_rule_name=pods";
    let added = client.ok("AddSecurityGroupRules", rule).await;
    let id = text(&added, "/security_group_rules/0").to_owned();
    assert!(!applied().await);
    client.ok("ApplySecurityGroup", "security_group=sg-simulate").await;
    assert!(!applied().await);
    finish(&simulator);
    assert!(applied().await);
    let rules = client.ok("DescribeSecurityGroupRules", "security_group=sg-simulate&direction=0").await;
    let rule = &rules["security_group_rule_set"][0];
    assert_eq!(
        (text(rule, "/val3"), text(rule, "/action"), &rule["priority"]),
        ("192.168.50.0/24", "accept", &0.into())
    );
    client.ok("DeleteSecurityGroupRules", &format!("security_group_rules.1={id}")).await;
    assert!(!applied().await);
    assert_eq!(client.refused("DescribeSecurityGroups", "security_groups.1=sg-none").await.0, 2100);
}

#[tokio::test]
async fn the_account_is_told_by_its_keys_and_quotas() {
    let (_simulator, client) = start().await;
    let keys = client.ok("DescribeAccessKeys", "access_keys.1=AK").await;
    assert_eq!(text(&keys, "/access_key_set/0/owner"), "usr-Simulate");
    assert!(!keys.to_string().contains("SK"));
    let left = client.ok("GetQuotaLeft", "resource_types.1=vxnet").await;
    assert_eq!(left["quota_left_set"], serde_json::json!([{ "resource_type": "vxnet", "left": 297 }]));
    assert_eq!(client.refused("DescribeJobs", "jobs.1=j-unknown1").await.0, 2100);
    let other: Client = client.clone();
    assert_eq!(other.ok("DescribeNics", "owner=usr-Other").await["total_count"], 0);
}
