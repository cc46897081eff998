//! Setting pods up.

use hostnic_core::attachment::NetnsPath;
use hostnic_core::route::{NodePlan, PodPlan, Route};
use hostnic_core::{ErrorKind, RouteProgrammer};
use libtest_mimic::Trial;
use serde_json::json;

use crate::trial;
use crate::world::{MAC, World, eventually, everything, fields, ip, links, plan, run};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("setup_gives_exactly_the_planned_interface", exactly_as_planned),
        trial("setup_announces_the_address_by_gratuitous_arp", announces),
        trial("setup_reaches_a_gateway_outside_the_prefix", gateway_outside),
        trial("a_second_setup_changes_nothing", second_setup),
        trial("setup_completes_what_is_missing", completes),
        trial("setup_refuses_a_foreign_interface_of_that_name_and_changes_nothing", foreign_name),
        trial("setup_moves_a_nic_whose_old_name_is_taken_in_the_pod", old_name_taken),
        trial("a_setup_that_fails_midway_gives_the_nic_back", takes_back),
        trial("a_completion_that_fails_takes_back_what_it_added", completion_takes_back),
        trial("setup_without_the_nic_is_not_found", no_nic),
        trial("setup_refuses_a_path_that_names_another_namespace_now", other_namespace),
        trial("the_nodes_own_namespace_is_no_sandbox", own_namespace),
        trial("setup_node_asks_the_kernel", setup_node),
        trial("many_pods_are_set_up_and_taken_down_at_once", many_at_once),
    ]
}

async fn exactly_as_planned() {
    let (world, pod, plan, programmer) = World::with_a_pod().await;
    let link = programmer.setup_pod(&plan).await.unwrap();
    assert_eq!((link.mac, link.mtu), (plan.mac, 1400));

    assert_eq!(links(world.node.path()), Vec::<String>::new());
    assert_eq!(links(pod.path()), ["eth0"]);
    let eth0 = &ip(pod.path(), &["address", "show", "eth0"])[0];
    assert_eq!(eth0["address"], MAC);
    assert_eq!(eth0["mtu"], 1400);
    assert_eq!(eth0["ifalias"], format!("{} mtu 1500", plan.mark.alias()));
    assert!(eth0["flags"].as_array().unwrap().contains(&json!("UP")), "{eth0}");
    let v4: Vec<_> = eth0["addr_info"].as_array().unwrap().iter().filter(|a| a["family"] == "inet").collect();
    assert_eq!(v4.len(), 1, "{eth0}");
    assert_eq!((&v4[0]["local"], &v4[0]["prefixlen"]), (&json!("192.168.50.4"), &json!(24)));
    assert_eq!((&v4[0]["scope"], &v4[0]["broadcast"]), (&json!("global"), &json!("192.168.50.255")));

    let routes = ip(pod.path(), &["route", "show"]);
    let routes = routes.as_array().unwrap();
    let route = |dst: &str| routes.iter().find(|route| route["dst"] == dst).unwrap();
    assert_eq!(routes.len(), 3, "{routes:?}");
    assert_eq!(route("default")["gateway"], "192.168.50.1");
    assert_eq!(route("default")["protocol"], json!(hostnic_netlink::PROTOCOL.to_string()));
    assert_eq!(route("10.10.0.0/16")["gateway"], "192.168.50.9");
    assert_eq!(route("192.168.50.0/24")["protocol"], "kernel");
    let lo = &ip(pod.path(), &["link", "show", "lo"])[0];
    assert!(lo["flags"].as_array().unwrap().contains(&json!("UP")), "{lo}");
}

