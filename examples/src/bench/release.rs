//! When a NIC whose DEL was answered can be given to the next pod.

use std::time::Duration;

use hostnic_core::clock::{BootTime, Clock, SystemClock};
use hostnic_core::id::MacAddr;
use hostnic_netlink::Netns;
use hostnic_netlink::watch::{LinkEvent, LinkEvents};
use tokio::time::timeout;

use super::daemon::Daemon;
use super::gauge::Measured;
use super::mode::Mode;
use super::run::BenchError;

/// How long a NIC may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for a pod's NIC to be released. Begun before the DEL, so that nothing is missed.
#[derive(Debug)]
pub(super) struct Release {
    events: LinkEvents,
    sign: Sign,
}

/// What the kernel tells when the node has its NIC back.
#[derive(Debug)]
enum Sign {
    /// The link of the NIC is there.
    Nic(Option<MacAddr>),
    /// The pod's veth is gone, which comes last.
    Veth,
}

impl Release {
    /// Of the NIC that this ADD gave a pod of the node.
    pub(super) async fn of(add: &Measured, node: &Netns, mode: Mode) -> Result<Self, BenchError> {
        let result: serde_json::Value = serde_json::from_str(&add.output).map_err(BenchError::Answer)?;
        let sign = match mode {
            Mode::Passthrough => {
                Sign::Nic(result["interfaces"][0]["mac"].as_str().and_then(|mac| mac.parse().ok()))
            }
            Mode::Veth | Mode::VethWithHairpin => Sign::Veth,
        };
        Ok(Self { events: LinkEvents::subscribe(node).await?, sign })
    }

    /// Waits until the NIC's link is back in the node and its lease has ended, and tells when that was. The daemon, whose
    /// processor time is measured, is asked only after the kernel has told of the link; and not at all of a pod behind a
    /// veth, whose lease ends up to a second later, together with others.
    pub(super) async fn wait(mut self, daemon: &Daemon) -> Result<BootTime, BenchError> {
        let released = async {
            loop {
                match (self.events.next().await?, &self.sign) {
                    (LinkEvent::Changed(link), Sign::Nic(nic)) if link.mac == *nic => break,
                    (LinkEvent::Gone(_), Sign::Veth) | (LinkEvent::Missed, _) => break,
                    _ => {}
                }
            }
            if let Sign::Nic(_) = self.sign {
                daemon.released().await;
            }
            Ok(SystemClock.now())
        };
        timeout(PATIENCE, released).await.unwrap_or(Err(BenchError::Kept))
    }
}
