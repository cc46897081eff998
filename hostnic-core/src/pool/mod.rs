//! The warm pool: NICs made ahead of need, leased, rested and given back.
//!
//! A pure [planner](plan::plan) looks at one moment of the pool ([`PoolView`]) and says what to do; a driver carries that out
//! against the cloud, the kernel and the ledger, and plans again. Nothing is decided anywhere else.

mod arrive;
mod clean;
mod config;
mod create;
mod driver;
mod examine;
mod inflight;
mod ipam;
mod jobs;
mod lend;
mod make;
mod plan;
mod remove;
mod scarcity;
mod share;
mod tags;
mod view;
mod wish;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::capability::Tagging;
use crate::clock::{BootTime, Clock};
use crate::cloud::{Instance, Nic, Subnet};
use crate::error::Result;
use crate::id::{NicId, SubnetId};
use crate::ledger::{Ledger, NicRecord, NicState, Write};
use crate::point::{Guarded, Point};
use crate::policy::PoolPolicy;
use crate::provider::{Capabilities, NicProvider};
use crate::random::split_mix;
use crate::route::RouteProgrammer;

pub use clean::Cleaned;
pub use config::PoolConfig;
pub use plan::{Action, Plan, Shortage, Supply, Unserved, plan};
pub use scarcity::Scarcity;
pub use share::SharedSeat;
pub use view::{CreateView, Hold, NicView, PoolView, Purpose, SubnetRoom, Want, WishView};

use inflight::Inflight;

/// What a pool is made of.
#[derive(Debug, Clone)]
pub struct PoolParts {
    /// The cloud, with its wrappers.
    pub provider: Arc<dyn NicProvider>,
    /// The cloud's tags, where it has any: for what is tagged, and for NICs that are lent.
    pub tagging: Option<Arc<dyn Tagging>>,
    /// The kernel, which tells when a NIC's link appears.
    pub programmer: Arc<dyn RouteProgrammer>,
    /// The records.
    pub ledger: Arc<Ledger>,
    /// The time of the records.
    pub clock: Arc<dyn Clock>,
    /// Where random choices and create tokens begin; must differ between any two runs on one account.
    pub seed: u64,
}

/// A warm pool of one node. It is an [`Ipam`](crate::Ipam): a NIC's own address is what its pods get.
///
/// The pool works as long as this value lives; dropping it stops all its tasks at their next await. What they had
/// begun is found in the ledger and in the cloud by the next pool.
pub struct Pool {
    shared: Arc<Shared>,
    stopping: CancellationToken,
    driver: tokio::sync::Mutex<JoinHandle<()>>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

impl Pool {
    /// Begins to work on what the ledger holds. NICs are made only after [`Pool::settle`].
    ///
    /// # Errors
    /// `Invalid` for a configuration that makes no sense.
    pub fn start(parts: PoolParts, config: PoolConfig) -> Result<Self> {
        config.validate()?;
        let policy = config.policy.policy();
        let (draw, tokens) = split_mix(parts.seed);
        let shared = Arc::new(Shared {
            inflight: Mutex::new(Inflight::new(draw, config.subnets.clone())),
            tokens: Mutex::new(tokens),
            news: watch::channel(0).0,
            wake: Notify::new(),
            supply: watch::channel(Supply::default()).0,
            policy,
            config,
            parts: Parts::of(parts),
        });
        let stopping = CancellationToken::new();
        let driver = tokio::spawn(driver::run(shared.clone(), stopping.clone()));
        Ok(Self { shared, stopping, driver: driver.into() })
    }

    /// Says that the records agree with the cloud and the kernel, so that NICs may be made and given back.
    pub fn settle(&self) {
        let mut inflight = self.shared.inflight();
        if inflight.hold == Hold::Unsettled {
            inflight.hold = Hold::No;
        }
        drop(inflight);
        self.shared.wake.notify_one();
    }

    /// The subnets that the pool draws from, in the order of preference.
    pub fn subnets(&self) -> Vec<SubnetId> {
        self.shared.inflight().sources.clone()
    }

    /// Draws from these subnets from now on, in this order of preference. New ones are described first. NICs of others
    /// are given back as soon as no pod has them; what is being made there comes and goes. Without any subnet, nothing is
    /// made but what pods ask for by the name of a subnet.
    ///
    /// Setting the same again changes nothing. Not remembered over a restart.
    pub fn set_subnets(&self, subnets: Vec<SubnetId>) {
        self.shared.inflight().draw_from(subnets);
        self.look();
    }

