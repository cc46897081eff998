//! GC: frees what no living container holds.

use crate::config::NetworkConfig;
use crate::contract::{Freed, Gc};
use crate::daemon::Daemon;
use crate::error::{CniError, Code};

/// Does nothing where the runtime does not say what lives: freeing everything on a misunderstanding would cut every pod
/// off, and the daemon finds dead attachments by itself.
pub(crate) fn run(config: &NetworkConfig, daemon: &Daemon) -> Result<String, CniError> {
    let Some(valid) = config.valid_attachments()? else { return Ok(String::new()) };
    let network = config.name().clone();
    let freed = daemon.ask(async |client, call| client.gc(&Gc { network, valid, call }).await)?;
    report(config, freed)
}

/// All failures in one error; its code is theirs where they agree.
fn report(config: &NetworkConfig, Freed { freed, failures }: Freed) -> Result<String, CniError> {
    let Some(first) = failures.first() else { return Ok(String::new()) };
    let code = if failures.iter().all(|f| f.code == first.code) { first.code } else { Code::TryAgainLater };
    let lines: Vec<String> = failures
        .iter()
        .map(|failure| match failure.details.as_str() {
            "" => failure.message.clone(),
            details => format!("{}: {details}", failure.message),
        })
        .collect();
    let message = format!(
        "of network {} {freed} stale attachments were freed, {} were not: {}",
        config.name(),
        failures.len(),
        first.message
    );
    Err(CniError::new(code, message).details(lines.join("\n")))
}
