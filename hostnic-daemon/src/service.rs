//! The contract with the plugin, answered by the agent.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hostnic_cni::contract::{
    Add, Check, Del, Freed, Gc, Interface, NextHop, NodeService, NodeStatus, NotReady, WantedRoute, v1,
};
use hostnic_cni::environment::Command;
use hostnic_cni::error::{CniError, Code};
use hostnic_core::agent::{AddAnswer, AddRequest, ByHost, CheckRequest, DelRequest, GcRequest};
use hostnic_core::attachment::{AttachmentKey, PodRef};
use hostnic_core::ledger::LeaseRecord;
use hostnic_core::pods::{NicWish, PodDirectory, PodWishes};
use hostnic_core::route::{Datapath, Route};
use hostnic_core::turn::Turn;
use hostnic_core::{Error, ErrorKind};
use tokio::time::{Instant, sleep, timeout};

use crate::facts::Facts;
use crate::observe::Operation;
use crate::show;

/// What is kept of a caller's patience for undoing and answering after a wait that was in vain.
const RESERVE: Duration = Duration::from_secs(2);

/// How long one attempt of a pod that waits for its turn may take. After that a fresh look is better.
const ATTEMPT: Duration = Duration::from_secs(57);

/// How long an ADD may go on waiting when the daemon is told to stop.
const LAST_CALL: Duration = Duration::from_secs(5);

/// What a pod asks for on a node of this mode: where NICs are shared, an address alone is one of the shared ones, and takes no NIC
/// of its own.
fn as_shared(wishes: PodWishes, mode: Datapath) -> PodWishes {
    match wishes.nic {
        NicWish::Made { subnet: None, address: Some(address) } if mode == Datapath::Shared => {
            PodWishes { nic: NicWish::Any, addresses: vec![address], ..wishes }
        }
        nic => PodWishes { nic, ..wishes },
    }
}

#[derive(Debug)]
pub(crate) struct Service {
    facts: Facts,
    pods: Option<Arc<dyn PodDirectory>>,
}

impl Service {
    /// `pods` knows what pods ask for, where anybody does.
    pub(crate) fn new(facts: Facts, pods: Option<Arc<dyn PodDirectory>>) -> Self {
        Self { facts, pods }
    }

    /// What the pod asks for, within `patience`.
    async fn wishes(&self, pod: Option<&PodRef>, patience: Duration) -> Result<PodWishes, Error> {
        let (Some(pods), Some(pod)) = (&self.pods, pod) else { return Ok(PodWishes::default()) };
        match timeout(patience, pods.wishes(pod)).await {
            Ok(wishes) => wishes.map(|wishes| as_shared(wishes, self.facts.mode)),
            Err(_) => Err(Error::new(ErrorKind::Transient, "read what is asked by pod", pod)
                .detail("the orchestrator did not say it in time; it is tried again")),
        }
    }

    /// Waits until what is not done is not worth waiting for any more: the daemon was told to stop, and its runtime tries again.
    async fn last_call(&self) {
        // The sender lives as long as this.
        let _ = self.facts.stopping.subscribe().wait_for(|stopping| *stopping).await;
        sleep(LAST_CALL).await;
    }

    /// Tells the pod's owner what became of its ADD.
    fn tell(&self, pod: Option<&PodRef>, answer: &Result<AddAnswer, Error>) {
        let (Some(pods), Some(pod)) = (&self.pods, pod) else { return };
        match answer {
            Ok(answer) => pods.attached(pod, &answer.lease),
            // Nobody waits for a pod that is deleted.
            Err(error) if error.kind() == ErrorKind::Cancelled => {}
            Err(error) => pods.failed(pod, error),
        }
    }