    /// Says that the node is to have a gateway in this subnet. It is made as soon as there is room for it, and made again
    /// should it get lost, until the pool is [cleaned](Self::clean) while no pod is in the subnet.
    pub fn want_gateway(&self, subnet: &SubnetId) {
        if self.shared.inflight().gateways.insert(subnet.clone()) {
            self.shared.wake.notify_one();
        }
    }

    /// Gives back every NIC that nobody is to keep and makes no more, until `patience` is over or nothing is left to give
    /// back. Leases that are being released are waited for. Answers how many NICs are left. Dropping the future does not
    /// call it off; [`Pool::refill`] does.
    pub async fn drain(&self, patience: Duration) -> usize {
        self.shared.inflight().draining = true;
        self.shared.wake.notify_one();
        let left = || {
            self.shared.parts.ledger.read(|state| {
                let going = |nic: &&NicRecord| {
                    !state.is_kept(nic) && !matches!(nic.state, NicState::Lost | NicState::Quarantined)
                };
                state.nics.values().filter(going).count() + state.intents.len()
            })
        };
        let mut changes = self.shared.parts.ledger.changes();
        let drained = async {
            // The sender lives as long as the ledger, which this borrows.
            while left() > 0 && changes.changed().await.is_ok() {}
        };
        // What is left says whether the patience was enough.
        let _ = tokio::time::timeout(patience, drained).await;
        self.shared.parts.ledger.read(|state| state.nics.len())
    }

    /// Ends [`Pool::drain`].
    pub fn refill(&self) {
        self.shared.inflight().draining = false;
        self.shared.wake.notify_one();
    }

    /// Stops all that the pool does, and waits until nothing of it is under way. Its NICs stay, for the next pool over the
    /// same records. Dropping the future does not call it off.
    pub async fn stop(&self) {
        self.stopping.cancel();
        let mut driver = self.driver.lock().await;
        if !driver.is_finished() {
            // However it ended, it has ended.
            let _ = (&mut *driver).await;
        }
    }

    /// Says that the records were changed by somebody else, so that the pool looks at them.
    pub fn look(&self) {
        self.shared.wake.notify_one();
        self.shared.tell();
    }

    /// NICs that a call is about at this moment; who compares records with the cloud leaves them alone.
    pub fn busy(&self) -> Vec<NicId> {
        let inflight = self.shared.inflight();
        inflight.busy.iter().chain(inflight.plugged.keys()).cloned().collect()
    }

    /// This node and its subnets, once the cloud has described them; `None` when that takes longer than `patience`.
    pub async fn surveyed(&self, patience: Duration) -> Option<(Instance, Vec<Subnet>)> {
        let mut news = self.shared.news.subscribe();
        let described = async {
            loop {
                news.borrow_and_update();
                {
                    let inflight = self.shared.inflight();
                    if let Some(instance) = &inflight.instance {
                        return (instance.clone(), inflight.described().cloned().collect());
                    }
                }
                // The sender lives as long as the pool, which this borrows.
                let _ = news.changed().await;
            }
        };
        tokio::time::timeout(patience, described).await.ok()
    }

    /// The NICs attached to this node, where the cloud has told them just now with its first description. They are told
    /// once; who wants them later asks the cloud.
    pub fn take_attached(&self) -> Option<Vec<Nic>> {
        let now = self.shared.now();
        let (told, nics) = self.shared.inflight().attached.take()?;
        // Lists lag so much anyway.
        (now.since(told) <= self.shared.config.visibility).then_some(nics)
    }

    /// Why this pool can get no NIC anywhere, whatever it is asked: the cloud knows none of its subnets. Having none is
    /// no reason, as pods may name theirs.
    pub fn blocked(&self) -> Option<String> {
        let inflight = self.shared.inflight();
        if inflight.instance.is_none() || inflight.sources.is_empty() || inflight.described().next().is_some()
        {
            return None;
        }
        inflight.reason.as_ref().map(|(_, reason)| reason.clone())
    }

    /// Describes the subnets anew, so that the room that others took or gave back is known.
    ///
    /// # Errors
    /// Those of the cloud; what was known before stays.
    pub async fn describe_subnets(&self) -> Result<()> {
        let (provider, ids) = (&self.shared.parts.provider, self.subnets());
        if ids.is_empty() {
            return Ok(());
        }
        let subnets = provider.at(Point::CompareSubnets, |cloud| cloud.subnets(&ids)).await?;
        create::learn(&self.shared, &ids, subnets);
        Ok(())
    }

