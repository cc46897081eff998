//! What deploy/kubernetes says is what the programs take and need.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at what it did not expect")]

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

const NODE: &str = include_str!("../../deploy/hostnic-node.yaml");
const ALL: &str = include_str!("../../deploy/hostnic.yaml");
const OF_NODES: &str = include_str!("../../hostnic-kube/src/lib.rs");
const OF_THE_CONTROLLER: &str = include_str!("../../hostnic-kube/src/ipam/mod.rs");
const OF_WEBHOOKS: &str = include_str!("../../hostnic-kube/src/admission/mod.rs");

fn documents(manifest: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(manifest).unwrap()
}

fn the<'a>(documents: &'a [Value], kind: &str, name: &str) -> &'a Value {
    documents
        .iter()
        .find(|document| document["kind"] == kind && document["metadata"]["name"] == name)
        .unwrap()
}

#[test]
fn the_settings_to_begin_with_are_taken_as_they_are() {
    let documents = documents(NODE);
    let settings = &the(&documents, "ConfigMap", "hostnic-cfg-cm")["data"];
    let folder = tempfile::tempdir().unwrap();
    let file = |key: &str| {
        let path = folder.path().join(format!("{key}.json"));
        std::fs::write(&path, settings[key].as_str().unwrap()).unwrap();
        path
    };
    let container =
        &the(&documents, "DaemonSet", "hostnic-node")["spec"]["template"]["spec"]["containers"][0];
    let words: Vec<&str> =
        container["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    let ["start", flags @ ..] = words.as_slice() else { panic!("{words:?}") };
    let mut command = Command::new(env!("CARGO_BIN_EXE_hostnic-daemon"));
    command.env_clear().env("MY_NODE_NAME", "node1").args(["config", "-o", "json"]);
    command.args(flags.iter().map(|flag| flag.replace("$(NODE_IP)", "192.0.2.7")));
    command.arg("--config").arg(file("hostnic")).arg("--cni-config").arg(file("hostnic-cni"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["personality"], "hostnic-node");
    for (key, value) in [
        ("service-cidr", "10.233.0.0/18"),
        ("max-nics", "63"),
        ("node-name", "node1"),
        ("kubernetes", "true"),
        ("manage-addr", "192.0.2.7:9191"),
    ] {
        let rows = shown["settings"].as_array().unwrap();
        assert_eq!(rows.iter().find(|row| row["key"] == key).unwrap()["value"], value, "{key}");
    }
}

/// A verb on a resource: where, in which group, of which names.
type Right = (&'static str, String, String, BTreeSet<String>, String);

const EVERYWHERE: &str = "in the cluster";
const SYSTEM: &str = "in kube-system";
const WITH_ANNOTATIONS: &str = "in the cluster, where pods are annotated";

/// The rights that hostnic-kube says it needs, by the tables of its documentation.
fn documented(documentation: &str) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    let mut place = EVERYWHERE;
    for line in documentation.lines().filter_map(|line| line.strip_prefix("//! ")) {
        if line.starts_with("In the namespace `kube-system`") {
            place = SYSTEM;
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", group, resource, verbs, reason, ""] = cells.as_slice() else { continue };
        if *group == "group" || group.starts_with('-') {
            continue;
        }
        let place = if reason.contains("**only with**") { WITH_ANNOTATIONS } else { place };
        let quoted: Vec<&str> = resource.split('`').skip(1).step_by(2).collect();
        let (resource, names) = quoted.split_first().unwrap();
        let group = if *group == "(core)" { "" } else { group.trim_matches('`') };
        for verb in verbs.split(", ") {
            let names = names.iter().map(|&name| name.to_owned()).collect();
            rights.insert((place, group.to_owned(), (*resource).to_owned(), names, verb.to_owned()));
        }
    }
    rights
}

/// The rights that a role of the manifest gives.
fn given(place: &'static str, role: &Value) -> BTreeSet<Right> {
    let texts = |value: &Value| -> BTreeSet<String> {
        value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    rights.insert((
                        place,
                        group.clone(),
                        resource.clone(),
                        texts(&rule["resourceNames"]),
                        verb,
                    ));
                }
            }
        }
    }
    rights
}

#[test]
fn the_rights_are_those_that_are_documented_and_no_others() {
    let manifest = documents(ALL);
    let mut rights = given(EVERYWHERE, the(&manifest, "ClusterRole", "hostnic-node"));
    rights.extend(given(SYSTEM, the(&manifest, "Role", "hostnic-node")));
    let all: BTreeSet<_> = documented(OF_NODES);
    assert!(all.len() > 10, "the tables are not found: {all:?}");
    let usual: BTreeSet<_> = all.iter().filter(|right| right.0 != WITH_ANNOTATIONS).cloned().collect();
    assert_eq!(rights, usual);
    rights.extend(given(WITH_ANNOTATIONS, the(&manifest, "ClusterRole", "hostnic-node-pod-annotations")));
    assert_eq!(rights, all);
    let roles = |manifest: &[Value]| manifest.iter().filter(|document| document["rules"].is_array()).count();
    assert_eq!((roles(&manifest), roles(&documents(NODE))), (5, 2));
    let mut rights = given(EVERYWHERE, the(&manifest, "ClusterRole", "hostnic-controller"));
    rights.extend(given(SYSTEM, the(&manifest, "Role", "hostnic-controller")));
    let webhooks = documented(OF_WEBHOOKS);
    assert_eq!(rights, documented(OF_THE_CONTROLLER).union(&webhooks).cloned().collect());
}

#[test]
fn the_controllers_flags_are_taken() {
    let documents = documents(ALL);
    let container =
        &the(&documents, "Deployment", "hostnic-controller")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["command"], serde_json::json!(["/usr/local/bin/hostnic-controller"]));
    let flags = container["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_hostnic-controller"));
    command.env_clear().args(flags.map(|flag| flag.replace("$(POD_IP)", "192.0.2.7")));
    // Whatever is wrong with flags is said before any file is read.
    let output = command.args(["--access-file", "/nowhere/config.yaml"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("/nowhere/config.yaml"), "{said}");
}

/// Document 002's user has made these before, and must not lose them.
#[test]
fn the_manifest_of_all_brings_no_object_that_its_user_makes() {
    let kinds: BTreeSet<String> =
        documents(ALL).iter().map(|document| document["kind"].as_str().unwrap().to_owned()).collect();
    assert!(!kinds.contains("ConfigMap") && !kinds.contains("Secret"), "{kinds:?}");
}
