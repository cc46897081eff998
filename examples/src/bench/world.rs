//! What both plugins work on: the node of this process, and NICs of the fabric.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use hostnic_core::cloud::{Nic, NicAttachment};
use hostnic_core::id::{InstanceId, MacAddr, SubnetId};
use hostnic_core::sim::Plug;
use hostnic_core::{Error, ErrorKind, Result};
use hostnic_netlink::address::Address;
use hostnic_netlink::fabric::Fabric;
use hostnic_netlink::link::LinkChange;
use hostnic_netlink::route::KernelRoute;
use hostnic_netlink::{Connection, Netns};
use ipnet::{IpNet, Ipv4Net};

use super::mode::Mode;

/// A NIC in the node that the daemon knows nothing of.
#[derive(Debug, Clone)]
pub(super) struct SpareNic {
    pub(super) name: String,
    pub(super) address: IpNet,
    pub(super) gateway: Ipv4Addr,
}

/// A VPC like the daemon's, beside it, whose NICs are in the same node.
#[derive(Debug)]
pub(super) struct World {
    fabric: Fabric,
    pub(super) node: Netns,
    pub(super) nics: Vec<SpareNic>,
}

impl World {
    /// With the NICs in the node of this process that the other plugin needs; where pods are to be behind veths, with one
    /// that is the node's own.
    pub(super) async fn create(folder: &Path, mode: Mode) -> Result<Self> {
        let nics = match mode {
            Mode::Passthrough => mode.at_once(),
            Mode::Veth | Mode::VethWithHairpin => 1,
        };
        let node = Netns::current()?;
        let instance: InstanceId = "i-bench".parse()?;
        let subnet: SubnetId = "vxnet-bench".parse()?;
        let prefix = Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 60, 0), 24);
        let gateway = Ipv4Addr::new(192, 168, 60, 1);
        let fabric = Fabric::new(folder.join("vpc")).await?;
        fabric.add_subnet(subnet.clone(), prefix.into(), gateway.into()).await?;
        fabric.adopt_node(instance.clone(), node.try_clone()?).await?;
        let connection = Connection::open(&node).await?;
        let mut world = Self { fabric, node, nics: Vec::new() };
        for number in 0..nics {
            let mac = MacAddr::new([0x52, 0x54, 0, 0xbe, 0xac, number])?;
            let address = Ipv4Addr::new(192, 168, 60, 10 + number);
            let nic = Nic {
                id: mac.to_string().parse()?,
                mac,
                name: format!("spare{number}"),
                subnet: subnet.clone(),
                addresses: vec![address.into()],
                attachment: NicAttachment::Available,
            };
            world.fabric.plug(&instance, &nic, &[IpAddr::V4(address)]).await?;
            rename(&connection, &nic).await?;
            let address = Ipv4Net::new_assert(address, 24).into();
            world.nics.push(SpareNic { name: nic.name, address, gateway });
        }
        if mode.hairpin().is_some() {
            for nic in &world.nics {
                own(&connection, nic).await?;
            }
        }
        connection.close().await;
        Ok(world)
    }

    /// Takes the NICs and the VPC away.
    pub(super) async fn remove(self) -> Result<()> {
        self.fabric.shutdown().await
    }
}

/// Makes it the NIC by which the node itself speaks.
async fn own(connection: &Connection, nic: &SpareNic) -> Result<()> {
    let index = connection.link_by_name(&nic.name).await?.index;
    connection.add_address(&Address::new(index, nic.address)).await?;
    connection.change_link(index, LinkChange::new().up()).await?;
    let router = nic.gateway.into();
    let everywhere = KernelRoute::new(KernelRoute::everywhere(router), index).via(router);
    connection.add_route(&everywhere).await
}

/// `host-device` finds a NIC by its name, so it must have one that the pool's NICs never get.
async fn rename(connection: &Connection, nic: &Nic) -> Result<()> {
    let links = connection.links().await?;
    let link = links.iter().find(|link| link.mac == Some(nic.mac)).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "find", nic.mac).detail("the fabric did not plug the NIC in")
    })?;
    connection.change_link(link.index, LinkChange::new().rename(&nic.name)).await
}
