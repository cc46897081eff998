//! The state of the VPC, and what is done to it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hostnic_core::cloud::Nic;
use hostnic_core::id::{InstanceId, MacAddr, NicId, SubnetId};
use hostnic_core::{Error, ErrorKind, Result};
use ipnet::{IpNet, Ipv4Net};

use super::management::{Management, Place};
use super::police::{Drops, Police, PortDrops, PortOwner};
use super::router;
use crate::connection::Connection;
use crate::link::{LinkIndex, VethEnd};
use crate::netns::{NamedNetns, Netns};
use crate::watch::{LinkEvent, LinkEvents};

/// What a NIC is called in its node: the kernel puts the lowest free number.
const NIC_NAME: &str = "eth%d";
/// A machine that runs a whole cloud may be busy, and a request given up halfway would leave links behind.
const DEADLINE: Duration = Duration::from_secs(10);

/// The VPC: its namespace, its subnets, the nodes around it and the NICs between them.
#[derive(Debug)]
pub(super) struct Vpc {
    folder: PathBuf,
    connection: Connection,
    police: Police,
    management: Option<Management>,
    subnets: BTreeMap<SubnetId, SubnetBridge>,
    nodes: BTreeMap<InstanceId, Node>,
    ports: BTreeMap<NicId, Port>,
    /// What was dropped at ports that are gone.
    history: BTreeMap<NicId, Drops>,
    next_port: u32,
    netns: NamedNetns,
}

#[derive(Debug)]
struct SubnetBridge {
    prefix: Ipv4Net,
    gateway: Ipv4Addr,
    mac: MacAddr,
    link: LinkIndex,
}

#[derive(Debug)]
struct Node {
    netns: Netns,
    /// The name that we gave the namespace; `None` when it is the caller's.
    name: Option<NamedNetns>,
}

/// A NIC that is plugged in: the end of its pair that is on the bridge.
#[derive(Debug)]
struct Port {
    instance: InstanceId,
    subnet: SubnetId,
    mac: MacAddr,
    /// The link's name, the same when the pair is made anew.
    name: String,
    /// `None` when the pair is gone and could not be made anew.
    link: Option<LinkIndex>,
}

impl Vpc {
    pub(super) async fn create(folder: PathBuf) -> Result<(Self, LinkEvents)> {
        let named = NamedNetns::create(folder.join("vpc")).await?;
        let netns = named.open()?;
        router::quiet(&netns).await?;
        let events = LinkEvents::subscribe(&netns).await?;
        let connection = Connection::open(&netns).await?.with_deadline(DEADLINE);
        let police = Police::start(netns).await?;
        let vpc = Self {
            folder,
            connection,
            police,
            management: None,
            subnets: BTreeMap::new(),
            nodes: BTreeMap::new(),
            ports: BTreeMap::new(),
            history: BTreeMap::new(),
            next_port: 0,
            netns: named,
        };
        Ok((vpc, events))
    }

    pub(super) fn path(&self) -> &Path {
        self.netns.path()
    }

    pub(super) async fn add_subnet(&mut self, id: SubnetId, prefix: IpNet, gateway: IpAddr) -> Result<()> {
        let refused = |kind| Error::new(kind, "add subnet", &id);
        let (IpNet::V4(prefix), IpAddr::V4(gateway)) = (prefix.trunc(), gateway) else {
            return Err(refused(ErrorKind::Unsupported)
                .detail("the fabric carries IPv4; give an IPv4 prefix and gateway"));
        };
        if !prefix.contains(&gateway) {
            return Err(
                refused(ErrorKind::Invalid).detail(format_args!("the gateway {gateway} is not in {prefix}"))
            );
        }
        if self.subnets.get(&id).is_some_and(|known| known.prefix == prefix && known.gateway == gateway) {
            return Ok(());
        }
        let overlaps =
            |other: &&SubnetBridge| other.prefix.contains(&prefix) || prefix.contains(&other.prefix);
        if let Some((other, bridge)) =
            self.subnets.iter().find(|(other, bridge)| **other == id || overlaps(bridge))
        {
            let detail = format_args!("{prefix} cannot be beside subnet {other} with {}", bridge.prefix);
            return Err(refused(ErrorKind::Conflict).detail(detail));
        }
        if let Some(range) = self.management.as_ref().map(Management::range)
            && (range.contains(&prefix) || prefix.contains(&range))
        {
            let detail = format_args!("{prefix} cannot be beside the management network {range}");
            return Err(refused(ErrorKind::Conflict).detail(detail));
        }
        let number = u16::try_from(self.subnets.len())
            .map_err(|_| refused(ErrorKind::Exhausted).detail("the fabric takes no more subnets"))?;
        let mac = router::mac(number)?;
        let address = Ipv4Net::new_assert(gateway, prefix.prefix_len());
        let link = router::add_bridge(&self.connection, &format!("br{number}"), mac, address).await?;
        self.subnets.insert(id, SubnetBridge { prefix, gateway, mac, link });
        Ok(())
    }

