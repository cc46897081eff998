//! Finding what a request names, or refusing.

use hostnic_core::id::{InstanceId, NicId, SubnetId};
use hostnic_core::sim::NicRecord;

use super::vxnet::Vxnet;
use super::{Account, Call};
use crate::simulator::refusal::Refusal;

impl Account {
    pub(super) fn vxnet(&self, id: &str) -> Result<&Vxnet, Refusal> {
        self.vxnets.get(id).ok_or_else(|| Refusal::not_found("vxnet", id))
    }
}

impl Call<'_> {
    /// The vxnet as the cloud knows it: one that NICs can be in.
    pub(super) fn subnet(&self, id: &str) -> Result<SubnetId, Refusal> {
        let vxnet = self.account.vxnet(id)?;
        let unbound = || Refusal::denied(format!("vxnet [{id}] is not connected to a router"));
        vxnet.network.as_ref().ok_or_else(unbound)?;
        id.parse().map_err(|_| Refusal::not_found("vxnet", id))
    }

    pub(super) fn instance(&self, id: &str) -> Result<InstanceId, Refusal> {
        let unknown = || Refusal::not_found("instance", id);
        let parsed: InstanceId = id.parse().map_err(|_| unknown())?;
        let known = self.control.instances().into_iter().any(|instance| instance.id == parsed);
        known.then_some(parsed).ok_or_else(unknown)
    }

    /// The NICs of a required parameter, each once, all of them there.
    pub(super) fn nics(&self, parameter: &str) -> Result<Vec<NicRecord>, Refusal> {
        let all = self.control.nics();
        let mut found: Vec<NicRecord> = Vec::new();
        for id in self.arguments.texts(parameter).unwrap_or_default() {
            let record = all.iter().find(|record| record.nic.id.as_str() == id);
            let record = record.ok_or_else(|| Refusal::not_found("nic", id))?;
            if found.iter().all(|other| other.nic.id != record.nic.id) {
                found.push(record.clone());
            }
        }
        Ok(found)
    }
}

pub(super) fn ids(records: &[NicRecord]) -> Vec<NicId> {
    records.iter().map(|record| record.nic.id.clone()).collect()
}
