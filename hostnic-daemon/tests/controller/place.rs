//! A cluster without nodes, its cloud, and the programs that work on both.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use hostnic_core::sim::Durations;
use hostnic_qingcloud::simulator::{Simulator, SimulatorConfig};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::server::{ADMIN, CONTROLLER, DAEMON, Server};

/// Document 002's ids, and vxnets in the place of its crosses.
const CLUSTER: &str = "cl-ns8bix0q";
pub(crate) const VXNETS: [&str; 2] = ["vxnet-xxxxxxxx", "vxnet-yyyyyyyy"];
pub(crate) const SECRET: &str = "Th1s-Is-S3cret";

pub(crate) struct Place {
    server: Server,
    folder: tempfile::TempDir,
    pub(crate) simulator: Simulator,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let mut config = SimulatorConfig::new("pek3a", "AK", SECRET.into());
        config.vpc = "172.16.0.0/16".parse().unwrap();
        config.vxnets = vec![
            format!("{}=172.16.3.0/24", VXNETS[0]).parse().unwrap(),
            format!("{}=172.16.4.0/24", VXNETS[1]).parse().unwrap(),
        ];
        config.instances = vec!["i-node1".parse().unwrap()];
        config.cluster = Some(CLUSTER.to_owned());
        config.durations = Durations { reserve: Duration::from_millis(300), ..Durations::default() };
        Self::of(config).await
    }

    pub(crate) async fn of(config: SimulatorConfig) -> Self {
        let simulator = Simulator::start(config).await.unwrap();
        let server = Server::start().unwrap();
        let place = Self { server, folder: tempfile::tempdir().unwrap(), simulator };
        for (name, token) in [("admin", ADMIN), ("controller", CONTROLLER), ("node", DAEMON)] {
            let port = place.server.port;
            let text = serde_json::json!({
                "apiVersion": "v1", "kind": "Config", "current-context": "c",
                "clusters": [{ "name": "c", "cluster": { "server": format!("https://127.0.0.1:{port}"), "insecure-skip-tls-verify": true } }],
                "users": [{ "name": "u", "user": { "token": token } }],
                "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
            });
            fs::write(place.kubeconfig(name), text.to_string()).unwrap();
        }
        until("the API server serves", async || place.kubectl(&["get", "namespace", "kube-system"]).ok())
            .await;
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn kubeconfig(&self, who: &str) -> PathBuf {
        self.path(&format!("kubeconfig.{who}"))
    }

    /// The text of document 002's access file, for this cloud.
    pub(crate) fn access(&self) -> String {
        let address = self.simulator.address();
        format!(
            "qy_access_key_id: \"AK\"\nqy_secret_access_key: \"{SECRET}\"\n# your instance zone\nzone: \"pek3a\"\nhost: '{}'\nport: {}\nprotocol: 'http'\nuri: '/iaas'\nconnection_retries: 3\n",
            address.ip(),
            address.port()
        )
    }

    /// Runs kubectl as a person does; what it printed, or its complaint.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new("kubectl");
        command.env("KUBECONFIG", self.kubeconfig("admin")).env("HOME", self.folder.path());
        command.args(arguments).stdin(Stdio::null());
        told(command.output().unwrap())
    }

    /// Applies a text, as a person does with a file.
    pub(crate) fn apply(&self, text: &str) -> Result<String, String> {
        let file = self.path("applied.yaml");
        fs::write(&file, text).unwrap();
        self.kubectl(&["apply", "-f", file.to_str().unwrap()])
    }

    pub(crate) fn get(&self, what: &[&str]) -> Option<Value> {
        let text = self.kubectl(&[&["get", "-o", "json"], what].concat()).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// The names of all objects of a kind.
    pub(crate) fn names(&self, kind: &str) -> Vec<String> {
        let all = self.get(&[kind]).unwrap();
        let names =
            all["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap());
        names.map(str::to_owned).collect()
    }

    /// Starts a controller, which finds its files where its pod has them.
    pub(crate) fn controller(&self, name: &str) -> Controller {
        self.controller_with(name, &[])
    }

    /// Starts one that answers webhooks, in a cluster in which the controllers' Service leads to it.
    pub(crate) fn controller_with_webhooks(&self, name: &str) -> Controller {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // Nobody routes to the addresses of Services here.
        let service = format!(
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: kube-system\nspec:\n  type: ExternalName\n  externalName: 127.0.0.1\n"
        );
        self.apply(&service).unwrap();
        let flags = [format!("--webhook-addr=127.0.0.1:{port}"), format!("--webhook-service={name}:{port}")];
        self.controller_with(name, &flags)
    }

    /// What becomes of a change for which no webhook answers, by each of them.
    pub(crate) fn policies(&self) -> Vec<String> {
        let all = self.get(&["validatingwebhookconfigurations"]).unwrap();
        let webhooks = all["items"].as_array().unwrap().iter().filter_map(|item| item["webhooks"].as_array());
        let policies = webhooks.flatten().filter_map(|webhook| webhook["failurePolicy"].as_str());
        policies.map(str::to_owned).collect()
    }

    fn controller_with(&self, name: &str, flags: &[String]) -> Controller {
        let home = self.path(name);
        fs::create_dir_all(home.join(".qingcloud")).unwrap();
        fs::write(home.join(".qingcloud/config.yaml"), self.access()).unwrap();
        let config = home.join("qingcloud.yaml");
        let text = self.kubectl(&[
            "get",
            "-n",
            "kube-system",
            "configmap",
            "clusterconfig",
            "-o",
            "jsonpath={.data.qingcloud\\.yaml}",
        ]);
        fs::write(&config, text.unwrap_or_default()).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = fs::File::create(home.join("log")).unwrap();
        let mut command = Command::new(program());
        command.env_clear().env("HOME", &home).arg("--kubeconfig").arg(self.kubeconfig("controller"));
        command.arg("--cluster-config").arg(&config).arg(format!("--manage-addr=127.0.0.1:{port}"));
        command.args(flags);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Controller { child: command.spawn().unwrap(), port, log: home.join("log") }
    }

    /// Runs one of the daemon's commands as a person does in a node's pod.
    pub(crate) fn tool(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hostnic-daemon"));
        command.env_clear().args(arguments).arg("--kubeconfig").arg(self.kubeconfig("node"));
        command.output().unwrap()
    }
}

fn told(output: Output) -> Result<String, String> {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(String::from_utf8(output.stdout).unwrap()) } else { Err(said) }
}

