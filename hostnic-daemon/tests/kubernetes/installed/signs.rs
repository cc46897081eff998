//! How nodes show that they serve, and that hostnic was here.

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::installation::{CNI_FILE, PLUGIN};
use crate::machine::Machine;
use crate::process::until;
use crate::stage::Stage;

/// What kubelet's flag in docs/kubernetes.md puts on a node that it registers.
const TAINT: &str = "hostnic.network.kubesphere.io/agent-not-ready";

/// The nodes as kubelet would have registered them with the flag.
pub(super) fn taint(stage: &Stage) {
    for node in &stage.world.nodes {
        let taint = format!("{TAINT}=:NoSchedule");
        stage.world.cluster.kubectl(&["taint", "nodes", node.name(), &taint]).unwrap();
    }
}

/// The condition, the taint, and the files in the order in which they are to be written.
pub(super) fn each_node_serves(stage: &Stage) {
    for node in &stage.world.nodes {
        let look = || stage.world.cluster.get(&["node", node.name()]);
        let told = look();
        let conditions = told["status"]["conditions"].as_array().unwrap();
        let condition = conditions.iter().find(|one| one["type"] == "NetworkUnavailable").unwrap();
        let [status, reason, message] = ["status", "reason", "message"].map(|key| &condition[key]);
        println!("    {}: NetworkUnavailable is {status}: {reason}: {message}", node.name());
        assert_eq!((status, reason), (&json!("False"), &json!("HostnicReady")));
        until("the taint is taken away", || (!tainted(&look())).then_some(()));
        let [plugin, cni_file] = [PLUGIN, CNI_FILE].map(|path| written(node, path));
        assert!(plugin < cni_file, "the CNI file is the last that is written");
    }
}

fn tainted(node: &Value) -> bool {
    node["spec"]["taints"].as_array().is_some_and(|all| all.iter().any(|one| one["key"] == TAINT))
}

fn written(node: &Machine, path: &str) -> SystemTime {
    std::fs::metadata(node.file(path)).unwrap().modified().unwrap()
}

/// No rules and tables of the node itself either, which other trials leave out; all else the stage judges.
pub(super) fn nothing_is_left(stage: &Stage) {
    for node in &stage.world.nodes {
        let rules = node.run(&["ip", "rule"]);
        let numbers: Vec<&str> = rules.lines().filter_map(|rule| rule.split(':').next()).collect();
        assert_eq!(numbers, ["0", "32766", "32767"], "{}: {rules}", node.name());
        let tables = node.run(&["nft", "list", "tables"]);
        assert!(!tables.contains("hostnic"), "{}: {tables}", node.name());
    }
}
