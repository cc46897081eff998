//! The node agent: gives pods NICs of the cloud, and everything back in the end, whatever is killed and when.
//!
//! [`Agent`] joins the four traits: it leases from the [`Ipam`](crate::Ipam), records in the
//! [`Ledger`](crate::ledger::Ledger), has the kernel programmed by the [`RouteProgrammer`], and compares all of it with the
//! cloud from time to time.

mod adapt;
mod add;
mod announce;
mod check;
mod compare;
mod config;
mod counts;
mod datapath;
mod del;
mod ending;
mod failures;
mod found;
mod found_shared;
mod gate;
mod gateway;
mod inner;
mod node;
mod owned;
mod policy;
mod reconcile;
mod request;
mod shared;
mod step;
mod undo;
mod veth;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::capability::{NicForwarding, Tagging};
use crate::clock::Clock;
use crate::enforcer::PolicyEnforcer;
use crate::error::{Error, ErrorKind, Result};
use crate::gateway::GatewayStatus;
use crate::id::SubnetId;
use crate::ipam::AddressSource;
use crate::ledger::{LeaseRecord, NicRecord};
use crate::point::Points;
use crate::pool::{Cleaned, SubnetRoom, Supply};
use crate::provider::NicProvider;
use crate::route::{Datapath, Hairpin, RouteProgrammer};
use crate::store::StateStore;

pub use compare::{Evidence, Finding, Observation, Patience, Suspicions, compare};
pub use config::AgentConfig;
pub use counts::{Counts, Repair};
pub use ending::EndingCounts;
pub use failures::FailureListener;
pub use request::{AddAnswer, AddRequest, ByHost, CheckRequest, DelRequest, GcReport, GcRequest};
pub use shared::{ReleaseCounts, SharedNicPhase, SharedNicStatus};
pub use veth::{PodMtu, VethCommon, VethConfig, VethPrefix};

use inner::Inner;
use node::VethSide;
use owned::Owned;

/// What an agent is made of.
#[derive(Debug, Clone)]
pub struct AgentParts {
    /// The cloud, with its wrappers.
    pub provider: Arc<dyn NicProvider>,
    /// Where the cloud looks at senders' addresses and can be told of NICs that route: how. Only gateways need it.
    pub forwarding: Option<Arc<dyn NicForwarding>>,
    /// The cloud's tags, where it has any: for [`PoolConfig::tag`](crate::pool::PoolConfig::tag) and for NICs that pods
    /// borrow.
    pub tagging: Option<Arc<dyn Tagging>>,
    /// The kernel.
    pub programmer: Arc<dyn RouteProgrammer>,
    /// Where the addresses of pods come from that share the NIC of their subnet. Needed where [`AgentConfig::datapath`] is
    /// [`Datapath::Shared`]; otherwise pods may ask to be such ones where it is there.
    pub addresses: Option<Arc<dyn AddressSource>>,
    /// Who enforces network policies, and has to know a pod's address before it runs; `None` where nobody has to be told.
    pub enforcer: Option<Arc<dyn PolicyEnforcer>>,
    /// Where records survive.
    pub store: Arc<dyn StateStore>,
    /// The time of the records.
    pub clock: Arc<dyn Clock>,
    /// Where random choices and create tokens begin; must differ between any two runs on one account.
    pub seed: u64,
}

/// The agent of one node.
///
/// It works as long as this value lives. Dropping it stops all its tasks at their next await; what they had begun is
/// found again by the next agent over the same store, or, without the store, over the same cloud and kernel.
#[derive(Debug)]
pub struct Agent {
    inner: Arc<Inner>,
    tasks: Owned,
    reconciler: tokio::sync::Mutex<JoinHandle<()>>,
    requests: mpsc::Sender<reconcile::Request>,
}

/// How long addresses may still be given back when the agent stops.
const LAST_RELEASES: Duration = Duration::from_secs(2);

/// # Errors
/// `Invalid` for settings that do not go together, with what to change.
fn check_settings(parts: &AgentParts, config: &AgentConfig) -> Result<()> {
    let refuse = |why| Err(Error::new(ErrorKind::Invalid, "start", "node agent").detail(why));
    if config.datapath != Datapath::Passthrough && config.veth.is_none() {
        return refuse("pods are to be behind veths, and what these have in common is not set");
    }
    if config.datapath != Datapath::Shared {
        return Ok(());
    }
    if parts.addresses.is_none() {
        return refuse("pods are to share NICs, and where their addresses come from is not set");
    }
    if !parts.provider.capabilities().bare_nics {
        return refuse(
            "pods are to share NICs, and this cloud gives each NIC an address; choose another way",
        );
    }
    config.veth.as_ref().map_or(Ok(()), |veth| refuse_hairpin(config.datapath, veth))
}

