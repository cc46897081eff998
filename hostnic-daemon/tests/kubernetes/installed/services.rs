//! Services by real kube-proxy, for pods of both kinds on nodes with veths.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::json;

use crate::capture::Capture;
use crate::pod::{PORT, Pod};
use crate::reach::calls;
use crate::stage::Stage;
use crate::talk::ask;

/// A service's address from a pod, a node and by nodes' ports from a machine that is none.
pub(super) fn are_reached(stage: &Stage, client: &Pod, web: &[&Pod]) {
    let world = stage.world;
    let (service, port) = stage.service("web", "web", &json!({}), web);
    let names: BTreeSet<&str> = web.iter().map(|pod| pod.name.as_str()).collect();
    let all_answer = |from: &Path, to: SocketAddr, how: &str| {
        let answers = calls(from, to);
        let servers: BTreeSet<&str> = answers.keys().map(|answer| answer.server.as_str()).collect();
        println!("    {how}: answered by {} of {} pods", servers.len(), names.len());
        assert_eq!(servers, names);
    };
    all_answer(&client.netns, (service, 80).into(), "a pod by the service's address");
    for node in &world.nodes {
        all_answer(&node.netns(), (service, 80).into(), "a node by the service's address");
        let by_port = (node.address("primary"), port).into();
        all_answer(&world.host.netns(), by_port, "from outside by a node's port");
    }
}

/// How often each service is called.
const CALLS: usize = 20;

/// A pod that has its NIC for itself calls services by its second link, `veth1`, and all else by its NIC.
pub(super) fn by_veth1(stage: &Stage, through: &Pod, web: &[&Pod], in_nodes: &[&Pod]) {
    let node = &stage.world.nodes[0];
    let (pods, _) = stage.service("pods", "web", &json!({}), web);
    let (hosts, _) = stage.service("hosts", "host", &json!({}), in_nodes);
    let seen = |what: &str, to: SocketAddr| {
        let capture = Capture::within(&through.netns, node, "veth1", "tcp[tcpflags] == tcp-syn");
        let servers: BTreeSet<String> = (0..CALLS)
            .map(|_| ask(&through.netns, to).unwrap_or_else(|error| panic!("{what}: {error}")).server)
            .collect();
        let begun = capture.end().len();
        println!(
            "    a passthrough pod to {what}: {CALLS} calls, {begun} begun at veth1, answered by {servers:?}"
        );
        (begun, servers)
    };
    let named = |pods: &[&Pod]| pods.iter().map(|pod| pod.name.clone()).collect::<BTreeSet<_>>();
    assert_eq!(seen("a service of pods on both nodes", (pods, 80).into()), (CALLS, named(web)));
    assert_eq!(seen("a service in the nodes' networks", (hosts, 80).into()), (CALLS, named(in_nodes)));
    for &pod in web {
        assert_eq!(seen("a pod by its address", (pod.address, PORT).into()), (0, named(&[pod])));
    }
}
