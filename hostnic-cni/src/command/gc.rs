//! GC: frees what no living container holds.

use hostnic_core::attachment::NetworkName;

use crate::config::NetworkConfig;
use crate::contract::{Freed, Gc, ValidAttachment};
use crate::daemon::Daemon;
use crate::error::{CniError, Code};

#[derive(Debug)]
pub(crate) struct GcJob {
    network: NetworkName,
    valid: Option<Vec<ValidAttachment>>,
}

impl GcJob {
    pub(super) fn read(config: &NetworkConfig) -> Result<Self, CniError> {
        Ok(Self { network: config.name().clone(), valid: config.valid_attachments()? })
    }

    /// Does nothing where the runtime does not say what lives: freeing everything on a misunderstanding would cut every
    /// pod off, and the daemon finds dead attachments by itself.
    pub(super) fn run(self, daemon: &Daemon) -> Result<String, CniError> {
        let Some(valid) = self.valid else { return Ok(String::new()) };
        let network = self.network.clone();
        let freed = daemon.ask(async |client, call| client.gc(&Gc { network, valid, call }).await)?;
        report(&self.network, &freed)
    }
}

/// All failures in one error; its code is theirs where they agree.
fn report(network: &NetworkName, Freed { freed, failures }: &Freed) -> Result<String, CniError> {
    let Some(first) = failures.first() else { return Ok(String::new()) };
    let code = if failures.iter().all(|f| f.code == first.code) { first.code } else { Code::TryAgainLater };
    let line = |failure: &CniError| match failure.details.as_str() {
        "" => failure.message.clone(),
        details => format!("{}: {details}", failure.message),
    };
    let message = format!(
        "of network {network} {freed} stale attachments were freed, {} were not: {}",
        failures.len(),
        first.message
    );
    Err(CniError::new(code, message).details(failures.iter().map(line).collect::<Vec<_>>().join("\n")))
}
