//! Many pods at once.

use std::time::Duration;

use futures::future::try_join_all;
use serde::Serialize;
use tokio::time::Instant;

use super::contender::Contender;
use super::run::BenchError;
use super::summary::millis;
use crate::sandbox::Sandbox;

/// How long it took until the last of many had its answer.
#[derive(Debug, Clone, Serialize)]
pub struct Burst {
    /// The plugin.
    pub plugin: &'static str,
    /// How many pods.
    pub pods: usize,
    /// All ADDs, in milliseconds.
    pub adds_ms: f64,
    /// All DELs, in milliseconds.
    pub dels_ms: f64,
    /// From the first DEL until every NIC can be used again, in milliseconds.
    pub released_ms: f64,
}

/// ADDs a pod in each sandbox at once, and then DELs them; `released` ends when their NICs can be used again.
pub(super) async fn burst(
    contenders: &[Contender],
    sandboxes: &[Sandbox],
    released: impl Future<Output = ()>,
) -> Result<Burst, BenchError> {
    let adds = all("ADD", contenders, sandboxes).await?;
    let begun = Instant::now();
    let dels = all("DEL", contenders, sandboxes).await?;
    released.await;
    let released = begun.elapsed();
    let plugin = contenders.first().map_or("none", |contender| contender.name);
    Ok(Burst {
        plugin,
        pods: sandboxes.len(),
        adds_ms: millis(adds),
        dels_ms: millis(dels),
        released_ms: millis(released),
    })
}

async fn all(
    command: &'static str,
    contenders: &[Contender],
    sandboxes: &[Sandbox],
) -> Result<Duration, BenchError> {
    let begun = Instant::now();
    let calls = contenders.iter().zip(sandboxes).map(|(contender, sandbox)| {
        let id = sandbox.id.clone();
        async move { contender.run(command, &id, sandbox).await }
    });
    try_join_all(calls).await?;
    Ok(begun.elapsed())
}
