//! The commands of whoever may open the daemon's socket.

use std::time::Duration;

use async_trait::async_trait;
use hostnic_cni::contract::{Cleaned, ControlService};
use hostnic_cni::error::CniError;
use tokio::sync::watch;

use crate::facts::Facts;

/// Carries commands out.
#[derive(Debug)]
pub(crate) struct Commands {
    facts: Facts,
    told_to_end: watch::Sender<bool>,
}

impl Commands {
    /// `told_to_end` becomes true when somebody wants the daemon to end.
    pub(crate) fn new(facts: Facts, told_to_end: watch::Sender<bool>) -> Self {
        Self { facts, told_to_end }
    }
}

#[async_trait]
impl ControlService for Commands {
    async fn clean(&self, patience: Duration) -> Result<Cleaned, CniError> {
        let cleaned = self.facts.agent.clean(patience).await;
        tracing::info!(
            given_back = cleaned.given_back,
            left = cleaned.left,
            held = cleaned.held,
            "told to clean: free NICs are given back and new ones made"
        );
        let few = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(Cleaned { given_back: few(cleaned.given_back), left: few(cleaned.left), held: few(cleaned.held) })
    }

    async fn shutdown(&self) -> Result<(), CniError> {
        tracing::info!("told to stop by a command");
        self.told_to_end.send_replace(true);
        Ok(())
    }
}