fn refuse_hairpin(datapath: Datapath, veth: &VethConfig) -> Result<()> {
    if datapath == Datapath::Shared && veth.hairpin == Hairpin::On {
        return Err(Error::new(ErrorKind::Invalid, "set up", "the node for pods that share NICs").detail(
            "hairpin is on, and no cloud brings a packet back to the NIC that sent it; switch hairpin off, or give pods NICs \
            of their own",
        ));
    }
    Ok(())
}

/// Whether the agent can serve ADDs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// Not yet, or not at present; the text says why.
    NotReady(String),
}

impl Agent {
    /// Opens the records, prepares the node and begins to serve.
    ///
    /// The cloud need not be reachable: pods that run go on, and ADDs are served from what is warm.
    ///
    /// # Errors
    /// `Invalid` for a configuration that makes no sense, and those of the store and of the kernel.
    pub async fn start(parts: AgentParts, config: AgentConfig) -> Result<Self> {
        Self::start_probed(parts, config, Points::default()).await
    }

    /// The same, and `points` hears of everything that the agent does.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub async fn start_probed(parts: AgentParts, config: AgentConfig, points: Points) -> Result<Self> {
        check_settings(&parts, &config)?;
        let (inner, due, orders) = Inner::new(parts, config, points).await?;
        let inner = Arc::new(inner);
        inner.set_up_bare_node().await?;
        let leases = inner.ledger.read(|state| {
            state
                .leases
                .values()
                .map(|record| (record.mark.clone(), record.lease.clone()))
                .collect::<Vec<_>>()
        });
        inner.ipam.restore(&leases).await?;
        policy::tell_again(&inner);
        let (requests, asked) = mpsc::channel(1);
        let reconciler = tokio::spawn({
            let inner = inner.clone();
            async move {
                tokio::join!(
                    reconcile::run(inner.clone(), asked),
                    gateway::run(&inner),
                    node::run(&inner),
                    announce::run(&inner, due),
                    shared::run(&inner, orders),
                );
            }
        });
        Ok(Self { inner, tasks: Owned::default(), reconciler: reconciler.into(), requests })
    }

    /// Gives a pod an interface. The same request again gives the same answer.
    ///
    /// Dropping the future calls the ADD off and undoes it, unless it is done already.
    ///
    /// # Errors
    /// Of the Ipam when there is no address, `Conflict` when the pod has another interface of that name or the
    /// attachment is active elsewhere, `NotFound` when there is no such namespace, `Invalid` when the kernel refuses a route
    /// or the MTU, `Cancelled` when a later DEL won. After
    /// an error nothing is left.
    pub async fn add(&self, request: AddRequest) -> Result<AddAnswer> {
        let cancel = CancellationToken::new();
        let hung_up = cancel.clone().drop_guard();
        // Boxed, as callers keep what is not begun in their own futures.
        let answer = self.tasks.run(Box::pin(add::add(self.inner.clone(), request, cancel))).await;
        drop(hung_up);
        answer
    }

    /// Takes a pod's interface away. Success when there is nothing to take.
    ///
    /// The answer comes when the DEL is durable and nothing of the pod's traffic passes any more; that its NIC is back in
    /// the node, and its address at rest, comes later ([`Agent::dels_ended`]). Until then the lease is `releasing`, its
    /// address is nobody else's, and whatever else is asked about this attachment waits: for a second DEL that makes
    /// success say that all is back.
    ///
    /// Dropping the future does not call the DEL off.
    ///
    /// # Errors
    /// `Transient` when kernel or store fail; the DEL is then finished by a retry, or by the next comparison.
    pub async fn del(&self, request: DelRequest) -> Result<()> {
        self.tasks.run_on(|answer| del::del(self.inner.clone(), request, answer)).await
    }

    /// Waits until the NICs of all pods whose DEL was answered are back in the node, or left to the next comparison.
    pub async fn dels_ended(&self) {
        self.inner.endings.none().await;
    }

    /// How the DELs end that were answered before their NICs were back, for whatever keeps the metrics.
    pub fn endings(&self) -> EndingCounts {
        self.inner.endings.counts()
    }

    /// How the addresses of pods that share NICs are given back, which is not waited for when they are deleted.
    pub fn releases(&self) -> ReleaseCounts {
        self.inner.shared.releases.counts()
    }

    /// Waits until all of these are back where they came from.
    pub async fn addresses_released(&self) {
        self.inner.shared.releases.none().await;
    }

    /// Compares an attachment with what it was given, and answers its record.
    ///
    /// # Errors
    /// `NotFound` when it holds nothing, `Conflict` with every difference when the kernel differs, `Transient` while it is
    /// not known yet what it holds.
    pub async fn check(&self, request: CheckRequest) -> Result<LeaseRecord> {
        self.tasks.run(check::check(self.inner.clone(), request)).await
    }

    /// Releases the attachments of a network that are not listed, each as [`Agent::del`] does.
    ///
    /// # Errors
    /// `Cancelled` when the agent stops. What could not be released is in the report; the others are released all the same.
    pub async fn gc(&self, request: GcRequest) -> Result<GcReport> {
        self.tasks.run_on(|answer| check::gc(self.inner.clone(), request, answer)).await
    }

    /// Whether ADDs can be served, from what is known already: no cloud, no kernel, no waiting.
    pub fn readiness(&self) -> Readiness {
        if *self.inner.recovered.borrow() {
            if let Some(why) = self.inner.veth.as_ref().and_then(VethSide::trouble) {
                return Readiness::NotReady(why);
            }
            if let Some(why) = self.shares().then(|| self.inner.shared.trouble()).flatten() {
                return Readiness::NotReady(why);
            }
            return self.inner.pool.blocked().map_or(Readiness::Ready, Readiness::NotReady);
        }
        let why = self.inner.pool.trouble();
        Readiness::NotReady(
            why.unwrap_or_else(|| "the records are being compared with the kernel and the cloud".to_owned()),
        )
    }

    /// Waits until ADDs can be served.
    pub async fn ready(&self) {
        let mut recovered = self.inner.recovered.subscribe();
        // The sender lives as long as the agent.
        let _ = recovered.wait_for(|recovered| *recovered).await;
        if let Some(side) = &self.inner.veth {
            side.ready().await;
        }
        if self.shares() {
            self.inner.shared.restored().await;
        }
    }

    fn shares(&self) -> bool {
        self.inner.config.datapath == Datapath::Shared
    }

    /// Takes other settings for pods behind veths, and waits until node and pods have them. Running pods keep their
    /// interfaces, names and MTU: prefix, MTU and the lowest table are for pods to come. No packet is lost by a change of hairpin.
    ///
    /// Dropping the future does not take the settings back.
    ///
    /// # Errors
    /// `Unsupported` where the agent was started without such settings, `Invalid` for hairpin where pods share NICs; why the node could not be set up as they say,
    /// where that is so: it is tried again until it can.
    pub async fn set_veth(&self, config: VethConfig) -> Result<()> {
        let shares = self.leases().iter().any(|lease| datapath::shared(&lease.plan).is_some());
        refuse_hairpin(if shares { Datapath::Shared } else { self.inner.config.datapath }, &config)?;
        match &self.inner.veth {
            Some(side) => node::change(side, config).await,
            None => Err(Error::new(ErrorKind::Unsupported, "change", "the settings of pods behind veths")
                .detail("this node has none; start it with some")),
        }
    }

    /// Gives back every NIC that no pod has, and makes no more; see [`Pool::drain`](crate::pool::Pool::drain). Answers how many NICs are left.
    ///
    /// A gateway goes with the last pod of its subnet; what was set up for it in the node goes, too.
    pub async fn drain(&self, patience: Duration) -> usize {
        let end = Instant::now() + patience;
        let rest = || end.saturating_duration_since(Instant::now());
        // What is not back in time is counted with what is left.
        let _ = timeout(patience, self.dels_ended()).await;
        let left = self.inner.pool.drain(rest()).await;
        gateway::settled(&self.inner, rest()).await;
        left
    }

    /// Gives back every NIC that is in and that no pod has, and makes new ones; see [`Pool::clean`](crate::pool::Pool::clean).
    pub async fn clean(&self, patience: Duration) -> Cleaned {
        self.inner.pool.clean(patience).await
    }

    /// Lets the DELs end that were answered, for no longer than the kernel's deadline, stops all else that the agent does
    /// at its next await, and lets go of the store, so that another agent can be started over it. Pods keep their
    /// interfaces, and the pool its NICs. Every later request fails. Stopping again is fine, and dropping the future does
    /// not matter as long as the agent is dropped as well.
    pub async fn stop(&self) {
        let patience = self.inner.config.kernel_deadline;
        let ended = async {
            self.dels_ended().await;
            // They are given back again after the next start, if need be.
            drop(timeout(LAST_RELEASES, self.addresses_released()).await);
        };
        if timeout(patience, ended).await.is_err() {
            let left = self.endings().running;
            tracing::warn!(
                left,
                ?patience,
                "NICs of deleted pods are not back; the next start takes them back"
            );
        }
        {
            let mut reconciler = self.reconciler.lock().await;
            reconciler.abort();
            if !reconciler.is_finished() {
                // It has just been told to end.
                let _ = (&mut *reconciler).await;
            }
        }
        self.tasks.stop().await;
        self.inner.pool.stop().await;
        self.inner.ledger.close().await;
    }

    /// What is left for pods to come, and each change of that: whether NICs are scarce, for whoever places pods.
    pub fn supply(&self) -> watch::Receiver<Supply> {
        self.inner.pool.supply()
    }

    /// The most NICs that pods can ever have on this node; see [`Pool::capacity`](crate::pool::Pool::capacity).
    pub fn capacity(&self) -> u32 {
        self.inner.pool.capacity()
    }

    /// Has the pool draw from these subnets from now on; see [`Pool::set_subnets`](crate::pool::Pool::set_subnets).
    pub fn set_subnets(&self, subnets: Vec<SubnetId>) {
        self.inner.pool.set_subnets(subnets);
    }

    /// The subnets that the pool draws from, in the order of preference.
    pub fn subnets(&self) -> Vec<SubnetId> {
        self.inner.pool.subnets()
    }

    /// All NICs, as recorded.
    pub fn nics(&self) -> Vec<NicRecord> {
        self.inner.ledger.read(|state| state.nics.values().cloned().collect())
    }

    /// All leases, as recorded.
    pub fn leases(&self) -> Vec<LeaseRecord> {
        self.inner.ledger.read(|state| state.leases.values().cloned().collect())
    }

    /// How many more NICs each subnet can take, as last learnt from what the cloud was asked anyway; see [`SubnetRoom`].
    /// For metrics: no call is made for it, however often it is asked.
    pub fn subnet_room(&self) -> Vec<SubnetRoom> {
        self.inner.pool.subnet_room()
    }

    /// What the agent has done since its start, in numbers.
    pub fn counts(&self) -> Counts {
        Counts { choices: self.inner.pool.choices(), ..self.inner.tally.snapshot() }
    }

    /// The NICs of the node's own that pods' routes go by, or are to go by: ours, the operator's, and those on their way. From
    /// memory: no cloud, no kernel, no waiting.
    pub fn gateways(&self) -> Vec<GatewayStatus> {
        gateway::shown(&self.inner)
    }

    /// The NICs that pods share, and those that are being made for that, by subnet. From memory: no cloud, no kernel, no waiting.
    pub fn shared_nics(&self) -> Vec<SharedNicStatus> {
        shared::shown(&self.inner)
    }

    /// Has `listener` hear of what fails in the background: the latest failures since the start, and each from now on. It
    /// takes the place of an earlier one.
    pub fn on_failure(&self, listener: Arc<dyn FailureListener>) {
        self.inner.failures.listen(listener);
    }

    /// Tells after every change of a record; the value only counts them.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.ledger.changes()
    }

    /// Waits until the agent can no longer work, which is when its records turn out to be damaged: the program should
    /// then start again. See [`Ledger::broken`](crate::ledger::Ledger::broken).
    pub async fn broken(&self) -> Error {
        self.inner.ledger.broken().await
    }

    /// Compares records, cloud and kernel now, and mends what differs. Gives back what was found.
    ///
    /// # Errors
    /// Those of the cloud and the kernel; what could be mended is mended.
    pub async fn compare_now(&self) -> Result<Vec<Finding>> {
        let stopping = || {
            Error::new(ErrorKind::Cancelled, "compare", "records, cloud and kernel")
                .detail("the node agent is stopping")
        };
        let (answer, answered) = oneshot::channel();
        self.requests.send(answer).await.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())?
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.reconciler.get_mut().abort();
    }
}
