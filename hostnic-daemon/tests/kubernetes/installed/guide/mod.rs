//! Document 004 to the letter: each line and each file of it as it is printed, but for images, ids, and what installs
//! Kubernetes itself.

mod hairpin;
pub(super) mod lines;
mod settings;

use serde_json::Value;

use super::signs;
use crate::cloud::VXNETS;
use crate::installation::{EDIT, Installation, RESTART};
use crate::process::until;
use crate::stage::Stage;
use crate::table::Table;

/// What it does before there is anything of ours, Secret and manifests.
pub(super) fn install(stage: &Stage, installation: &Installation, table: &mut Table) {
    kubernetes(stage, table);
    installation.make_secret();
    table.row(
        "the Secret `qcsecret`",
        "is read as it is; a private cloud's user adds `host`, `port`, `protocol` and `uri` to its `config.yaml`",
    );
    installation.shell(lines::APPLY);
    installation.until_rolled_out();
    stage.until_nodes_are_ready();
    signs::each_node_serves(stage);
    table.row(
        "`kubectl apply -f …/deploy/hostnic.yaml`",
        format!(
            "`{}`: the DaemonSet of the same name and `hostnic-cfg-cm`; as no vxnet is named, pods that name one by annotation are served",
            lines::APPLY
        ),
    );
    for node in &stage.world.nodes {
        let told = installation.log(node);
        let of_go = told.lines().filter(|line| line.contains("the Go version's records are here")).count();
        assert_eq!(of_go, 1, "{told}");
    }
    table.row(
        "the Go version's leveldb in `/var/lib/hostnic`",
        "is left alone; each start of the daemon says once that it is there",
    );
}

/// The first settings, up to the restart that brings them.
pub(super) fn configure(installation: &Installation, table: &mut Table) {
    installation.edit(&settings::EDITS);
    installation.shell(RESTART);
    table.row(
        format!("`{EDIT}`, `{RESTART}`"),
        "the nodes serve by the new settings; pods that run lose no packet meanwhile",
    );
}

/// The settings in force, and what the guide does with them.
pub(super) fn use_it(stage: &Stage, installation: &Installation, table: &mut Table) {
    settings::are_in_force(stage, installation, table);
    node(stage, installation, table);
    pods(stage, installation, table);
    hairpin::is_checked(stage, installation, table);
}

/// Kubernetes itself.
fn kubernetes(stage: &Stage, table: &mut Table) {
    let plugins = stage.world.nodes[0].file("/opt/cni/bin/host-local");
    assert!(plugins.exists());
    table.row(
        "`wget …/cni-plugins-linux-amd64-v0.8.7.tgz`, `tar xvzf` in `/opt/cni/bin/`",
        "not run: Debian's package of the same plugins is there, and stays as it is",
    );
    for node in &stage.world.nodes {
        node.run(&["sh", "-c", lines::FORWARD]);
    }
    table.row(format!("`{}`", lines::FORWARD), "run on both nodes");
    table.row(
        "`curl … | INSTALL_K3S_EXEC='--flannel-backend=none --no-flannel' sh -s - --docker`, and the agent's",
        "not run: Kubernetes 1.20 with containerd is there instead; with `--docker`, apply `deploy/kubernetes/proc-netns` too",
    );
}

/// The vxnet of a node.
fn node(stage: &Stage, installation: &Installation, table: &mut Table) {
    let cluster = &stage.world.cluster;
    let line = |vxnet: &str| lines::ANNOTATE.replace(lines::NODE, "node1").replace(lines::VXNET, vxnet);
    let annotated = || {
        let told = cluster.get(&["node", "node1"]);
        told["metadata"]["annotations"][lines::NODE_KEY].as_str().unwrap_or_default().to_owned()
    };
    let first = annotated();
    let other = VXNETS[..2].iter().find(|vxnet| first != **vxnet).unwrap();
    let refused = installation.attempt(&line(other));
    assert!(refused.contains("--overwrite is false"), "{refused}");
    table.row(
        format!("`{}`", lines::ANNOTATE),
        "refused by kubectl where the node has a vxnet already, as one of `vxNets` was chosen for it",
    );
    installation.shell(&format!("{} --overwrite", line(other)));
    let node = &stage.world.nodes[0];
    until("the node draws from the vxnet that it was told", || {
        let listed = installation.listed(node, "nics");
        let free = |nic: &&Value| nic["addresses"][0]["state"] == "free";
        let free: Vec<&Value> = listed.as_array()?.iter().filter(free).collect();
        (free.len() >= 3 && free.iter().all(|nic| nic["subnet"] == **other)).then_some(())
    });
    table.row(
        "the same with `--overwrite`",
        "the node's next pods get NICs in that vxnet, and free ones of the vxnet before are given back",
    );
    installation.shell(&format!("{} --overwrite", line(VXNETS[2])));
    until("one of vxNets is chosen", || VXNETS[..2].contains(&annotated().as_str()).then_some(()));
    table.row(
        "the same with a vxnet that is not one of `vxNets`",
        "counts as none, and one of `vxNets` is chosen",
    );
}

/// Pods that ask for a vxnet, and for an address.
fn pods(stage: &Stage, installation: &Installation, table: &mut Table) {
    let fixed = "192.168.52.88";
    let by_vxnet = lines::POD.replace(lines::VXNET, VXNETS[1]);
    let by_address = lines::POD_WITH_IP.replace(lines::VXNET, VXNETS[2]).replace(lines::IP, fixed);
    let made = |pod: &str| {
        let ours =
            pod.replace("image: nginx:latest", "image: local/busybox:1\n      command: [sleep, infinity]");
        installation.shell(&format!("kubectl apply -f - <<'EOF'\n{ours}EOF"));
        installation.shell("kubectl wait --for=condition=Ready --timeout=90s pod/testnginx");
        let told = stage.world.cluster.get(&["pod", "testnginx"]);
        installation.remove_pods(&["testnginx"]);
        told["status"]["podIP"].as_str().unwrap().to_owned()
    };
    let address = made(&by_vxnet);
    assert!(address.starts_with("192.168.51."), "{address}");
    table.row("the Pod with `hostnic.network.kubesphere.io/vxnet`", "gets an address of that vxnet");
    assert_eq!(made(&by_address), fixed);
    table.row("the Pod with `hostnic.network.kubesphere.io/ip` as well", "gets that address");
}
