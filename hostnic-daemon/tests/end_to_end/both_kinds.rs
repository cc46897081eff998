//! Services for pods with the configurations of both earlier systems, on nodes with real daemons.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use libtest_mimic::Trial;

use crate::services::{CONNECTIONS, Server, connect, serve, serve_no_more, service};
use crate::site::{Kind, Site};
use crate::trial;
use crate::witness::ip;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "services_of_real_daemons_answer_pods_of_both_configurations_whatever_the_back_end",
        every_back_end,
    )]
}

async fn every_back_end() {
    let site = Site::new(&["vxnet-a=192.168.50.0/24", "vxnet-b=192.168.51.0/24"]).await;
    let mut daemons = Vec::new();
    for (number, vxnet) in ["vxnet-a", "vxnet-b"].into_iter().enumerate() {
        let flags = ["--vxnet", vxnet, "--pool-low", "1", "--pool-high", "2", "--cooling", "0"];
        daemons.push(site.start(number, "log", &[&flags[..], &["--cleanup-cache-on-exit"]].concat()).await);
    }
    let [near_node, far_node] = &site.machines;
    let [near, far] = [near_node.pod("near").await, far_node.pod("far").await];
    let near_address = near.agrees_with(&near_node.call("ADD", &near).succeeds().await).address;
    let far_address = far.agrees_with(&far_node.call("ADD", &far).succeeds().await).address;
    let own = ip(near_node.netns(), &["-4", "address", "show", "dev", "primary"]);
    let own: Ipv4Addr = own[0]["addr_info"][0]["local"].as_str().unwrap().parse().unwrap();

    // A pod in the same vxnet, one of the other node in another vxnet, and a process of the node.
    let services = [1, 2, 3].map(service);
    let back_ends = [near_address, far_address, own];
    serve(near_node.netns(), &services.into_iter().zip(back_ends).collect::<Vec<_>>());
    let mut servers = Vec::new();
    for netns in [near.path(), far.path(), near_node.netns()] {
        servers.push(Server::start(netns).await);
    }
    for kind in [Kind::Hostnic, Kind::Qingcni] {
        let pod = near_node.pod(&format!("{kind:?}").to_lowercase()).await;
        let result = kind.call(near_node, "ADD", &pod).succeeds().await;
        let address = pod.agrees_with(&result).address;
        let routes = result["routes"].as_array().unwrap();
        let route = routes.iter().find(|route| route["dst"] == "10.96.0.0/12").unwrap();
        let next_hop: Ipv4Addr = route["gw"].as_str().unwrap().parse().unwrap();
        // Who the back ends take the pod for: the node's gateway, the node, and the pod itself.
        for (service, known_as) in services.into_iter().zip([next_hop, own, address]) {
            let seen = connect(pod.path(), (service, 80).into(), CONNECTIONS).await;
            assert_eq!(seen, BTreeSet::from([known_as.to_string()]), "{kind:?}, {service}");
        }
        println!("    {kind:?}: {CONNECTIONS} connections to each of {} back ends answered", back_ends.len());
        kind.call(near_node, "DEL", &pod).succeeds().await;
    }
    for server in servers {
        server.end().await;
    }
    serve_no_more(near_node.netns());
    near_node.call("DEL", &near).succeeds().await;
    far_node.call("DEL", &far).succeeds().await;
    site.end(daemons).await;
}
