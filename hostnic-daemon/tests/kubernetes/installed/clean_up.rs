//! The guide's clean-up, without a reboot, and another cluster on the same nodes.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::guide::lines;
use crate::installation::{Installation, PATCH, SETTINGS};
use crate::machine::Machine;
use crate::pod::Wanted;
use crate::process::{PATIENCE, until, within};
use crate::stage::Stage;
use crate::table::Table;
use crate::talk::ping;
use crate::world::World;

/// What each of the Go version's databases has.
const OF_GO: [&str; 3] =
    ["/var/lib/hostnic/CURRENT", "/var/lib/hostnic/MANIFEST-000000", "/var/lib/hostnic/000001.log"];

/// Puts what the Go version leaves on the nodes.
pub(super) fn go_version_was_here(world: &World) {
    for node in &world.nodes {
        OF_GO.iter().for_each(|file| node.write(file, "of the Go version"));
    }
}

/// Takes the cluster off the nodes with its pods running, and makes another of them.
pub(super) fn starts_clean(stage: &Stage, installation: &Installation, table: &mut Table) {
    let world = stage.world;
    for node in &world.nodes {
        assert!(leases(installation, node) >= 2);
    }
    let (cluster, nics) = (uid(world), ids(&world.cloud.nics()));
    for file in OF_GO.iter().flat_map(|file| world.nodes.iter().map(|node| node.file(file))) {
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "of the Go version", "{}", file.display());
    }
    world.cluster.remove(&world.nodes);
    table.row(
        "`k3s-uninstall.sh`, `k3s-agent-uninstall.sh`",
        "in their place, what they do to containers, network namespaces and files, with pods running, and no reboot",
    );
    for node in &world.nodes {
        node.run(&["sh", "-c", lines::CLEAN_UP]);
    }
    world.cluster.make_again(&world.nodes);
    assert_ne!(uid(world), cluster, "this is another cluster");
    install_again(stage, installation);
    for node in &world.nodes {
        assert_eq!(installation.listed(node, "pods"), json!([]), "pods of the cluster that was");
        until("NICs are free, and none is set aside", || {
            let listed = installation.listed(node, "nics");
            let nics = listed.as_array()?;
            let address = |nic: &Value| nic["addresses"][0]["state"].clone();
            let free = nics.iter().filter(|nic| address(nic) == "free").count();
            let resting = nics.iter().filter(|nic| address(nic) == "cooling").count();
            (free >= 3 && nics.len() == free + resting).then_some(())
        });
    }
    // One that was on its way out is found a while later, and deleted.
    let now = within(PATIENCE * 4, "no NIC is in the cloud that no node knows", || {
        let listed = world.nodes.iter().flat_map(|node| {
            let nics = installation.listed(node, "nics");
            nics.as_array().cloned().unwrap_or_default()
        });
        let listed = ids(&listed.collect::<Vec<Value>>());
        (listed == ids(&world.cloud.nics())).then_some(listed)
    });
    let (kept, gone) = (nics.intersection(&now).count(), nics.difference(&now).count());
    println!(
        "    of {} NICs of the cluster that was, {kept} are free again, {gone} are given back",
        nics.len()
    );
    for pod in stage.deployment(&Wanted::new("again").app("again"), 2) {
        assert_eq!(ping(&world.host.netns(), pod.address, 3, "0.1"), (3, 3));
    }
    table.row(
        format!("`{}`, and another cluster on the same nodes", lines::CLEAN_UP),
        "starts clean: leases of the cluster that was are forgotten, its NICs are free or given back, and pods are served",
    );
}

/// With the overlay for runtimes that name namespaces by processes, and so that the NICs are given back at the end.
fn install_again(stage: &Stage, installation: &Installation) {
    installation.load_image();
    installation.make_secret();
    installation.shell("kubectl apply -k deploy/kubernetes/node");
    // kubelets of this age take a minute to end pods that have just begun to start.
    installation.until_rolled_out();
    installation.edit(&SETTINGS);
    installation.shell(PATCH);
    installation.give_back_on_exit();
    installation.until_rolled_out();
    stage.until_nodes_are_ready();
}

fn uid(world: &World) -> String {
    world.cluster.get(&["namespace", "kube-system"])["metadata"]["uid"].as_str().unwrap().to_owned()
}

fn ids(nics: &[Value]) -> BTreeSet<String> {
    nics.iter().map(|nic| nic["id"].as_str().unwrap().to_owned()).collect()
}

fn leases(installation: &Installation, node: &Machine) -> usize {
    installation.listed(node, "pods").as_array().unwrap().len()
}