async fn announces() {
    let (world, _pod, plan, programmer) = World::with_a_pod().await;
    ip(world.outside.path(), &["address", "add", "192.168.50.1/24", "dev", "eth1"]);
    let accept = "echo 1 > /proc/sys/net/ipv4/conf/eth1/arp_accept";
    run(world.outside.path(), &["sh", "-c", accept]);
    programmer.setup_pod(&plan).await.unwrap();
    // Nobody asked for the address: that a neighbour knows it is the announcement's doing.
    let known = || fields(&ip(world.outside.path(), &["neigh", "show", "192.168.50.4"]), "lladdr") == [MAC];
    eventually("the neighbour learns the pod's MAC", known).await;
}

async fn gateway_outside() {
    let (_world, pod, plan, programmer) = World::with_a_pod().await;
    let routes = vec![Route { destination: "10.20.0.0/16".parse().unwrap(), next_hop: None }];
    let address = "192.168.50.4/32".parse().unwrap();
    let plan = PodPlan { address, gateway: "169.254.1.1".parse().unwrap(), routes, mtu: None, ..plan };
    let link = programmer.setup_pod(&plan).await.unwrap();
    assert_eq!(link.mtu, 1500);
    let default = &ip(pod.path(), &["route", "show", "default"])[0];
    assert_eq!((&default["gateway"], &default["flags"]), (&json!("169.254.1.1"), &json!(["onlink"])));
    assert_eq!(ip(pod.path(), &["route", "show", "10.20.0.0/16"])[0]["scope"], "link");
    assert_eq!(programmer.check_pod(&plan).await.unwrap(), []);
}

async fn second_setup() {
    let (_world, pod, plan, programmer) = World::with_a_pod().await;
    let first = programmer.setup_pod(&plan).await.unwrap();
    let before = everything(pod.path());
    assert_eq!(programmer.setup_pod(&plan).await.unwrap(), first);
    assert_eq!(everything(pod.path()), before);
}

async fn completes() {
    let (_world, pod, plan, programmer) = World::with_a_pod().await;
    programmer.setup_pod(&plan).await.unwrap();
    let whole = ip(pod.path(), &["route", "show"]);
    for damage in [
        &["link", "set", "eth0", "down"][..],
        &["address", "flush", "dev", "eth0"],
        &["link", "set", "eth0", "mtu", "1300"],
        &["link", "set", "eth0", "name", "other"],
        &["link", "set", "lo", "down"],
    ] {
        ip(pod.path(), damage);
        assert_ne!(programmer.check_pod(&plan).await.unwrap(), [], "{damage:?}");
        programmer.setup_pod(&plan).await.unwrap();
        assert_eq!(programmer.check_pod(&plan).await.unwrap(), [], "{damage:?}");
    }
    assert_eq!(ip(pod.path(), &["route", "show"]), whole);
}

async fn foreign_name() {
    let (world, pod, plan, programmer) = World::with_a_pod().await;
    ip(pod.path(), &["link", "add", "eth0", "type", "bridge"]);
    let before = (everything(pod.path()), everything(world.node.path()));
    let error = programmer.setup_pod(&plan).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!((everything(pod.path()), everything(world.node.path())), before);
}

async fn old_name_taken() {
    let (_world, pod, plan, programmer) = World::with_a_pod().await;
    ip(pod.path(), &["link", "add", "eth1", "type", "bridge"]);
    programmer.setup_pod(&plan).await.unwrap();
    assert_eq!(links(pod.path()), ["eth0", "eth1"]);
    assert_eq!(programmer.check_pod(&plan).await.unwrap(), []);
}

async fn takes_back() {
    let (world, pod, plan, programmer) = World::with_a_pod().await;
    // The router of another network holds the default route: found out only after the NIC was moved.
    ip(pod.path(), &["link", "add", "net1", "type", "bridge"]);
    ip(pod.path(), &["link", "set", "net1", "up"]);
    ip(pod.path(), &["route", "add", "default", "dev", "net1"]);
    let error = programmer.setup_pod(&plan).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{}", error.chain());
    assert_eq!(links(pod.path()), ["net1"]);
    assert_freed(&world);
}