    pub(super) async fn add_node(&mut self, id: InstanceId) -> Result<PathBuf> {
        self.no_such_node(&id)?;
        let name = NamedNetns::create(self.folder.join(format!("node-{id}"))).await?;
        let path = name.path().to_owned();
        self.settle(id, Node { netns: name.open()?, name: Some(name) }).await?;
        Ok(path)
    }

    pub(super) async fn adopt_node(&mut self, id: InstanceId, netns: Netns) -> Result<()> {
        self.no_such_node(&id)?;
        self.settle(id, Node { netns, name: None }).await
    }

    async fn settle(&mut self, id: InstanceId, node: Node) -> Result<()> {
        if let Some(management) = &mut self.management {
            management.join(Place { vpc: &self.connection, police: &self.police }, &node.netns).await?;
        }
        self.nodes.insert(id, node);
        Ok(())
    }

    pub(super) async fn open_management(&mut self, outside: Netns, range: Ipv4Net) -> Result<Ipv4Addr> {
        let refused = |detail: &dyn std::fmt::Display| {
            Err(Error::new(ErrorKind::Conflict, "open management network", range).detail(detail))
        };
        if let Some(known) = &self.management {
            if known.range() == range && known.leads_to(&outside) {
                return known.address();
            }
            return refused(&format_args!("{} is open already", known.range()));
        }
        let overlaps =
            |subnet: &&SubnetBridge| subnet.prefix.contains(&range) || range.contains(&subnet.prefix);
        if let Some(subnet) = self.subnets.values().find(overlaps) {
            return refused(&format_args!("it cannot be beside the subnet with {}", subnet.prefix));
        }
        let place = Place { vpc: &self.connection, police: &self.police };
        let mut management = Management::open(place, outside, range).await?;
        for node in self.nodes.values() {
            if let Err(error) = management.join(place, &node.netns).await {
                management.close(place).await;
                return Err(error);
            }
        }
        let address = management.address();
        self.management = Some(management);
        address
    }

    fn no_such_node(&self, id: &InstanceId) -> Result<()> {
        match self.nodes.contains_key(id) {
            true => {
                Err(Error::new(ErrorKind::Conflict, "add node", id).detail("there is such a node already"))
            }
            false => Ok(()),
        }
    }

    pub(super) async fn plug(&mut self, instance: InstanceId, nic: &Nic, sources: &[IpAddr]) -> Result<()> {
        let refused = |kind| Error::new(kind, "plug in NIC", &nic.id);
        match self.ports.get(&nic.id) {
            Some(port) if port.instance == instance => {
                self.set_sources(&nic.id, sources).await?;
                return self.renew(&nic.id).await;
            }
            Some(port) => {
                return Err(
                    refused(ErrorKind::Conflict).detail(format_args!("it is in instance {}", port.instance))
                );
            }
            None => {}
        }
        let sources = ipv4(&nic.id, sources)?;
        let subnet = self.subnets.get(&nic.subnet).ok_or_else(|| {
            refused(ErrorKind::NotFound)
                .detail(format_args!("the fabric has no subnet {}; add it first", nic.subnet))
        })?;
        let name = format!("p{}", self.next_port);
        self.next_port += 1;
        let owner = PortOwner { mac: nic.mac, router: subnet.mac, subnet: subnet.prefix };
        self.police.add_port(&name, owner, &sources).await?;
        let mut port = Port { instance, subnet: nic.subnet.clone(), mac: nic.mac, name, link: None };
        match self.connect(&port).await {
            Ok(link) => {
                port.link = Some(link);
                self.ports.insert(nic.id.clone(), port);
                Ok(())
            }
            Err(error) => {
                if let Err(error) = self.police.remove_port(&port.name).await {
                    tracing::warn!(port = port.name, error = %error.chain(), "rules of a port were left behind");
                }
                Err(error)
            }
        }
    }

    /// Makes a port's pair of links, or leaves none.
    async fn connect(&self, port: &Port) -> Result<LinkIndex> {
        let made = self.make_pair(port).await;
        if made.is_err()
            && let Err(error) = self.disconnect(port).await
        {
            tracing::warn!(port = port.name, error = %error.chain(), "a port's pair of links was left behind");
        }
        made
    }

    /// One end of the pair is on the bridge, the other in the node.
    async fn make_pair(&self, port: &Port) -> Result<LinkIndex> {
        let missing = |what: &dyn std::fmt::Display| {
            Error::new(ErrorKind::NotFound, "plug NIC into", what)
                .detail("the fabric does not know it; add it first")
        };
        let node = self.nodes.get(&port.instance).ok_or_else(|| missing(&port.instance))?;
        let subnet = self.subnets.get(&port.subnet).ok_or_else(|| missing(&port.subnet))?;
        let here = VethEnd { name: &port.name, mac: None, netns: None };
        let there = VethEnd { name: NIC_NAME, mac: Some(port.mac), netns: Some(&node.netns) };
        self.connection.create_veth(here, there).await?;
        let link = self.connection.link_by_name(&port.name).await?.index;
        router::add_port(&self.connection, link, subnet.link).await?;
        Ok(link)
    }

