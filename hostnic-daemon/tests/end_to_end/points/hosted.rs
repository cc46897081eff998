//! The process that is killed: a node like the daemon's, which tells on standard output what it passes, and kills itself
//! where it is told to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hostnic_core::NicProvider;
use hostnic_core::agent::{AgentConfig, AgentParts, VethConfig};
use hostnic_core::capability::Tagging;
use hostnic_core::clock::{Clock, SystemClock};
use hostnic_core::cloud::NicName;
use hostnic_core::gateway::GatewayConfig;
use hostnic_core::id::NicId;
use hostnic_core::layer::{Deadline, Stack};
use hostnic_core::point::{Point, Points, Probe, Side};
use hostnic_core::pool::PoolConfig;
use hostnic_core::provider::{CreateNics, NicAddresses};
use hostnic_core::route::{Datapath, Hairpin};
use hostnic_core::store::{BootId, HostId, Identity, RedbStore};
use hostnic_daemon::{Listeners, Node, Observer, Surroundings, host_name, seed};
use hostnic_netlink::programmer::POD_FOLDERS;
use hostnic_netlink::{NetlinkProgrammer, Netns};
use hostnic_qingcloud::{Config, InstanceSource, QingCloud, QingCloudProvider};
use nix::sys::signal::{Signal, kill};
use nix::unistd::getpid;
use tokio::signal::unix::{SignalKind, signal};

use super::orders::{Orders, TAG};
use super::stage::ELSEWHERE;
use super::wishes::Directory;
use crate::api::INSTANCE;
use crate::host::PATIENCE;

/// What this program is called with to be a node: its folder, where its orders are.
pub(super) const NODE: &str = "--as-node";
/// What it is called with to be somebody else who plugs and unplugs NICs: the folder, his instance, what to do, and to which NIC or address.
pub(super) const CLOUD: &str = "--as-cloud-client";
/// The file that says where to die.
pub(super) const ARM: &str = "arm";
/// What is told once plugins are served.
pub(super) const SERVING: &str = "serving";
/// What is told when a comparison that was asked for has ended.
pub(super) const COMPARED: &str = "compared";
/// What is told when changed orders are followed.
pub(super) const FOLLOWED: &str = "followed";