    /// How many more NICs each subnet can take, from what is known already: no call is made. Subnets whose room the cloud
    /// does not tell, or has not told yet, are left out.
    pub fn subnet_room(&self) -> Vec<SubnetRoom> {
        let now = self.shared.now();
        self.shared.inflight().rooms(now)
    }

    /// What is left for pods to come, and each change of that.
    pub fn supply(&self) -> watch::Receiver<Supply> {
        self.shared.supply.subscribe()
    }

    /// The most NICs that pods can ever have here: what the node, the instance and the account may have, and the subnets
    /// have room for, as far as the cloud has told. No call is made for it.
    pub fn capacity(&self) -> u32 {
        let inflight = self.shared.inflight();
        self.shared.parts.ledger.read(|state| inflight.capacity(state, &self.shared.config))
    }

    /// For how many NICs the policy has chosen each subnet since the pool's start.
    pub fn choices(&self) -> BTreeMap<SubnetId, u64> {
        self.shared.inflight().choices.clone()
    }

    /// Why no NIC can be made at present, as the cloud said it; `None` when all is well.
    pub fn trouble(&self) -> Option<String> {
        self.shared.inflight().reason.as_ref().map(|(_, reason)| reason.clone())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.driver.get_mut().abort();
    }
}

/// What the pool works with.
struct Parts {
    provider: Guarded<dyn NicProvider>,
    tagging: Option<Guarded<dyn Tagging>>,
    capabilities: Capabilities,
    programmer: Guarded<dyn RouteProgrammer>,
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
}

impl Parts {
    fn of(parts: PoolParts) -> Self {
        let points = parts.ledger.points().clone();
        Self {
            capabilities: parts.provider.capabilities(),
            provider: Guarded::new(parts.provider, points.clone()),
            tagging: parts.tagging.map(|cloud| Guarded::new(cloud, points.clone())),
            programmer: Guarded::new(parts.programmer, points),
            ledger: parts.ledger,
            clock: parts.clock,
        }
    }
}

/// What the driver, its tasks and the callers share.
struct Shared {
    parts: Parts,
    config: PoolConfig,
    policy: Box<dyn PoolPolicy>,
    inflight: Mutex<Inflight>,
    tokens: Mutex<u64>,
    /// Changes whenever somebody who waits for an address should look again.
    news: watch::Sender<u64>,
    /// Wakes the driver.
    wake: Notify,
    /// What is left for pods to come.
    supply: watch::Sender<Supply>,
}

/// What becomes of a record.
enum Change {
    Put(Box<NicRecord>),
    Drop,
}

impl Change {
    fn put(record: NicRecord) -> Self {
        Self::Put(Box::new(record))
    }
}

/// What becomes of a NIC that is out of the instance: ours is deleted, and one that was lent is its owner's again.
fn out(nic: &NicRecord, now: BootTime) -> Change {
    if nic.role.is_lent() { Change::Drop } else { Change::put(nic.clone().in_state(NicState::Deleting, now)) }
}

impl Shared {
    /// Lock order: this one first, then the ledger's; never from inside a look at the ledger.
    fn inflight(&self) -> MutexGuard<'_, Inflight> {
        // Nothing between lock and unlock can panic half-way through a change that matters: all of it can be rebuilt.
        self.inflight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> BootTime {
        self.parts.clock.now()
    }

    fn tell(&self) {
        self.news.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Those of the NICs that leases need.
    fn leased(&self, nics: &[NicId]) -> BTreeSet<NicId> {
        self.parts.ledger.read(|state| {
            let leased = |id: &&NicId| state.nics.get(*id).is_some_and(|nic| state.is_leased(nic));
            nics.iter().filter(leased).cloned().collect()
        })
    }

    /// Changes those of the NICs that still have a record, in one transaction.
    async fn change(
        &self,
        point: Point,
        nics: &[NicId],
        mut decide: impl FnMut(&NicRecord) -> Option<Change>,
    ) -> Result<()> {
        self.parts
            .ledger
            .transact(point, |state| {
                let writes =
                    nics.iter().filter_map(|id| state.nics.get(id)).filter_map(|nic| match decide(nic)? {
                        Change::Put(record) => Some(Write::PutNic(*record)),
                        Change::Drop => Some(Write::DropNic(nic.id.clone())),
                    });
                Ok((writes.collect(), ()))
            })
            .await
    }
}
