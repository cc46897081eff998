//! The pages, and what is answered to everything else.

use hyper::{Method, StatusCode};
use serde::Serialize;

use super::http::Answers;
use super::metrics::Exposition;
use crate::facts::Facts;
use crate::show;
use crate::view::{Gateway, LastError, Nic, Pod, Pool, Vxnet};
use crate::waiting::Reason;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What there is to be read, for whoever asks for something else.
const PAGES: &str =
    "/metrics\n/healthz\n/readyz\n/v1/nics\n/v1/pods\n/v1/pool\n/v1/gateways\n/v1/vxnets\n/v1/errors\n";

/// What goes out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: String,
}

impl Reply {
    pub(crate) fn text(status: StatusCode, body: impl Into<String>) -> Self {
        Self { status, content_type: TEXT, body: body.into() }
    }

    /// Metrics, as OpenMetrics has them in text.
    pub(crate) fn metrics(text: Result<String, std::fmt::Error>) -> Self {
        match text {
            Ok(body) => Self { status: StatusCode::OK, content_type: OPEN_METRICS, body },
            Err(error) => Self::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }

    fn json(status: StatusCode, value: &impl Serialize) -> Self {
        match serde_json::to_string_pretty(value) {
            Ok(body) => Self { status, content_type: JSON, body: body + "\n" },
            Err(error) => Self::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }
}

/// Whether ADDs are served.
#[derive(Serialize)]
struct Ready {
    ready: bool,
    reasons: Vec<String>,
}

/// Which page a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    Metrics,
    Healthz,
    Readyz,
    Nics,
    Pods,
    Pool,
    Gateways,
    Vxnets,
    Errors,
}

/// What a request comes to, before anything is looked up.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Page(Page),
    Refused(Reply),
}

/// The commands that the Go daemons had here are answered whatever the method, as those did; pages can only be read.
fn wanted(method: &Method, path: &str) -> Wanted {
    let page = match path {
        "/metrics" => Page::Metrics,
        "/healthz" => Page::Healthz,
        "/readyz" => Page::Readyz,
        "/v1/nics" => Page::Nics,
        "/v1/pods" => Page::Pods,
        "/v1/pool" => Page::Pool,
        "/v1/gateways" => Page::Gateways,
        "/v1/vxnets" => Page::Vxnets,
        "/v1/errors" => Page::Errors,
        "/clearcache" => {
            return gone("NICs are given back by a command", "`hostnic-daemon clean`");
        }
        "/shutdown" => {
            return gone(
                "the daemon is stopped by a command",
                "`hostnic-daemon shutdown`, or, where systemd started it, `systemctl stop hostnic-daemon`",
            );
        }
        _ => {
            let body = format!("there is no {path} here, but these:\n{PAGES}");
            return Wanted::Refused(Reply::text(StatusCode::NOT_FOUND, body));
        }
    };
    if matches!(*method, Method::GET | Method::HEAD) {
        Wanted::Page(page)
    } else {
        let body = format!("{path} can only be read, with GET; commands are on the daemon's unix socket\n");
        Wanted::Refused(Reply::text(StatusCode::METHOD_NOT_ALLOWED, body))
    }
}

fn gone(what: &str, command: &str) -> Wanted {
    let body = format!("{what} on this node now: {command}; nothing was done\n");
    Wanted::Refused(Reply::text(StatusCode::GONE, body))
}

/// The pages of one node.
#[derive(Debug)]
pub(super) enum Pages {
    /// It serves, or is about to.
    Node(Box<NodePages>),
    /// It cannot be set up yet.
    Waiting(Reason),
}

/// What there is to be read of a node.
#[derive(Debug)]
pub(super) struct NodePages {
    facts: Facts,
    exposition: Exposition,
}

impl Pages {
    pub(super) fn new(facts: Facts) -> Self {
        Self::Node(Box::new(NodePages { exposition: Exposition::new(facts.clone()), facts }))
    }

    pub(super) fn waiting(reason: Reason) -> Self {
        Self::Waiting(reason)
    }
}

