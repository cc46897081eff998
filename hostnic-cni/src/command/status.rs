//! STATUS: whether an ADD would be served.

use crate::daemon::Daemon;
use crate::error::CniError;

/// The daemon answers from memory, and does not count a pool that is empty for the moment as a fault: a runtime makes the
/// whole node not ready for that, and pods that could be deleted to free addresses would be stuck on it.
pub(crate) fn run(daemon: &Daemon) -> Result<String, CniError> {
    let status = daemon.ask(async |client, _| client.status().await)?;
    status.not_ready.map_or(Ok(String::new()), |not_ready| Err(not_ready.to_error()))
}
