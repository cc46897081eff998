//! What the plugin does for each command: first everything is read, then somebody is asked.

mod add;
mod check;
mod del;
mod gc;
mod status;
mod version;

use hostnic_core::attachment::{AttachmentKey, ContainerId, IfName};

use crate::config::NetworkConfig;
use crate::daemon::Daemon;
use crate::environment::{Attached, Command, Environment};
use crate::error::{CniError, Code};
use crate::netns::{self, Named};
use crate::version::Version;

pub(crate) use version::versions;

/// A command with all that it was told. Making one touches nothing but the input.
#[derive(Debug)]
pub(crate) enum Job {
    Add(add::AddJob),
    Del(del::DelJob),
    Check(check::CheckJob),
    Gc(gc::GcJob),
    Status,
    Version(Version),
}

impl Job {
    /// Reads what the command needs, so that a mistake is found before anything is asked for.
    pub(crate) fn read(
        command: Command,
        environment: &Environment<'_>,
        config: &NetworkConfig,
    ) -> Result<Self, CniError> {
        Ok(match command {
            Command::Add => Self::Add(add::AddJob::read(environment, config)?),
            Command::Del => Self::Del(del::DelJob::read(environment, config)?),
            Command::Check => Self::Check(check::CheckJob::read(environment, config)?),
            Command::Gc => Self::Gc(gc::GcJob::read(config)?),
            Command::Status => Self::Status,
            Command::Version => Self::Version(config.version()),
        })
    }

    /// Whether it is an ADD of a pod that an orchestrator has placed here.
    pub(crate) fn is_of_placed_pod(&self) -> bool {
        matches!(self, Self::Add(job) if job.is_of_placed_pod())
    }

    /// Does it, and gives what is to be printed.
    pub(crate) fn run(self, daemon: &Daemon) -> Result<String, CniError> {
        match self {
            Self::Add(job) => job.run(daemon),
            Self::Del(job) => job.run(daemon),
            Self::Check(job) => job.run(daemon),
            Self::Gc(job) => job.run(daemon),
            Self::Status => status::run(daemon),
            Self::Version(version) => versions(version),
        }
    }
}

fn key(config: &NetworkConfig, container: &ContainerId, ifname: &IfName) -> AttachmentKey {
    AttachmentKey { network: config.name().clone(), container: container.clone(), ifname: ifname.clone() }
}

/// Refuses a namespace in which no container can be.
fn refuse_no_sandbox(attached: &Attached) -> Result<(), CniError> {
    let refuse =
        |why| Err(CniError::new(Code::InvalidNetns, format_args!("CNI_NETNS {} {why}", attached.netns)));
    match netns::look(&attached.netns) {
        Named::Nothing => refuse("names no namespace: nothing is there"),
        Named::Own if !attached.own_netns_allowed => {
            refuse("is the plugin's own namespace, not a container's; CNI_NETNS_OVERRIDE=1 would allow it")
        }
        Named::Own | Named::Other => Ok(()),
    }
}
