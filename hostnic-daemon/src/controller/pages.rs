//! What the controller shows: whether it is alive, and whether it works.

use std::fmt;

use hyper::{Method, StatusCode};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

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
pub(super) struct Pages(Registry);

impl Pages {
    pub(super) fn new(state: State) -> Self {
        let mut registry = Registry::default();
        let leading = "Whether this controller works; of all of them one does";
        registry.register("hostnic_controller_leading", leading, state.leading);
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("hostnic_build", "The release that runs", version);
        Self(registry)
    }

    fn metrics(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.0)?;
        Ok(text)
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
            // One that waits to take another's place is as it should be.
            "/readyz" => readiness(Vec::new()),
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
        let pages = Pages::new(state.clone());
        let shown = || pages.metrics().unwrap().contains("hostnic_controller_leading 1");
        assert!(!shown());
        let leading = state.leading();
        assert!(shown());
        drop(leading);
        assert!(!shown());
    }
}
