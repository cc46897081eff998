//! Document 002, in its order, with ids and keys filled in.

use std::collections::BTreeSet;

use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::place::{Place, VXNETS, repository, until};
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("document_002_applies_in_its_order", in_order)]
}

const HOSTNIC: &str = r#"
apiVersion: v1
data:
  hostnic: |
    {
      "pool":{
        "maxNic":60
      },
      "server":{
        "networkPolicy": "calico"
      }
    }
  hostnic-cni: |
    {
      "cniVersion": "0.3.0",
      "name": "hostnic",
      "type": "hostnic",
      "serviceCIDR" : "10.233.0.0/18",
      "hairpin": false,
      "natMark": "0x10000"
    }
kind: ConfigMap
metadata:
  name: hostnic-cfg-cm
  namespace: kube-system
"#;

const CLUSTER_CONFIG: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata:
  name: clusterconfig
  namespace: kube-system
data:
  qingcloud.yaml: |
    zone: pek3a
    clusterID: cl-ns8bix0q
    userID: usr-hRAmdSn6
    securityGroup: sg-mcun6ybb
"#;

const V_POOL: &str = r#"
apiVersion: network.qingcloud.com/v1alpha1
kind: VxNetPool
metadata:
  name: v-pool
spec:
  vxnets:
    - name: vxnet-xxxxxxxx
    - name: vxnet-yyyyyyyy
  blockSize: 27
"#;

const IPAM: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata:
  name: hostnic-ipam-config
  namespace: kube-system
data:
  subnet-auto-assign: "off"
  ipam: |
    {
      "Default": ["vxnet-xxxxxxxx"],
      "test": ["4100-172-16-3-0-26", "4100-172-16-3-128-26"],
      "abc": ["4100-172-16-3-64-26", "4100-172-16-3-192-26"]
    }
"#;

async fn in_order() {
    let place = Place::new().await;
    std::fs::write(place.path("config.yaml"), place.access()).unwrap();
    let from_file = format!("--from-file={}", place.path("config.yaml").display());
    place.kubectl(&["create", "secret", "generic", "qcsecret", &from_file, "-n", "kube-system"]).unwrap();
    place.apply(HOSTNIC).unwrap();
    place.apply(CLUSTER_CONFIG).unwrap();
    let written = || place.get(&["-n", "kube-system", "configmap", "hostnic-cfg-cm"]).unwrap();
    let before = written();
    let manifest = repository().join("deploy/hostnic.yaml");
    // The kinds take a moment to be served, as they do everywhere; nothing of the file is of them.
    place.kubectl(&["apply", "-f", manifest.to_str().unwrap()]).unwrap();
    assert_eq!(written(), before, "the user's own settings are as they were");
    let controller = place.controller("first");
    until("the custom resources are served", async || place.apply(V_POOL).ok()).await;
    let status = until("v-pool is ready", async || {
        let v_pool = place.get(&["vxnetpool", "v-pool"])?;
        (v_pool["status"]["ready"] == true).then(|| v_pool["status"].clone())
    })
    .await;
    let first = &status["pools"][0];
    assert_eq!((&first["name"], &first["ippool"]), (&json!(VXNETS[0]), &json!(VXNETS[0])));
    assert_eq!(first["subnets"].as_array().unwrap().len(), 8);
    assert_eq!(first["subnets"][0], "4100-172-16-3-0-27");
    let blocks: BTreeSet<String> = place.names("ipamblocks").into_iter().collect();
    assert_eq!(blocks.len(), 16);
    assert!(blocks.contains("4100-172-16-4-224-27"));
    // All but the last twelve addresses that DHCP has, and the ends of the vxnet.
    let last = place.get(&["ipamblock", "4100-172-16-3-224-27"]).unwrap()["spec"].clone();
    let free = last["unallocated"].as_array().unwrap().len();
    assert_eq!(last["attributes"][0]["handle_id"], "kubesphere-reserved-handle");
    assert_eq!(free, 19, "224 to 242");
    // The cluster's group lets the vxnets in; the cloud has none of the name that is written beside it.
    let calls = place.simulator.counts();
    let count = |action: &str| calls.get(action).copied().unwrap_or_default();
    assert_eq!((count("AddSecurityGroupRules"), count("AllocateVips")), (2, 2), "{calls:?}");
    assert!(count("DescribeClusters") >= 1 && count("ApplySecurityGroup") >= 1, "{calls:?}");

    // First as it is printed: /26, which blockSize 27 never makes. It is no mistake of form, so it counts.
    place.apply(IPAM).unwrap();
    until("the mapping counts", async || {
        let v_pool = place.get(&["vxnetpool", "v-pool"])?;
        (v_pool["status"]["conditions"][1]["reason"] == "Valid").then_some(())
    })
    .await;
    let shown: Value = {
        let output = place.tool(&["ipam", "show", "-o", "json"]);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    assert_eq!(shown["namespaces"]["test"], json!(["4100-172-16-3-0-26", "4100-172-16-3-128-26"]));
    assert_eq!(shown["free"].as_array().unwrap().len(), 16, "nobody has any that is there");
    assert_eq!(shown["vxnets"][0]["unallocated"], 241);
    // Then with names of that size.
    place.apply(&IPAM.replace("-26\"", "-27\"")).unwrap();
    let table = String::from_utf8(place.tool(&["ipam", "show"]).stdout).unwrap();
    assert!(table.contains("test       4100-172-16-3-0-27 4100-172-16-3-128-27"), "{table}");
    let check = place.tool(&["ipam", "check"]);
    assert!(check.status.success(), "{check:?}");
    assert_eq!(String::from_utf8(check.stdout).unwrap(), "blocks, handles, pods and nodes agree\n");
    assert!(controller.end(Signal::SIGTERM));
}
