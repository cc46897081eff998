//! A cluster that is taken away from its machines without a word to anybody, and made again on them.

use std::path::Path;

use super::{Cluster, NODE_PROGRAMS, kill_and_wait};
use crate::machine::Machine;
use crate::process::{Process, succeeds};

const UNINSTALL: &str = include_str!("uninstall.sh");

/// What the cluster has beside the nodes' programs; the API server's records end with the last of them.
const OWN_PROGRAMS: [&str; 4] = ["scheduler", "kcm", "apiserver", "etcd"];

/// What `up` made for the cluster that was.
const OF_CLUSTER: [&str; 5] = ["etcd", "pki", "run", "kubeconfig", "kubeconfig.node"];

impl Cluster {
    /// Removes it from the nodes, and itself.
    pub(crate) fn remove(&self, nodes: &[Machine; 2]) {
        for node in nodes {
            for program in NODE_PROGRAMS {
                self.kill(node.name(), program);
            }
            let socket = self.containerd(node);
            let mut uninstall = node.command("bash");
            uninstall.args(["-c", UNINSTALL, "uninstall"]);
            succeeds(uninstall.arg(&socket).arg(socket.parent().unwrap()));
        }
        for program in OWN_PROGRAMS {
            self.kill("", program);
        }
        for made in OF_CLUSTER {
            let path = self.folder.join(made);
            let removed =
                if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            removed.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }

    /// Makes another cluster of the same nodes.
    pub(crate) fn make_again(&self, [first, second]: &[Machine; 2]) {
        self.up(first);
        self.join(second);
    }

    fn kill(&self, machine: &'static str, program: &str) {
        let started = self.started.lock().unwrap().remove(&(machine, program.to_owned()));
        let pid = started.as_ref().map_or_else(|| self.pid_of_up(program), Process::pid);
        if Path::new(&format!("/proc/{pid}")).exists() {
            kill_and_wait(pid, started);
        }
    }
}
