//! A VPC with real packets: subnets, a router and "hot-plugged" NICs, made of network namespaces.
//!
//! One namespace is the VPC. Each subnet is a bridge in it, with the router's address; the kernel routes between them.
//! A node is another namespace. Attaching a NIC makes a pair of links, one end on the subnet's bridge, the other in the
//! node, as a hypervisor would plug it in; so the simulated cloud carries real packets, on one machine, without root
//! and without other programs.
//!
//! Each port is policed as clouds do it. A frame must come from the NIC's own MAC address; an IPv4 packet, and the
//! sender in an ARP packet, from one of the NIC's addresses (a DHCP client's first request may come from none). The
//! router takes packets only from addresses of the subnet that they come from. A NIC that the cloud lets forward (0.0.0.0 among
//! its sources) may send packets from any address. What breaks a rule is dropped and
//! counted: [`Fabric::police_drops`]. IPv6 is carried link-local only, so that the noise that kernels make by
//! themselves is no offence; other IPv6, and anything that is neither IP nor ARP, is dropped without being counted.
//!
//! A machine of a cloud reaches the cloud's own services whatever becomes of its NICs, and so can a node, by
//! [`Fabric::open_management`]: a link that is no NIC, is not policed, and leads nowhere but to the service.

mod management;
mod police;
mod router;
mod vpc;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use futures::future::BoxFuture;
use hostnic_core::cloud::Nic;
use hostnic_core::id::{InstanceId, NicId, SubnetId};
use hostnic_core::sim::{DroppedFrames, Plug};
use hostnic_core::{Error, ErrorKind, Result};
use ipnet::{IpNet, Ipv4Net};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub use police::{DropReason, PortDrops};

use crate::netns::Netns;
use crate::watch::LinkEvents;
use vpc::Vpc;

/// Requests that may wait for the VPC before their callers do.
const QUEUE: usize = 64;

/// A VPC whose subnets, router and NICs are the kernel's.
///
/// Everything is done by one task, one request after the other, so a NIC is never plugged and unplugged at once, and
/// a link that vanishes is told apart from one that was taken away. Dropping the future of a request that was begun
/// does not call it off.
///
/// A link that vanishes although its NIC is plugged in, as when a pod's namespace ends with the NIC in it, comes back
/// in its node: a NIC of a machine does so too.
///
/// End it by [`Fabric::shutdown`]. Dropping it removes the namespaces that it made without waiting for the kernel to
/// take their links away; if the process is killed, what is left goes with its mount and network namespaces.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use hostnic_netlink::fabric::Fabric;
///
/// let fabric = Fabric::new("/run/fabric").await?;
/// fabric.add_subnet("vxnet-a".parse()?, "192.168.50.0/24".parse()?, "192.168.50.1".parse()?).await?;
/// let node = fabric.add_node("i-1".parse()?).await?;
/// println!("look around in it: nsenter --net={}", node.display());
/// fabric.shutdown().await?;
/// # Ok(())
/// # }
/// ```
pub struct Fabric {
    vpc_path: PathBuf,
    requests: mpsc::Sender<Request>,
    task: JoinHandle<()>,
}

type Job = Box<dyn for<'a> FnOnce(&'a mut Vpc) -> BoxFuture<'a, ()> + Send>;

enum Request {
    Do(Job),
    Shutdown(oneshot::Sender<Result<()>>),
}

impl Fabric {
    /// A VPC without subnets and nodes. The names of its namespaces are made in `folder`, which must be this
    /// fabric's alone.
    ///
    /// # Errors
    /// `Conflict` when a fabric's names are in `folder` already, `Unauthorised` without the capabilities SYS_ADMIN and
    /// NET_ADMIN (an ordinary user has them after [`crate::isolation::enter_private_world`]), `Unsupported` where the
    /// kernel lacks nftables for bridges.
    pub async fn new(folder: impl Into<PathBuf>) -> Result<Self> {
        let (vpc, events) = Vpc::create(folder.into()).await?;
        let vpc_path = vpc.path().to_owned();
        let (requests, inbox) = mpsc::channel(QUEUE);
        let task = tokio::spawn(serve(vpc, inbox, events));
        Ok(Self { vpc_path, requests, task })
    }

    /// Where the VPC's own namespace is, for a look at its bridges and ports.
    pub fn vpc_path(&self) -> &Path {
        &self.vpc_path
    }

    /// Adds a subnet with the router's address in it. Adding the same one again is success.
    ///
    /// # Errors
    /// `Unsupported` for IPv6, `Invalid` when the router's address is not in the subnet, `Conflict` when it overlaps
    /// another one.
    pub async fn add_subnet(&self, subnet: SubnetId, prefix: IpNet, gateway: IpAddr) -> Result<()> {
        self.ask(move |vpc| Box::pin(vpc.add_subnet(subnet, prefix, gateway))).await
    }

    /// Adds a node in a new, empty namespace and returns where that is.
    ///
    /// # Errors
    /// `Conflict` when there is such a node.
    pub async fn add_node(&self, instance: InstanceId) -> Result<PathBuf> {
        self.ask(move |vpc| Box::pin(vpc.add_node(instance))).await
    }

