//! Addresses for pods that share NICs, in memory: what a cluster would keep in its API server.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ipnet::IpNet;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::attachment::{AttachmentMark, PodRef};
use crate::error::{Error, ErrorKind, Result};
use crate::id::SubnetId;
use crate::ipam::{AddressRequest, AddressSource, ClaimedAddress};
use crate::refusal::Refusal;

/// What was done about addresses, in that order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressEvent {
    /// A node told what it holds.
    Restored(Vec<AttachmentMark>),
    /// A node has told all that it holds.
    Settled,
    /// An address was given.
    Claimed(AttachmentMark, IpAddr),
    /// An address was given back.
    Released(AttachmentMark, IpAddr),
}

/// The addresses of a cluster. Clones are handles of the same.
///
/// Each namespace has addresses of one subnet; those of no namespace are everybody's. A node has a source of its own, made
/// anew with each of its starts, which knows what it gave and what it was told, and no more: as with one that keeps this
/// elsewhere, an address that was given before and is not told again is given back when the node is settled.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// use hostnic_core::AddressSource;
/// use hostnic_core::attachment::{AttachmentKey, PodRef};
/// use hostnic_core::ipam::AddressRequest;
/// use hostnic_core::sim::SimAddresses;
///
/// let cluster = SimAddresses::new();
/// cluster.add("", "vxnet-a", "192.168.1.0/24".parse()?, "192.168.1.1".parse()?, 100..=199);
/// let node = cluster.node("i-1");
/// let key = AttachmentKey { network: "net".parse()?, container: "c".parse()?, ifname: "eth0".parse()? };
/// let pod = PodRef { namespace: "default".to_owned(), name: "p".to_owned(), uid: None };
/// let request = AddressRequest { key, pod, candidates: Vec::new(), patience: std::time::Duration::from_secs(1) };
/// let claimed = node.claim(&request).await?;
/// assert_eq!(claimed.address.to_string(), "192.168.1.100/24");
/// node.release(&request.key.mark()).await?;
/// assert!(cluster.held().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct SimAddresses(Arc<Cluster>);

#[derive(Debug, Default)]
struct Cluster {
    state: Mutex<State>,
    /// Counts what was given back.
    freed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    blocks: Vec<Block>,
    held: BTreeMap<IpAddr, Holder>,
    events: Vec<AddressEvent>,
    away: bool,
    latency: Duration,
    answers_late: Duration,
}

#[derive(Debug)]
struct Block {
    namespace: String,
    claimed: ClaimedAddress,
    addresses: Vec<IpAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    node: String,
    mark: AttachmentMark,
}

impl SimAddresses {
    /// A cluster without addresses.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds addresses of a subnet, by the last byte, for pods of a namespace; for all where that is empty. Nothing of an id or a
    /// prefix that is none, nor of IPv6, is added.
    pub fn add(
        &self,
        namespace: &str,
        subnet: &str,
        prefix: IpNet,
        gateway: IpAddr,
        last: std::ops::RangeInclusive<u8>,
    ) {
        let (Ok(subnet), IpNet::V4(net)) = (SubnetId::new(subnet), prefix) else { return };
        let [a, b, c, _] = net.network().octets();
        let addresses = last.map(|d| IpAddr::from([a, b, c, d])).collect();
        let claimed = ClaimedAddress { address: prefix, subnet, gateway };
        self.lock().blocks.push(Block { namespace: namespace.to_owned(), claimed, addresses });
    }

    /// Whether the cluster can be reached: while it cannot, addresses are neither given nor taken back, and a node cannot be
    /// settled.
    pub fn set_away(&self, away: bool) {
        self.lock().away = away;
    }

    /// How long each answer takes from now on.
    pub fn set_latency(&self, takes: Duration) {
        self.lock().latency = takes;
    }

    /// How long it takes from now on until a node hears that an address was taken back.
    pub fn set_answer_latency(&self, takes: Duration) {
        self.lock().answers_late = takes;
    }

    /// Who holds which address.
    pub fn held(&self) -> BTreeMap<IpAddr, AttachmentMark> {
        self.lock().held.iter().map(|(address, holder)| (*address, holder.mark.clone())).collect()
    }

    /// What was done so far.
    pub fn events(&self) -> Vec<AddressEvent> {
        self.lock().events.clone()
    }

