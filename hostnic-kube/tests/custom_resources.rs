//! The definitions of the custom resources in deploy/ are those of the types.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should panic")]

use std::collections::BTreeSet;
use std::path::Path;

use hostnic_kube::ipam::definitions;
use serde_json::Value;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/kubernetes/crds.yaml");
const UPDATE: &str = "HOSTNIC_UPDATE_GENERATED";

fn schema<'a>(definitions: &'a [Value], kind: &str) -> &'a Value {
    let one = definitions.iter().find(|one| one["spec"]["names"]["kind"] == kind).unwrap();
    &one["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
}

#[test]
fn the_file_says_what_the_types_say() {
    let definitions = definitions().unwrap();
    if std::env::var_os(UPDATE).is_some() {
        let documents = definitions.iter().map(|one| serde_saphyr::to_string(one).unwrap());
        let documents: Vec<String> = documents.map(|text| format!("---\n{text}")).collect();
        let command = format!("{UPDATE}=1 cargo test -p hostnic-kube --test custom_resources");
        std::fs::write(FILE, format!("# Made by: {command}\n{}", documents.concat())).unwrap();
    }
    let text = std::fs::read_to_string(Path::new(FILE)).unwrap_or_default();
    let file: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap_or_default();
    assert!(
        file == definitions,
        "{FILE} is of other types; run this test with {UPDATE}=1 and look at the difference"
    );
}

#[test]
fn the_fields_are_the_go_versions() {
    let definitions = definitions().unwrap();
    let names: BTreeSet<&str> =
        definitions.iter().map(|one| one["metadata"]["name"].as_str().unwrap()).collect();
    let kinds = ["ipamblocks", "ipamhandles", "ippools", "vxnetpools"];
    assert_eq!(
        names,
        kinds.map(|kind| format!("{kind}.network.qingcloud.com")).iter().map(String::as_str).collect()
    );
    for one in &definitions {
        assert_eq!(
            (&one["spec"]["scope"], &one["spec"]["versions"][0]["name"]),
            (&"Cluster".into(), &"v1alpha1".into())
        );
    }
    let fields = |kind, part: &str| -> BTreeSet<String> {
        schema(&definitions, kind)[part]["properties"].as_object().unwrap().keys().cloned().collect()
    };
    let expected = [
        ("VxNetPool", "spec", "blockSize customReservedIPCount vxnets"),
        ("VxNetPool", "status", "conditions message pools process ready"),
        (
            "IPPool",
            "spec",
            "blockSize cidr customReservedIPCount disabled dns gateway rangeEnd rangeStart routes type vlanConfig",
        ),
        ("IPPool", "status", "allocations capacity reserved synced unallocated workspaces"),
        ("IPAMBlock", "spec", "allocations attributes cidr deleted id unallocated"),
        ("IPAMHandle", "spec", "block deleted handleID"),
    ];
    for (kind, part, names) in expected {
        assert_eq!(fields(kind, part), names.split(' ').map(str::to_owned).collect(), "{kind} {part}");
    }
    let numbers = &schema(&definitions, "IPAMBlock")["spec"]["properties"]["allocations"]["items"];
    assert_eq!((&numbers["type"], &numbers["nullable"]), (&"integer".into(), &true.into()), "{numbers}");
}

/// The API server warns of formats that it does not know, on each use of the definition.
#[test]
fn numbers_have_no_format_that_kubernetes_does_not_know() {
    fn look(value: &Value) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(format)) = fields.get("format") {
                    assert!(["int32", "int64", "date-time"].contains(&format.as_str()), "{format}");
                }
                fields.values().for_each(look);
            }
            Value::Array(items) => items.iter().for_each(look),
            _ => {}
        }
    }
    definitions().unwrap().iter().for_each(look);
}
