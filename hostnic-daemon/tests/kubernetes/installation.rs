//! hostnic as its user installs and uninstalls it: by the image, the manifests, and the lines of docs/kubernetes.md.

use std::fs;

use serde_json::Value;

use crate::enclosure;
use crate::image;
use crate::machine::Machine;
use crate::process::until;
use crate::world::World;

/// Where the init container puts it.
pub(crate) const PLUGIN: &str = "/opt/cni/bin/hostnic";
pub(crate) const CNI_FILE: &str = "/etc/cni/net.d/10-hostnic.conf";
const INSTANCE_ID: &str = "/etc/qingcloud/instance-id";

/// Document 004's lines that make the Secret.
const SECRET: &str = r#"cat <<EOF | kubectl apply -f -
apiVersion: v1
stringData:
  config.yaml: |-
    qy_access_key_id: 'xxxxx'
    qy_secret_access_key: 'xxxxx'
    # your instance zone
    zone: "ap2a"
kind: Secret
metadata:
  name: qcsecret
  namespace: kube-system
type: Opaque
EOF
"#;

/// Document 004's lines after that, which docs/kubernetes.md has as well.
pub(crate) const EDIT: &str = "kubectl edit -n kube-system cm hostnic-cfg-cm";
pub(crate) const RESTART: &str = "kubectl rollout restart -n kube-system ds hostnic-node";

/// The overlay for runtimes that name a pod's namespace by a process, in the form that docs/kubernetes.md has for any kubectl.
pub(crate) const PATCH: &str = r#"kubectl patch -n kube-system ds hostnic-node --patch "$(cat deploy/kubernetes/proc-netns/daemonset.yaml)""#;

const STATUS: &str = "kubectl rollout status -n kube-system ds hostnic-node";
const POD: &str =
    "kubectl get pod -n kube-system -l app=hostnic-node --field-selector spec.nodeName=NODE -o name";
const DRAIN: &str = "kubectl drain NODE --ignore-daemonsets";
const GIVE_BACK: &str = "kubectl set env -n kube-system ds/hostnic-node HOSTNIC_CLEANUP_CACHE_ON_EXIT=true";
const DELETE: &str = "kubectl delete -f deploy/hostnic-node.yaml --cascade=foreground";
const REMOVE: [&str; 4] = [
    "rm -f /etc/cni/net.d/10-hostnic.conf /opt/cni/bin/hostnic",
    "rm -rf /run/hostnic",
    "ip rule flush protocol 104",
    "nft delete table ip hostnic-node",
];

const PAGE: &str = include_str!("../../../docs/kubernetes.md");

