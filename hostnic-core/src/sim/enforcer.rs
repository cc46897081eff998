//! Who enforces network policies, in memory: as slow as he is told to be, and away when he is told to be.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;

use crate::attachment::PodRef;
use crate::enforcer::PolicyEnforcer;
use crate::error::{Error, ErrorKind, Result};

/// Somebody who enforces policies, and remembers what he was told. Clones are handles of the same.
#[derive(Debug, Clone, Default)]
pub struct SimEnforcer(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    latency: Duration,
    failing: Option<ErrorKind>,
    asked: u64,
    known: BTreeMap<String, IpAddr>,
    later: Vec<(String, IpAddr)>,
}

impl SimEnforcer {
    /// One who is told at once, and knows of no pod.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of it is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long it takes to tell him anything.
    pub fn set_latency(&self, latency: Duration) {
        self.state().latency = latency;
    }

    /// From now on he cannot be told, and this kind of error says so; `None` for that he can.
    pub fn set_failing(&self, kind: Option<ErrorKind>) {
        self.state().failing = kind;
    }

    /// How often it was begun to tell him something.
    pub fn asked(&self) -> u64 {
        self.state().asked
    }

    /// The address of a pod, as far as he was told.
    pub fn address(&self, pod: &PodRef) -> Option<IpAddr> {
        self.state().known.get(&pod.to_string()).copied()
    }

    /// What was left to be told later, by pod, in that order.
    pub fn left_for_later(&self) -> Vec<(String, IpAddr)> {
        self.state().later.clone()
    }
}

#[async_trait]
impl PolicyEnforcer for SimEnforcer {
    async fn tell(&self, pod: &PodRef, address: IpAddr) -> Result<()> {
        let latency = {
            let mut state = self.state();
            state.asked += 1;
            state.latency
        };
        if !latency.is_zero() {
            sleep(latency).await;
        }
        let mut state = self.state();
        if let Some(kind) = state.failing {
            return Err(Error::new(kind, "tell", "the simulated enforcer").detail("it was told to fail"));
        }
        state.known.insert(pod.to_string(), address);
        Ok(())
    }

    fn tell_later(&self, pod: &PodRef, address: IpAddr) {
        self.state().later.push((pod.to_string(), address));
    }
}
