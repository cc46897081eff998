//! A daemon that cannot serve yet: it listens all the same, is alive, and says what it waits for.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hostnic_cni::contract::{
    self, Add, Check, Cleaned, ControlService, Del, Freed, Gc, Interface, NodeService, NodeStatus, NotReady,
    v1,
};
use hostnic_cni::environment::Command;
use hostnic_cni::error::CniError;
use hostnic_core::{Error, ErrorKind, Result};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::manage::{Bound, Manage};
use crate::node::Listeners;
use crate::observe::Observer;
use crate::show;
use crate::socket::Socket;

/// How long answers may take that are under way when the waiting ends; each is given from memory.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// What a daemon waits for, which may change while it waits.
#[derive(Debug, Clone)]
pub(crate) struct Reason(watch::Sender<String>);

impl Reason {
    /// The reason as it is now.
    pub(crate) fn now(&self) -> String {
        self.0.borrow().clone()
    }
}

/// A daemon that waits. It [ends](Self::end) when the node is to have the listeners.
///
/// Health is good, readiness is not; plugins are told to try again, and `status` what is waited for. Plugins that ask by TCP
/// find nobody.
#[derive(Debug)]
pub struct Waiting {
    reason: Reason,
    told_to_end: watch::Receiver<bool>,
    stop: watch::Sender<bool>,
    manage: Option<Manage>,
    server: JoinSet<std::io::Result<()>>,
    _socket: Socket,
}

impl Waiting {
    /// Listens where the node is to listen, and waits for `what`.
    ///
    /// # Errors
    /// As of [`Node::start_with`](crate::Node::start_with): `Conflict` when somebody else listens there, `Invalid` for an
    /// address that is not this machine's.
    pub async fn listen(
        listeners: &Listeners,
        observer: Arc<Observer>,
        what: impl Into<String>,
    ) -> Result<Self> {
        let (socket, listener) = Socket::listen(&listeners.socket)?;
        let manage = match listeners.manage {
            Some(address) => Bound::bind_if(address, listeners.manage_required).await?,
            None => None,
        };
        let reason = Reason(watch::Sender::new(what.into()));
        let (tell, told_to_end) = watch::channel(false);
        let service = Arc::new(Unready { reason: reason.clone(), observer, tell });
        let manage = manage.map(|bound| bound.wait(reason.clone()));
        let mut server = JoinSet::new();
        let (stop, mut stopped) = watch::channel(false);
        let stopped = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
        server.spawn(contract::serve_owner(listener, service.clone(), service, stopped));
        Ok(Self { reason, told_to_end, stop, manage, server, _socket: socket })
    }

    /// Answers who has asked, and lets go of the listeners. Who keeps a connection open for nothing has to connect again.
    pub async fn end(mut self) {
        self.stop.send_replace(true);
        // What is left then ends at once.
        drop(timeout(LAST_ANSWERS, self.server.join_next()).await);
        self.server.shutdown().await;
        if let Some(manage) = self.manage.take() {
            manage.end().await;
        }
    }

    /// Takes what is waited for now.
    pub fn waits_for(&self, what: impl Into<String>) {
        self.reason.0.send_replace(what.into());
    }

    /// Where health can be read; `None` where nobody asked for that.
    pub fn manage_address(&self) -> Option<std::net::SocketAddr> {
        self.manage.as_ref().map(Manage::address)
    }

    /// Waits until somebody who may open the socket wants the daemon to end.
    pub async fn told_to_end(&self) {
        // Whoever could tell lives as long as this.
        let _ = self.told_to_end.clone().wait_for(|told| *told).await;
    }
}

/// Answers that it cannot be done yet.
#[derive(Debug)]
struct Unready {
    reason: Reason,
    observer: Arc<Observer>,
    tell: watch::Sender<bool>,
}

impl Unready {
    fn refuse<T>(
        &self,
        command: Command,
        subject: impl std::fmt::Display,
    ) -> std::result::Result<T, CniError> {
        let error = Error::new(ErrorKind::Transient, "serve", subject).detail(self.why());
        Err(CniError::from_core(command, &error))
    }

    fn why(&self) -> String {
        format!("the daemon has just started, and waits: {}", self.reason.now())
    }
}

#[async_trait]
impl NodeService for Unready {
    async fn add(&self, request: Add) -> std::result::Result<Interface, CniError> {
        self.refuse(Command::Add, &request.key)
    }

    async fn del(&self, request: Del) -> std::result::Result<(), CniError> {
        self.refuse(Command::Del, &request.key)
    }

    async fn check(&self, request: Check) -> std::result::Result<Interface, CniError> {
        self.refuse(Command::Check, &request.key)
    }

    async fn gc(&self, request: Gc) -> std::result::Result<Freed, CniError> {
        self.refuse(Command::Gc, &request.network)
    }

    async fn status(&self) -> NodeStatus {
        let not_ready = NotReady { running_affected: false, reason: self.why() };
        NodeStatus { not_ready: Some(not_ready), state: show::waiting_state(&self.observer) }
    }

    async fn nics(&self) -> std::result::Result<Vec<v1::Nic>, CniError> {
        self.refuse(Command::Status, "the list of NICs")
    }

    async fn pods(&self) -> std::result::Result<Vec<v1::PodAttachment>, CniError> {
        self.refuse(Command::Status, "the list of pods")
    }

    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }
}

#[async_trait]
impl ControlService for Unready {
    async fn clean(&self, _patience: Duration) -> std::result::Result<Cleaned, CniError> {
        self.refuse(Command::Status, "clean")
    }

    async fn shutdown(&self) -> std::result::Result<(), CniError> {
        tracing::info!("told to stop by a command");
        self.tell.send_replace(true);
        Ok(())
    }
}
