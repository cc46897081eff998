//! etcd and kube-apiserver as processes.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use crate::repair;

/// The token of a member of system:masters.
pub(crate) const ADMIN: &str = "admin-of-the-tests";
/// The token of the node daemon's service account.
pub(crate) const DAEMON: &str = "daemon-of-the-tests";
/// The token of the controller's service account.
pub(crate) const CONTROLLER: &str = "controller-of-the-tests";
/// The name of that account.
pub(crate) const CONTROLLER_USER: &str = "system:serviceaccount:kube-system:hostnic-controller";
/// The name of the node daemon's account.
pub(crate) const DAEMON_USER: &str = "system:serviceaccount:kube-system:hostnic-node";

pub(crate) struct Server {
    etcd_program: PathBuf,
    api_program: PathBuf,
    folder: tempfile::TempDir,
    etcd: Mutex<Option<Child>>,
    api: Mutex<Option<Child>>,
    etcd_ports: [u16; 2],
    pub(crate) port: u16,
}

/// The folder that has `etcd` and `kube-apiserver`.
fn programs() -> Result<PathBuf, String> {
    if let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS") {
        return Ok(PathBuf::from(assets));
    }
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/k8s");
    let folder = std::env::var_os("HOSTNIC_K8S").map_or(beside, PathBuf::from);
    if !folder.join("up").exists() {
        return Err(
            "there is no kube-apiserver: set KUBEBUILDER_ASSETS to a folder that has it and etcd".to_owned()
        );
    }
    let unpacked = Command::new(folder.join("up"))
        .arg("unpack")
        .env("D", Path::new(env!("CARGO_TARGET_TMPDIR")).join("k8s"))
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{} cannot be run: {error}", folder.join("up").display()))?;
    let said = String::from_utf8_lossy(&unpacked.stdout);
    match said.lines().last() {
        Some(bin) if unpacked.status.success() => Ok(PathBuf::from(bin)),
        _ => Err(format!("{} unpacked nothing: {}", folder.join("up").display(), unpacked.status)),
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Server {
    pub(crate) fn start() -> Result<Self, String> {
        let programs = programs()?;
        let plain = |error: io::Error| error.to_string();
        let folder = tempfile::tempdir().map_err(plain)?;
        let etcd_program = programs.join("etcd");
        let api_program = repair::program(&programs.join("kube-apiserver"), folder.path()).map_err(plain)?;
        let etcd_ports = [free_port().map_err(plain)?, free_port().map_err(plain)?];
        let port = free_port().map_err(plain)?;
        let (etcd, api) = (Mutex::default(), Mutex::default());
        let server = Self { etcd_program, api_program, folder, etcd, api, etcd_ports, port };
        server.write_files().map_err(plain)?;
        server.start_etcd().map_err(plain)?;
        server.start_api().map_err(plain)?;
        Ok(server)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write_files(&self) -> io::Result<()> {
        let account = |token: &str, user: &str| {
            format!("{token},{user},{token},\"system:serviceaccounts,system:authenticated\"\n")
        };
        let accounts = account(DAEMON, DAEMON_USER) + &account(CONTROLLER, CONTROLLER_USER);
        let tokens = format!("{ADMIN},admin,admin,system:masters\n{accounts}");
        fs::write(self.path("tokens.csv"), tokens)?;
        let key = rcgen::KeyPair::generate().map_err(io::Error::other)?;
        fs::write(self.path("account.key"), key.serialize_pem())?;
        fs::write(self.path("account.pub"), key.public_key_pem())?;
        let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n- level: Metadata\n  users: [\"";
        fs::write(
            self.path("audit.yaml"),
            format!("{policy}{DAEMON_USER}\", \"{CONTROLLER_USER}\"]\n- level: None\n"),
        )
    }

    fn run(&self, program: &Path, log: &str, arguments: &[String]) -> io::Result<Child> {
        let log = File::options().create(true).append(true).open(self.path(log))?;
        Command::new(program)
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
    }

    pub(crate) fn start_etcd(&self) -> io::Result<()> {
        let [client, peer] = self.etcd_ports.map(|port| format!("http://127.0.0.1:{port}"));
        let etcd = self.run(
            &self.etcd_program,
            "etcd.log",
            &[
                "--data-dir=etcd".to_owned(),
                "--unsafe-no-fsync".to_owned(),
                format!("--listen-client-urls={client}"),
                format!("--advertise-client-urls={client}"),
                format!("--listen-peer-urls={peer}"),
                format!("--initial-advertise-peer-urls={peer}"),
                format!("--initial-cluster=default={peer}"),
            ],
        )?;
        *self.etcd.lock().unwrap() = Some(etcd);
        Ok(())
    }

    /// Starts the API server, at the port and with the state that it had.
    pub(crate) fn start_api(&self) -> io::Result<()> {
        let api = self.run(
            &self.api_program,
            "kube-apiserver.log",
            &[
                format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_ports[0]),
                format!("--secure-port={}", self.port),
                "--bind-address=127.0.0.1".to_owned(),
                "--advertise-address=127.0.0.1".to_owned(),
                "--cert-dir=certificates".to_owned(),
                "--token-auth-file=tokens.csv".to_owned(),
                "--authorization-mode=RBAC".to_owned(),
                "--service-cluster-ip-range=10.233.0.0/18".to_owned(),
                "--service-account-key-file=account.pub".to_owned(),
                "--service-account-signing-key-file=account.key".to_owned(),
                "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
                // There is no controller that would make the accounts that pods need, and no kubelet to make a node ready.
                "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition".to_owned(),
                "--audit-policy-file=audit.yaml".to_owned(),
                "--audit-log-path=audit.log".to_owned(),
            ],
        )?;
        *self.api.lock().unwrap() = Some(api);
        Ok(())
    }

    /// Kills the API server, as a power cut would.
    #[allow(dead_code, reason = "not all that use this file kill it")]
    pub(crate) fn kill_api(&self) {
        kill(&self.api);
    }

    pub(crate) fn end(&self) {
        kill(&self.api);
        kill(&self.etcd);
    }
}

fn kill(process: &Mutex<Option<Child>>) {
    if let Some(mut child) = process.lock().unwrap().take() {
        // It may have ended by itself, which its log tells.
        drop(child.kill());
        drop(child.wait());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}
