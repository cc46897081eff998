//! What the plugin does for each command.

pub(crate) mod add;
pub(crate) mod check;
pub(crate) mod del;
pub(crate) mod gc;
pub(crate) mod status;
pub(crate) mod version;

use hostnic_core::attachment::{AttachmentKey, ContainerId, IfName};

use crate::config::NetworkConfig;
use crate::environment::Attached;
use crate::error::{CniError, Code};
use crate::netns::{self, Named};

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