/// The NIC is in the node again, down and without anything of ours.
pub(crate) fn assert_freed(world: &World) {
    let nics = ip(world.node.path(), &["address", "show"]);
    let nic = nics.as_array().unwrap().iter().find(|nic| nic["address"] == MAC).unwrap();
    assert!(!nic["flags"].as_array().unwrap().contains(&json!("UP")), "{nic}");
    assert_eq!(nic["addr_info"], json!([]), "{nic}");
    assert!(nic.get("ifalias").is_none(), "{nic}");
}

async fn completion_takes_back() {
    let (_world, pod, plan, programmer) = World::with_a_pod().await;
    programmer.setup_pod(&plan).await.unwrap();
    // The default route can be added again; that the other one cannot is found out after that.
    ip(pod.path(), &["route", "del", "default"]);
    ip(pod.path(), &["route", "replace", "10.10.0.0/16", "via", "192.168.50.77"]);
    let before = everything(pod.path());
    let error = programmer.setup_pod(&plan).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{}", error.chain());
    assert_eq!(everything(pod.path()), before);
}

async fn no_nic() {
    let (world, pod, plan, programmer) = World::with_a_pod().await;
    let before = everything(pod.path());
    let absent = PodPlan { mac: "52:54:00:00:00:99".parse().unwrap(), ..plan };
    let error = programmer.setup_pod(&absent).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!(everything(pod.path()), before);
    assert_eq!(links(world.node.path()), ["eth1"]);
}

async fn other_namespace() {
    let (world, pod, plan, programmer) = World::with_a_pod().await;
    pod.remove().unwrap();
    let another = world.pod("pod").await;
    let error = programmer.setup_pod(&plan).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!(links(another.path()), Vec::<String>::new());
    assert_eq!(links(world.node.path()), ["eth1"]);
}

async fn own_namespace() {
    let (world, pod, _, programmer) = World::with_a_pod().await;
    let path = |path: &std::path::Path| NetnsPath::new(path).unwrap();
    let kind = |result: hostnic_core::Result<_>| result.map_err(|e| e.kind());
    assert_eq!(kind(programmer.sandbox(&path(pod.path())).await), Ok(pod.open().unwrap().sandbox()));
    assert_eq!(kind(programmer.sandbox(&path(world.node.path())).await), Err(ErrorKind::Invalid));
    assert_eq!(kind(programmer.sandbox(&path("/run/nowhere".as_ref())).await), Err(ErrorKind::NotFound));
    assert_eq!(kind(programmer.sandbox(&path("/proc/self/ns/mnt".as_ref())).await), Err(ErrorKind::Invalid));

    let error = programmer.setup_pod(&plan(&world.node, "c1", MAC)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

async fn setup_node() {
    let world = World::new().await;
    let plan = NodePlan::Passthrough;
    world.programmer().await.setup_node(&plan).await.unwrap();
}

async fn many_at_once() {
    let world = World::new().await;
    let programmer = world.programmer().await;
    let mut pods = Vec::new();
    for number in 10..40 {
        let mac = format!("52:54:00:00:00:{number}");
        world.plug(&format!("n{number}"), &mac).await;
        let pod = world.pod(&number.to_string()).await;
        let plan = plan(&pod, &format!("c{number}"), &mac);
        pods.push((pod, plan));
    }
    let all = |results: Vec<hostnic_core::Result<()>>| results.into_iter().for_each(|result| result.unwrap());
    let up = pods.iter().map(async |(_, plan)| programmer.setup_pod(plan).await.map(drop));
    all(futures::future::join_all(up).await);
    for (_, plan) in &pods {
        assert_eq!(programmer.check_pod(plan).await.unwrap(), []);
    }
    assert_eq!(programmer.observe().await.unwrap().pods.len(), pods.len());
    let down = pods.iter().map(async |(_, plan)| programmer.teardown_pod(plan).await);
    all(futures::future::join_all(down).await);
    assert_eq!(programmer.observe().await.unwrap().host.len(), pods.len());
}
