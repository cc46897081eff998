//! DEL: a container's interface goes, and its address is free again.

use crate::config::NetworkConfig;
use crate::contract::Del;
use crate::daemon::Daemon;
use crate::environment::Environment;
use crate::error::CniError;
use crate::netns::{self, Named};

/// Needs the ids only. A namespace that is the plugin's own is no error here, as it is in an ADD: a path such as
/// /proc/PID/ns/net comes to name the node's namespace when the PID is used again, and the address must be freed all
/// the same. It is left out, so that nobody looks for the interface there.
pub(crate) fn run(
    environment: &Environment<'_>,
    config: &NetworkConfig,
    daemon: &Daemon,
) -> Result<String, CniError> {
    let detached = environment.detached()?;
    let netns = detached.netns.filter(|path| netns::look(path) == Named::Other);
    let key = super::key(config, &detached.container, &detached.ifname);
    daemon.ask(async |client, call| client.del(&Del { key, netns, call }).await)?;
    Ok(String::new())
}