    /// Gives the pod what it asks for.
    async fn attach(&self, request: Add) -> Result<AddAnswer, Failed> {
        let begun = Instant::now();
        let patience = request.call.remaining.saturating_sub(RESERVE);
        let wishes = self.wishes(request.pod.as_ref(), patience).await.map_err(Failed::ToKnow)?;
        let wished = wishes != PodWishes::default();
        let asked = AddRequest {
            routes: routes(&request),
            by_host: by_host(&request),
            key: request.key,
            netns: request.netns,
            pod: request.pod.clone(),
            wishes,
            mtu: request.mtu.map(hostnic_cni::contract::Mtu::get),
            started: request.call.started_at,
            patience: patience.saturating_sub(begun.elapsed()),
        };
        let given = match request.pod.zip(self.pods.clone()) {
            None => self.facts.agent.add(asked).await,
            Some((pod, pods)) => self.in_turn(pods, pod, asked, begun + patience).await,
        };
        given.map_err(|error| Failed::ToGive { error, wished })
    }

    /// Gives the pod what it asks for, as soon as there is a NIC for it.
    async fn in_turn(
        &self,
        pods: Arc<dyn PodDirectory>,
        pod: PodRef,
        asked: AddRequest,
        until: Instant,
    ) -> Result<AddAnswer, Error> {
        let turn = Turn { pods, pod: pod.clone(), supply: self.facts.agent.supply(), until };
        turn.wait(|left| {
            let asked = AddRequest { patience: left.min(ATTEMPT), ..asked.clone() };
            let agent = self.facts.agent.clone();
            // While it waits it is one of those that are to come.
            let underway = self.facts.underway.begin(&pod);
            async move {
                let answer = agent.add(asked).await;
                drop(underway);
                answer
            }
        })
        .await
    }

    /// A failure, for the runtime, and for whoever asks later what went wrong.
    fn failed(&self, command: Command, error: &Error) -> CniError {
        self.facts.observer.errors().note(error);
        CniError::from_core(command, error)
    }
}

/// Why a pod was not given an interface.
#[derive(Debug)]
enum Failed {
    /// Nobody could say what it asks for.
    ToKnow(Error),
    /// It could not be given that.
    ToGive {
        error: Error,
        /// Whether it asked for anything itself.
        wished: bool,
    },
}

impl Failed {
    /// The code, where it is not that of the error's kind.
    fn code(&self, by_host: bool) -> Option<Code> {
        match self {
            // Runtimes name neither pods' wishes nor what they are about, and a person may correct them at any time.
            Self::ToKnow(_) => Some(Code::TryAgainLater),
            Self::ToGive { wished: true, .. } => Some(Code::TryAgainLater),
            // What this node does not offer is a field of the configuration.
            Self::ToGive { error, .. } if by_host && error.kind() == ErrorKind::Unsupported => {
                Some(Code::UnsupportedField)
            }
            Self::ToGive { .. } => None,
        }
    }

    fn into_error(self) -> Error {
        match self {
            Self::ToKnow(error) | Self::ToGive { error, .. } => error,
        }
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
        // Behind a veth the pod has another link than the NIC.
        mac: record.link.as_ref().map_or(record.lease.mac, |link| link.mac),
        mtu: record.link.as_ref().map_or(0, |link| link.mtu),
        address: record.lease.address,
        gateway: record.plan.gateway,
        routes: record.plan.routes,
    }
}

#[async_trait]
impl NodeService for Service {
    async fn add(&self, request: Add) -> Result<Interface, CniError> {
        let (key, pod) = (request.key.clone(), request.pod.clone());
        let by_host = !by_host(&request).destinations.is_empty();
        let running = self.facts.observer.operations().begin(Operation::Add);
        let stopping = || {
            let error = Error::new(ErrorKind::Transient, "add", &key).detail("the daemon stops; try again");
            Failed::ToGive { error, wished: false }
        };
        let answer = tokio::select! {
            // Boxed, as whoever serves keeps what is not begun in its own future.
            answer = Box::pin(self.attach(request)) => answer,
            () = self.last_call() => Err(stopping()),
        };
        let code = answer.as_ref().err().and_then(|failed| failed.code(by_host));
        let answer = answer.map_err(Failed::into_error);
        running.end(&answer);
        log(Command::Add, &key, &answer);
        self.tell(pod.as_ref(), &answer);
        let answer = answer.map_err(|error| {
            let failure = self.failed(Command::Add, &error);
            match code {
                Some(code) => CniError { code, ..failure },
                None => failure,
            }
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
