//! The API server with what belongs to it, and the nodes' own programs.

mod removal;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::cloud::OUTSIDE;
use crate::machine::Machine;
use crate::process::{Process, output, succeeds, until};
use crate::{ready, repair};

/// Services' addresses.
pub(crate) const SERVICES: &str = "10.233.0.0/18";

/// What runs on a node beside containers.
pub(crate) const NODE_PROGRAMS: [&str; 3] = ["containerd", "kubelet", "kube-proxy"];

/// Kubelets leave the images alone that were put there by hand, on however full a disk; and what they would do every ten
/// seconds, every minute and five times a second, they do sooner, as nothing here is about how rarely they do it.
const KUBELETS: &str = "imageGCHighThresholdPercent: 100
nodeStatusUpdateFrequency: 1s
syncFrequency: 5s
kubeAPIQPS: 50
kubeAPIBurst: 100
";

/// A cluster whose first node, API server and controllers `up` has started.
#[derive(Debug)]
pub(crate) struct Cluster {
    folder: PathBuf,
    /// What was started by the tests, by the machine's name and the program's.
    started: Mutex<BTreeMap<(&'static str, String), Process>>,
}

impl Cluster {
    /// Starts it as its README says, with this machine as the node.
    pub(crate) fn start(first: &Machine, folder: &Path) -> Self {
        let folder = folder.join("k8s");
        std::fs::create_dir_all(&folder).unwrap();
        // Unpacking takes longer than all else.
        let programs = ready::scratch().join("bin");
        std::fs::create_dir_all(&programs).unwrap();
        std::os::unix::fs::symlink(&programs, folder.join("bin")).unwrap();
        let cluster = Self { folder, started: Mutex::default() };
        succeeds(Command::new(ready::kubernetes().join("up")).arg("unpack").env("D", &cluster.folder));
        repair::mend(&programs.join("kube-apiserver")).unwrap();
        cluster.up(first);
        cluster
    }

    fn up(&self, first: &Machine) {
        let mut up = Command::new(ready::kubernetes().join("up"));
        up.env("D", &self.folder).env("NODE", first.name()).env("NODE_NETNS", first.name());
        up.env("NODE_IP", first.address("primary").to_string());
        up.env("API_HOST", OUTSIDE).env("KUBE_PROXY", "iptables");
        succeeds(&mut up);
        self.set_kubelets(first);
    }

    /// Has kubelets do as [`KUBELETS`] says, too.
    fn set_kubelets(&self, first: &Machine) {
        let settings = self.folder.join("kubelet.yaml");
        let told = std::fs::read_to_string(&settings).unwrap();
        std::fs::write(&settings, format!("{told}{KUBELETS}")).unwrap();
        self.restart(first, "kubelet");
    }

    /// Makes another machine a node, as `up` does with the first.
    pub(crate) fn join(&self, machine: &Machine) {
        let (here, there) = (self.folder.display().to_string(), machine.folder().display().to_string());
        let settings = std::fs::read_to_string(self.folder.join("containerd.toml")).unwrap();
        let settings = settings.replace(&format!("{here}/containerd"), &format!("{there}/containerd"));
        std::fs::write(machine.folder().join("containerd.toml"), settings).unwrap();
        for argv in self.node_programs(machine) {
            self.start_program(machine, &argv);
            if argv[0] == "containerd" {
                self.import_images(machine);
            }
        }
        until("the node is known", || self.kubectl(&["get", "node", machine.name()]).ok());
    }

    fn node_programs(&self, machine: &Machine) -> [Vec<String>; 3] {
        let (here, there) = (self.folder.display(), machine.folder().display());
        let name = machine.name();
        let address = machine.address("primary");
        let lines = [
            format!("containerd -c {there}/containerd.toml"),
            format!(
                "{here}/bin/kubelet --kubeconfig={here}/kubeconfig.node --config={here}/kubelet.yaml \
                 --root-dir={there}/kubelet --container-runtime=remote \
                 --container-runtime-endpoint=unix://{there}/containerd.sock --node-ip={address} \
                 --hostname-override={name} --cert-dir={there}/pki"
            ),
            format!(
                "{here}/bin/kube-proxy --kubeconfig={here}/kubeconfig.node --hostname-override={name} \
                 --proxy-mode=iptables --conntrack-max-per-core=0"
            ),
        ];
        lines.map(|line| line.split_whitespace().map(str::to_owned).collect())
    }

    fn start_program(&self, machine: &Machine, argv: &[String]) {
        let program = Path::new(&argv[0]).file_name().unwrap().to_str().unwrap().to_owned();
        let mut command = machine.command(&argv[0]);
        command.args(&argv[1..]);
        let process = machine.start(command, &machine.folder().join(format!("{program}.log")));
        self.started.lock().unwrap().insert((machine.name(), program), process);
    }

