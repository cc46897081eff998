//! CHECK: whether an attachment still is what its ADD answered.

use hostnic_core::attachment::AttachmentKey;

use crate::config::NetworkConfig;
use crate::contract::{Check, Interface, PreviousInterface};
use crate::daemon::Daemon;
use crate::environment::{Attached, Environment};
use crate::error::{CniError, Code};

#[derive(Debug)]
pub(crate) struct CheckJob {
    key: AttachmentKey,
    attached: Attached,
    previous: PreviousInterface,
}

impl CheckJob {
    pub(super) fn read(environment: &Environment<'_>, config: &NetworkConfig) -> Result<Self, CniError> {
        let attached = environment.attached()?;
        let wrong = |what: &str| {
            CniError::new(Code::InvalidConfig, format_args!("prevResult in the network configuration {what}"))
        };
        let result = config.previous()?.ok_or_else(|| {
            wrong("is missing; a CHECK needs what the ADD and the plugins after it answered")
        })?;
        let previous = result.interface(&attached.ifname, &attached.netns).ok_or_else(|| {
            wrong(&format!("has no interface {} in sandbox {}", attached.ifname, attached.netns))
        })?;
        Ok(Self { key: super::key(config, &attached.container, &attached.ifname), attached, previous })
    }

    /// The daemon compares its record with the kernel; the runtime's record is compared with the daemon's here.
    pub(super) fn run(self, daemon: &Daemon) -> Result<String, CniError> {
        let Self { key, attached, previous } = self;
        super::refuse_no_sandbox(&attached)?;
        let present = daemon.ask(async |client, call| {
            let check = Check { key: key.clone(), netns: attached.netns, previous: previous.clone(), call };
            client.check(&check).await
        })?;
        compare(&key, &previous, &present)?;
        Ok(String::new())
    }
}

/// Plugins later in the chain may have added addresses to the interface; what this one gave must still be among them.
fn compare(key: &AttachmentKey, expected: &PreviousInterface, present: &Interface) -> Result<(), CniError> {
    let differs = |what: String| Err(CniError::new(Code::Drift, format_args!("check {key}: {what}")));
    if !expected.addresses.contains(&present.address) {
        return differs(format!("prevResult has not the address {}, which the pod holds", present.address));
    }
    match expected.mac {
        Some(mac) if mac != present.mac => {
            differs(format!("prevResult has the link address {mac}, the pod's NIC has {}", present.mac))
        }
        _ => Ok(()),
    }
}
