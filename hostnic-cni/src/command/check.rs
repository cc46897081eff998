//! CHECK: whether an attachment still is what its ADD answered.

use hostnic_core::attachment::AttachmentKey;

use crate::config::NetworkConfig;
use crate::contract::{Check, Interface, PreviousInterface};
use crate::daemon::Daemon;
use crate::environment::Environment;
use crate::error::{CniError, Code};

/// The daemon compares its record with the kernel; what is compared here is the runtime's record with the daemon's.
pub(crate) fn run(
    environment: &Environment<'_>,
    config: &NetworkConfig,
    daemon: &Daemon,
) -> Result<String, CniError> {
    let attached = environment.attached()?;
    let Some(result) = config.previous()? else {
        return Err(CniError::new(
            Code::InvalidConfig,
            "prevResult is missing in the network configuration; a CHECK needs what the ADD answered",
        ));
    };
    let Some(previous) = result.interface(&attached.ifname, &attached.netns) else {
        return Err(CniError::new(
            Code::InvalidConfig,
            format_args!(
                "prevResult in the network configuration has no interface {} in sandbox {}",
                attached.ifname, attached.netns
            ),
        ));
    };
    super::refuse_no_sandbox(&attached)?;
    let key = super::key(config, &attached.container, &attached.ifname);
    let check_key = key.clone();
    let expected = previous.clone();
    let present = daemon.ask(async |client, call| {
        client.check(&Check { key: check_key, netns: attached.netns, previous, call }).await
    })?;
    compare(&key, &expected, &present)?;
    Ok(String::new())
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