    /// Deletes a port's pair of links, wherever the NIC's end is. That it is gone already is success.
    async fn disconnect(&self, port: &Port) -> Result<()> {
        match self.connection.link_by_name(&port.name).await {
            Ok(link) => self.connection.delete_link(link.index).await,
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn unplug(&mut self, instance: &InstanceId, nic: &NicId) -> Result<()> {
        let Some(port) = self.ports.get(nic).filter(|port| port.instance == *instance) else { return Ok(()) };
        self.disconnect(port).await?;
        let drops = self.police.remove_port(&port.name).await?;
        if !drops.is_empty() {
            add(self.history.entry(nic.clone()).or_default(), drops);
        }
        self.ports.remove(nic);
        Ok(())
    }

    pub(super) async fn set_sources(&self, nic: &NicId, sources: &[IpAddr]) -> Result<()> {
        let port = self.ports.get(nic).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "set sources of NIC", nic).detail("it is not plugged in")
        })?;
        self.police.set_sources(&port.name, &ipv4(nic, sources)?).await
    }

    pub(super) async fn police_drops(&mut self) -> Result<Vec<PortDrops>> {
        let mut present = self.police.drops().await?;
        let mut all = self.history.clone();
        for (nic, port) in &self.ports {
            if let Some(drops) = present.remove(&port.name) {
                add(all.entry(nic.clone()).or_default(), drops);
            }
        }
        let list = |(nic, drops): (NicId, Drops)| {
            drops.into_iter().map(move |(reason, packets)| PortDrops { nic: nic.clone(), reason, packets })
        };
        Ok(all.into_iter().flat_map(list).collect())
    }

    /// Takes note of what became of a link: one that is gone although its NIC is plugged in is made anew.
    pub(super) async fn handle(&mut self, event: LinkEvent) {
        let lost: Vec<NicId> = match event {
            LinkEvent::Changed(_) => return,
            LinkEvent::Gone(index) => self.ports_where(|link| link == index),
            LinkEvent::Missed => self.ports_where(|_| true),
        };
        for nic in lost {
            if let Err(error) = self.renew(&nic).await {
                tracing::error!(%nic, error = %error.chain(), "a NIC lost its link, and it could not be made anew");
            }
        }
    }

    fn ports_where(&self, holds: impl Fn(LinkIndex) -> bool) -> Vec<NicId> {
        let chosen = self.ports.iter().filter(|(_, port)| port.link.is_some_and(&holds));
        chosen.map(|(nic, _)| nic.clone()).collect()
    }

    /// Makes the pair of a NIC anew, if it is gone.
    async fn renew(&mut self, nic: &NicId) -> Result<()> {
        let Some(port) = self.ports.get(nic) else { return Ok(()) };
        if let Some(link) = port.link {
            match self.connection.link(link).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                // Events tell of bridges too, which a link may leave and still be there.
                other => return other.map(drop),
            }
        }
        let made = self.connect(port).await;
        if let Some(port) = self.ports.get_mut(nic) {
            port.link = made.as_ref().ok().copied();
        }
        made.map(drop)
    }

    /// Listens for events after they broke off, and makes up for what was missed.
    pub(super) async fn listen_again(&mut self) -> Result<LinkEvents> {
        let events = LinkEvents::subscribe(&self.netns.open()?).await?;
        self.handle(LinkEvent::Missed).await;
        Ok(events)
    }

    /// Takes all NICs out and removes the namespaces that are ours.
    pub(super) async fn tear_down(self) -> Result<()> {
        let mut outcome = router::delete_ports(&self.connection).await;
        self.connection.close().await;
        drop(self.police);
        for node in self.nodes.into_values() {
            drop(node.netns);
            outcome = outcome.and(node.name.map_or(Ok(()), NamedNetns::remove));
        }
        outcome = outcome.and(self.netns.remove());
        // It is ours alone, and what somebody put there all the same stays.
        let _ = std::fs::remove_dir(&self.folder);
        outcome
    }
}

fn ipv4(nic: &NicId, sources: &[IpAddr]) -> Result<Vec<Ipv4Addr>> {
    let read = |source: &IpAddr| match source {
        IpAddr::V4(address) => Ok(*address),
        IpAddr::V6(address) => Err(Error::new(ErrorKind::Unsupported, "allow source of NIC", nic)
            .detail(format_args!("the fabric carries IPv4, not {address}"))),
    };
    sources.iter().map(read).collect()
}

fn add(total: &mut Drops, more: Drops) {
    for (reason, packets) in more {
        *total.entry(reason).or_default() += packets;
    }
}
