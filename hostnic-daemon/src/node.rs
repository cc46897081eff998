//! One node: the agent, and the socket that the plugin asks it on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hostnic_cni::contract;
use hostnic_core::agent::{Agent, AgentConfig, AgentParts};
use hostnic_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

use crate::service::Service;
use crate::socket::Socket;

/// A node that serves. It works as long as this value lives; [`Node::stop`] ends it in good order.
#[derive(Debug)]
pub struct Node {
    agent: Arc<Agent>,
    stop: oneshot::Sender<()>,
    server: Server,
    _socket: Socket,
}

/// The server's task; it ends with this.
#[derive(Debug)]
struct Server(JoinHandle<std::io::Result<()>>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Node {
    /// Starts the agent and listens on `socket`.
    ///
    /// # Errors
    /// Those of [`Agent::start`], and `Conflict` when another daemon listens there.
    pub async fn start(parts: AgentParts, config: AgentConfig, socket: &Path) -> Result<Self> {
        let (socket, listener) = Socket::listen(socket)?;
        let mode = config.datapath;
        let agent = Arc::new(Agent::start(parts, config).await?);
        let service = Arc::new(Service::new(agent.clone(), mode));
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(contract::serve(listener, service, async move {
            // A sender that was dropped asks for the same.
            let _ = stopped.await;
        }));
        Ok(Self { agent, stop, server: Server(server), _socket: socket })
    }

    /// The agent.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Waits until the node cannot go on: its server has ended, or its records are damaged. It should then be started
    /// again.
    pub async fn failed(&mut self) -> Error {
        tokio::select! {
            ended = &mut self.server.0 => server_ended(ended),
            error = self.agent.broken() => error,
        }
    }

    /// Takes no more requests, finishes those that are under way, within `patience`, and lets go of the store, within as
    /// long again. Pods keep their interfaces, and the pool its NICs, for the next start.
    pub async fn stop(self, patience: Duration) {
        let Self { agent, stop, server, _socket } = self;
        finish(stop, server, patience).await;
        let_go(&agent, patience).await;
    }

    /// The same, but gives the NICs back that no pod has, within what is left of `patience`. Answers how many of them
    /// could not be given back in time; the next start finds those.
    ///
    /// Dropping the future stops all of it at once; nothing is lost by that.
    pub async fn stop_emptied(self, patience: Duration) -> usize {
        let Self { agent, stop, server, _socket } = self;
        let begun = Instant::now();
        finish(stop, server, patience).await;
        let left = agent.drain(patience.saturating_sub(begun.elapsed())).await;
        let of_pods = agent.nics().iter().filter(|nic| nic.has_holder()).count();
        let_go(&agent, patience).await;
        left.saturating_sub(of_pods)
    }
}

/// Takes no more requests, and waits for those that are under way.
async fn finish(stop: oneshot::Sender<()>, mut server: Server, patience: Duration) {
    // The server may be gone already.
    let _ = stop.send(());
    if tokio::time::timeout(patience, &mut server.0).await.is_err() {
        tracing::warn!(?patience, "requests are still under way; they are finished at the next start");
    }
}

/// Whoever starts again must find the store closed. What keeps it from closing is not worth more patience.
async fn let_go(agent: &Agent, patience: Duration) {
    if tokio::time::timeout(patience, agent.stop()).await.is_err() {
        tracing::warn!(?patience, "the state store does not close; it is left as it is, which loses nothing");
    }
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
