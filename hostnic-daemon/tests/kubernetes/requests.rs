//! What pods cost the API server, by its own count.

use libtest_mimic::Trial;
use serde_json::json;

use crate::cloud::VXNETS;
use crate::cluster::Cluster;
use crate::daemon::{Settings, Way};
use crate::pod::Wanted;
use crate::process::until;
use crate::stage::Stage;
use crate::trial;
use crate::world::World;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("usual_pods_cost_the_api_server_no_request_of_the_daemons", usual)]
}

/// So the API server calls what the daemons ask.
const FLOW: &str = "hostnic-node";
const PODS: [&str; 10] =
    ["cost-0", "cost-1", "cost-2", "cost-3", "cost-4", "cost-5", "cost-6", "cost-7", "cost-8", "cost-9"];

fn usual(world: &'static World) {
    let cluster = &world.cluster;
    cluster.apply(&flow());
    let warm = Settings { low: 10, high: 20, ..Settings::new(Way::Veth { hairpin: false }, VXNETS[0]) };
    let stage = Stage::set(world, &[warm.clone().in_cluster(), warm.in_cluster()]);
    let warm = || {
        let nics = stage.daemons[0].listed("nics");
        let free = nics.as_array().unwrap().iter().filter(|nic| nic["addresses"][0]["state"] == "free");
        (free.count() >= 10).then_some(())
    };
    until("the pool is warm", warm);
    // All that a start costs is asked by now, and it is counted.
    let [_] = stage.pods([Wanted::new("first").on("node1")]);
    let before = asked(cluster);
    assert!(before > 0, "the API server counts nothing of the daemons");
    let _ = stage.pods(PODS.map(|name| Wanted::new(name).on("node1")));
    let added = asked(cluster);
    cluster.kubectl(&[&["delete", "pod", "--wait=false", "first"], &PODS[..]].concat()).unwrap();
    stage.daemons[0].until_given_back();
    let deleted = asked(cluster);
    println!(
        "    requests of the daemons: {before} to start, {} for {} ADDs, {} for {} DELs",
        added - before,
        PODS.len(),
        deleted - added,
        PODS.len() + 1
    );
    assert_eq!((added - before, deleted - added), (0, 0));
    cluster.kubectl(&["delete", "flowschema", FLOW]).unwrap();
    stage.end();
}

/// Has what the daemons ask counted by itself.
fn flow() -> serde_json::Value {
    json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1beta1",
        "kind": "FlowSchema",
        "metadata": {"name": FLOW},
        "spec": {
            "priorityLevelConfiguration": {"name": "workload-high"},
            "matchingPrecedence": 100,
            "distinguisherMethod": {"type": "ByUser"},
            "rules": [{
                "subjects": [{
                    "kind": "ServiceAccount",
                    "serviceAccount": {"name": "hostnic-node", "namespace": "kube-system"},
                }],
                "resourceRules": [{
                    "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"],
                }],
            }],
        },
    })
}

/// How many requests of the daemons the API server has taken. Watches that go on are none.
fn asked(cluster: &Cluster) -> u64 {
    let told = cluster.kubectl(&["get", "--raw", "/metrics"]).unwrap();
    let of_flow = |line: &&str| {
        line.starts_with("apiserver_flowcontrol_dispatched_requests_total")
            && line.contains(&format!("\"{FLOW}\""))
    };
    told.lines().filter(of_flow).map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}