impl Answers for Pages {
    fn reply(&self, method: &Method, path: &str) -> Reply {
        match (wanted(method, path), self) {
            (Wanted::Refused(reply), _) => reply,
            (Wanted::Page(page), Self::Node(node)) => node.page(page),
            (Wanted::Page(page), Self::Waiting(reason)) => waiting(page, reason.now()),
        }
    }
}

/// A page of a daemon that waits.
fn waiting(page: Page, reason: String) -> Reply {
    match page {
        Page::Healthz => healthy(),
        Page::Readyz => readiness(vec![reason]),
        _ => Reply::text(StatusCode::SERVICE_UNAVAILABLE, format!("the daemon waits: {reason}\n")),
    }
}

pub(crate) fn healthy() -> Reply {
    Reply::text(StatusCode::OK, "ok\n")
}

pub(crate) fn readiness(reasons: Vec<String>) -> Reply {
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Reply::json(status, &Ready { ready, reasons })
}

impl NodePages {
    fn page(&self, page: Page) -> Reply {
        match page {
            Page::Metrics => Reply::metrics(self.exposition.text()),
            Page::Healthz => healthy(),
            Page::Readyz => readiness(self.facts.unready()),
            Page::Nics => {
                let nics = show::nics(&self.facts.agent).into_iter().map(Nic::from);
                Reply::json(StatusCode::OK, &nics.collect::<Vec<_>>())
            }
            Page::Pods => {
                let pods = show::pods(&self.facts.agent).into_iter().map(Pod::from);
                Reply::json(StatusCode::OK, &pods.collect::<Vec<_>>())
            }
            Page::Pool => {
                let pool = Pool::new(show::pool_settings(&self.facts), show::subnets(&self.facts));
                Reply::json(StatusCode::OK, &pool)
            }
            Page::Gateways => {
                let gateways = show::gateways(&self.facts.agent).into_iter().map(Gateway::from);
                Reply::json(StatusCode::OK, &gateways.collect::<Vec<_>>())
            }
            Page::Vxnets => {
                let vxnets = show::shared_nics(&self.facts.agent).into_iter().map(Vxnet::from);
                Reply::json(StatusCode::OK, &vxnets.collect::<Vec<_>>())
            }
            Page::Errors => {
                let errors = self.facts.observer.errors().latest().into_iter().map(LastError::from);
                Reply::json(StatusCode::OK, &errors.collect::<Vec<_>>())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(method: Method, path: &str) -> (u16, String) {
        match wanted(&method, path) {
            Wanted::Refused(reply) => (reply.status.as_u16(), reply.body),
            Wanted::Page(page) => panic!("{method} {path} is {page:?}"),
        }
    }

    #[test]
    fn the_commands_of_the_go_daemons_are_gone_and_name_what_to_use() {
        for method in [Method::GET, Method::POST] {
            let (status, body) = refused(method.clone(), "/clearcache");
            assert_eq!(status, 410);
            assert!(body.contains("`hostnic-daemon clean`"), "{body}");
            let (status, body) = refused(method, "/shutdown");
            assert_eq!(status, 410);
            assert!(body.contains("`hostnic-daemon shutdown`"), "{body}");
        }
    }

    #[test]
    fn pages_are_read_and_nothing_else() {
        for page in PAGES.lines() {
            assert!(matches!(wanted(&Method::GET, page), Wanted::Page(_)), "{page}");
            assert!(matches!(wanted(&Method::HEAD, page), Wanted::Page(_)), "{page}");
            for method in [Method::POST, Method::PUT, Method::DELETE] {
                assert_eq!(refused(method, page).0, 405, "{page}");
            }
        }
        for unknown in ["/", "/v1/nics/", "/v1", "/metrics/../v1/pods", "//metrics"] {
            let (status, body) = refused(Method::GET, unknown);
            assert_eq!(status, 404, "{unknown}");
            assert!(body.contains("/readyz"), "{body}");
        }
    }
}
