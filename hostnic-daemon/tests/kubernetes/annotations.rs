//! What pods and nodes ask for by annotations, as the guide has it.

use std::net::Ipv4Addr;

use libtest_mimic::Trial;
use tokio::time::Instant;

use crate::cloud::VXNETS;
use crate::daemon::{Settings, Way};
use crate::pod::{Pod, Wanted};
use crate::process::until;
use crate::stage::Stage;
use crate::talk::ping;
use crate::trial;
use crate::world::World;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("pods_get_the_vxnet_the_address_and_the_way_that_they_ask_for", pods),
        trial("a_fixed_address_moves_to_another_node_with_its_pod", moves),
        trial("a_nodes_vxnet_is_changed_while_pods_come", node),
    ]
}

fn in_cluster() -> [Settings; 2] {
    let settings = Settings::new(Way::Veth { hairpin: false }, VXNETS[0]).in_cluster();
    [settings.clone(), settings]
}

fn pods(world: &'static World) {
    let stage = Stage::set(world, &in_cluster());
    let fixed = Ipv4Addr::new(192, 168, 51, 77);
    let [usual, elsewhere, there, through] = stage.pods([
        Wanted::new("usual").on("node1"),
        Wanted::new("elsewhere").on("node1").annotated("vxnet", VXNETS[1]),
        Wanted::new("there").on("node2").annotated("vxnet", VXNETS[1]).annotated("ip", &fixed.to_string()),
        Wanted::new("through").on("node1").annotated("type", "passthrough"),
    ]);
    let all = [&usual, &elsewhere, &there, &through];
    println!("    {:?}", all.map(|pod| (pod.name.as_str(), pod.address)));
    assert_eq!((usual.address.octets()[2], elsewhere.address.octets()[2]), (50, 51));
    assert_eq!(there.address, fixed);
    for from in all {
        for to in all {
            assert_eq!(ping(&from.netns, to.address, 2, "0.1"), (2, 2), "{} to {}", from.name, to.name);
        }
    }
    stage.end();
}

fn moves(world: &'static World) {
    let stage = Stage::set(world, &in_cluster());
    let wanted =
        |node| Wanted::new("fixed").on(node).annotated("vxnet", VXNETS[1]).annotated("ip", "192.168.51.88");
    let [before] = stage.pods([wanted("node1")]);
    let host = &world.host;
    assert_eq!(ping(&host.netns(), before.address, 5, "0.1"), (5, 5));
    world.cluster.kubectl(&["delete", "pod", "fixed", "--wait=false"]).unwrap();
    stage.daemons[0].until_given_back();
    world.cluster.kubectl(&["delete", "pod", "fixed", "--grace-period=0", "--force"]).unwrap_or_default();
    let [after] = stage.pods([wanted("node2")]);
    let running = Instant::now();
    until("the pod is reached where it is now", || {
        (ping(&host.netns(), after.address, 1, "1") == (1, 1)).then_some(())
    });
    let lost = running.elapsed();
    assert_eq!(ping(&host.netns(), after.address, 100, "0.01"), (100, 100));
    println!("    reached {} ms after it is Running on the other node", lost.as_millis());
    assert!(lost.as_millis() <= 1000 && before.address == after.address);
    stage.end();
}

fn node(world: &'static World) {
    let stage = Stage::set(
        world,
        &in_cluster().map(|settings| Settings { vxnets: vec![VXNETS[0], VXNETS[2]], ..settings }),
    );
    let annotate = |vxnet: &str| {
        let told = format!("hostnic.network.kubesphere.io/vxnet={vxnet}");
        world.cluster.kubectl(&["annotate", "node", "node1", "--overwrite", &told]).unwrap();
    };
    let mut pods: Vec<Pod> = Vec::new();
    for (number, vxnet) in [VXNETS[0], VXNETS[2], VXNETS[0]].into_iter().enumerate() {
        annotate(vxnet);
        let names = [0, 1, 2].map(|pod| format!("pod-{number}-{pod}"));
        pods.extend(stage.pods(names.map(|name| Wanted::new(&name).on("node1"))));
    }
    for from in &pods {
        assert_eq!(ping(&from.netns, pods[0].address, 2, "0.1"), (2, 2), "from {}", from.name);
    }
    println!("    {:?}", pods.iter().map(|pod| pod.address).collect::<Vec<_>>());
    annotate(VXNETS[2]);
    until("the free NICs of the vxnet before are given back", || {
        let free =
            |nic: &&serde_json::Value| nic["subnet"] == VXNETS[0] && nic["addresses"][0]["state"] == "free";
        let nics = stage.daemons[0].listed("nics");
        (nics.as_array()?.iter().filter(free).count() == 0).then_some(())
    });
    world.cluster.kubectl(&["annotate", "node", "node1", "hostnic.network.kubesphere.io/vxnet-"]).unwrap();
    stage.end();
}
