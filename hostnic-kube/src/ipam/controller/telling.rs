//! Which events the controller writes.

use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::ConfigMap;

use super::namespaces::Shared;
use super::report::Outcome;
use crate::events::{About, Notice, Severity, Teller};
use crate::ipam::resources::VxNetPool;

/// Where events are left. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Telling {
    teller: Teller,
    /// What is told as soon as there is an object that it can be told of.
    first: Arc<Mutex<Vec<Notice>>>,
}

impl Telling {
    pub(super) fn new(teller: Teller, first: Vec<Notice>) -> Self {
        Self { teller, first: Arc::new(Mutex::new(first)) }
    }

    /// Tells what was to be told from the start.
    pub(super) fn at_first(&self, v_pool: &VxNetPool) {
        let first = std::mem::take(&mut *self.first.lock().unwrap_or_else(PoisonError::into_inner));
        for notice in first {
            self.warn_of(About::object(v_pool), notice);
        }
    }

    /// That a person must act on a vxnet.
    pub(super) fn of_vxnet(&self, v_pool: &VxNetPool, vxnet: &str, outcome: &Outcome) {
        if let Outcome::Refused { reason, message } = outcome {
            self.warn_of(About::object(v_pool), warning(reason, format!("{vxnet}: {message}")));
        }
    }

    /// That no block is left for some namespaces.
    pub(super) fn of_shares(&self, v_pool: &VxNetPool, shared: &Shared) {
        if let Shared::Given { wanting, .. } = shared
            && !wanting.is_empty()
        {
            self.warn_of(About::object(v_pool), warning("NoBlockLeft", no_block_left(wanting)));
        }
    }

    /// That the mapping is wrong.
    pub(super) fn of_config(&self, config: &ConfigMap, mistake: &str) {
        let message = format!(
            "{mistake}; nothing of it counts until it is corrected, and what it said before still does"
        );
        self.warn_of(About::object(config), warning("InvalidIpamConfig", message));
    }

    fn warn_of(&self, about: Option<About>, notice: Notice) {
        if let Some(about) = about {
            self.teller.event(about, notice);
        }
    }
}

fn warning(reason: &'static str, message: String) -> Notice {
    Notice { severity: Severity::Warning, reason, message }
}

pub(super) fn no_block_left(wanting: &[String]) -> String {
    format!("no block is left for {}; add a vxnet to v-pool", wanting.join(", "))
}
