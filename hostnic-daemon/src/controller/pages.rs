//! What the controller shows: whether it is alive, and whether it works.

use std::fmt;

use hostnic_kube::admission::AdmissionState;
use hyper::{Method, StatusCode};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::manage::{Answers, Reply, healthy, readiness};

/// What there is to be read, for whoever asks for something else.
const PAGES: &str = "/metrics\n/healthz\n/readyz\n";

/// What is known of this controller.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    leading: Gauge,
}

impl State {
    /// It works from now on, until this is dropped.
    pub(super) fn leading(&self) -> Leading {
        self.leading.set(1);
        Leading(self.clone())
    }
}

/// See [`State::leading`].
#[derive(Debug)]
pub(super) struct Leading(State);

impl Drop for Leading {
    fn drop(&mut self) {
        self.0.leading.set(0);
    }
}

/// The pages.
#[derive(Debug)]
pub(super) struct Pages {
    registry: Registry,
    /// How far the webhooks are, where any are answered.
    webhooks: Option<watch::Receiver<AdmissionState>>,
}

impl Pages {
    pub(super) fn new(state: State, webhooks: Option<watch::Receiver<AdmissionState>>) -> Self {
        let mut registry = Registry::default();
        let leading = "Whether this controller works; of all of them one does";
        registry.register("hostnic_controller_leading", leading, state.leading);
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("hostnic_build", "The release that runs", version);
        if let Some(webhooks) = webhooks.clone() {
            registry.register_collector(Box::new(Enforcing(webhooks)));
        }
        Self { registry, webhooks }
    }

    /// Why API servers and probes should not count on this controller. One that waits to take another's place is as it should be.
    fn unready(&self) -> Vec<String> {
        let serves = self.webhooks.as_ref().is_none_or(|webhooks| webhooks.borrow().serves);
        let why = "there is no certificate yet to answer webhooks with";
        (!serves).then(|| why.to_owned()).into_iter().collect()
    }

    fn metrics(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Whether the webhooks are enforced.
#[derive(Debug)]
struct Enforcing(watch::Receiver<AdmissionState>);

impl Collector for Enforcing {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Whether changes are refused for which no webhook answers";
        let name = "hostnic_controller_webhooks_enforced";
        let enforced = i64::from(self.0.borrow().enforces);
        encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&enforced)
    }
}

impl Answers for Pages {
    fn reply(&self, method: &Method, path: &str) -> Reply {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Reply::text(StatusCode::METHOD_NOT_ALLOWED, "pages can only be read, with GET\n");
        }
        match path {
            "/metrics" => Reply::metrics(self.metrics()),
            "/healthz" => healthy(),
            "/readyz" => readiness(self.unready()),
            _ => Reply::text(StatusCode::NOT_FOUND, format!("there is no {path} here, but these:\n{PAGES}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_it_works_is_shown() {
        let state = State::default();
        let (told, webhooks) = watch::channel(AdmissionState::default());
        let pages = Pages::new(state.clone(), Some(webhooks));
        assert_eq!(pages.unready().len(), 1);
        told.send_replace(AdmissionState { serves: true, enforces: true });
        assert_eq!(pages.unready().len(), 0);
        assert!(pages.metrics().unwrap().contains("hostnic_controller_webhooks_enforced 1"));
        let shown = || pages.metrics().unwrap().contains("hostnic_controller_leading 1");
        assert!(!shown());
        let leading = state.leading();
        assert!(shown());
        drop(leading);
        assert!(!shown());
    }
}
