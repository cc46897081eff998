//! The node's own addresses on NICs that pods share in VLANs, by DHCP: one task for each keeps its lease.
//!
//! The address is on the NIC with its time, so that it lasts while no daemon runs, the next one finds it, and it goes by itself
//! if none comes. What of the pods' traffic goes by the NIC asks nothing of it.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hostnic_core::id::MacAddr;
use hostnic_core::point::Point;
use hostnic_core::route::{Drift, SharedNicPlan};
use hostnic_core::{ErrorKind, Result};
use ipnet::{IpNet, Ipv4Net};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::super::alias::{Alias, Part};
use super::super::nic::{LEASED, is_leased};
use super::super::node::Node;
use crate::address::Address;
use crate::dhcp::{Client, DhcpSocket, Effect, Event, Loss};
use crate::link::LinkIndex;

/// How long to wait before beginning again after the socket or the kernel failed.
const RETRY: Duration = Duration::from_secs(1);

/// How long a NIC's end waits until its address was given back.
const FAREWELL: Duration = Duration::from_secs(2);

/// The tasks, by the NIC. They end when this is dropped, and leave the addresses to the next daemon.
#[derive(Debug, Default)]
pub(in crate::programmer) struct Leases {
    kept: Mutex<BTreeMap<MacAddr, Kept>>,
}

#[derive(Debug)]
struct Kept {
    nic: Nic,
    end: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// A NIC, and the subnet in which it may have an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Nic {
    mac: MacAddr,
    link: LinkIndex,
    subnet: Ipv4Net,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Leases {
    /// Has the node get and keep an address by the NIC, which is at `link` and set up, unless that is under way already.
    pub(in crate::programmer) fn keep(&self, node: &Arc<Node>, plan: &SharedNicPlan, link: LinkIndex) {
        let IpNet::V4(subnet) = plan.subnet else { return };
        let nic = Nic { mac: plan.mac, link, subnet: subnet.trunc() };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.get(&nic.mac).is_some_and(|kept| kept.nic == nic && !kept.task.is_finished()) {
            return;
        }
        // What was kept by another link of that MAC, and by NICs that nobody took down, has gone with them.
        kept.retain(|mac, kept| *mac != nic.mac && !kept.task.is_finished());
        let (end, ends) = oneshot::channel();
        let task = tokio::spawn(run(node.clone(), nic, ends));
        kept.insert(nic.mac, Kept { nic, end: Some(end), task });
    }

    /// Whether somebody keeps the lease of this NIC, as far as it can have one.
    pub(in crate::programmer) fn keeps(&self, plan: &SharedNicPlan) -> bool {
        let IpNet::V4(subnet) = plan.subnet else { return true };
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let keeps = |kept: &Kept| !kept.task.is_finished() && kept.nic.subnet == subnet.trunc();
        kept.get(&plan.mac).is_some_and(keeps)
    }

    /// Gives the NIC's address back, where there is one, and returns when it is gone or that takes too long: what is left
    /// goes with the NIC's set-up, and the lease with its time.
    pub(in crate::programmer) async fn end(&self, mac: MacAddr) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).remove(&mac);
        let Some(mut kept) = kept else { return };
        if let Some(end) = kept.end.take() {
            // It may have ended by itself.
            let _ = end.send(());
        }
        if timeout(FAREWELL, &mut kept.task).await.is_err() {
            tracing::debug!(nic = %mac, "the node's address was not given back in time; its lease ends by itself");
        }
    }
}

/// What a check says of a NIC whose lease nobody keeps.
pub(in crate::programmer) fn nobodys(plan: &SharedNicPlan) -> Drift {
    let object = format!("the node's own address on NIC {}", plan.ifname);
    Drift { object, difference: "nobody asks for it by DHCP".to_owned() }
}

