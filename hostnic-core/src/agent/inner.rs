//! What all tasks and operations of an agent share.

use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::capability::NicForwarding;
use crate::clock::{BootTime, Clock};
use crate::enforcer::PolicyEnforcer;
use crate::error::{Error, ErrorKind, Result};
use crate::ipam::Ipam;
use crate::ledger::Ledger;
use crate::point::{Guarded, Point, Points};
use crate::pool::{Pool, PoolParts};
use crate::provider::NicProvider;
use crate::route::{NodePlan, RouteProgrammer};

use super::announce::{Announcer, Due};
use super::counts::Tally;
use super::ending::Endings;
use super::failures::Failures;
use super::gate::Gates;
use super::gateway::Gateways;
use super::node::VethSide;
use super::shared::{Orders, SharedSide};
use super::{AddRequest, AgentConfig, AgentParts, datapath, node};

/// The parts of an agent, and what is known at any moment.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) config: AgentConfig,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) provider: Guarded<dyn NicProvider>,
    pub(super) forwarding: Option<Guarded<dyn NicForwarding>>,
    pub(super) programmer: Guarded<dyn RouteProgrammer>,
    /// `None` where nobody has to be told of pods' addresses.
    pub(super) enforcer: Option<Guarded<dyn PolicyEnforcer>>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) pool: Arc<Pool>,
    pub(super) ipam: Arc<dyn Ipam>,
    pub(super) gates: Gates,
    pub(super) endings: Endings,
    /// `None` where the node keeps none.
    pub(super) gateways: Option<Gateways>,
    /// `None` where no pods are behind veths.
    pub(super) veth: Option<VethSide>,
    pub(super) shared: SharedSide,
    pub(super) announcer: Announcer,
    pub(super) seed: u64,
    pub(super) tally: Tally,
    pub(super) failures: Failures,
    /// Whether the records are known to agree with the kernel, so that ADDs may be served.
    pub(super) recovered: watch::Sender<bool>,
    pub(super) nudge: Notify,
}

impl Inner {
    /// Opens the records and begins with the pool. Also gives back the pods that are to be announced, and the addresses
    /// that are to be given back, for whoever does that.
    ///
    /// # Errors
    /// As [`Agent::start`](super::Agent::start).
    pub(super) async fn new(
        parts: AgentParts,
        config: AgentConfig,
        points: Points,
    ) -> Result<(Self, Due, Orders)> {
        let gateways = config.gateways.clone().map(Gateways::new).transpose()?;
        let ledger = Arc::new(Ledger::open_probed(parts.store, points.clone()).await?);
        let pool = Arc::new(Pool::start(
            PoolParts {
                provider: parts.provider.clone(),
                tagging: parts.tagging,
                programmer: parts.programmer.clone(),
                ledger: ledger.clone(),
                clock: parts.clock.clone(),
                seed: parts.seed,
            },
            config.pool.clone(),
        )?);
        let (announcer, due) = Announcer::new();
        let (shared, orders) = SharedSide::new(parts.addresses, points.clone());
        let inner = Self {
            veth: config.veth.clone().map(VethSide::new),
            shared,
            announcer,
            config,
            clock: parts.clock,
            provider: Guarded::new(parts.provider, points.clone()),
            forwarding: parts.forwarding.map(|cloud| Guarded::new(cloud, points.clone())),
            enforcer: parts.enforcer.map(|enforcer| Guarded::new(enforcer, points.clone())),
            programmer: Guarded::new(parts.programmer, points),
            ipam: pool.clone(),
            pool,
            ledger,
            gates: Gates::default(),
            endings: Endings::default(),
            gateways,
            seed: parts.seed,
            tally: Tally::default(),
            failures: Failures::default(),
            recovered: watch::channel(false).0,
            nudge: Notify::new(),
        };
        Ok((inner, due, orders))
    }

    pub(super) fn now(&self) -> BootTime {
        self.clock.now()
    }

    /// Makes the node one without pods behind veths, where it is to have none and has none.
    pub(super) async fn set_up_bare_node(&self) -> Result<()> {
        if self.veth.is_some() {
            // What it needs is known once its addresses are.
            return Ok(());
        }
        let left = self.ledger.read(|state| datapath::leased_tables(state).count());
        if left > 0 {
            tracing::warn!(
                left,
                "pods are behind veths, and the settings know of none; what the node has for them stays until they are gone"
            );
            return Ok(());
        }
        node::set_up(self, &NodePlan::Passthrough).await
    }

    /// Has the next comparison begin at once.
    pub(super) fn nudge(&self) {
        self.nudge.notify_one();
    }

    /// A call to the kernel, with its deadline.
    pub(super) async fn kernel<'a, T, F: Future<Output = Result<T>>>(
        &'a self,
        point: Point,
        call: impl FnOnce(&'a dyn RouteProgrammer) -> F,
    ) -> Result<T> {
        self.in_time(self.programmer.at(point, call)).await
    }

    /// What the kernel is asked for, unless it takes too long.
    pub(super) async fn in_time<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        match timeout(self.config.kernel_deadline, call).await {
            Ok(result) => result,
            Err(_) => Err(Error::new(ErrorKind::Transient, "program", "the kernel")
                .detail(format!(
                    "no answer within {:?}; the node may be overloaded; try again",
                    self.config.kernel_deadline
                ))
                .effect_unknown()),
        }
    }

    /// Waits until the first comparison has shown whose the NICs are.
    pub(super) async fn until_recovered(
        &self,
        cancel: &CancellationToken,
        request: &AddRequest,
    ) -> Result<()> {
        let mut recovered = self.recovered.subscribe();
        let refused = |kind, why: &str| Err(Error::new(kind, "add", &request.key).detail(why));
        tokio::select! {
            _ = recovered.wait_for(|recovered| *recovered) => Ok(()),
            () = cancel.cancelled() => refused(ErrorKind::Cancelled, "called off while the agent was starting"),
            () = tokio::time::sleep(request.patience) => {
                let why = self.pool.trouble().unwrap_or_else(|| "the comparison with the cloud is not done".to_owned());
                refused(ErrorKind::Transient, &format!("the agent is still starting: {why}"))
            }
        }
    }
}
