//! The guide's check of hairpin.

use serde_json::Value;

use super::lines;
use crate::capture::Capture;
use crate::installation::Installation;
use crate::process::until;
use crate::stage::Stage;
use crate::table::Table;

/// kubectl 1.18 and later make no Deployment by `run`; the images are the tests' own.
const CLIENT: &str = "kubectl create deployment multitool --image=local/busybox:1 -- sleep infinity";
/// One pod on each node, as the guide has it.
const SERVER: &str = r#"kubectl create deployment nginx --image=local/busybox:1 --replicas=2 --dry-run=client -o json -- \
    sh -c 'mkdir /www; hostname >/www/index.html; exec httpd -f -h /www' |
  jq '.spec.template.spec.topologySpreadConstraints = [{
    "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
    "labelSelector": .spec.selector
  }]' | kubectl apply -f -"#;

/// How often the service is called; one of two back ends is missed once in 2^29 times.
const CALLS: u32 = 30;

pub(super) fn is_checked(stage: &Stage, installation: &Installation, table: &mut Table) {
    let cluster = &stage.world.cluster;
    installation.shell(CLIENT);
    installation.shell(SERVER);
    installation.shell(lines::EXPOSE);
    for deployment in ["multitool", "nginx"] {
        installation.shell(&format!("timeout 120 kubectl rollout status deployment {deployment}"));
    }
    table.row(
        "`kubectl run multitool … --replicas=1`, `kubectl run nginx … --replicas=2`",
        "`kubectl create deployment` in their place, since kubectl 1.18 makes single pods of them",
    );
    let of = |app: &str| cluster.get(&["pods", "--selector", &format!("app={app}")])["items"].take();
    let servers = of("nginx");
    let on: Vec<&Value> = servers.as_array().unwrap().iter().map(|pod| &pod["spec"]["nodeName"]).collect();
    assert_ne!(on[0], on[1], "one is on each node");
    table.row(format!("`{}`", lines::EXPOSE), "its pods are on both nodes");

    let client = of("multitool")[0].take();
    let node = stage.world.nodes.iter().find(|node| client["spec"]["nodeName"] == node.name()).unwrap();
    let address = client["status"]["podIP"].as_str().unwrap();
    let told = node.run(&["sh", "-c", &lines::RULE.replace("${PodIP}", address)]);
    let link = told.split_whitespace().find(|word| word.starts_with("hostnic_")).unwrap();
    table.row(format!("`{}`", lines::RULE), "one rule, which names the pod's link");

    let service = cluster.get(&["service", "nginx"]);
    let service = service["spec"]["clusterIP"].as_str().unwrap();
    until("the node serves nginx", || {
        let rules = node.run(&["iptables-save", "-t", "nat"]);
        let ends =
            rules.lines().filter(|rule| rule.contains("default/nginx") && rule.contains("DNAT")).count();
        (ends == 2).then_some(())
    });
    let capture = Capture::start(node, link, "tcp");
    let call = format!("for i in $(seq {CALLS}); do wget -q -O - http://{service}; done");
    let answers = installation.shell(&format!("kubectl exec deploy/multitool -- sh -c '{call}'"));
    let packets = capture.end();
    assert_eq!(answers.lines().count(), 30, "{answers}");
    for server in servers.as_array().unwrap() {
        let (name, address) = (&server["metadata"]["name"], server["status"]["podIP"].as_str().unwrap());
        assert!(answers.contains(name.as_str().unwrap()), "{name} was not called: {answers}");
        let seen = packets.iter().filter(|packet| packet.contains(&format!(" {address}."))).count();
        println!("    {CALLS} calls of the service: {seen} packets of {name} at {link}");
        assert!(seen > 0, "{packets:#?}");
    }
    table.row(
        "`tcpdump -s0 -nn -i ${vnic}`, and `curl ${svcIP}` in the client",
        "the link has the traffic with both servers, that on the client's own node too",
    );
}
