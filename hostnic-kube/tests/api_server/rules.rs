//! Whether the rights of the service accounts suffice, and each of them is needed.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::rights::{Account, CONTROLLER, NODE, object};
use crate::trial;
use crate::world::World;

/// What an account asked for so far, by the audit log.
pub(crate) fn audited(world: &World, account: &Account) -> Vec<Value> {
    let user = format!("system:serviceaccount:kube-system:{}", account.name);
    let log = fs::read_to_string(world.server().path("audit.log")).unwrap_or_default();
    let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    entries.filter(|entry| entry["user"]["username"] == *user).collect()
}

/// Group, resource and verb of every request so far, and its answer's code.
fn asked(world: &World, account: &Account) -> Vec<(String, u64)> {
    let entries = audited(world, account).into_iter().filter(|entry| entry["stage"] != "ResponseStarted");
    entries
        .map(|entry| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let object = &entry["objectRef"];
            let sub = text(&object["subresource"]);
            let resource = text(&object["resource"]) + if sub.is_empty() { "" } else { "/" } + &sub;
            let right = format!("{:?} {resource} {}", text(&object["apiGroup"]), text(&entry["verb"]));
            (right, entry["responseStatus"]["code"].as_u64().unwrap_or(0))
        })
        .collect()
}

pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(
            world,
            "the_cluster_and_its_service_proxy_are_known",
            |world| async move { facts(&world).await },
        ),
        trial(world, "all_of_this_took_the_documented_rights_and_each_of_them", |world| async move {
            every_right_was_needed(&world, &NODE);
            every_right_was_needed(&world, &CONTROLLER);
        }),
    ]
}

async fn facts(world: &World) {
    use hostnic_kube::{ProxyMode, ServiceRange, ToldBy};
    let admin = world.admin().await;
    let cluster = world.connect("facts").await;
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(admin.clone());
    let uid = namespaces.get("kube-system").await.unwrap().metadata.uid.unwrap();
    assert_eq!(cluster.uid().await.unwrap().as_str(), uid);

    assert_eq!(cluster.proxy_mode().await.unwrap(), ProxyMode::Untold);
    let maps: Api<ConfigMap> = Api::namespaced(admin, "kube-system");
    let map = json!({ "metadata": { "name": "kube-proxy" }, "data": { "config.conf": "mode: ipvs\n" } });
    maps.create(&PostParams::default(), &object(map)).await.unwrap();
    assert_eq!(cluster.proxy_mode().await.unwrap(), ProxyMode::Ipvs);

    // Where the API server has ServiceCIDRs it tells what it was started with.
    if cluster.service_range().await.unwrap().is_none_or(|range| range.told_by == ToldBy::Kubeadm) {
        let config = "networking:\n  serviceSubnet: 10.233.0.0/18\n";
        let map =
            json!({ "metadata": { "name": "kubeadm-config" }, "data": { "ClusterConfiguration": config } });
        maps.create(&PostParams::default(), &object(map)).await.unwrap();
        let prefixes = vec!["10.233.0.0/18".parse().unwrap()];
        let range = ServiceRange { prefixes, told_by: ToldBy::Kubeadm };
        assert_eq!(cluster.service_range().await.unwrap(), Some(range));
    }
    cluster.stop().await;
}

/// What is done only where two controllers make the same pool at the same moment, which tests cannot have happen for certain.
const IN_A_RACE: &str = "\"network.qingcloud.com\" ippools get";

/// All tests together do all that the crate can do.
fn every_right_was_needed(world: &World, account: &Account) {
    let asked = asked(world, account);
    let refused: Vec<_> = asked.iter().filter(|(_, code)| *code == 403).collect();
    assert!(refused.is_empty(), "rights of {} are missing: {refused:?}", account.name);
    let mut used: BTreeSet<&str> = asked.iter().map(|(right, _)| right.as_str()).collect();
    let given = account.everywhere.iter().chain(account.in_kube_system);
    let given: BTreeSet<String> =
        given.map(|(group, resource, _, verb)| format!("{group:?} {resource} {verb}")).collect();
    let given: BTreeSet<&str> = given.iter().map(String::as_str).collect();
    if given.contains(IN_A_RACE) {
        used.insert(IN_A_RACE);
    }
    println!("{}: {} requests, of {} kinds, none refused", account.name, asked.len(), used.len());
    assert_eq!(used, given, "{}: the left is what was used, the right what is documented", account.name);
}
