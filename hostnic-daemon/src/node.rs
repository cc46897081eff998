//! One node: the agent, and the listeners that it is asked on.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hostnic_cni::contract;
use hostnic_core::agent::{Agent, AgentConfig, AgentParts};
use hostnic_core::ledger::NicRecord;
use hostnic_core::pods::PodDirectory;
use hostnic_core::point::Points;
use hostnic_core::{Error, ErrorKind, Result};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::answers::Answers;
use crate::command::Commands;
use crate::facts::Facts;
use crate::identity::host_name;
use crate::listen;
use crate::manage::{Bound, Manage};
use crate::observe::{AddressBook, Counted, Observer};
use crate::service::Service;
use crate::socket::Socket;
use crate::underway::Underway;

/// Where a node listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listeners {
    /// The unix socket for the plugin and for commands; only its owner can open it.
    pub socket: PathBuf,
    /// Where plugins are served by TCP as well, which configurations of the earlier systems name; `None` for nowhere. No
    /// commands are taken there. Port 0 finds a free one.
    pub tcp: Option<SocketAddr>,
    /// Whether `tcp` may be an address that other machines reach: they can then attach and detach pods of this node.
    pub allow_remote: bool,
    /// Where metrics, health and what the node has can be read over HTTP; `None` for nowhere. Nothing can be changed
    /// there, so that it may be any address. Port 0 finds a free one.
    pub manage: Option<SocketAddr>,
    /// Whether the node refuses to start where it cannot listen on `manage`; it goes without and says so otherwise.
    pub manage_required: bool,
}

impl Listeners {
    /// The socket alone.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), tcp: None, allow_remote: false, manage: None, manage_required: true }
    }
}

/// What is around a node beside cloud, kernel and store.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Whom everything that is done is told, for metrics and status.
    pub observer: Arc<Observer>,
    /// Who hears of each step; nobody by default.
    pub points: Points,
    /// Who knows what pods ask for; `None` where there is no orchestrator to be asked. What pods are told of their ADDs is
    /// told there as well.
    pub pods: Option<Arc<dyn PodDirectory>>,
    /// Why pods are joined to their NICs in the way that the node's configuration says, for whoever asks.
    pub mode_because: String,
    /// What is known of the cluster's addresses, for metrics; `None` where NICs have addresses of their own.
    pub addresses: Option<Arc<dyn AddressBook>>,
}

impl Surroundings {
    /// An observer and nothing else.
    pub fn new(observer: Arc<Observer>) -> Self {
        Self {
            observer,
            points: Points::default(),
            pods: None,
            mode_because: "as configured".to_owned(),
            addresses: None,
        }
    }
}

/// A node that serves. It works as long as this value lives; [`Node::stop`] ends it in good order.
#[derive(Debug)]
pub struct Node {
    facts: Facts,
    stop: watch::Sender<bool>,
    told_to_end: watch::Receiver<bool>,
    servers: Servers,
    tcp_address: Option<SocketAddr>,
    manage: Option<Manage>,
    _socket: Socket,
}

/// The tasks that serve plugins; they end with this.
#[derive(Debug)]
struct Servers(JoinSet<std::io::Result<()>>);

