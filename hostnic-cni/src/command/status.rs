//! STATUS: whether an ADD would be served.

use crate::daemon::Daemon;
use crate::error::CniError;

/// The daemon answers from memory. A pool that is empty for the moment is no fault to it: a runtime makes the whole node
/// not ready for one, and the pods whose deletion would free addresses would be stuck on it.
pub(super) fn run(daemon: &Daemon) -> Result<String, CniError> {
    let status = daemon.ask(async |client, _| client.status().await)?;
    status.not_ready.map_or(Ok(String::new()), |not_ready| Err(not_ready.to_error()))
}
