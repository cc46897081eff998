//! What is known of a node at this moment, for whoever shows it. Answered from memory: no cloud, no kernel, no waiting.

use std::sync::Arc;
use std::time::Duration;

use hostnic_core::agent::{Agent, Readiness, VethConfig};
use hostnic_core::id::SubnetId;
use hostnic_core::pool::PoolConfig;
use hostnic_core::route::{Datapath, Hairpin};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::observe::{AddressBook, Observer};
use crate::settings::datapath_name;
use crate::stock::{Stock, stock};
use crate::underway::Underway;

/// How long a change of hairpin is waited for.
const SWITCH: Duration = Duration::from_secs(10);

/// A look at a node; copies look at the same one.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) agent: Arc<Agent>,
    pub(crate) observer: Arc<Observer>,
    pub(crate) pool: Arc<PoolConfig>,
    pub(crate) mode: Datapath,
    /// Why it is that mode.
    pub(crate) mode_because: Arc<str>,
    pub(crate) stopping: watch::Sender<bool>,
    /// The pods whose ADDs are running.
    pub(crate) underway: Underway,
    /// The settings of pods behind veths that are in force; `None` where there are none.
    pub(crate) veth: watch::Sender<Option<VethConfig>>,
    /// What is known of the cluster's addresses; `None` where NICs have addresses of their own.
    pub(crate) addresses: Option<Arc<dyn AddressBook>>,
}

impl Facts {
    /// Why an ADD would not be served now; nothing where it would.
    pub(crate) fn unready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if *self.stopping.borrow() {
            reasons.push("the daemon is stopping".to_owned());
        }
        if let Readiness::NotReady(reason) = self.agent.readiness() {
            reasons.push(reason);
        }
        reasons
    }

    /// Whether pods of this node reach each other by their NICs.
    pub(crate) fn hairpin(&self) -> bool {
        self.veth.borrow().as_ref().is_some_and(|veth| veth.hairpin == Hairpin::On)
    }

    /// Switches hairpin, and waits for pods and node to follow, but not for long: what takes longer is tried until it is done.
    pub(crate) async fn switch(&self, hairpin: Hairpin) {
        let Some(veth) = self.veth.borrow().clone() else { return };
        let veth = VethConfig { hairpin, ..veth };
        self.veth.send_replace(Some(veth.clone()));
        match timeout(SWITCH, self.agent.set_veth(veth)).await {
            Ok(Ok(())) => tracing::info!(?hairpin, "hairpin is switched"),
            Ok(Err(error)) => {
                self.observer.errors().note(&error);
                tracing::warn!(?hairpin, error = %error.chain(), "hairpin is not switched yet; it is tried until it is");
            }
            Err(_) => tracing::warn!(?hairpin, "hairpin is not switched yet; it goes on"),
        }
    }

    /// The node in one line.
    pub(crate) fn line(&self) -> String {
        let reasons = self.unready();
        let ready = if reasons.is_empty() {
            "ready".to_owned()
        } else {
            format!("not ready: {}", reasons.join("; "))
        };
        let free: u32 = self.stock().iter().map(|(_, stock)| stock.free).sum();
        format!("{ready}; {} pods, {free} free NICs", self.agent.leases().len())
    }

    /// NICs and addresses by subnet.
    pub(crate) fn stock(&self) -> Vec<(SubnetId, Stock)> {
        stock(&self.agent.subnets(), &self.agent.nics())
    }

    /// How pods are joined to their NICs.
    pub(crate) fn mode_name(&self) -> &'static str {
        datapath_name(self.mode)
    }
}
