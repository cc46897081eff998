//! The answering side.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hostnic_core::id::InvalidValue;
use tokio::net::{TcpListener, UnixListener};
use tonic::codegen::tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::error::{CniError, Code};

use super::both::Both;
use super::reply::{Cleaned, Freed, Interface, NodeStatus};
use super::request::{Add, Check, Del, Gc};
use super::tcp::{Incoming, TcpLimits};
use super::v1;
use super::v1::control_server::Control;
use super::v1::node_server::Node;

/// What a daemon does for the plugin. [`serve`] puts it on a socket.
///
/// Requests have been checked when they arrive here. Errors are printed by the plugin as they are;
/// [`CniError::from_core`] makes them of errors of the traits.
///
/// **Cancellation**: the future of a call is dropped when its caller goes away. Work that has to be undone or finished
/// all the same belongs in a task that outlives it.
#[async_trait]
pub trait NodeService: Send + Sync + 'static {
    /// Gives a container an interface; the same one again for a key that is attached in the same namespace.
    async fn add(&self, request: Add) -> Result<Interface, CniError>;

    /// Takes a container's interface back; success when there is none. Answered when nothing of the container's passes any
    /// more, which may be before its NIC is back. An error only for what a retry can mend.
    async fn del(&self, request: Del) -> Result<(), CniError>;

    /// The attachment on record, when the kernel agrees with it; [`Code::Drift`] or [`Code::NotAttached`] else.
    async fn check(&self, request: Check) -> Result<Interface, CniError>;

    /// Frees the attachments of a network that are not listed, going on after errors.
    async fn gc(&self, request: Gc) -> Result<Freed, CniError>;

    /// How the node is. Answered from memory, within milliseconds.
    async fn status(&self) -> NodeStatus;

    /// The NICs of the node, from memory.
    async fn nics(&self) -> Result<Vec<v1::Nic>, CniError>;

    /// The attachments of the node, from memory.
    async fn pods(&self) -> Result<Vec<v1::PodAttachment>, CniError>;

    /// The daemon's release.
    fn version(&self) -> String;
}

/// What a daemon does for a person. [`serve_owner`] puts it on a socket.
///
/// The future of a call is dropped when its caller goes away.
#[async_trait]
pub trait ControlService: Send + Sync + 'static {
    /// Gives the NICs back that no pod has, and waits until they are gone, at most `patience`.
    async fn clean(&self, patience: Duration) -> Result<Cleaned, CniError>;

    /// Begins to end the daemon in good order.
    async fn shutdown(&self) -> Result<(), CniError>;
}

/// Serves the plugin on `listener` until `shutdown` ends; then takes no more connections and waits for those that are
/// open. Commands are refused.
///
/// The caller bounds that wait by dropping the future, and sees to the socket's permissions: whoever can open it
/// commands the node's network.
///
/// # Errors
/// When the server cannot go on.
pub async fn serve<S: NodeService>(
    listener: UnixListener,
    service: Arc<S>,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    serve_owner(listener, service, Arc::new(Refusing), shutdown).await
}

/// As [`serve`], and takes commands: whoever can open the socket is the node's owner.
///
/// # Errors
/// As [`serve`].
pub async fn serve_owner<S: NodeService, C: ControlService>(
    listener: UnixListener,
    service: Arc<S>,
    control: Arc<C>,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    Server::builder()
        .serve_with_incoming_shutdown(
            Both::new(Adapter(service), Adapter(control)),
            UnixListenerStream::new(listener),
            shutdown,
        )
        .await
        .map_err(io::Error::other)
}

/// As [`serve`], for plugins whose configuration names an address, within `limits`. Whoever reaches the address commands the
/// node's network.
///
/// # Errors
/// As [`serve`].
pub async fn serve_tcp<S: NodeService>(
    listener: TcpListener,
    service: Arc<S>,
    limits: TcpLimits,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    Server::builder()
        // A peer that vanished without a word is found out.
        .http2_keepalive_interval(Some(KEEPALIVE))
        .concurrency_limit_per_connection(CALLS_AT_ONCE)
        .serve_with_incoming_shutdown(
            Both::new(Adapter(service), Adapter(Arc::new(Refusing))),
            Incoming::new(listener, limits),
            shutdown,
        )
        .await
        .map_err(io::Error::other)
}

/// How often a TCP connection that is silent is looked after.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// How many calls one TCP connection may have under way. A plugin has one.
const CALLS_AT_ONCE: usize = 64;

/// Takes no commands.
struct Refusing;

fn not_here() -> CniError {
    CniError::new(
        Code::Unsupported,
        "commands are taken on the daemon's own unix socket only; give the command its path with --socket",
    )
}

