//! The contract with the plugin, answered by the agent.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hostnic_cni::contract::{
    Add, Check, Del, Freed, Gc, Interface, NextHop, NodeService, NodeStatus, NotReady, v1,
};
use hostnic_cni::environment::Command;
use hostnic_cni::error::{CniError, Code};
use hostnic_core::agent::{AddRequest, Agent, CheckRequest, DelRequest, GcRequest, Readiness};
use hostnic_core::ledger::LeaseRecord;
use hostnic_core::route::{Datapath, Route};

use crate::show;

/// What is kept of a caller's patience for undoing and answering after a wait that was in vain.
const RESERVE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Service {
    agent: Arc<Agent>,
    mode: Datapath,
}

impl Service {
    pub(crate) fn new(agent: Arc<Agent>, mode: Datapath) -> Self {
        Self { agent, mode }
    }
}

/// The routes with their next hops decided; `None` stands for what the pod's gateway does.
fn routes(request: &Add) -> Result<Vec<Route>, CniError> {
    let decided = |route: &hostnic_cni::contract::WantedRoute| match route.next_hop {
        NextHop::Address(address) => {
            Ok(Some(Route { destination: route.destination, next_hop: Some(address) }))
        }
        // The default route goes there anyway.
        NextHop::Gateway => Ok(None),
        NextHop::Host => Err(CniError::new(
            Code::UnsupportedField,
            format_args!(
                "route {} with gw 0.0.0.0: this release does not keep a NIC of the host's own in the pod's subnet yet; \
                 name the host's address as gw",
                route.destination
            ),
        )),
    };
    request.routes.iter().map(decided).filter_map(Result::transpose).collect()
}

fn recorded(record: LeaseRecord) -> Interface {
    Interface {
        mac: record.lease.mac,
        mtu: record.link.as_ref().map_or(0, |link| link.mtu),
        address: record.lease.address,
        gateway: record.lease.gateway,
        routes: record.plan.routes,
    }
}

#[async_trait]
impl NodeService for Service {
    async fn add(&self, request: Add) -> Result<Interface, CniError> {
        let routes = routes(&request)?;
        let asked = AddRequest {
            key: request.key,
            netns: request.netns,
            pod: request.pod,
            routes,
            mtu: request.mtu.map(hostnic_cni::contract::Mtu::get),
            started: request.call.started_at,
            patience: request.call.remaining.saturating_sub(RESERVE),
        };
        let answer = self.agent.add(asked).await.map_err(|e| CniError::from_core(Command::Add, &e))?;
        Ok(Interface {
            mac: answer.link.mac,
            mtu: answer.link.mtu,
            address: answer.lease.address,
            gateway: answer.lease.gateway,
            routes: answer.routes,
        })
    }

    async fn del(&self, request: Del) -> Result<(), CniError> {
        let asked = DelRequest { key: request.key, netns: request.netns, started: request.call.started_at };
        self.agent.del(asked).await.map_err(|e| CniError::from_core(Command::Del, &e))
    }

    async fn check(&self, request: Check) -> Result<Interface, CniError> {
        let asked = CheckRequest { key: request.key, netns: request.netns };
        match self.agent.check(asked).await {
            Ok(record) => Ok(recorded(record)),
            Err(error) if error.kind() == hostnic_core::ErrorKind::Conflict => {
                Err(CniError::new(Code::Drift, &error))
            }
            Err(error) => Err(CniError::from_core(Command::Check, &error)),
        }
    }

    async fn gc(&self, request: Gc) -> Result<Freed, CniError> {
        let asked = GcRequest {
            network: request.network,
            valid: request.valid.into_iter().map(|v| (v.container, v.ifname)).collect(),
            started: request.call.started_at,
        };
        let report = self.agent.gc(asked).await.map_err(|e| CniError::from_core(Command::Gc, &e))?;
        let failures = report.failures.iter().map(|(_, error)| CniError::from_core(Command::Gc, error));
        Ok(Freed { freed: report.freed, failures: failures.collect() })
    }

    async fn status(&self) -> NodeStatus {
        let not_ready = match self.agent.readiness() {
            Readiness::Ready => None,
            Readiness::NotReady(reason) => Some(NotReady { running_affected: false, reason }),
        };
        NodeStatus { not_ready, state: show::node_state(&self.agent, self.mode) }
    }

    async fn nics(&self) -> Result<Vec<v1::Nic>, CniError> {
        Ok(show::nics(&self.agent))
    }

    async fn pods(&self) -> Result<Vec<v1::PodAttachment>, CniError> {
        Ok(show::pods(&self.agent))
    }

    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }
}
