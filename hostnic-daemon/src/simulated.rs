//! A cloud without a cloud: the simulated one, with real links and packets through the fabric.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use hostnic_core::attachment::NetnsPath;
use hostnic_core::capability::{NicForwarding, Tagging};
use hostnic_core::id::{InstanceId, InvalidValue, SubnetId};
use hostnic_core::layer::{Deadline, Recorder, RetryConfig, Stack};
use hostnic_core::sim::{Cloud, Durations};
use hostnic_core::{NicProvider, Result};
use hostnic_netlink::Netns;
use hostnic_netlink::fabric::Fabric;
use ipnet::IpNet;

/// A subnet of the simulated cloud, written `vxnet-a=192.168.50.0/24`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimSubnet {
    /// Its id.
    pub id: SubnetId,
    /// Its address range; the router has the first address.
    pub prefix: IpNet,
}

impl FromStr for SimSubnet {
    type Err = InvalidValue;

    fn from_str(value: &str) -> Result<Self, InvalidValue> {
        let invalid = || {
            InvalidValue::new(
                "simulated subnet",
                value,
                "an id, '=' and a prefix, as in vxnet-a=192.168.50.0/24",
            )
        };
        let (id, prefix) = value.split_once('=').ok_or_else(invalid)?;
        let prefix: IpNet = prefix.parse().map_err(|_| invalid())?;
        if prefix.trunc() != prefix {
            return Err(invalid());
        }
        Ok(Self { id: id.parse()?, prefix })
    }
}

impl fmt::Display for SimSubnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.id, self.prefix)
    }
}

/// A simulated cloud whose NICs are real links in network namespaces. It lasts as long as this value.
#[derive(Debug)]
pub struct SimulatedCloud {
    cloud: Cloud,
    fabric: Arc<Fabric>,
}

impl SimulatedCloud {
    /// A VPC with these subnets, for nodes with these ids, whose attach and detach jobs take `job`. The names of its
    /// namespaces are made in `folder`, which must be its alone.
    ///
    /// # Errors
    /// `Unauthorised` without the capabilities NET_ADMIN and SYS_ADMIN, `Invalid` for subnets that overlap.
    pub async fn start(
        folder: impl Into<PathBuf>,
        subnets: &[SimSubnet],
        instances: &[InstanceId],
        job: Duration,
        seed: u64,
    ) -> Result<Self> {
        let fabric = Arc::new(Fabric::new(folder).await?);
        match furnish(&fabric, subnets, instances, job, seed).await {
            Ok(cloud) => Ok(Self { cloud, fabric }),
            Err(error) => {
                // The first error is the one that tells what is wrong.
                drop(fabric.shutdown().await);
                Err(error)
            }
        }
    }

    /// Gives a node an empty network namespace of its own.
    ///
    /// # Errors
    /// Those of [`Fabric::add_node`].
    pub async fn add_node(&self, instance: InstanceId) -> Result<NetnsPath> {
        Ok(NetnsPath::new(self.fabric.add_node(instance).await?)?)
    }

    /// Lets a node be the namespace `netns`.
    ///
    /// # Errors
    /// Those of [`Fabric::adopt_node`].
    pub async fn adopt_node(&self, instance: InstanceId, netns: Netns) -> Result<()> {
        self.fabric.adopt_node(instance, netns).await
    }

    /// The cloud as a node sees it, with the layers that a real one would have.
    pub fn provider(&self, instance: &InstanceId) -> Arc<dyn NicProvider> {
        Self::layers().around(Arc::new(self.cloud.node(instance)))
    }

    /// The same, whose calls `recorder` is told of.
    pub fn recorded_provider(
        &self,
        instance: &InstanceId,
        recorder: Arc<dyn Recorder>,
    ) -> Arc<dyn NicProvider> {
        Self::layers().metrics(recorder).around(Arc::new(self.cloud.node(instance)))
    }

    fn layers() -> Stack {
        Stack::new().trace().retry(RetryConfig::default()).deadline(Deadline::default())
    }

    /// How the cloud is told of a node's NICs that route.
    pub fn forwarding(&self, instance: &InstanceId) -> Arc<dyn NicForwarding> {
        Arc::new(self.cloud.node(instance))
    }

    /// The cloud's tags, as a node sees them.
    pub fn tagging(&self, instance: &InstanceId) -> Arc<dyn Tagging> {
        Arc::new(self.cloud.node(instance))
    }

    /// The cloud itself.
    pub fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    /// The links and the VPC.
    pub fn fabric(&self) -> &Fabric {
        &self.fabric
    }
}

/// A cloud over the fabric, and the fabric with the cloud's subnets.
async fn furnish(
    fabric: &Arc<Fabric>,
    subnets: &[SimSubnet],
    instances: &[InstanceId],
    job: Duration,
    seed: u64,
) -> Result<Cloud> {
    let durations = Durations { attach: job, detach: job, reserve: job };
    let mut builder = Cloud::builder().seed(seed).durations(durations).plug(fabric.clone());
    for subnet in subnets {
        builder = builder.subnet(subnet.id.as_str(), &subnet.prefix.to_string());
    }
    for instance in instances {
        builder = builder.instance(instance.as_str());
    }
    let cloud = builder.build()?;
    if let Some(instance) = instances.first() {
        let ids: Vec<SubnetId> = subnets.iter().map(|s| s.id.clone()).collect();
        for subnet in cloud.node(instance).subnets(&ids).await? {
            fabric.add_subnet(subnet.id, subnet.prefix, subnet.gateway).await?;
        }
    }
    cloud.clear_history();
    Ok(cloud)
}
