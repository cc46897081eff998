//! The guide's own check of hairpin: what pods of one node say to each other passes the pod's NIC, or does not.

use std::net::SocketAddr;

use libtest_mimic::Trial;
use serde_json::json;

use crate::capture::Capture;
use crate::daemon::{Settings, Way};
use crate::machine::Machine;
use crate::pod::{PORT, Pod, Wanted};
use crate::process::until;
use crate::stage::Stage;
use crate::talk::ask;
use crate::trial;
use crate::world::World;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("hairpin_leads_pods_of_a_node_by_their_nics_but_for_the_guides_exceptions", guide)]
}

/// How often a service is called; each of two back ends is missed once in 2^19 times.
const CALLS: u32 = 20;

fn guide(world: &'static World) {
    let settings = Settings::both(Way::Veth { hairpin: true });
    let stage = Stage::set(world, &settings);
    let node = &world.nodes[0];
    let [client, near, far, host] = stage.pods([
        Wanted::new("client").on("node1").app("self"),
        Wanted::new("near").on("node1").app("web"),
        Wanted::new("far").on("node2").app("web"),
        Wanted::new("host").on("node1").app("host").in_the_nodes_network(),
    ]);
    let (web, _) = stage.service("web", "web", &json!({}), &[&near, &far]);
    let (to_host, _) = stage.service("host", "host", &json!({}), &[&host]);
    let (to_self, _) = stage.service("self", "self", &json!({}), &[&client]);
    // Step 4 of the guide.
    let link = link_by_rule(node, &client).expect("the guide's step 4 finds the pod's link");
    for hairpin in [true, false, true] {
        stage.daemons[0].set_hairpin(&settings[0], hairpin);
        until("the node follows", || (link_by_rule(node, &client).is_some() == hairpin).then_some(()));
        let seen = |what: &str, to: SocketAddr, of: &Pod| {
            let filter = format!("tcp and host {}", of.address);
            let capture = Capture::start(node, &link, &filter);
            for _ in 0..CALLS {
                ask(&client.netns, to).unwrap();
            }
            let packets = capture.end().len();
            println!(
                "    hairpin {}: {what}: {packets} packets at {link}",
                if hairpin { "on" } else { "off" }
            );
            packets
        };
        assert_eq!(seen("to the pod on this node by the service", (web, 80).into(), &near) > 0, hairpin);
        assert_eq!(
            seen("to the pod on this node by its address", (near.address, PORT).into(), &near) > 0,
            hairpin
        );
        assert!(seen("to the pod on the other node by the service", (web, 80).into(), &far) > 0);
        assert_eq!(seen("to a pod in the node's network", (host.address, PORT).into(), &host), 0);
        assert_eq!(seen("to that one by the service", (to_host, 80).into(), &host), 0);
        assert_eq!(seen("to itself by the service", (to_self, 80).into(), &client), 0);
    }
    stage.end();
}

/// `ip rule | grep ${PodIP} | grep hostnic_`, and the link that it names.
fn link_by_rule(node: &Machine, pod: &Pod) -> Option<String> {
    let told = node.run(&["sh", "-c", &format!("ip rule | grep {} | grep hostnic_ || true", pod.address)]);
    let word = told.split_whitespace().find(|word| word.starts_with("hostnic_"))?;
    Some(word.to_owned())
}
