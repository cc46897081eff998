//! A cloud that lives and ends with this process.

use std::sync::Arc;
use std::time::Duration;

use hostnic_core::capability::{NicForwarding, Tagging};
use hostnic_core::id::{InstanceId, InvalidValue};
use hostnic_core::layer::Recorder;
use hostnic_core::{NicProvider, Result};
use hostnic_netlink::Netns;

use super::super::flags::SimFlags;
use crate::seed;
use crate::settings::Settings;
use crate::simulated::{SimSubnet, SimulatedCloud};

#[derive(Debug)]
pub(in super::super) struct SimPlan {
    pub(super) subnets: Vec<SimSubnet>,
    job: Duration,
    instance: InstanceId,
}

#[derive(Debug)]
pub(in super::super) struct Simulated {
    cloud: SimulatedCloud,
    pub(super) instance: InstanceId,
    recorder: Arc<dyn Recorder>,
}

impl SimPlan {
    pub(super) fn new(settings: &Settings, sim: &SimFlags) -> std::result::Result<Self, InvalidValue> {
        let instance = match &settings.instance.value {
            Some(instance) => instance.clone(),
            None => InstanceId::new("i-sim")?,
        };
        Ok(Self { subnets: sim.subnets()?, job: sim.job(), instance })
    }

    /// Simulates a cloud whose one node is the namespace that this process runs in.
    pub(super) async fn start(self, recorder: Arc<dyn Recorder>) -> Result<Simulated> {
        let Self { subnets, job, instance } = self;
        let folder = std::env::temp_dir().join(format!("hostnic-sim-{}", std::process::id()));
        let own = Netns::current()?;
        let only = std::slice::from_ref(&instance);
        let cloud = SimulatedCloud::start(&folder, &subnets, only, job, seed()?).await?;
        let simulated = Simulated { cloud, instance, recorder };
        match simulated.cloud.adopt_node(simulated.instance.clone(), own).await {
            Ok(()) => Ok(simulated),
            Err(error) => {
                // The first error is the one that tells what is wrong.
                drop(simulated.end().await);
                Err(error)
            }
        }
    }
}

impl Simulated {
    pub(super) fn provider(&self) -> Arc<dyn NicProvider> {
        self.cloud.recorded_provider(&self.instance, self.recorder.clone())
    }

    pub(super) fn forwarding(&self) -> Arc<dyn NicForwarding> {
        self.cloud.forwarding(&self.instance)
    }

    pub(super) fn tagging(&self) -> Arc<dyn Tagging> {
        self.cloud.tagging(&self.instance)
    }

    /// Takes the NICs away and removes the namespaces.
    pub(super) async fn end(self) -> Result<()> {
        self.cloud.fabric().shutdown().await
    }
}
