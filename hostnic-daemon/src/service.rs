//! The contract with the plugin, answered by the agent.

use std::time::Duration;

use async_trait::async_trait;
use hostnic_cni::contract::{
    Add, Check, Del, Freed, Gc, Interface, NextHop, NodeService, NodeStatus, NotReady, WantedRoute, v1,
};
use hostnic_cni::environment::Command;
use hostnic_cni::error::{CniError, Code};
use hostnic_core::agent::{AddRequest, ByHost, CheckRequest, DelRequest, GcRequest};
use hostnic_core::attachment::AttachmentKey;
use hostnic_core::ledger::LeaseRecord;
use hostnic_core::pods::PodWishes;
use hostnic_core::route::Route;
use hostnic_core::{Error, ErrorKind};

use crate::facts::Facts;
use crate::observe::Operation;
use crate::show;

/// What is kept of a caller's patience for undoing and answering after a wait that was in vain.
const RESERVE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Service {
    facts: Facts,
}

impl Service {
    pub(crate) fn new(facts: Facts) -> Self {
        Self { facts }
    }

    /// A failure, for the runtime, and for whoever asks later what went wrong.
    fn failed(&self, command: Command, error: &Error) -> CniError {
        self.facts.observer.errors().note(error);
        CniError::from_core(command, error)
    }
}

/// Logs what became of an operation.
fn log<T>(command: Command, key: &AttachmentKey, answer: &Result<T, Error>) {
    match answer {
        Ok(_) => tracing::debug!(attachment = %key, "{command} done"),
        Err(error) => tracing::warn!(attachment = %key, error = %error.chain(), "{command} failed"),
    }
}

/// The routes whose next hop is named. What goes by the pod's gateway has the default route.
fn routes(request: &Add) -> Vec<Route> {
    let named = |route: &WantedRoute| match route.next_hop {
        NextHop::Address(address) => Some(Route { destination: route.destination, next_hop: Some(address) }),
        NextHop::Gateway | NextHop::Host => None,
    };
    request.routes.iter().filter_map(named).collect()
}

/// What goes by the node itself: routes with gw 0.0.0.0, and everything where the configuration asks for both, as
/// qingcloud-cni's does; hostnic-cni's asks for isGateway alone, and its pods' default route is the VPC router's.
fn by_host(request: &Add) -> ByHost {
    let routes = request.routes.iter().filter(|route| route.next_hop == NextHop::Host);
    ByHost {
        destinations: routes.map(|route| route.destination).collect(),
        default_route: request.is_gateway && request.ip_masq,
    }
}

fn recorded(record: LeaseRecord) -> Interface {
    Interface {
        mac: record.lease.mac,
        mtu: record.link.as_ref().map_or(0, |link| link.mtu),
        address: record.lease.address,
        gateway: record.plan.gateway,
        routes: record.plan.routes,
    }
}

#[async_trait]
impl NodeService for Service {
    async fn add(&self, request: Add) -> Result<Interface, CniError> {
        let key = request.key.clone();
        let asked = AddRequest {
            routes: routes(&request),
            by_host: by_host(&request),
            key: request.key,
            netns: request.netns,
            pod: request.pod,
            wishes: PodWishes::default(),
            mtu: request.mtu.map(hostnic_cni::contract::Mtu::get),
            started: request.call.started_at,
            patience: request.call.remaining.saturating_sub(RESERVE),
        };
        let by_host = !asked.by_host.destinations.is_empty();
        let running = self.facts.observer.operations().begin(Operation::Add);
        let answer = self.facts.agent.add(asked).await;
        running.end(&answer);
        log(Command::Add, &key, &answer);
        let answer = answer.map_err(|error| {
            let failure = self.failed(Command::Add, &error);
            // What this node does not offer is a field of the configuration.
            let field = by_host && error.kind() == ErrorKind::Unsupported;
            if field { CniError::new(Code::UnsupportedField, &error) } else { failure }
        })?;
        Ok(Interface {
            mac: answer.link.mac,
            mtu: answer.link.mtu,
            address: answer.lease.address,
            gateway: answer.gateway,
            routes: answer.routes,
        })
    }

    async fn del(&self, request: Del) -> Result<(), CniError> {
        let key = request.key.clone();
        let asked = DelRequest { key: request.key, netns: request.netns, started: request.call.started_at };
        let running = self.facts.observer.operations().begin(Operation::Del);
        let answer = self.facts.agent.del(asked).await;
        running.end(&answer);
        log(Command::Del, &key, &answer);
        answer.map_err(|e| self.failed(Command::Del, &e))
    }

    async fn check(&self, request: Check) -> Result<Interface, CniError> {
        let asked = CheckRequest { key: request.key, netns: request.netns };
        match self.facts.agent.check(asked).await {
            Ok(record) => Ok(recorded(record)),
            Err(error) => {
                let failure = self.failed(Command::Check, &error);
                let drift = error.kind() == ErrorKind::Conflict;
                Err(if drift { CniError::new(Code::Drift, &error) } else { failure })
            }
        }
    }

    async fn gc(&self, request: Gc) -> Result<Freed, CniError> {
        let asked = GcRequest {
            network: request.network,
            valid: request.valid.into_iter().map(|v| (v.container, v.ifname)).collect(),
            started: request.call.started_at,
        };
        let report = self.facts.agent.gc(asked).await.map_err(|e| self.failed(Command::Gc, &e))?;
        let failures = report.failures.iter().map(|(_, error)| self.failed(Command::Gc, error));
        Ok(Freed { freed: report.freed, failures: failures.collect() })
    }

    async fn status(&self) -> NodeStatus {
        let reasons = self.facts.unready();
        let not_ready =
            (!reasons.is_empty()).then(|| NotReady { running_affected: false, reason: reasons.join("; ") });
        NodeStatus { not_ready, state: show::node_state(&self.facts) }
    }

    async fn nics(&self) -> Result<Vec<v1::Nic>, CniError> {
        Ok(show::nics(&self.facts.agent))
    }

    async fn pods(&self) -> Result<Vec<v1::PodAttachment>, CniError> {
        Ok(show::pods(&self.facts.agent))
    }

    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }
}