/// Serves as what the arguments say; `None` where they are not for here.
pub(crate) fn run() -> Option<ExitCode> {
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let work = async {
        match words[..] {
            [_, NODE, folder] => serve(Path::new(folder)).await,
            [_, CLOUD, folder, instance, what, of] => act(Path::new(folder), instance, what, of).await,
            _ => return None,
        }
        Some(ExitCode::SUCCESS)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(work)
}

/// Where to die, by a file's leave, and who hears of the rest.
#[derive(Debug)]
struct Killer {
    arm: PathBuf,
    /// What the file said last, and how often its place was reached since.
    passed: Mutex<(String, u32)>,
}

impl Killer {
    fn new(arm: PathBuf) -> Self {
        Self { arm, passed: Mutex::default() }
    }

    /// Whether the file says to die at this place, this time.
    fn is_here(&self, here: &str) -> bool {
        let Ok(told) = fs::read_to_string(&self.arm) else { return false };
        let Some(nth) = told.strip_prefix(here).and_then(|rest| rest.split(' ').nth(1)) else { return false };
        let mut passed = self.passed.lock().unwrap();
        let before = if passed.0 == told { passed.1 } else { 0 };
        let nth: u32 = nth.parse().unwrap();
        *passed = (told, before + 1);
        before + 1 == nth
    }
}

impl Probe for Killer {
    fn reached(&self, point: Point, side: Side) {
        let here = format!("{point} {side}");
        tell(&here);
        if self.is_here(&here) {
            // The next start is to get further.
            fs::remove_file(&self.arm).unwrap();
            kill(getpid(), Signal::SIGKILL).unwrap();
        }
    }
}

/// One line, in one write, which whoever reads it has even when this process dies at once.
fn tell(line: &str) {
    // Nobody may read any more.
    let _ = nix::unistd::write(std::io::stdout(), format!("{line}\n").as_bytes());
}

async fn provider(folder: &Path, instance: &str) -> QingCloudProvider {
    let config = Config::load(&folder.join("client.yaml"), None).unwrap().config;
    let source = InstanceSource::Given(instance.parse().unwrap());
    QingCloud::from_config(config).instance(source).connect().await.unwrap()
}

/// Nothing waits longer than it must, and no layer hides from the node what goes wrong in the cloud.
fn config(orders: &Orders) -> AgentConfig {
    let ms = Duration::from_millis;
    let pool = PoolConfig {
        low: 1,
        high: 2,
        cooling: ms(100),
        least_cooling: ms(50),
        gather_more: ms(50),
        attach_gather: ms(20),
        set_aside: ms(300),
        job_poll_first: ms(20),
        job_poll: ms(50),
        link_deadline: ms(500),
        visibility: ms(200),
        left_grace: ms(3000),
        tag: orders.tag.then(|| TAG.to_owned()),
        lent_tags: vec![TAG.to_owned()],
        ..PoolConfig::new(vec![orders.subnet.parse().unwrap()])
    };
    AgentConfig {
        datapath: if orders.behind_veths { Datapath::Veth } else { Datapath::Passthrough },
        veth: orders.behind_veths.then(|| veth(orders)),
        gateways: Some(GatewayConfig::new()),
        grace: Duration::ZERO,
        ..AgentConfig::new(pool)
    }
}

fn veth(orders: &Orders) -> VethConfig {
    let hairpin = if orders.hairpin { Hairpin::On } else { Hairpin::Off };
    VethConfig { hairpin, ..VethConfig::new(vec!["10.96.0.0/12".parse().unwrap()]) }
}

async fn serve(folder: &Path) {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let mut term = signal(SignalKind::terminate()).unwrap();
    let mut compare = signal(SignalKind::user_defined1()).unwrap();
    let mut changed = signal(SignalKind::user_defined2()).unwrap();
    let orders = Orders::read(folder);
    let cloud = Arc::new(provider(folder, INSTANCE).await);
    let identity = Identity { boot: BootId::of_this_boot().unwrap(), host: HostId::new(INSTANCE).unwrap() };
    let store = folder.join("state.redb");
    let (store, _) = RedbStore::open(&store, identity, SystemClock.now()).await.unwrap();
    let folders = POD_FOLDERS.map(PathBuf::from).to_vec();
    let observer = Arc::new(Observer::new(host_name()));
    let points = Points::probed(Arc::new(Killer::new(folder.join(ARM))));
    let here = Netns::current().unwrap();
    let programmer = NetlinkProgrammer::new_probed(here, folders, points.clone()).await;
    let parts = AgentParts {
        provider: Stack::new()
            .deadline(Deadline::default())
            .metrics(observer.recorder())
            .around(cloud.clone()),
        forwarding: Some(cloud.clone()),
        tagging: Some(cloud),
        programmer: Arc::new(programmer.unwrap()),
        addresses: None,
        enforcer: Some(Arc::new(Directory::new(folder))),
        store: Arc::new(store),
        clock: Arc::new(SystemClock),
        seed: seed().unwrap(),
    };
    let listeners = Listeners::new(folder.join("hostnic.sock"));
    let pods = Some(Arc::new(Directory::new(folder)) as _);
    let surroundings = Surroundings { points, pods, ..Surroundings::new(observer) };
    let node = Node::start_in(parts, config(&orders), listeners, surroundings).await.unwrap();
    tell(SERVING);
    let mut ended = std::pin::pin!(node.told_to_end());
    loop {
        tokio::select! {
            _ = term.recv() => break,
            () = &mut ended => break,
            _ = compare.recv() => {
                if let Err(error) = node.agent().compare_now().await {
                    tracing::warn!(error = %error.chain(), "the comparison failed");
                }
                tell(COMPARED);
            }
            _ = changed.recv() => {
                node.agent().set_veth(veth(&Orders::read(folder))).await.unwrap();
                tell(FOLLOWED);
            }
        }
    }
    let left = node.stop_emptied(PATIENCE).await;
    assert_eq!(left, 0, "NICs could not be given back");
}

/// Changes the cloud behind the node's back.
async fn act(folder: &Path, instance: &str, what: &str, of: &str) {
    let cloud = provider(folder, instance).await;
    if what == "create" {
        return make(&cloud, instance, of).await;
    }
    let nic: [NicId; 1] = [of.parse().unwrap()];
    let submitted = match what {
        "attach" => cloud.attach_nics(&nic).await,
        "detach" => cloud.detach_nics(&nic).await,
        "tag" => return cloud.tag_nics(TAG, &nic).await.unwrap(),
        _ => return cloud.delete_nics(&nic).await.unwrap(),
    };
    use hostnic_core::cloud::{JobState, Submitted};
    let Submitted::Job(job) = submitted.unwrap() else { return };
    while cloud.jobs(std::slice::from_ref(&job)).await.unwrap()[0].state == JobState::Running {
        tokio::task::yield_now().await;
    }
}

/// A NIC that this instance is about to plug in, as its name says.
async fn make(cloud: &QingCloudProvider, instance: &str, address: &str) {
    let request = CreateNics {
        subnet: ELSEWHERE.parse().unwrap(),
        count: 1,
        name: NicName::parse(&format!("hostnic_{instance}.abcdefghabcdefgh")).unwrap(),
        addresses: NicAddresses::Fixed(vec![address.parse().unwrap()]),
    };
    cloud.create_nics(&request).await.unwrap();
}
