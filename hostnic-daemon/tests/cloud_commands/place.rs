//! A machine's files, and the API that it asks.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use hostnic_core::NicProvider;
use hostnic_core::cloud::{Nic, NicName};
use hostnic_core::id::{CreateToken, InstanceId};
use hostnic_core::provider::{CreateNics, NicAddresses};
use hostnic_core::sim::Durations;
use hostnic_qingcloud::simulator::{Simulator, SimulatorConfig};
use hostnic_qingcloud::{Config, InstanceSource, QingCloud};
use tokio::process::Command;

pub(crate) const SECRET: &str = "Th1s-Is-S3cret";
pub(crate) const WRONG_SECRET: &str = "n0t-the-S3cret";
pub(crate) const NODE: &str = "i-node1";
pub(crate) const OTHER: &str = "i-node2";

/// Two vxnets, two instances, and jobs that are over at once.
pub(crate) fn config() -> SimulatorConfig {
    let mut config = SimulatorConfig::new("sim1", "AK", SECRET.into());
    config.vxnets = ["vxnet-a=192.168.50.0/24", "vxnet-b=192.168.51.0/24"].map(|v| v.parse().unwrap()).into();
    config.instances = [NODE, OTHER].map(|id| id.parse().unwrap()).into();
    config.durations = Durations { attach: Duration::ZERO, detach: Duration::ZERO, reserve: Duration::ZERO };
    config
}

pub(crate) struct Place {
    folder: tempfile::TempDir,
    pub(crate) simulator: Simulator,
}

impl Place {
    /// A machine on which all is well, in that cloud.
    pub(crate) async fn new(config: SimulatorConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Self { folder, simulator: Simulator::start(config).await.unwrap() };
        for folder in ["home", "net.d", "bin"] {
            fs::create_dir(place.path(folder)).unwrap();
        }
        place.write(
            "net.d/10-hostnic.conf",
            r#"{"cniVersion":"0.3.1","name":"net","type":"hostnic"}"#,
            0o644,
        );
        place.write("bin/hostnic", "", 0o755);
        place.access_file(SECRET);
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
    }

    /// Writes the access file with this secret.
    pub(crate) fn access_file(&self, secret: &str) {
        let address = self.simulator.address();
        let text = format!(
            "qy_access_key_id: AK\nqy_secret_access_key: {secret}\nzone: sim1\nhost: {}\nport: {}\nprotocol: http\n\
             uri: /iaas\n",
            address.ip(),
            address.port()
        );
        self.write("client.yaml", &text, 0o600);
    }

    /// Runs the daemon's program for this machine.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hostnic-daemon"));
        command.args(arguments).args(["--instance", NODE, "--access-file"]).arg(self.path("client.yaml"));
        command.env_clear().env("HOME", self.path("home")).current_dir(self.folder.path());
        let output = tokio::time::timeout(Duration::from_secs(60), command.output()).await.unwrap().unwrap();
        for text in [&output.stdout, &output.stderr] {
            let text = String::from_utf8_lossy(text);
            assert!(![SECRET, WRONG_SECRET].iter().any(|secret| text.contains(secret)), "{output:?}");
        }
        output
    }

    /// Makes NICs with a name of ours, for that instance.
    pub(crate) async fn nics(&self, of: &str, token: u8, count: u32) -> Vec<Nic> {
        let instance: InstanceId = of.parse().unwrap();
        let config = load(&self.path("client.yaml"));
        let source = InstanceSource::Given(instance.clone());
        let provider = QingCloud::from_config(config).instance(source).connect().await.unwrap();
        let request = CreateNics {
            subnet: "vxnet-b".parse().unwrap(),
            count,
            name: NicName { instance, token: Some(CreateToken::from_bits([token; 10])) },
            addresses: NicAddresses::Assigned(1),
        };
        provider.create_nics(&request).await.unwrap()
    }

    /// Attaches a NIC to the machine, in the cloud only.
    pub(crate) async fn attach(&self, nic: &Nic) {
        let source = InstanceSource::Given(NODE.parse().unwrap());
        let provider =
            QingCloud::from_config(load(&self.path("client.yaml"))).instance(source).connect().await.unwrap();
        let _job = provider.attach_nics(std::slice::from_ref(&nic.id)).await.unwrap();
    }
}

fn load(path: &Path) -> Config {
    Config::load(path, None).unwrap().config
}
