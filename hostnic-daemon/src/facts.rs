//! What is known of a node at this moment, for whoever shows it. Answered from memory: no cloud, no kernel, no waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hostnic_core::agent::{Agent, Readiness};
use hostnic_core::id::SubnetId;
use hostnic_core::pool::PoolConfig;
use hostnic_core::route::Datapath;

use crate::observe::Observer;
use crate::stock::{Stock, stock};

/// A look at a node; copies look at the same one.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) agent: Arc<Agent>,
    pub(crate) observer: Arc<Observer>,
    pub(crate) pool: Arc<PoolConfig>,
    pub(crate) mode: Datapath,
    pub(crate) stopping: Arc<AtomicBool>,
}

impl Facts {
    /// Why an ADD would not be served now; nothing where it would.
    pub(crate) fn unready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.stopping.load(Ordering::Relaxed) {
            reasons.push("the daemon is stopping".to_owned());
        }
        if let Readiness::NotReady(reason) = self.agent.readiness() {
            reasons.push(reason);
        }
        reasons
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
        stock(&self.pool.subnets, &self.agent.nics())
    }

    /// How pods are joined to their NICs.
    pub(crate) fn mode_name(&self) -> &'static str {
        match self.mode {
            Datapath::Passthrough => "passthrough",
            Datapath::Veth => "veth",
            _ => "",
        }
    }
}