/// Keeps the lease of one NIC until it is told to end, or the NIC is gone.
async fn run(node: Arc<Node>, nic: Nic, mut ends: oneshot::Receiver<()>) {
    loop {
        let keeper = Keeper { node: &node, nic };
        let error = tokio::select! {
            // Nobody tells when all ends; then the task is aborted.
            _ = &mut ends => return,
            opened = keeper.open() => match opened {
                Ok(open) => match keeper.keep(open, &mut ends).await {
                    Ok(()) => return,
                    Err(error) => error,
                },
                Err(error) => error,
            },
        };
        if error.kind() == ErrorKind::NotFound {
            tracing::debug!(nic = %nic.mac, "the NIC is gone, and the node's address on it");
            return;
        }
        tracing::warn!(nic = %nic.mac, error = %error.chain(), "the node's address on a NIC that pods share cannot be asked for; it is tried again");
        tokio::select! {
            _ = &mut ends => return,
            () = sleep(RETRY) => {}
        }
    }
}

/// What a NIC has when its keeper begins.
struct Open {
    socket: DhcpSocket,
    client: Client,
}

struct Keeper<'a> {
    node: &'a Arc<Node>,
    nic: Nic,
}

impl Keeper<'_> {
    async fn open(&self) -> Result<Open> {
        let socket = self.node.dhcp_socket(self.nic.link, self.nic.mac).await?;
        let found = self.there().await?;
        let mut leased = found.iter().filter(|address| is_leased(address)).filter_map(held);
        let found = leased.find(|(address, _)| self.nic.subnet.contains(address));
        if let Some((address, left)) = found {
            tracing::info!(nic = %self.nic.mac, %address, ?left, "the node has an address on the NIC from before; it is asked for again");
        }
        Ok(Open { socket, client: Client::new(self.nic.subnet, found, Instant::now()) })
    }

    /// Does what the client wants until it is told to end, which is told once.
    async fn keep(&self, open: Open, ends: &mut oneshot::Receiver<()>) -> Result<()> {
        let Open { socket, mut client } = open;
        loop {
            let event = tokio::select! {
                biased;
                _ = &mut *ends => {
                    self.end(&socket, &client).await;
                    return Ok(());
                }
                () = sleep_until(client.due()) => Event::Due,
                answer = socket.answer() => Event::Heard(answer?),
            };
            let mut events = Some(event);
            while let Some(event) = events.take() {
                let (next, effects) = client.step(&event, Instant::now(), chance());
                client = next;
                for effect in effects {
                    events = self.carry_out(&socket, effect).await?.or(events);
                }
            }
        }
    }

    /// Does one thing, and answers what came of it that the client has to know.
    async fn carry_out(&self, socket: &DhcpSocket, effect: Effect) -> Result<Option<Event>> {
        match effect {
            Effect::Say(question) => {
                let say = || async { socket.say(&question) };
                match self.node.points().pass(Point::AskForAddress, say).await {
                    // The link is down for a moment: that is as if nobody had heard it.
                    Err(error) if error.kind() == ErrorKind::Conflict => {
                        tracing::debug!(nic = %self.nic.mac, error = %error.chain(), "a question for an address was not sent");
                    }
                    said => said?,
                }
            }
            Effect::Despair => {
                tracing::warn!(nic = %self.nic.mac, "no DHCP server gives the node an address on a NIC that pods share; see whether DHCP is on in the VLAN; pods are not touched by it, and it is asked for further");
            }
            Effect::Hold { address, until } => return self.hold(address, until).await,
            Effect::Lose { address, why } => {
                self.take_off(address).await?;
                tracing::warn!(nic = %self.nic.mac, %address, "the node has lost its address on a NIC that pods share: {}; pods are not touched by it", reason(why));
            }
        }
        Ok(None)
    }

    async fn hold(&self, address: Ipv4Addr, until: Instant) -> Result<Option<Event>> {
        let there = self.there().await?;
        let wanted = self.address(address);
        let had = there.iter().any(|there| is_leased(there) && there.address == wanted.address);
        if !had && let Some(whose) = self.holder(address, &there).await? {
            tracing::warn!(nic = %self.nic.mac, %address, %whose, "a DHCP server gave the node an address that somebody has, which it does not take; keep what is reserved for pods out of the server's range");
            return Ok(Some(Event::Taken));
        }
        let wanted = wanted.valid_for(until.saturating_duration_since(Instant::now()));
        let add = async move |node: Arc<Node>| node.connection().await?.add_address(&wanted).await;
        self.node.ask(add).await?;
        if had {
            tracing::debug!(nic = %self.nic.mac, %address, "the lease of the node's address goes on");
        } else {
            tracing::info!(nic = %self.nic.mac, %address, "the node has an address on a NIC that pods share");
            self.announce(address).await;
        }
        Ok(None)
    }

    /// The addresses that the NIC has.
    async fn there(&self) -> Result<Vec<Address>> {
        let link = self.nic.link;
        self.node.ask(async move |node: Arc<Node>| node.connection().await?.addresses_of(link).await).await
    }

    /// Who has an address that was given to the node: a pod of its own, or somebody in the subnet, who is asked in the name that
    /// the NIC asks all in. Without one it has no pods, and nobody is asked.
    async fn holder(&self, address: Ipv4Addr, there: &[Address]) -> Result<Option<String>> {
        let own = self.node.ask(async move |node: Arc<Node>| pod_with(&node, address).await).await?;
        let sender = there.iter().find(|there| !is_leased(there)).map(|there| there.address.addr());
        let (None, Some(IpAddr::V4(sender))) = (&own, sender) else { return Ok(own) };
        let Nic { mac, link, .. } = self.nic;
        let other = self.node.holder(link, mac, sender, address).await?;
        Ok(other.map(|mac| format!("the NIC {mac}")))
    }

    /// Tells the subnet where the address is: somebody else may have had it before.
    async fn announce(&self, address: Ipv4Addr) {
        let link = self.nic.link;
        let announced = self.node.ask(async move |node: Arc<Node>| {
            let nic = node.connection().await?.link(link).await?;
            node.announce(&nic, address).await
        });
        if let Err(error) = announced.await {
            tracing::debug!(nic = %self.nic.mac, error = %error.chain(), "the node's address was not announced");
        }
    }

    async fn take_off(&self, address: Ipv4Addr) -> Result<()> {
        let address = self.address(address);
        self.node
            .ask(async move |node: Arc<Node>| node.connection().await?.delete_address(&address).await)
            .await
    }

    /// Tells the server, if it is known, and takes the address off the NIC. What fails is left: the lease ends by its time.
    async fn end(&self, socket: &DhcpSocket, client: &Client) {
        if let Some(question) = client.farewell(Instant::now(), chance())
            && let Err(error) = self.carry_out(socket, Effect::Say(question)).await
        {
            tracing::debug!(nic = %self.nic.mac, error = %error.chain(), "the DHCP server was not told that the node's address is free");
        }
        if let Some(address) = client.address()
            && let Err(error) = self.take_off(address).await
        {
            tracing::debug!(nic = %self.nic.mac, %address, error = %error.chain(), "the node's address was not taken off the NIC");
        }
    }

    fn address(&self, address: Ipv4Addr) -> Address {
        let prefix = self.nic.subnet.prefix_len();
        Address::new(self.nic.link, Ipv4Net::new_assert(address, prefix).into()).metric(LEASED)
    }
}

/// The veth of the pod that shares a NIC and has this address.
async fn pod_with(node: &Node, address: Ipv4Addr) -> Result<Option<String>> {
    let links = node.connection().await?.links().await?;
    let has = |alias: Alias| alias.part == Part::SharedHostEnd && alias.address == Some(address);
    Ok(links.into_iter().find(|link| Alias::of(link).is_some_and(has)).map(|link| link.name))
}

/// An address that the NIC has for a while, and for how much longer.
fn held(address: &Address) -> Option<(Ipv4Addr, Duration)> {
    match address.address.addr() {
        IpAddr::V4(found) => Some((found, address.valid_for?)),
        IpAddr::V6(_) => None,
    }
}

fn reason(why: Loss) -> &'static str {
    match why {
        Loss::Ended => "no DHCP server answered until its lease was over; see whether DHCP is on in the VLAN",
        Loss::Refused => "a DHCP server refused it; another one is asked for",
        Loss::Replaced => "a DHCP server gave another one in its place",
    }
}

/// Any number: what is asked for by it is told from what others ask.
fn chance() -> u32 {
    let number = RandomState::new().hash_one(());
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default()
}
