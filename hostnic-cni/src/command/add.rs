//! ADD: an interface for a container.

use hostnic_core::attachment::{AttachmentKey, PodRef};

use crate::args::Args;
use crate::config::{NetworkConfig, Wishes};
use crate::contract::Add;
use crate::daemon::Daemon;
use crate::environment::{Attached, Environment};
use crate::error::CniError;
use crate::result::CniResult;
use crate::version::Version;

#[derive(Debug)]
pub(crate) struct AddJob {
    key: AttachmentKey,
    attached: Attached,
    pod: Option<PodRef>,
    wishes: Wishes,
    /// What the plugins before this one have answered.
    result: CniResult,
    version: Version,
}

impl AddJob {
    pub(super) fn read(environment: &Environment<'_>, config: &NetworkConfig) -> Result<Self, CniError> {
        let attached = environment.attached()?;
        Ok(Self {
            key: super::key(config, &attached.container, &attached.ifname),
            attached,
            pod: Args::parse(&environment.args()?)?.pod,
            wishes: config.wishes()?,
            result: config.previous()?.unwrap_or_default(),
            version: config.version(),
        })
    }

    pub(super) fn is_of_placed_pod(&self) -> bool {
        self.pod.is_some()
    }

    pub(super) fn run(self, daemon: &Daemon) -> Result<String, CniError> {
        let Self { key, attached, pod, wishes, mut result, version } = self;
        super::refuse_no_sandbox(&attached)?;
        let made = daemon.ask(async |client, call| {
            let add = Add {
                key,
                netns: attached.netns.clone(),
                pod,
                routes: wishes.routes,
                mtu: wishes.mtu,
                is_gateway: wishes.is_gateway,
                ip_masq: wishes.ip_masq,
                call,
            };
            client.add(&add).await
        })?;
        result.push(&attached.ifname, &attached.netns, &made);
        result.write(version)
    }
}