/// A controller that runs.
pub(crate) struct Controller {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Controller {
    pub(crate) fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Sends a signal, and waits for the end; whether it ended well.
    pub(crate) fn end(mut self, signal: nix::sys::signal::Signal) -> bool {
        nix::sys::signal::kill(self.pid(), signal).unwrap();
        self.child.wait().unwrap().success()
    }

    /// A page of its manage address.
    pub(crate) fn page(&self, path: &str) -> Option<String> {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.starts_with("HTTP/1.1 200").then_some(answer)
    }

    pub(crate) fn leads(&self) -> bool {
        self.page("/metrics").is_some_and(|page| page.contains("hostnic_controller_leading 1"))
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.log();
        assert!(!log.contains(SECRET), "a secret is in the log");
        if std::thread::panicking() {
            println!("{}:\n{log}", self.log.display());
        }
    }
}

/// The program; another one for a benchmark.
fn program() -> PathBuf {
    std::env::var_os("HOSTNIC_CONTROLLER")
        .map_or_else(|| env!("CARGO_BIN_EXE_hostnic-controller").into(), PathBuf::from)
}

/// The repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Waits until the look shows something. Fails after a minute, with what it was about.
pub(crate) async fn until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(Duration::from_secs(60), what, look).await
}

pub(crate) async fn until_within<T>(
    patience: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let late = Instant::now() + patience;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < late, "within {patience:?} there was not: {what}");
        sleep(Duration::from_millis(50)).await;
    }
}