impl Servers {
    /// Waits until all have ended.
    async fn ended(&mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

impl Node {
    /// Starts the agent and listens on `socket`, and nowhere else.
    ///
    /// # Errors
    /// As [`Node::start_with`].
    pub async fn start(parts: AgentParts, config: AgentConfig, socket: &Path) -> Result<Self> {
        let observer = Arc::new(Observer::new(host_name()));
        Self::start_with(parts, config, Listeners::new(socket), observer).await
    }

    /// Starts the agent and listens. What metrics and status tell comes from `observer`, whose
    /// [`recorder`](Observer::recorder) should be among the layers of the provider.
    ///
    /// # Errors
    /// Those of [`Agent::start`]; `Conflict` when another daemon or another program listens where this one is to;
    /// `Invalid` for an address that is not this machine's.
    pub async fn start_with(
        parts: AgentParts,
        config: AgentConfig,
        listeners: Listeners,
        observer: Arc<Observer>,
    ) -> Result<Self> {
        Self::start_in(parts, config, listeners, Surroundings::new(observer)).await
    }

    /// The same, and `points` hears of everything that the node does.
    ///
    /// # Errors
    /// As [`Node::start_with`].
    pub async fn start_probed(
        parts: AgentParts,
        config: AgentConfig,
        listeners: Listeners,
        observer: Arc<Observer>,
        points: Points,
    ) -> Result<Self> {
        Self::start_in(parts, config, listeners, Surroundings { points, ..Surroundings::new(observer) }).await
    }

    /// The same, in these surroundings.
    ///
    /// # Errors
    /// As [`Node::start_with`].
    pub async fn start_in(
        parts: AgentParts,
        config: AgentConfig,
        listeners: Listeners,
        surroundings: Surroundings,
    ) -> Result<Self> {
        let Surroundings { observer, points, pods, mode_because, addresses } = surroundings;
        let (socket, listener) = Socket::listen(&listeners.socket)?;
        // All addresses are taken before anything of the node is touched.
        let tcp = match listeners.tcp {
            Some(address) => Some(listen::tcp(address, listeners.allow_remote).await?),
            None => None,
        };
        let tcp_address = tcp.as_ref().and_then(|listener| listener.local_addr().ok());
        let manage = match listeners.manage {
            Some(address) => Bound::bind_if(address, listeners.manage_required).await?,
            None => None,
        };
        let veth = watch::Sender::new(config.veth.clone());
        let (mode, pool) = (config.datapath, Arc::new(config.pool.clone()));
        let parts = AgentParts {
            provider: observer.provider(parts.provider),
            store: observer.store(parts.store),
            ..parts
        };
        let agent = Arc::new(Agent::start_probed(parts, config, points.clone()).await?);
        agent.on_failure(observer.errors().clone());
        let facts = Facts {
            agent,
            observer: observer.clone(),
            pool,
            mode,
            mode_because: mode_because.into(),
            stopping: watch::Sender::new(false),
            underway: Underway::default(),
            veth,
            addresses,
        };
        let service = Counted::new(Service::new(facts.clone(), pods), observer);
        let service = Arc::new(Answers::new(service, points.clone()));
        let (tell, told_to_end) = watch::channel(false);
        let commands = Arc::new(Answers::new(Commands::new(facts.clone(), tell), points));
        let (stop, stopped) = watch::channel(false);
        let mut servers = JoinSet::new();
        servers.spawn(contract::serve_owner(listener, service.clone(), commands, until(stopped.clone())));
        if let Some(listener) = tcp {
            let limits = contract::TcpLimits::default();
            servers.spawn(contract::serve_tcp(listener, service, limits, until(stopped)));
        }
        let manage = manage.map(|bound| bound.serve(facts.clone()));
        let servers = Servers(servers);
        Ok(Self { facts, stop, told_to_end, servers, tcp_address, manage, _socket: socket })
    }

    /// The agent.
    pub fn agent(&self) -> &Agent {
        &self.facts.agent
    }

    /// What is known of the node at any moment.
    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Where plugins are served by TCP; `None` where nobody asked for that.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.tcp_address
    }

    /// Where metrics and health can be read; `None` where nobody asked for that.
    pub fn manage_address(&self) -> Option<SocketAddr> {
        self.manage.as_ref().map(Manage::address)
    }

    /// Waits until somebody who may open the socket wants the node to end. Whoever hosts it should then [stop](Self::stop)
    /// it.
    pub fn told_to_end(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut told = self.told_to_end.clone();
        async move {
            if told.wait_for(|told| *told).await.is_err() {
                // Whoever could have told it is gone; why is what `failed` says.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until the node cannot go on: one of its servers has ended, or its records are damaged. It should then be started
    /// again.
    pub async fn failed(&mut self) -> Error {
        tokio::select! {
            Some(ended) = self.servers.0.join_next() => server_ended(ended),
            error = self.facts.agent.broken() => error,
        }
    }

    /// Takes no more requests, finishes those that are under way, within `patience`, and lets go of the store, within as
    /// long again. Pods keep their interfaces, and the pool its NICs, for the next start.
    pub async fn stop(mut self, patience: Duration) {
        self.finish(patience).await;
        self.let_go(patience).await;
    }

    /// The same, but gives the NICs back that no pod has, within what is left of `patience`. Answers how many of them
    /// could not be given back in time; the next start finds those.
    ///
    /// Dropping the future stops all of it at once; nothing is lost by that.
    pub async fn stop_emptied(mut self, patience: Duration) -> usize {
        let begun = Instant::now();
        self.finish(patience).await;
        let left = self.facts.agent.drain(patience.saturating_sub(begun.elapsed())).await;
        let leases = self.facts.agent.leases();
        let used = |nic: &NicRecord| {
            nic.role.is_gateway() && leases.iter().any(|lease| lease.lease.subnet == nic.subnet.id)
                || nic.role.is_shared() && leases.iter().any(|lease| lease.lease.nic == nic.id)
        };
        let nics = self.facts.agent.nics();
        let of_pods = nics.iter().filter(|nic| nic.has_holder() || used(nic)).count();
        self.let_go(patience).await;
        left.saturating_sub(of_pods)
    }

    /// Takes no more requests, and waits for those that are under way; ADDs that wait for something themselves are called off
    /// soon. Who watches the node sees it go: the pages are
    /// there to the end.
    async fn finish(&mut self, patience: Duration) {
        self.facts.stopping.send_replace(true);
        self.stop.send_replace(true);
        if tokio::time::timeout(patience, self.servers.ended()).await.is_err() {
            tracing::warn!(?patience, "requests are still under way; they are finished at the next start");
        }
    }

    /// Whoever starts again must find the store closed. What keeps it from closing is not worth more patience.
    async fn let_go(&self, patience: Duration) {
        if tokio::time::timeout(patience, self.facts.agent.stop()).await.is_err() {
            tracing::warn!(
                ?patience,
                "the state store does not close; it is left as it is, which loses nothing"
            );
        }
    }
}

/// Waits until the signal is true, or will never be given because its sender is gone.
async fn until(mut signal: watch::Receiver<bool>) {
    let _ = signal.wait_for(|given| *given).await;
}

fn server_ended(ended: std::result::Result<std::io::Result<()>, JoinError>) -> Error {
    let why = match ended {
        Ok(Err(error)) => error,
        Ok(Ok(())) => std::io::Error::other("the server ended"),
        Err(error) => std::io::Error::other(error),
    };
    Error::new(ErrorKind::Internal, "serve", "the plugin")
        .detail("the server has stopped; start the daemon again")
        .source(why)
}
