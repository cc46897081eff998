//! The simulator's links: the fabric, which learns of a new vxnet when its first NIC is plugged in.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use hostnic_core::cloud::Nic;
use hostnic_core::id::{InstanceId, NicId};
use hostnic_core::sim::{DroppedFrames, Plug};
use hostnic_core::{Error, ErrorKind, Result};
use hostnic_netlink::Netns;
use hostnic_netlink::fabric::Fabric;
use hostnic_qingcloud::simulator::Simulator;
use ipnet::Ipv4Net;
use tokio::sync::watch;

use super::flags::InstanceFlag;

/// A fabric that is ready for a simulator.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) links: Arc<Links>,
    /// The namespace of each instance.
    pub(super) nodes: Vec<(InstanceId, PathBuf)>,
    /// Where this process is reached by all of them.
    pub(super) address: Ipv4Addr,
}

/// A fabric behind a simulator.
#[derive(Debug)]
pub(super) struct Links {
    fabric: Fabric,
    folder: PathBuf,
    /// Who knows the vxnets; told once it runs.
    simulator: watch::Sender<Option<Weak<Simulator>>>,
}

impl Links {
    /// A fabric with a node for each instance, and a network by which they reach this process.
    pub(super) async fn start(instances: &[InstanceFlag], management: Ipv4Net) -> Result<Started> {
        let folder = std::env::temp_dir().join(format!("hostnic-sim-{}", std::process::id()));
        let fabric = Fabric::new(&folder).await?;
        match furnish(&fabric, instances, management).await {
            Ok((nodes, address)) => {
                let links = Arc::new(Self { fabric, folder, simulator: watch::Sender::new(None) });
                Ok(Started { links, nodes, address })
            }
            Err(error) => {
                // The first error is the one that tells what is wrong.
                drop(fabric.shutdown().await);
                Err(error)
            }
        }
    }

    /// Says whose links these are, and opens its vxnets. Until then nothing is plugged.
    ///
    /// # Errors
    /// `Conflict` when a vxnet overlaps the management network.
    pub(super) async fn serve(&self, simulator: &Arc<Simulator>) -> Result<()> {
        for subnet in simulator.cloud().control().subnets() {
            self.fabric.add_subnet(subnet.id, subnet.prefix, subnet.gateway).await?;
        }
        self.simulator.send_replace(Some(Arc::downgrade(simulator)));
        Ok(())
    }

    pub(super) async fn shutdown(&self) -> Result<()> {
        let done = self.fabric.shutdown().await;
        // It is empty by now, or what is left in it is worth a look.
        let _ = tokio::fs::remove_dir(&self.folder).await;
        done
    }

    async fn open_subnet(&self, nic: &Nic) -> Result<()> {
        let mut told = self.simulator.subscribe();
        // This holds the sender, so waiting cannot fail.
        let simulator = told.wait_for(Option::is_some).await.ok().and_then(|told| told.clone());
        let gone = || Error::new(ErrorKind::NotFound, "plug NIC into subnet", &nic.subnet);
        let simulator = simulator.and_then(|weak| weak.upgrade()).ok_or_else(gone)?;
        let subnets = simulator.cloud().control().subnets();
        drop(simulator);
        let subnet = subnets.into_iter().find(|subnet| subnet.id == nic.subnet).ok_or_else(gone)?;
        self.fabric.add_subnet(subnet.id, subnet.prefix, subnet.gateway).await
    }
}

async fn furnish(
    fabric: &Fabric,
    instances: &[InstanceFlag],
    management: Ipv4Net,
) -> Result<(Vec<(InstanceId, PathBuf)>, Ipv4Addr)> {
    let address = fabric.open_management(Netns::current()?, management).await?;
    let mut nodes = Vec::new();
    for InstanceFlag { id, netns } in instances {
        let path = match netns {
            Some(path) => {
                fabric.adopt_node(id.clone(), Netns::open(path)?).await?;
                path.clone()
            }
            None => fabric.add_node(id.clone()).await?,
        };
        nodes.push((id.clone(), path));
    }
    Ok((nodes, address))
}

#[async_trait]
impl Plug for Links {
    async fn plug(&self, instance: &InstanceId, nic: &Nic, sources: &[IpAddr]) -> Result<()> {
        self.open_subnet(nic).await?;
        self.fabric.plug(instance, nic, sources).await
    }

    async fn unplug(&self, instance: &InstanceId, nic: &Nic) -> Result<()> {
        self.fabric.unplug(instance, nic).await
    }

    async fn set_sources(&self, nic: &NicId, sources: &[IpAddr]) -> Result<()> {
        self.fabric.set_sources(nic, sources).await
    }

    async fn dropped(&self) -> Result<Vec<DroppedFrames>> {
        self.fabric.dropped().await
    }
}
