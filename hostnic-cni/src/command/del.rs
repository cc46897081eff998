//! DEL: a container's interface goes, and its address is free again.

use hostnic_core::attachment::{AttachmentKey, NetnsPath};

use crate::config::NetworkConfig;
use crate::contract::Del;
use crate::daemon::Daemon;
use crate::environment::Environment;
use crate::error::CniError;
use crate::netns::{self, Named};

#[derive(Debug)]
pub(crate) struct DelJob {
    key: AttachmentKey,
    netns: Option<NetnsPath>,
}

impl DelJob {
    /// Needs the ids only.
    pub(super) fn read(environment: &Environment<'_>, config: &NetworkConfig) -> Result<Self, CniError> {
        let detached = environment.detached()?;
        let key = super::key(config, &detached.container, &detached.ifname);
        Ok(Self { key, netns: detached.netns })
    }

    /// A namespace that is the plugin's own is no error here, as it is in an ADD: a path such as /proc/PID/ns/net comes
    /// to name the node's namespace when the PID is used again, and the address must be freed all the same. It is left
    /// out, so that nobody looks for the interface there.
    pub(super) fn run(self, daemon: &Daemon) -> Result<String, CniError> {
        let netns = self.netns.filter(|path| netns::look(path) == Named::Other);
        daemon.ask(async |client, call| client.del(&Del { key: self.key, netns, call }).await)?;
        Ok(String::new())
    }
}
