//! The cluster's half of cluster mode, for a trial.

use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::BLOCK_SIZE;
use crate::build;
use crate::cloud::VXNETS;
use crate::process::{Process, output, until};
use crate::world::World;

/// The custom resources, the controller, and two vxnets in blocks.
#[derive(Debug)]
pub(crate) struct ClusterMode {
    world: &'static World,
    controller: Process,
}

impl ClusterMode {
    pub(crate) fn begin(world: &'static World) -> Self {
        let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes/crds.yaml");
        world.cluster.kubectl(&["apply", "-f", crds.to_str().unwrap()]).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hostnic-controller"));
        command.arg("--kubeconfig").arg(world.cluster.kubeconfig());
        command.arg("--access-file").arg(world.cloud.access_file());
        let log = world.nodes[0].folder().join("controller.log");
        let controller = Process::start(command, &log, false);
        let mode = Self { world, controller };
        let vxnets: Vec<Value> = VXNETS[..2].iter().map(|vxnet| json!({ "name": vxnet })).collect();
        let v_pool = json!({
            "apiVersion": "network.qingcloud.com/v1alpha1", "kind": "VxNetPool", "metadata": { "name": "v-pool" },
            "spec": { "vxnets": vxnets, "blockSize": BLOCK_SIZE },
        });
        until("the custom resources are served", || world.cluster.kubectl(&["get", "vxnetpools"]).ok());
        world.cluster.apply(&v_pool);
        until("v-pool is ready", || {
            (world.cluster.get(&["vxnetpool", "v-pool"])["status"]["ready"] == true).then_some(())
        });
        mode
    }

    /// Says which namespace has which block.
    pub(crate) fn map(&self, ipam: &Value) {
        self.world.cluster.apply(&json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "hostnic-ipam-config", "namespace": "kube-system" },
            "data": { "subnet-auto-assign": "off", "ipam": ipam.to_string() },
        }));
    }

    /// What one of the daemon's commands prints.
    pub(crate) fn tool(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(build::DAEMON);
        command.args(arguments).arg("--kubeconfig").arg(self.world.cluster.kubeconfig());
        output(&mut command).unwrap_or_else(|said| said)
    }

    /// Takes the vxnets out, and all that was made of them.
    pub(crate) fn end(self) {
        let empty = json!({ "spec": { "vxnets": [] } }).to_string();
        let cluster = &self.world.cluster;
        cluster.kubectl(&["patch", "vxnetpool", "v-pool", "--type=merge", "-p", &empty]).unwrap();
        until("no pool is left", || cluster.get(&["ippools"])["items"].as_array()?.is_empty().then_some(()));
        cluster.kubectl(&["delete", "vxnetpool", "v-pool"]).unwrap();
        cluster.kubectl(&["-n", "kube-system", "delete", "configmap", "hostnic-ipam-config"]).unwrap();
        let said = self.controller.said();
        assert!(self.controller.ends_by(Signal::SIGTERM), "{said}");
    }
}