    /// The source of a node, as after its start. Of two at a time for one node the later one counts.
    pub fn node(&self, name: &str) -> SimAddressSource {
        SimAddressSource { cluster: self.clone(), node: name.to_owned(), known: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is whole before the lock is let go of.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self) {
        let takes = self.lock().answers_late;
        if !takes.is_zero() {
            sleep(takes).await;
        }
    }

    /// Waits as long as an answer takes, and fails where none comes.
    async fn reach(&self, operation: &'static str, subject: &str) -> Result<()> {
        let takes = self.lock().latency;
        if takes.is_zero() {
            tokio::task::yield_now().await;
        } else {
            sleep(takes).await;
        }
        if self.lock().away {
            return Err(
                Error::new(ErrorKind::Transient, operation, subject).detail("the cluster cannot be reached")
            );
        }
        Ok(())
    }
}

impl State {
    fn claim(&mut self, node: &str, request: &AddressRequest) -> Result<ClaimedAddress, Refusal> {
        let mark = request.key.mark();
        let namespace = request.pod.namespace.clone();
        let own = self.blocks.iter().any(|block| block.namespace == namespace);
        let wanted = if own { namespace.as_str() } else { "" };
        let blocks: Vec<&Block> = self.blocks.iter().filter(|block| block.namespace == wanted).collect();
        if blocks.is_empty() {
            return Err(Refusal::NoBlock { namespace });
        }
        let mine = |address: &IpAddr| self.held.get(address).is_some_and(|holder| holder.mark == mark);
        let all =
            || blocks.iter().flat_map(|block| block.addresses.iter().map(move |address| (*block, *address)));
        let candidates = &request.candidates;
        let asked = |address: &IpAddr| candidates.is_empty() || candidates.contains(address);
        if !all().any(|(_, address)| asked(&address)) {
            return Err(Refusal::CandidatesForeign { candidates: candidates.clone(), namespace });
        }
        let rank = |address: &IpAddr| candidates.iter().position(|candidate| candidate == address);
        let free = all().filter(|(_, address)| asked(address) && !self.held.contains_key(address));
        let found =
            all().find(|(_, address)| mine(address)).or_else(|| free.min_by_key(|(_, a)| (rank(a), *a)));
        let Some((block, address)) = found else {
            return Err(match candidates.is_empty() {
                true => Refusal::NoAddressLeft { namespace },
                false => Refusal::CandidatesTaken { candidates: candidates.clone() },
            });
        };
        let net = IpNet::new(address, block.claimed.address.prefix_len()).unwrap_or(block.claimed.address);
        let claimed = ClaimedAddress { address: net, ..block.claimed.clone() };
        if !mine(&address) {
            self.held.insert(address, Holder { node: node.to_owned(), mark: mark.clone() });
            self.events.push(AddressEvent::Claimed(mark, address));
        }
        Ok(claimed)
    }

    /// Gives back what the node's attachment holds.
    fn release(&mut self, node: &str, mark: &AttachmentMark) {
        let holds = |holder: &Holder| holder.node == node && holder.mark == *mark;
        let held: Vec<IpAddr> =
            self.held.iter().filter(|(_, holder)| holds(holder)).map(|(address, _)| *address).collect();
        for address in held {
            self.held.remove(&address);
            self.events.push(AddressEvent::Released(mark.clone(), address));
        }
    }
}

/// The addresses of one node of a [`SimAddresses`].
#[derive(Debug)]
pub struct SimAddressSource {
    cluster: SimAddresses,
    node: String,
    known: Mutex<BTreeSet<AttachmentMark>>,
}

impl SimAddressSource {
    fn known(&self) -> MutexGuard<'_, BTreeSet<AttachmentMark>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn claim_now(&self, request: &AddressRequest) -> Result<ClaimedAddress> {
        const CLAIM: &str = "claim an address for";
        let mark = request.key.mark();
        self.cluster.reach(CLAIM, &request.key.to_string()).await?;
        self.known().insert(mark);
        let claimed = self.cluster.lock().claim(&self.node, request);
        claimed.map_err(|refusal| refusal.into_error(CLAIM, &request.key))
    }
}

#[async_trait]
impl AddressSource for SimAddressSource {
    async fn restore(&self, held: &[(AttachmentMark, Option<PodRef>, ClaimedAddress)]) -> Result<()> {
        let marks: Vec<AttachmentMark> = held.iter().map(|(mark, ..)| mark.clone()).collect();
        self.known().extend(marks.iter().cloned());
        self.cluster.lock().events.push(AddressEvent::Restored(marks));
        Ok(())
    }

    async fn settled(&self) -> Result<()> {
        self.cluster.reach("settle", &self.node).await?;
        let known = self.known().clone();
        let mut state = self.cluster.lock();
        state.events.push(AddressEvent::Settled);
        let of_node = state.held.values().filter(|holder| holder.node == self.node);
        let strays: Vec<_> =
            of_node.map(|holder| &holder.mark).filter(|mark| !known.contains(mark)).cloned().collect();
        for mark in strays {
            state.release(&self.node, &mark);
        }
        drop(state);
        self.cluster.0.freed.send_modify(|freed| *freed += 1);
        Ok(())
    }

    async fn claim(&self, request: &AddressRequest) -> Result<ClaimedAddress> {
        let mut freed = self.cluster.0.freed.subscribe();
        let mut last = None;
        let claimed = async {
            loop {
                freed.borrow_and_update();
                let error = match self.claim_now(request).await {
                    Ok(claimed) => return Ok(claimed),
                    Err(error) => error,
                };
                let wrong = matches!(
                    error.refusal(),
                    Some(Refusal::CandidatesForeign { .. } | Refusal::NoBlock { .. })
                );
                let passes = error.kind() == ErrorKind::Transient;
                if wrong {
                    return Err(error);
                }
                last = Some(error);
                tokio::select! {
                    // The sender lives as long as this.
                    _ = freed.changed() => {}
                    () = sleep(Duration::from_millis(500)), if passes => {}
                }
            }
        };
        match timeout(request.patience, claimed).await {
            Ok(claimed) => claimed,
            Err(_) => Err(last.unwrap_or_else(|| {
                Error::new(ErrorKind::Transient, "claim an address for", &request.key)
                    .detail("no answer in time")
            })),
        }
    }

    async fn release(&self, mark: &AttachmentMark) -> Result<()> {
        if !self.known().contains(mark) {
            return Ok(());
        }
        self.cluster.reach("release the address of", mark.as_str()).await?;
        self.cluster.lock().release(&self.node, mark);
        self.cluster.0.freed.send_modify(|freed| *freed += 1);
        self.cluster.answer().await;
        self.known().remove(mark);
        Ok(())
    }
}
