//! The cloud: `hostnic-sim serve`, with the instances' namespaces.

use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hostnic_core::cloud::Nic;
use hostnic_core::id::NicId;
use hostnic_core::{Error, ErrorKind};
use hostnic_daemon::seed;
use hostnic_netlink::{Connection, Netns};
use secrecy::{ExposeSecret, SecretString};

use super::admin::Admin;
use super::launch::launched;
use super::node::Node;
use super::process::Process;
use super::story::DemoError;

/// The zone.
pub(super) const ZONE: &str = "sim1";
/// The vxnets that pods get their NICs from, and their networks.
pub(super) const VXNETS: [(&str, &str); 2] =
    [("vxnet-aaaaaaa", "192.168.50.0/24"), ("vxnet-bbbbbbb", "192.168.51.0/24")];
/// How long attaching and detaching take; the real ones take some seconds.
const JOBS: [&str; 2] = ["attach=600ms", "detach=600ms"];
/// In the demo's own network, where nobody else listens.
const API: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7777);
pub(super) const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7778);

/// A simulator that serves.
#[derive(Debug)]
pub(super) struct Cloud {
    process: Process,
    pub(super) admin: Admin,
    /// What daemons read to find it.
    pub(super) access_file: PathBuf,
    /// Where it makes the names of its namespaces.
    folder: PathBuf,
}

impl Cloud {
    /// Starts it, and waits until the instances' first NICs are in.
    pub(super) async fn start(program: &Path, folder: &Path, nodes: &[Node]) -> Result<Self, DemoError> {
        let failed = |error| io("make", folder, error);
        fs::create_dir_all(folder.join("names")).map_err(failed)?;
        let access_file = folder.join("client.yaml");
        let printed = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&access_file);
        let secret = SecretString::from(format!("{:016x}{:016x}", seed()?, seed()?));
        let mut command = launched(program, None);
        command
            .args(["serve", "--fabric", "--zone", ZONE, "--log-level", "info"])
            .args(["--listen", &API.to_string(), "--admin", &ADMIN.to_string()])
            .args(JOBS.iter().flat_map(|job| ["--latency", job]))
            .args(VXNETS.iter().flat_map(|(id, prefix)| ["--vxnet".to_owned(), format!("{id}={prefix}")]))
            .args(nodes.iter().flat_map(|node| ["--instance".to_owned(), node.instance()]))
            .env("HOSTNIC_SIM_ACCESS_KEY", format!("DEMO{:016X}", seed()?))
            .env("HOSTNIC_SIM_SECRET_KEY", secret.expose_secret())
            .env("TMPDIR", folder.join("names"))
            .stdout(printed.map_err(failed)?);
        let process = Process::start("hostnic-sim", command, &folder.join("hostnic-sim.log"))?;
        let mut cloud = Self { process, admin: Admin(ADMIN), access_file, folder: folder.join("names") };
        let Self { process, access_file, admin, .. } = &mut cloud;
        process
            .until("does not serve", async || {
                // Its last line is printed when all is ready.
                fs::read_to_string(&*access_file).ok().filter(|text| text.contains("uri:"))
            })
            .await?;
        let nics = admin.nics().await?;
        process.until("has not plugged the first NICs in", async || all_in(nodes, &nics).await).await?;
        Ok(cloud)
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The ids of all NICs that there are.
    pub(super) async fn nics(&self) -> Result<Vec<NicId>, DemoError> {
        Ok(self.admin.nics().await?.into_iter().map(|nic| nic.id).collect())
    }

    /// The VPC's own namespace.
    pub(super) fn vpc(&self) -> Result<Netns, DemoError> {
        let mut inside = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let vpc = inside.next().map(|entry| entry.path().join("vpc"));
        let vpc = vpc.ok_or_else(|| Error::new(ErrorKind::NotFound, "find", "the VPC's namespace"))?;
        Ok(Netns::open(&vpc)?)
    }

    /// Ends it, and says what it left in its folder.
    pub(super) async fn stop(self) -> Result<Vec<String>, DemoError> {
        self.process.stop().await?;
        let left = fs::read_dir(&self.folder).map_err(|error| io("read", &self.folder, error))?;
        Ok(left.flatten().map(|entry| format!("file {}", entry.path().display())).collect())
    }
}

/// Whether each NIC is in its node.
async fn all_in(nodes: &[Node], nics: &[Nic]) -> Option<()> {
    for node in nodes {
        let connection = Connection::open(&node.netns().ok()?).await.ok()?;
        let links = connection.links().await;
        connection.close().await;
        let links = links.ok()?;
        let own = |nic: &&Nic| nic.attachment.instance().is_some_and(|id| id.as_str() == node.name);
        nics.iter().filter(own).all(|nic| links.iter().any(|link| link.mac == Some(nic.mac))).then_some(())?;
    }
    Some(())
}

fn io(what: &'static str, path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Internal, what, path.display()).source(error)
}