    /// Adds a node that lives in a namespace of the caller's. [`Fabric::shutdown`] takes only the NICs out of it.
    ///
    /// # Errors
    /// `Conflict` when there is such a node.
    pub async fn adopt_node(&self, instance: InstanceId, netns: Netns) -> Result<()> {
        self.ask(move |vpc| Box::pin(vpc.adopt_node(instance, netns))).await
    }

    /// Opens a network beside the VPC by which nodes reach a service in the namespace `outside`, such as the cloud's
    /// API, and returns the address to listen on there: the first of `range`.
    ///
    /// Each node, also one that is added later, gets a link `mgmt0` (or the next number that is free) that is up, has
    /// the next address of `range` and the route to it, and no more. Outside there is one such link,
    /// `hostnic-mgmt0`. Nothing is policed there, nodes do not reach each other by it, and nothing is forwarded from
    /// it. [`Fabric::shutdown`] takes the links away. Opening the same network again is success.
    ///
    /// # Errors
    /// `Invalid` when `range` is no network with room for two, `Conflict` when it overlaps a subnet or an address of
    /// `outside`, or another network is open; `Exhausted` when there are more nodes than addresses, also from
    /// adding nodes later.
    pub async fn open_management(&self, outside: Netns, range: Ipv4Net) -> Result<Ipv4Addr> {
        self.ask(move |vpc| Box::pin(vpc.open_management(outside, range))).await
    }

    /// What was dropped at each NIC's port because it broke a rule, since the NIC was first plugged in; also of NICs
    /// that are unplugged by now. Nothing is listed that was never dropped.
    ///
    /// # Errors
    /// `Transient` when the kernel does not answer.
    pub async fn police_drops(&self) -> Result<Vec<PortDrops>> {
        self.ask(|vpc| Box::pin(vpc.police_drops())).await
    }

    /// Unplugs all NICs and removes the namespaces that the fabric made, and its folder. Later requests fail. Shutting
    /// down again is success.
    ///
    /// # Errors
    /// The first of those that happened; the rest is removed all the same.
    pub async fn shutdown(&self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(Request::Shutdown(reply)).await.is_err() {
            return Ok(());
        }
        // Without an answer another shutdown came first.
        answer.await.unwrap_or(Ok(()))
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl for<'a> FnOnce(&'a mut Vpc) -> BoxFuture<'a, Result<T>> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(|vpc| {
            Box::pin(async move {
                // Nobody listens any more when the caller was dropped.
                let _ = reply.send(question(vpc).await);
            })
        });
        let over = || Error::new(ErrorKind::Conflict, "use", "the fabric").detail("it was shut down");
        self.requests.send(Request::Do(job)).await.map_err(|_| over())?;
        answer.await.map_err(|_| over())?
    }
}

impl Drop for Fabric {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Fabric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fabric").field("vpc_path", &self.vpc_path).finish_non_exhaustive()
    }
}

#[async_trait]
impl Plug for Fabric {
    /// Plugging in what is plugged into this instance already is success, and sets its sources.
    ///
    /// # Errors
    /// `NotFound` without the node or the subnet, `Conflict` when the NIC is in another instance, `Unsupported` for a
    /// source of IPv6.
    async fn plug(&self, instance: &InstanceId, nic: &Nic, sources: &[IpAddr]) -> Result<()> {
        let (instance, nic, sources) = (instance.clone(), nic.clone(), sources.to_vec());
        self.ask(move |vpc| Box::pin(async move { vpc.plug(instance, &nic, &sources).await })).await
    }

    async fn unplug(&self, instance: &InstanceId, nic: &Nic) -> Result<()> {
        let (instance, nic) = (instance.clone(), nic.id.clone());
        self.ask(move |vpc| Box::pin(async move { vpc.unplug(&instance, &nic).await })).await
    }

    /// # Errors
    /// `NotFound` when the NIC is not plugged in, `Unsupported` for a source of IPv6.
    async fn set_sources(&self, nic: &NicId, sources: &[IpAddr]) -> Result<()> {
        let (nic, sources) = (nic.clone(), sources.to_vec());
        self.ask(move |vpc| Box::pin(async move { vpc.set_sources(&nic, &sources).await })).await
    }

    async fn dropped(&self) -> Result<Vec<DroppedFrames>> {
        let told = |PortDrops { nic, reason, packets }| DroppedFrames {
            nic,
            reason: reason.as_str().to_owned(),
            packets,
        };
        Ok(self.police_drops().await?.into_iter().map(told).collect())
    }
}

/// The task that owns the VPC: requests and the kernel's news, one at a time.
async fn serve(mut vpc: Vpc, mut inbox: mpsc::Receiver<Request>, mut events: LinkEvents) {
    loop {
        tokio::select! {
            request = inbox.recv() => match request {
                Some(Request::Do(job)) => job(&mut vpc).await,
                Some(Request::Shutdown(reply)) => {
                    drop(events);
                    // Nobody listens any more when the caller was dropped.
                    let _ = reply.send(vpc.tear_down().await);
                    return;
                }
                None => return,
            },
            event = events.next() => match event {
                Ok(event) => vpc.handle(event).await,
                Err(error) => {
                    tracing::warn!(error = %error.chain(), "the fabric listens anew for links that vanish");
                    match vpc.listen_again().await {
                        Ok(again) => events = again,
                        Err(error) => {
                            tracing::error!(error = %error.chain(), "the fabric ends: it cannot hear of its links");
                            return;
                        }
                    }
                }
            },
        }
    }
}
