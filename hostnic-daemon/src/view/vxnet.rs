//! The NICs that pods share in JSON.

use hostnic_cni::contract::v1;
use serde::Serialize;

/// A vxnet that this node has a NIC in for pods that share it.
#[derive(Debug, Serialize)]
pub(crate) struct Vxnet {
    pub(crate) vxnet: String,
    /// The cloud's id of the NIC; `null` while it is created.
    pub(crate) nic: Option<String>,
    pub(crate) mac: Option<String>,
    /// The routing table of what its pods send; `null` before the first one.
    pub(crate) table: Option<u32>,
    pub(crate) state: &'static str,
    pub(crate) pods: u32,
    /// For how many seconds no pod has had it.
    pub(crate) free_s: Option<u64>,
    /// What went wrong last in the kernel.
    pub(crate) trouble: Option<String>,
}

impl From<v1::SharedNic> for Vxnet {
    fn from(nic: v1::SharedNic) -> Self {
        let state = match nic.phase() {
            v1::SharedNicPhase::Unspecified => "unknown",
            v1::SharedNicPhase::Creating => "creating",
            v1::SharedNicPhase::Attaching => "attaching",
            v1::SharedNicPhase::SettingUp => "setting up",
            v1::SharedNicPhase::Ready => "ready",
            v1::SharedNicPhase::Leaving => "leaving",
            v1::SharedNicPhase::Astray => "astray",
        };
        let some = |text: String| (!text.is_empty()).then_some(text);
        Self {
            vxnet: nic.subnet,
            nic: some(nic.nic),
            mac: some(nic.mac),
            table: nic.table,
            state,
            pods: nic.pods,
            free_s: nic.free_s,
            trouble: some(nic.trouble),
        }
    }
}