#[async_trait]
impl ControlService for Refusing {
    async fn clean(&self, _: Duration) -> Result<Cleaned, CniError> {
        Err(not_here())
    }

    async fn shutdown(&self) -> Result<(), CniError> {
        Err(not_here())
    }
}

/// Stands between the generated traits and ours, so that tonic ends here.
struct Adapter<S>(Arc<S>);

/// Only a client that is not ours sends what its types forbid.
fn refused(error: &InvalidValue) -> v1::Failure {
    CniError::new(Code::InvalidConfig, format_args!("the daemon was asked with a wrong value: {error}"))
        .into()
}

type Reply<T> = Result<Response<T>, Status>;

#[async_trait]
impl<S: NodeService> Node for Adapter<S> {
    async fn add(&self, request: Request<v1::AddRequest>) -> Reply<v1::AddReply> {
        use v1::add_reply::Outcome;
        let outcome = match Add::try_from(request.into_inner()) {
            Err(error) => Outcome::Failure(refused(&error)),
            Ok(add) => match self.0.add(add).await {
                Ok(interface) => Outcome::Interface((&interface).into()),
                Err(error) => Outcome::Failure(error.into()),
            },
        };
        Ok(Response::new(v1::AddReply { outcome: Some(outcome) }))
    }

    async fn del(&self, request: Request<v1::DelRequest>) -> Reply<v1::DelReply> {
        let failure = match Del::try_from(request.into_inner()) {
            Err(error) => Some(refused(&error)),
            Ok(del) => self.0.del(del).await.err().map(Into::into),
        };
        Ok(Response::new(v1::DelReply { failure }))
    }

    async fn check(&self, request: Request<v1::CheckRequest>) -> Reply<v1::CheckReply> {
        use v1::check_reply::Outcome;
        let outcome = match Check::try_from(request.into_inner()) {
            Err(error) => Outcome::Failure(refused(&error)),
            Ok(check) => match self.0.check(check).await {
                Ok(interface) => Outcome::Interface((&interface).into()),
                Err(error) => Outcome::Failure(error.into()),
            },
        };
        Ok(Response::new(v1::CheckReply { outcome: Some(outcome) }))
    }

    async fn gc(&self, request: Request<v1::GcRequest>) -> Reply<v1::GcReply> {
        let failed = |failure| v1::GcReply { freed: 0, failures: vec![failure] };
        let reply = match Gc::try_from(request.into_inner()) {
            Err(error) => failed(refused(&error)),
            Ok(gc) => match self.0.gc(gc).await {
                Ok(freed) => freed.into(),
                Err(error) => failed(error.into()),
            },
        };
        Ok(Response::new(reply))
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Reply<v1::StatusReply> {
        Ok(Response::new(self.0.status().await.into()))
    }

    async fn list_nics(&self, _: Request<v1::ListNicsRequest>) -> Reply<v1::ListNicsReply> {
        use v1::list_nics_reply::Outcome;
        let outcome = match self.0.nics().await {
            Ok(nics) => Outcome::Nics(v1::Nics { nics }),
            Err(error) => Outcome::Failure(error.into()),
        };
        Ok(Response::new(v1::ListNicsReply { outcome: Some(outcome) }))
    }

    async fn list_pods(&self, _: Request<v1::ListPodsRequest>) -> Reply<v1::ListPodsReply> {
        use v1::list_pods_reply::Outcome;
        let outcome = match self.0.pods().await {
            Ok(pods) => Outcome::Pods(v1::Pods { pods }),
            Err(error) => Outcome::Failure(error.into()),
        };
        Ok(Response::new(v1::ListPodsReply { outcome: Some(outcome) }))
    }

    async fn version(&self, _: Request<v1::VersionRequest>) -> Reply<v1::VersionReply> {
        Ok(Response::new(v1::VersionReply { daemon: self.0.version() }))
    }
}

#[async_trait]
impl<C: ControlService> Control for Adapter<C> {
    async fn clean(&self, request: Request<v1::CleanRequest>) -> Reply<v1::CleanReply> {
        use v1::clean_reply::Outcome;
        let patience = Duration::from_millis(request.into_inner().deadline_ms.into());
        let outcome = match self.0.clean(patience).await {
            Ok(cleaned) => Outcome::Cleaned(cleaned.into()),
            Err(error) => Outcome::Failure(error.into()),
        };
        Ok(Response::new(v1::CleanReply { outcome: Some(outcome) }))
    }

    async fn shutdown(&self, _: Request<v1::ShutdownRequest>) -> Reply<v1::ShutdownReply> {
        let failure = self.0.shutdown().await.err().map(Into::into);
        Ok(Response::new(v1::ShutdownReply { failure }))
    }
}
