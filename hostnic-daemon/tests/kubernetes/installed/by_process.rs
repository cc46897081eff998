//! A runtime that names a pod's network namespace by a process, as dockershim does under k3s with `--docker`.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::installation::{CNI_FILE, Installation, PLUGIN};
use crate::machine::Machine;
use crate::pod::LABEL;
use crate::process::{Process, output, until};
use crate::stage::Stage;
use crate::talk::ping;

const NAME: &str = "docked";

/// Without the overlay an ADD fails, and names it.
pub(super) fn is_refused(stage: &Stage, installation: &Installation) {
    let sandbox = Sandbox::start(stage, &stage.world.nodes[0]);
    let refused = sandbox.call("ADD").unwrap_err();
    println!("    an ADD by {}, without the overlay: {refused}", sandbox.netns);
    assert!(refused.contains("deploy/kubernetes/proc-netns"), "{refused}");
    // What a runtime does with what it could not add.
    sandbox.call("DEL").unwrap();
    sandbox.end(installation);
}

/// With it, the pod is served.
pub(super) fn is_served(stage: &Stage, installation: &Installation) {
    let sandbox = Sandbox::start(stage, &stage.world.nodes[0]);
    let added = sandbox.call("ADD").unwrap();
    let address = added["ips"][0]["address"].as_str().unwrap().split('/').next().unwrap().parse().unwrap();
    assert_eq!(ping(&stage.world.host.netns(), address, 5, "0.1"), (5, 5));
    println!("    with the overlay: {address}, which a machine of the VPC reaches");
    sandbox.call("DEL").unwrap();
    sandbox.end(installation);
}

/// A sandbox that kubelet does not make, of a pod that it waits with.
#[derive(Debug)]
pub(super) struct Sandbox {
    node: &'static Machine,
    process: Process,
    netns: String,
    uid: String,
}

impl Sandbox {
    fn start(stage: &Stage, node: &'static Machine) -> Self {
        let cluster = &stage.world.cluster;
        // kubelet makes no sandbox before it has the pod's volumes, and waits with this one for ever.
        cluster.apply(&json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": NAME, "labels": {LABEL: "yes"}},
            "spec": {
                "nodeName": node.name(),
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": "main",
                    "image": "local/busybox:1",
                    "volumeMounts": [{"name": "absent", "mountPath": "/absent"}],
                }],
                "volumes": [{"name": "absent", "configMap": {"name": "absent"}}],
            },
        }));
        let uid = cluster.get(&["pod", NAME])["metadata"]["uid"].as_str().unwrap().to_owned();
        let mut command = node.command("unshare");
        command.args(["--net", "sh", "-c", "echo $$; exec sleep infinity"]);
        let log = node.folder().join("docked.log");
        let _ = std::fs::remove_file(&log);
        let process = node.start(command, &log);
        // Its id among the node's processes, which are not the tests' everywhere.
        let pid = until("the sandbox is there", || process.said().lines().next().map(str::to_owned));
        Self { node, process, netns: format!("/proc/{pid}/ns/net"), uid }
    }

    /// Calls the plugin as dockershim does; what it printed.
    fn call(&self, command: &str) -> Result<Value, String> {
        let mut call = self.node.command("sh");
        call.args(["-c", &format!("exec {PLUGIN} <{CNI_FILE}")]);
        call.env("CNI_COMMAND", command).env("CNI_CONTAINERID", "d0cce4").env("CNI_NETNS", &self.netns);
        call.env("CNI_IFNAME", "eth0").env("CNI_PATH", "/opt/cni/bin");
        let named = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_INFRA_CONTAINER_ID=d0cce4";
        call.env("CNI_ARGS", format!("{named};K8S_POD_NAME={NAME};K8S_POD_UID={}", self.uid));
        output(&mut call).map(|told| serde_json::from_str(&told).unwrap_or(Value::Null))
    }

    fn end(self, installation: &Installation) {
        self.process.ends_by(Signal::SIGKILL);
        installation.remove_pods(&[NAME]);
    }
}
