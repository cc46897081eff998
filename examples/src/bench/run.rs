//! What is measured, in which order.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hostnic_core::Result as CoreResult;
use hostnic_netlink::Connection;
use hostnic_netlink::link::LinkChange;
use tokio::time::{Instant, sleep_until};

use super::burst::{Burst, burst};
use super::contender::{Contender, PTP_NODE};
use super::daemon::Daemon;
use super::gauge::Measured;
use super::mode::Mode;
use super::release::Release;
use super::summary::{Machine, Report, Series};
use super::world::World;
use crate::sandbox::Sandbox;

/// NICs in the pool: all that a node can have, so that each has rested when its turn comes again.
const POOL: usize = 63;
/// A little more than the daemon's shortest rest of an address between two pods, and than it takes a lease to end before.
const REST: Duration = Duration::from_millis(7000);
/// A little more than the last lease may take to end.
const LAST: Duration = Duration::from_millis(1500);
const PODS: &str = "/run/netns";

/// Why the benchmark stopped.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Something of the project failed.
    #[error(transparent)]
    Hostnic(#[from] hostnic_core::Error),
    /// The process that measures could not be run.
    #[error("a plugin could not be measured")]
    Gauge(#[source] std::io::Error),
    /// A plugin could not be run.
    #[error("{plugin} could not be run")]
    Run {
        /// Which one.
        plugin: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The process that measures said nothing sensible.
    #[error("a measurement cannot be read; is the plugin's path right?")]
    Answer(#[source] serde_json::Error),
    /// A plugin failed and said why.
    #[error("{command} of {plugin} failed: {said}")]
    Plugin {
        /// Which one.
        plugin: &'static str,
        /// The CNI command.
        command: &'static str,
        /// What it printed.
        said: String,
    },
    /// A plugin said that it succeeded, and its pod reaches nobody.
    #[error("{plugin} gave its pod no working interface")]
    Deaf {
        /// Which one.
        plugin: &'static str,
        /// Why.
        source: hostnic_core::Error,
    },
    /// The daemon could not be run.
    #[error("the daemon cannot be run")]
    Daemon(#[source] std::io::Error),
    /// The daemon's pool stayed cold.
    #[error("the daemon had no warm pool within a minute; see what it says above")]
    Cold,
    /// The daemon answered a DEL and did not take the NIC back.
    #[error("the daemon has not taken a NIC back 10 s after its DEL; see what it says above")]
    Kept,
    /// What the kernel tells of the daemon cannot be read.
    #[error("the daemon's /proc/PID/{file} cannot be read; has it ended?")]
    Proc {
        /// The file.
        file: &'static str,
    },
}

/// The programs to be measured.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Our plugin.
    pub plugin: PathBuf,
    /// Its daemon.
    pub daemon: PathBuf,
    /// The plugin to compare with. Its helper, `static` or `host-local`, must be beside it.
    pub rival: PathBuf,
}

/// What to do.
#[derive(Debug, Clone)]
pub struct Bench {
    /// How pods are joined to their NICs.
    pub mode: Mode,
    /// The programs.
    pub programs: Programs,
    /// How often ADD and DEL are measured.
    pub iterations: usize,
    /// An empty folder of its own.
    pub folder: PathBuf,
}

impl Bench {
    /// Runs it all, in the world of this process.
    ///
    /// # Errors
    /// What failed. That a plugin is slow or large is no error.
    pub async fn run(&self) -> Result<Report, BenchError> {
        let mut machine = Machine::look();
        let world = World::create(&self.folder, self.mode).await?;
        let daemon = Daemon::start(&self.programs.daemon, &self.folder, self.mode, POOL).await?;
        let rivals = Rivals::new(self, &daemon, &world).await?;
        rivals.prove().await?;
        daemon.released().await;
        let before = daemon.cpu()?;
        let mut series = rivals.race(self.iterations).await?;
        // Asking again and again would be counted.
        sleep_until(Instant::now() + LAST).await;
        daemon.released().await;
        series.daemon_cpu = daemon.cpu()?.saturating_sub(before);
        sleep_until(Instant::now() + REST).await;
        let bursts = self.bursts(&world, &daemon).await?;
        series.daemon_peak_kib = daemon.peak_kib()?;
        rivals.remove()?;
        daemon.stop().await?;
        world.remove().await?;
        machine.look_again();
        Ok(Report::new(self.mode, machine, POOL, &series, bursts))
    }

    /// Many pods at once, ours and then theirs.
    async fn bursts(&self, world: &World, daemon: &Daemon) -> Result<[Burst; 2], BenchError> {
        let mut sandboxes = Vec::new();
        let pods = usize::from(self.mode.at_once());
        for number in 0..pods {
            sandboxes.push(Sandbox::create(Path::new(PODS), &format!("burst{number}")).await?);
        }
        let ours = Contender::ours(&self.programs.plugin, &daemon.socket);
        let ours = vec![ours; pods];
        let theirs: Vec<Contender> = (0..pods).map(|number| self.rival(world, number)).collect();
        let bursts = [
            burst(&ours, &sandboxes, daemon.released()).await?,
            // Each has given its NIC back when it ends.
            burst(&theirs, &sandboxes, async {}).await?,
        ];
        for sandbox in sandboxes {
            sandbox.remove()?;
        }
        Ok(bursts)
    }
}

impl Bench {
    /// The plugin to compare with, for its pod of that number.
    fn rival(&self, world: &World, number: usize) -> Contender {
        match self.mode {
            Mode::Passthrough => Contender::host_device(&self.programs.rival, &world.nics[number]),
            Mode::Veth | Mode::VethWithHairpin => Contender::ptp(&self.programs.rival, &self.folder),
        }
    }
}

/// Both plugins, each with a pod of its own, and the bare kernel between the same namespaces.
#[derive(Debug)]
struct Rivals<'a> {
    mode: Mode,
    world: &'a World,
    daemon: &'a Daemon,
    ours: (Contender, Sandbox),
    theirs: (Contender, Sandbox),
    kernel: Sandbox,
}

impl<'a> Rivals<'a> {
    async fn new(bench: &Bench, daemon: &'a Daemon, world: &'a World) -> Result<Self, BenchError> {
        let pods = Path::new(PODS);
        let ours = Contender::ours(&bench.programs.plugin, &daemon.socket);
        let theirs = bench.rival(world, 0);
        Ok(Self {
            mode: bench.mode,
            world,
            daemon,
            ours: (ours, Sandbox::create(pods, "ours").await?),
            theirs: (theirs, Sandbox::create(pods, "theirs").await?),
            kernel: Sandbox::create(pods, "kernel").await?,
        })
    }

    /// One round that is not counted, which proves that both give their pods the same: an address and a way out.
    async fn prove(&self) -> Result<(), BenchError> {
        let sides = [(&self.ours, Ipv4Addr::new(192, 168, 50, 1)), (&self.theirs, self.their_router())];
        for ((contender, sandbox), router) in sides {
            contender.call("ADD", "proof", sandbox).await?;
            let pinged = sandbox.ping(router, 1).await;
            pinged.map_err(|source| BenchError::Deaf { plugin: contender.name, source })?;
            contender.call("DEL", "proof", sandbox).await?;
        }
        Ok(())
    }

    fn their_router(&self) -> Ipv4Addr {
        match self.mode {
            Mode::Passthrough => self.world.nics[0].gateway,
            Mode::Veth | Mode::VethWithHairpin => PTP_NODE,
        }
    }

    /// Ours, theirs and the bare kernel by turns; who begins changes every time.
    async fn race(&self, iterations: usize) -> Result<Series, BenchError> {
        let mut series = Series::default();
        let mut given_back: VecDeque<Instant> = VecDeque::new();
        for number in 0..iterations {
            if number % 2 == 1 {
                series.theirs.push(self.their_turn(number).await?);
            }
            if given_back.len() >= POOL - 1
                && let Some(oldest) = given_back.pop_front()
            {
                sleep_until(oldest + REST).await;
            }
            let (ours, released) = self.our_turn(number).await?;
            series.ours.push(ours);
            series.released.push(released);
            given_back.push_back(Instant::now());
            if number % 2 == 0 {
                series.theirs.push(self.their_turn(number).await?);
            }
            if self.mode == Mode::Passthrough {
                series.kernel.push(self.bare_move().await?);
            }
        }
        Ok(series)
    }

    /// Our ADD and DEL, and how long after the start of the DEL the NIC could be used again. Nothing else is measured
    /// before that.
    async fn our_turn(&self, number: usize) -> Result<([Measured; 2], Duration), BenchError> {
        let (contender, sandbox) = &self.ours;
        let id = format!("bench{number}");
        let add = contender.call("ADD", &id, sandbox).await?;
        let release = Release::of(&add, &self.world.node, self.mode).await?;
        let del = contender.call("DEL", &id, sandbox).await?;
        let released = release.wait(self.daemon).await?.since(del.begun);
        Ok(([add, del], released))
    }

    async fn their_turn(&self, number: usize) -> Result<[Measured; 2], BenchError> {
        let (contender, sandbox) = &self.theirs;
        let id = format!("bench{number}");
        let add = contender.call("ADD", &id, sandbox).await?;
        Ok([add, contender.call("DEL", &id, sandbox).await?])
    }

    /// What the kernel takes to move a NIC that has nothing into a namespace and back: two netlink messages.
    async fn bare_move(&self) -> CoreResult<[Duration; 2]> {
        let pod = Path::new(PODS).join("kernel");
        let pod = hostnic_netlink::Netns::open(&pod)?;
        let spare = &self.world.nics[0].name;
        let outside = Connection::open(&self.world.node).await?;
        let inside = Connection::open(&pod).await?;
        let index = outside.link_by_name(spare).await?.index;
        let begun = Instant::now();
        outside.change_link(index, LinkChange::new().move_to(&pod)).await?;
        let moved_in = begun.elapsed();
        let index = inside.link_by_name(spare).await?.index;
        let begun = Instant::now();
        inside.change_link(index, LinkChange::new().move_to(&self.world.node)).await?;
        let moved_out = begun.elapsed();
        futures::join!(inside.close(), outside.close());
        Ok([moved_in, moved_out])
    }

    fn remove(self) -> CoreResult<()> {
        self.ours.1.remove()?;
        self.theirs.1.remove()?;
        self.kernel.remove()
    }
}
