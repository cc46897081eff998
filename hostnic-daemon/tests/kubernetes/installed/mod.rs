//! hostnic installed from deploy/kubernetes/node as it stands, by document 004, the guide of the Go version for k3s: its lines one by
//! one, whom pods reach then, what the commands say, an update under traffic, a runtime that names namespaces by processes,
//! the guide's clean-up and another cluster on the same nodes, and at last that nothing is left.
//!
//! It is one trial, since each installation takes its time.

mod by_process;
mod clean_up;
mod guide;
mod services;
mod signs;
mod update;
mod words;

use libtest_mimic::Trial;

use crate::cloud::VXNETS;
use crate::installation::Installation;
use crate::pod::Wanted;
use crate::reach::everyone_is_reached;
use crate::stage::Stage;
use crate::table::Table;
use crate::trial;
use crate::world::World;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("what_document_004_installs_from_deploy_serves_is_updated_and_leaves_nothing", installed)]
}

fn installed(world: &'static World) {
    let mut table = Table::new("004");
    let stage = Stage::without_daemons(world);
    let installation = Installation::prepare(world);
    forget_vxnets(world);
    clean_up::go_version_was_here(world);
    signs::taint(&stage);
    guide::install(&stage, &installation, &mut table);

    // The nodes have no vxnet yet, and serve pods that name one.
    let annotated = |name, node, vxnet| Wanted::new(name).on(node).annotated("vxnet", vxnet);
    let [client, near, far, through] = stage.pods([
        annotated("client", "node1", VXNETS[0]),
        annotated("near", "node1", VXNETS[0]).app("web"),
        annotated("far", "node2", VXNETS[1]).app("web"),
        annotated("through", "node1", VXNETS[1]).annotated("type", "passthrough"),
    ]);
    let traffic = [(&client, &near), (&client, &far), (&through, &far)];
    update::loses_nothing(&installation, &traffic, || guide::configure(&installation, &mut table));
    guide::use_it(&stage, &installation, &mut table);

    let [usual, here, there] = stage.pods([
        Wanted::new("usual").on("node2"),
        Wanted::new("here").on("node1").app("host").in_the_nodes_network(),
        Wanted::new("there").on("node2").app("host").in_the_nodes_network(),
    ]);
    let all = [&client, &near, &far, &through, &usual];
    everyone_is_reached(&stage, &all);
    let web = [&near, &far];
    services::are_reached(&stage, &client, &web);
    services::by_veth1(&stage, &through, &web, &[&here, &there]);
    words::are_read(&stage, &installation, &all);
    by_process::is_refused(&stage, &installation);

    clean_up::starts_clean(&stage, &installation, &mut table);
    table.end();
    by_process::is_served(&stage, &installation);
    installation.uninstall();
    signs::nothing_is_left(&stage);
    stage.end();
}

/// Takes the vxnets away that nodes have had before.
fn forget_vxnets(world: &World) {
    let kubectl = |arguments: &[&str]| world.cluster.kubectl(arguments).unwrap();
    kubectl(&["annotate", "nodes", "--all", "hostnic.network.kubesphere.io/vxnet-"]);
    kubectl(&["delete", "lease", "--namespace", "kube-system", "--ignore-not-found", "hostnic-vxnets"]);
}
