//! A simulated node whose store is a file, and the pods that run on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hostnic_core::agent::{AddAnswer, Agent, AgentParts, DelRequest};
use hostnic_core::clock::Clock;
use hostnic_core::ledger::{AddressState, LeaseState, NicRecord, NicState};
use hostnic_core::pool::PoolConfig;
use hostnic_core::store::{Identity, Opened, RedbStore, StateStore};
use hostnic_core::{Result, RouteProgrammer};
use tempfile::TempDir;

use super::damage::Damage;
use super::support::{Pod, World, secs, usual_pool};

/// How many pods run.
pub(crate) const PODS: usize = 20;

/// How many NICs are free when all is quiet.
const LOW: u32 = 3;

/// Where the store is, and what it was some time ago.
#[derive(Debug)]
pub(crate) struct Files {
    folder: PathBuf,
    older: Vec<u8>,
}

impl Files {
    pub(crate) fn store(&self) -> PathBuf {
        self.folder.join("node.redb")
    }

    pub(crate) fn count(&self) -> PathBuf {
        self.folder.join("node.redb.lock")
    }

    pub(crate) fn older(&self) -> &[u8] {
        &self.older
    }

    /// The store and the count as a kill would leave them: a commit that the daemon makes meanwhile, which its comparisons do
    /// at any time, must not be half in what is read. So they are read until they are the same twice.
    fn at_one_moment(&self) -> [Vec<u8>; 2] {
        let read = || [self.store(), self.count()].map(|path| std::fs::read(path).unwrap());
        let mut before = read();
        loop {
            let now = read();
            if now == before {
                return now;
            }
            before = now;
        }
    }
}

/// A node, and what its runtime knows of it.
pub(crate) struct Node {
    pub(crate) world: World,
    pub(crate) files: Files,
    pub(crate) pods: Vec<Pod>,
    pub(crate) answers: Vec<AddAnswer>,
    _folder: Option<TempDir>,
}

/// A daemon on it.
pub(crate) struct Daemon {
    pub(crate) agent: Agent,
    pub(crate) store: Arc<dyn StateStore>,
    pub(crate) opened: Opened,
}

fn ours() -> Identity {
    Identity { boot: "boot-1".parse().unwrap(), host: "i-1".parse().unwrap() }
}

/// Who opens a store that was damaged in this way.
pub(crate) fn identity(damage: &Damage) -> Identity {
    match damage {
        Damage::AnotherBoot => Identity { boot: "boot-2".parse().unwrap(), ..ours() },
        Damage::AnotherHost => Identity { host: "i-2".parse().unwrap(), ..ours() },
        _ => ours(),
    }
}

impl Node {
    /// A node in a folder of its own, in memory where there is such a place: what a disk takes its time for is not what
    /// is tested.
    pub(crate) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let folder =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let path = folder.path().to_owned();
        Self { _folder: Some(folder), ..Self::at(path) }
    }

    /// A node with its files in a folder that somebody else removes.
    pub(crate) fn at(folder: PathBuf) -> Self {
        let world = World::new(PoolConfig { low: LOW, high: 40, ..usual_pool() });
        let files = Files { folder, older: Vec::new() };
        Self { world, files, pods: Vec::new(), answers: Vec::new(), _folder: None }
    }

    /// Starts a daemon over the store as it is, and does not wait for anything.
    pub(crate) async fn start(&self, identity: Identity) -> Daemon {
        let now = self.world.clock.now();
        let (store, opened) = RedbStore::open(self.files.store(), identity, now).await.unwrap();
        self.start_over(Arc::new(store), opened).await
    }

    /// The same, over this store.
    pub(crate) async fn start_over(&self, store: Arc<dyn StateStore>, opened: Opened) -> Daemon {
        let parts = AgentParts { store: store.clone(), ..self.world.parts() };
        let agent = Agent::start(parts, self.world.config.clone()).await.unwrap();
        Daemon { agent, store, opened }
    }

    /// A daemon that has given interfaces to all the pods.
    pub(crate) async fn serving(&mut self) -> Daemon {
        let daemon = self.start(ours()).await;
        self.pods = self.world.pods("p", PODS);
        // Not all at once, so that there is an older state to fall back to.
        for pod in self.pods.clone() {
            self.answers.push(self.world.add(&daemon.agent, &pod).await.unwrap());
            if self.answers.len() == PODS / 2 {
                self.files.older = std::fs::read(self.files.store()).unwrap();
            }
        }
        daemon.quiet().await;
        daemon
    }

    /// Ends the daemon in good order, or leaves its files as `kill -9` does.
    pub(crate) async fn end(&self, daemon: Daemon, killed: bool) {
        let as_they_are = self.files.at_one_moment();
        daemon.stop().await;
        if killed {
            let [store, count] = as_they_are;
            std::fs::write(self.files.store(), store).unwrap();
            std::fs::write(self.files.count(), count).unwrap();
        }
    }

    /// The DEL of a pod and all that follows its answer; `known` says whether the runtime tells the namespace.
    pub(crate) async fn del(&self, daemon: &Daemon, pod: &Pod, known: bool) -> Result<()> {
        let request = self.world.del_request(pod);
        let netns = request.netns.clone().filter(|_| known);
        daemon.agent.del(DelRequest { netns, ..request }).await?;
        daemon.agent.dels_ended().await;
        Ok(())
    }

    /// The daemon's records and the kernel have the pod's interface as its ADD answered it.
    pub(crate) async fn has(&self, daemon: &Daemon, pod: &Pod, answer: &AddAnswer) {
        let leases = daemon.agent.leases();
        let lease = leases.iter().find(|lease| lease.mark == pod.key.mark());
        let lease = lease.unwrap_or_else(|| panic!("{} is not found again", pod.key));
        assert_eq!((&lease.lease, lease.state), (&answer.lease, LeaseState::Active), "{}", pod.key);
        self.world.check_kernel(pod, answer).await;
        self.world.check(&daemon.agent, pod).await.unwrap();
    }

    /// Nothing is in any pod.
    pub(crate) async fn pods_are_empty(&self) {
        let kernel = self.world.kernel.observe().await.unwrap();
        assert!(kernel.pods.is_empty(), "links are left in pods: {:#?}", kernel.pods);
    }
}

impl Daemon {
    /// Lets go of the store.
    pub(crate) async fn stop(self) {
        self.agent.stop().await;
    }

    /// Waits until nothing is under way and the pool is filled.
    pub(crate) async fn quiet(&self) {
        let mut changes = self.agent.changes();
        let quiet = async {
            let free = |nic: &&NicRecord| matches!(nic.addresses[0].state, AddressState::Free { .. });
            let settled = || {
                let (nics, leases) = (self.agent.nics(), self.agent.leases());
                nics.iter().all(|nic| nic.state == NicState::Ready)
                    && leases.iter().all(|lease| lease.state == LeaseState::Active)
                    && nics.iter().filter(free).count() >= LOW as usize
            };
            while !settled() {
                changes.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(secs(900), quiet).await.is_err() {
            panic!("it does not come to rest: {:#?} {:#?}", self.agent.nics(), self.agent.leases());
        }
    }
}
