//! From settings to a provider: which cloud, and who this node is in it.

mod blame;
mod qingcloud;
mod reach;
mod sim;

use std::sync::Arc;

use hostnic_core::capability::{NicForwarding, Tagging};
use hostnic_core::id::{InstanceId, InvalidValue, SubnetId};
use hostnic_core::{NicProvider, Result};

use super::flags::{FlagError, SimFlags, refuse_qingcloud};
use crate::Observer;
use crate::cli::access::AccessError;
use crate::settings::{Provider, Settings};

use qingcloud::{QingCloudNode, QingCloudPlan};
use sim::{SimPlan, Simulated};

/// A cloud that is checked and not reached yet.
#[derive(Debug)]
pub(super) enum Plan {
    QingCloud(Box<QingCloudPlan>),
    Sim(SimPlan),
}

/// What is wrong with the flags about the cloud, or with the file that they name.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlanError {
    #[error(transparent)]
    Flag(#[from] FlagError),
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Value(#[from] InvalidValue),
}

impl Plan {
    /// Reads the access file where there is one to read; asks nobody.
    pub(super) fn new(settings: &Settings, sim: &SimFlags) -> std::result::Result<Self, PlanError> {
        match settings.provider.value {
            Provider::QingCloud => {
                sim.refuse()?;
                Ok(Self::QingCloud(Box::new(QingCloudPlan::new(settings)?)))
            }
            Provider::Sim => {
                refuse_qingcloud(settings)?;
                Ok(Self::Sim(SimPlan::new(settings, sim)?))
            }
        }
    }

    /// Where pods' NICs come from, the preferred one first.
    pub(super) fn subnets(&self) -> Vec<SubnetId> {
        match self {
            Self::QingCloud(plan) => plan.vxnets.clone(),
            Self::Sim(plan) => plan.subnets.iter().map(|subnet| subnet.id.clone()).collect(),
        }
    }
}

/// This node in its cloud.
#[derive(Debug)]
pub(super) enum Cloud {
    QingCloud(QingCloudNode),
    Sim(Simulated),
}

impl Cloud {
    /// Finds out who this node is. QingCloud itself is not asked: it need not be reachable now.
    pub(super) async fn start(plan: Plan, observer: &Observer) -> Result<Self> {
        Ok(match plan {
            Plan::QingCloud(plan) => Self::QingCloud(plan.start(observer).await?),
            Plan::Sim(plan) => Self::Sim(plan.start(observer.recorder()).await?),
        })
    }

    /// The cloud as this node sees it, with all layers around it.
    pub(super) fn provider(&self) -> Arc<dyn NicProvider> {
        match self {
            Self::QingCloud(node) => node.provider.clone(),
            Self::Sim(simulated) => simulated.provider(),
        }
    }

    /// How the cloud is told of NICs of this node that route.
    pub(super) fn forwarding(&self) -> Arc<dyn NicForwarding> {
        match self {
            Self::QingCloud(node) => node.forwarding.clone(),
            Self::Sim(simulated) => simulated.forwarding(),
        }
    }

    /// The cloud's tags.
    pub(super) fn tagging(&self) -> Arc<dyn Tagging> {
        match self {
            Self::QingCloud(node) => node.tagging.clone(),
            Self::Sim(simulated) => simulated.tagging(),
        }
    }

    /// The cloud's id of this machine.
    pub(super) fn instance(&self) -> &InstanceId {
        match self {
            Self::QingCloud(node) => &node.instance,
            Self::Sim(simulated) => &simulated.instance,
        }
    }

    /// Lets go of it.
    pub(super) async fn end(self) -> Result<()> {
        match self {
            Self::QingCloud(_) => Ok(()),
            Self::Sim(simulated) => simulated.end().await,
        }
    }
}