/// What every user changes in the settings: the vxnets. Jobs of the cloud are looked at soon, as the tests' cloud is fast.
pub(crate) const SETTINGS: [(&str, &str); 2] = [
    (r#""vxNets": \[\]"#, r#""vxNets": ["vxnet-aaaaaaa", "vxnet-bbbbbbb"]"#),
    (r#""sync": 3"#, r#""sync": 1"#),
];

/// The nodes with hostnic from its image. When this ends, the next trial finds the nodes as they were.
#[derive(Debug)]
pub(crate) struct Installation {
    world: &'static World,
}

impl Installation {
    /// The nodes as they come from the cloud, with the image loaded and nothing else of hostnic's.
    pub(crate) fn prepare(world: &'static World) -> Self {
        for line in [EDIT, RESTART, PATCH, STATUS, POD, DRAIN, GIVE_BACK, DELETE].into_iter().chain(REMOVE) {
            assert!(PAGE.contains(line), "docs/kubernetes.md no longer has the line {line}");
        }
        let installation = Self { world };
        for node in &world.nodes {
            installation.strip(node);
            node.write(INSTANCE_ID, &format!("{}\n", node.instance()));
        }
        installation.load_image();
        installation
    }

    /// Loads the image on each node, as docs/kubernetes.md says.
    pub(crate) fn load_image(&self) {
        image::load(self.world);
    }

    /// Makes the Secret as the document does, with its placeholders filled in, and where the private cloud's API is.
    pub(crate) fn make_secret(&self) -> String {
        let file = fs::read_to_string(self.world.cloud.access_file()).unwrap();
        let value = |key: &str| {
            let line = file.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
            line.unwrap_or_else(|| panic!("{key} is not in {file}"))
        };
        let place = ["host", "port", "protocol", "uri"].map(|key| format!("\n    {key}: {}", value(key)));
        let filled = SECRET
            .replacen("xxxxx", value("qy_access_key_id"), 1)
            .replacen("xxxxx", value("qy_secret_access_key"), 1)
            .replacen("\"ap2a\"", &format!("\"{}\"{}", value("zone"), place.concat()), 1);
        self.shell(&filled)
    }

    /// Edits the settings by the document's line, with `sed` as the editor.
    pub(crate) fn edit(&self, changes: &[(&str, &str)]) {
        let before = self.settings();
        let script: String = changes.iter().map(|(from, to)| format!("s~{from}~{to}~;")).collect();
        self.shell(&format!("KUBE_EDITOR=\"sed -i '{}'\" {EDIT}", script.replace('"', "\\\"")));
        assert_ne!(self.settings(), before, "the edit has changed nothing");
    }

    fn settings(&self) -> Value {
        self.world.cluster.get(&["-n", "kube-system", "cm", "hostnic-cfg-cm"])["data"].take()
    }

    /// Waits until the DaemonSet is as it should be on each node, by the line of docs/kubernetes.md.
    pub(crate) fn until_rolled_out(&self) {
        if let Err(said) = self.world.cluster.shell(&format!("timeout 180 {STATUS}")) {
            let pods = "kubectl describe pod -n kube-system -l app=hostnic-node";
            panic!("{said}{}", self.attempt(pods));
        }
    }

    /// The daemon's pod of a node, by the line of docs/kubernetes.md.
    pub(crate) fn pod(&self, node: &Machine) -> String {
        until("the node has one daemon", || {
            let told = self.shell(&POD.replace("NODE", node.name()));
            let mut names = told.split_whitespace();
            names.next().filter(|_| names.next().is_none()).map(str::to_owned)
        })
    }

    /// What a command in the daemon's container prints, or its complaint.
    pub(crate) fn exec(&self, node: &Machine, command: &str) -> Result<String, String> {
        let pod = self.pod(node);
        self.world.cluster.shell(&format!("kubectl exec -n kube-system \"{pod}\" -- {command}"))
    }

    pub(crate) fn listed(&self, node: &Machine, what: &str) -> Value {
        let told = self.exec(node, &format!("hostnic-daemon {what} -o json"));
        serde_json::from_str(&told.unwrap_or_else(|said| panic!("{what}: {said}"))).unwrap()
    }

    /// What the daemon of a node has logged.
    pub(crate) fn log(&self, node: &Machine) -> String {
        self.shell(&format!("kubectl logs -n kube-system {}", self.pod(node)))
    }

    /// Deletes pods, and waits until none of them has a NIC.
    pub(crate) fn remove_pods(&self, names: &[&str]) {
        let pods = names.join(" ");
        self.shell(&format!("kubectl delete pod --wait=false --grace-period=1 {pods}"));
        let gone = |listed: &Value| {
            let named = listed.as_array().unwrap().iter().filter_map(|pod| pod["pod"].as_str());
            named.filter_map(|pod| pod.strip_prefix("default/")).all(|pod| !names.contains(&pod))
        };
        for node in &self.world.nodes {
            until("the pods are given back", || gone(&self.listed(node, "pods")).then_some(()));
        }
        // kubelets of this age take up to a minute to say that a pod has gone.
        self.attempt(&format!("kubectl delete pod --grace-period=0 --force {pods}"));
    }

    /// Runs a line of a document, which is to succeed.
    pub(crate) fn shell(&self, line: &str) -> String {
        self.world.cluster.shell(line).unwrap_or_else(|said| panic!("{line}: {said}"))
    }

    /// What came of a line, whatever it was.
    pub(crate) fn attempt(&self, line: &str) -> String {
        self.world.cluster.shell(line).unwrap_or_else(|said| said)
    }

    /// The first line of docs/kubernetes.md for those who uninstall it. Daemons that are rolled out later do so.
    pub(crate) fn give_back_on_exit(&self) {
        self.shell(GIVE_BACK);
    }

    /// Uninstalls it as docs/kubernetes.md says behind that line.
    pub(crate) fn uninstall(self) {
        for node in &self.world.nodes {
            self.shell(&DRAIN.replace("NODE", node.name()));
        }
        self.shell(DELETE);
        for node in &self.world.nodes {
            node.run(&["sh", "-ec", &REMOVE.join("\n")]);
        }
    }

    /// Takes what was installed off a node.
    fn strip(&self, node: &Machine) {
        for file in [PLUGIN, CNI_FILE, INSTANCE_ID] {
            let _ = fs::remove_file(node.file(file));
        }
        let _ = fs::remove_dir_all(node.file("/run/hostnic"));
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.attempt("kubectl logs -n kube-system --prefix --tail=15 -l app=hostnic-node");
            eprintln!("    the daemons said last:\n{said}");
            self.attempt(DELETE);
        }
        self.attempt("kubectl delete -n kube-system secret qcsecret --ignore-not-found");
        for node in &self.world.nodes {
            self.strip(node);
            fs::copy(enclosure::plugin(), node.file(PLUGIN)).unwrap();
            self.attempt(&format!("kubectl uncordon {}", node.name()));
            self.attempt(&format!(
                "kubectl annotate node {} hostnic.network.kubesphere.io/vxnet-",
                node.name()
            ));
        }
    }
}