    fn import_images(&self, machine: &Machine) {
        let socket = machine.folder().join("containerd.sock");
        let ctr = |arguments: &[&str]| {
            let mut command = machine.command("ctr");
            command.arg("--address").arg(&socket).args(arguments);
            output(&mut command)
        };
        until("containerd answers", || ctr(&["version"]).ok());
        for image in ["pause.tar", "bb.tar"] {
            let image = self.folder.join("img").join(image);
            ctr(&["--namespace", "k8s.io", "images", "import", image.to_str().unwrap()]).unwrap();
        }
    }

    /// Kills one of a node's programs at once and starts it again as it was started.
    pub(crate) fn restart(&self, machine: &Machine, program: &str) {
        let started = self.started.lock().unwrap().remove(&(machine.name(), program.to_owned()));
        let pid = started.as_ref().map_or_else(|| self.pid_of_up(program), Process::pid);
        let argv = argv(pid);
        kill_and_wait(pid, started);
        self.start_program(machine, &argv);
    }

    /// The same with a program of the cluster's own, such as the API server.
    pub(crate) fn restart_own(&self, program: &str) {
        let key = ("", program.to_owned());
        let started = self.started.lock().unwrap().remove(&key);
        let pid = started.as_ref().map_or_else(|| self.pid_of_up(program), Process::pid);
        let argv = argv(pid);
        kill_and_wait(pid, started);
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]);
        let log = self.folder.join("log").join(format!("{program}.log"));
        self.started.lock().unwrap().insert(key, Process::start(command, &log, false));
    }

    /// The file by which a daemon on a node reaches the API server, with the rights that it has by the manifests.
    pub(crate) fn daemons_kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig.daemon")
    }

    /// The file by which whoever may do everything reaches the API server from beside the cluster.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// Makes the daemons' account with its rights, and that file.
    pub(crate) fn let_daemons_in(&self) {
        let rights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes/node/rbac.yaml");
        self.kubectl(&["apply", "-f", rights.to_str().unwrap()]).unwrap();
        let asked = |what: &str, template: &str| {
            let of = ["--namespace", "kube-system", "get", what, "-o", template];
            self.kubectl(&of).ok().filter(|told| !told.is_empty() && !told.contains("no value"))
        };
        let token = until("the daemons' account has a token", || {
            let secret = asked("serviceaccount/hostnic-node", "go-template={{(index .secrets 0).name}}")?;
            asked(&format!("secret/{secret}"), "go-template={{.data.token | base64decode}}")
        });
        let node = std::fs::read_to_string(self.folder.join("kubeconfig.node")).unwrap();
        std::fs::write(self.daemons_kubeconfig(), node.replace("admintoken", &token)).unwrap();
    }

    /// Where a node's containerd listens.
    pub(crate) fn containerd(&self, machine: &Machine) -> PathBuf {
        // That of the first node is one of the cluster's own files.
        let own = machine.folder().join("containerd.sock");
        if own.exists() { own } else { self.folder.join("containerd.sock") }
    }

    /// What `up` wrote of a program that it started.
    fn pid_of_up(&self, program: &str) -> i32 {
        let file = self.folder.join("run").join(format!("{program}.pid"));
        std::fs::read_to_string(file).unwrap().trim().parse().unwrap()
    }

    /// Starts all of a node's programs after its machine lost its power.
    pub(crate) fn boot(&self, machine: &Machine) {
        self.started.lock().unwrap().retain(|(name, _), _| *name != machine.name());
        // What containerd keeps in /run elsewhere.
        let _ = std::fs::remove_dir_all(machine.folder().join("containerd/state"));
        self.join(machine);
    }

    /// Runs `kubectl`; what it printed, or its complaint.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        output(self.command().args(arguments))
    }

    /// What `kubectl get -o json` tells.
    pub(crate) fn get(&self, arguments: &[&str]) -> Value {
        let told = self.kubectl(&[&["get", "-o", "json"], arguments].concat());
        serde_json::from_str(&told.unwrap_or_else(|said| panic!("{arguments:?}: {said}"))).unwrap()
    }

    /// Applies an object.
    pub(crate) fn apply(&self, object: &Value) {
        let mut command = self.command();
        command.args(["apply", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(object.to_string().as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{object:#}");
    }

    /// Runs a line as somebody does who sits in the repository; what it printed, or its complaint.
    pub(crate) fn shell(&self, line: &str) -> Result<String, String> {
        let repository = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        output(self.with_kubectl("bash").args(["-c", line]).current_dir(repository))
    }

    pub(crate) fn command(&self) -> Command {
        self.with_kubectl("kubectl")
    }

    /// A program that finds the cluster by kubectl's file.
    fn with_kubectl(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("KUBECONFIG", self.folder.join("kubeconfig"));
        // Its cache of what the API server serves.
        command.env("HOME", &self.folder);
        command
    }
}

/// A running program's command line.
fn argv(pid: i32) -> Vec<String> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    line.split_terminator('\0').map(str::to_owned).collect()
}

fn kill_and_wait(pid: i32, started: Option<Process>) {
    match started {
        Some(process) => _ = process.ends_by(Signal::SIGKILL),
        None => {
            kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
            until("the program's end", || (!Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
        }
    }
}
