//! The calls of the contract, counted under the names that the Go daemons' gRPC library gave them.

use std::sync::Arc;

use async_trait::async_trait;
use hostnic_cni::contract::{Add, Check, Del, Freed, Gc, Interface, NodeService, NodeStatus, v1};
use hostnic_cni::error::{CniError, Code};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::{Label, Observer};

const SERVICE: Label = ("grpc_service", "hostnic.v1.Node");
const UNARY: Label = ("grpc_type", "unary");

const OK: &str = "OK";
/// The code of a call that nobody waited for any more. gRPC spells it so.
const CANCELED: &str = "Canceled";

/// The methods of the contract.
#[derive(Debug, Clone, Copy)]
enum Method {
    Add,
    Del,
    Check,
    Gc,
    Status,
    ListNics,
    ListPods,
}

impl Method {
    const ALL: [Self; 7] =
        [Self::Add, Self::Del, Self::Check, Self::Gc, Self::Status, Self::ListNics, Self::ListPods];

    fn labels(self) -> [Label; 3] {
        let name = match self {
            Self::Add => "Add",
            Self::Del => "Del",
            Self::Check => "Check",
            Self::Gc => "Gc",
            Self::Status => "Status",
            Self::ListNics => "ListNics",
            Self::ListPods => "ListPods",
        };
        [("grpc_method", name), SERVICE, UNARY]
    }
}

/// How often each method was called, and how that ended.
#[derive(Debug)]
pub(crate) struct GrpcCalls {
    pub(crate) started: Family<[Label; 3], Counter>,
    pub(crate) handled: Family<[Label; 4], Counter>,
    pub(crate) received: Family<[Label; 3], Counter>,
    pub(crate) sent: Family<[Label; 3], Counter>,
}

impl Default for GrpcCalls {
    fn default() -> Self {
        let calls = Self {
            started: Family::default(),
            handled: Family::default(),
            received: Family::default(),
            sent: Family::default(),
        };
        for method in Method::ALL {
            for family in [&calls.started, &calls.received, &calls.sent] {
                drop(family.get_or_create(&method.labels()));
            }
            drop(calls.handled.get_or_create(&with_code(method, OK)));
        }
        calls
    }
}

fn with_code(method: Method, code: &'static str) -> [Label; 4] {
    let [name, service, unary] = method.labels();
    [("grpc_code", code), name, service, unary]
}

/// The name that gRPC has for a failure, which in this contract is part of the reply.
fn grpc_code(code: Code) -> &'static str {
    match code {
        Code::InvalidConfig
        | Code::UnsupportedField
        | Code::InvalidEnvironment
        | Code::InvalidNetns
        | Code::Decode => "InvalidArgument",
        Code::TryAgainLater | Code::NotAvailable | Code::LimitedConnectivity => "Unavailable",
        Code::Conflict => "AlreadyExists",
        Code::Drift => "FailedPrecondition",
        Code::NotAttached => "NotFound",
        Code::Unsupported | Code::IncompatibleVersion => "Unimplemented",
        Code::Damaged => "DataLoss",
        Code::Io | Code::Internal => "Internal",
        _ => "Unknown",
    }
}

/// A service whose calls are counted.
#[derive(Debug)]
pub(crate) struct Counted<S> {
    inner: S,
    observer: Arc<Observer>,
}

impl<S> Counted<S> {
    pub(crate) fn new(inner: S, observer: Arc<Observer>) -> Self {
        Self { inner, observer }
    }

    fn begin(&self, method: Method) -> Running<'_> {
        let calls = self.observer.grpc();
        calls.started.get_or_create(&method.labels()).inc();
        calls.received.get_or_create(&method.labels()).inc();
        Running { calls, method, code: CANCELED }
    }

    async fn count<T>(
        &self,
        method: Method,
        work: impl Future<Output = Result<T, CniError>>,
    ) -> Result<T, CniError> {
        let running = self.begin(method);
        let result = work.await;
        running.end(result.as_ref().map_or_else(|error| grpc_code(error.code), |_| OK));
        result
    }
}

/// Counts the end on drop, which is where a call whose caller hung up comes by too.
struct Running<'a> {
    calls: &'a GrpcCalls,
    method: Method,
    code: &'static str,
}

impl Running<'_> {
    fn end(mut self, code: &'static str) {
        self.code = code;
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.calls.handled.get_or_create(&with_code(self.method, self.code)).inc();
        if self.code != CANCELED {
            self.calls.sent.get_or_create(&self.method.labels()).inc();
        }
    }
}

#[async_trait]
impl<S: NodeService> NodeService for Counted<S> {
    async fn add(&self, request: Add) -> Result<Interface, CniError> {
        self.count(Method::Add, self.inner.add(request)).await
    }

    async fn del(&self, request: Del) -> Result<(), CniError> {
        self.count(Method::Del, self.inner.del(request)).await
    }

    async fn check(&self, request: Check) -> Result<Interface, CniError> {
        self.count(Method::Check, self.inner.check(request)).await
    }

    async fn gc(&self, request: Gc) -> Result<Freed, CniError> {
        self.count(Method::Gc, self.inner.gc(request)).await
    }

    async fn status(&self) -> NodeStatus {
        let running = self.begin(Method::Status);
        let status = self.inner.status().await;
        running.end(OK);
        status
    }

    async fn nics(&self) -> Result<Vec<v1::Nic>, CniError> {
        self.count(Method::ListNics, self.inner.nics()).await
    }

    async fn pods(&self) -> Result<Vec<v1::PodAttachment>, CniError> {
        self.count(Method::ListPods, self.inner.pods()).await
    }

    fn version(&self) -> String {
        self.inner.version()
    }
}
