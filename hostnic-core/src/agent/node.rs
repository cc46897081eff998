//! What the node itself needs for pods behind veths: set up when its addresses are known, compared from time to time, and
//! changed while pods run.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind, Result};
use crate::ledger::State;
use crate::point::Point;
use crate::route::{Hairpin, HostLink, KernelView, NicTable, NodePlan, PodPlan, VethNode};

use super::counts::Repair;
use super::datapath::{self, VethDraft};
use super::request::AddRequest;
use super::veth::{VethCommon, VethConfig};
use super::{Inner, adapt, add};

/// The time after which a node that could not be set up is tried again.
pub(super) const RETRY: Duration = Duration::from_secs(5);

/// A node with pods behind veths.
#[derive(Debug)]
pub(super) struct VethSide {
    settings: watch::Sender<Settings>,
    /// What the kernel told last; `None` before it was asked.
    own: watch::Sender<Option<Own>>,
    /// Tables that links have of which no lease knows.
    strange: Mutex<BTreeSet<u32>>,
    /// What the plans of new pods are to have in common; `None` before the node could be set up.
    pods: watch::Sender<Option<VethCommon>>,
    programmed: watch::Sender<Programmed>,
    recheck: Notify,
}

/// The settings, and how often they were changed.
#[derive(Debug, Clone)]
struct Settings {
    number: u64,
    config: VethConfig,
}

/// The node's own addresses: those of links that are no NICs of ours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Own {
    /// All of IPv4, in order.
    addresses: Vec<IpAddr>,
    /// That of the primary link.
    source: Option<IpAddr>,
}

/// What the kernel has.
#[derive(Debug, Clone, Default)]
struct Programmed {
    /// As the node was last set up; `None` before the first time, and where that failed.
    node: Option<VethNode>,
    /// Why it is not set up as it is to be.
    trouble: Option<Arc<Error>>,
    /// The number of the settings that this is about.
    settings: u64,
}

impl VethSide {
    pub(super) fn new(config: VethConfig) -> Self {
        Self {
            settings: watch::channel(Settings { number: 1, config }).0,
            own: watch::channel(None).0,
            strange: Mutex::default(),
            pods: watch::channel(None).0,
            programmed: watch::channel(Programmed::default()).0,
            recheck: Notify::new(),
        }
    }

    /// The settings as they are to be.
    pub(super) fn config(&self) -> VethConfig {
        self.settings.borrow().config.clone()
    }

    /// What pods have in common on a node with these addresses; `None` where it has none to reach them from.
    pub(super) fn common(&self, own: &Own) -> Option<VethCommon> {
        let settings = self.settings.borrow();
        let (pods, hairpin) = (settings.config.pods, settings.config.hairpin);
        own.source.map(|source| VethCommon { pods, source, hairpin })
    }

    /// The node's own addresses, as the kernel has them now.
    pub(super) fn look(&self, kernel: &KernelView, state: &State) -> Own {
        own(&self.config(), kernel, state)
    }

    /// Learns of addresses, and of tables that the leases do not explain.
    pub(super) fn learn(&self, own: Own, strange: BTreeSet<u32>) {
        *self.strange.lock().unwrap_or_else(PoisonError::into_inner) = strange;
        self.own.send_if_modified(|known| {
            let news = known.as_ref() != Some(&own);
            *known = Some(own);
            news
        });
    }

    /// Has the kernel compared with what it was made to have, and pods that others set up with what they have in common.
    pub(super) fn recheck(&self) {
        self.recheck.notify_one();
    }

    /// Why pods cannot be served, where that is so.
    pub(super) fn trouble(&self) -> Option<String> {
        let programmed = self.programmed.borrow();
        match (&programmed.trouble, &programmed.node) {
            (Some(error), None) => Some(error.chain().to_string()),
            (None, None) => Some("the node is being set up for pods behind veths".to_owned()),
            (_, Some(_)) => None,
        }
    }

    /// Whether the kernel is to be looked at again soon.
    pub(super) fn lacks_address(&self) -> bool {
        self.own.borrow().as_ref().is_some_and(|own| own.source.is_none())
    }

    /// Waits until pods can be served.
    pub(super) async fn ready(&self) {
        // The sender lives as long as this.
        let _ = self.programmed.subscribe().wait_for(|programmed| programmed.node.is_some()).await;
    }

    /// The draft for a pod.
    ///
    /// # Errors
    /// `Transient` before the node is set up.
    pub(super) fn draft(&self, inner: &Inner) -> Result<VethDraft> {
        let Some(common) = *self.pods.borrow() else {
            let why = self.trouble().unwrap_or_default();
            return Err(Error::new(ErrorKind::Transient, "set up", "a pod behind a veth").detail(why));
        };
        let config = self.config();
        let taken = self.spared_tables(inner, &config);
        Ok(VethDraft { common, config, taken })
    }

    fn spared_tables(&self, inner: &Inner, config: &VethConfig) -> BTreeSet<u32> {
        let mut taken = datapath::spared_tables(config, inner.config.gateways.as_ref());
        taken.extend(self.strange.lock().unwrap_or_else(PoisonError::into_inner).iter());
        taken
    }

    /// A table that no NIC has; `None` where all are taken.
    pub(super) fn free_table(&self, inner: &Inner, state: &State) -> Option<NicTable> {
        let config = self.config();
        datapath::free_table(config.first_table, &self.spared_tables(inner, &config), state)
    }

    /// Whether a pod's plan is as those of all pods are to be now.
    pub(super) fn suits(&self, plan: &PodPlan) -> bool {
        let common = *self.pods.borrow();
        let wanted = common.and_then(|common| common.of_pod(plan));
        wanted.is_none_or(|wanted| wanted == plan.datapath)
    }

    /// What the node is to have; an error where it has no address.
    fn wanted(&self, own: &Own) -> Result<(VethNode, VethCommon)> {
        let config = self.config();
        let Some(common) = self.common(own) else {
            let link = match &config.primary {
                Some(link) => format!("its link {link} has no address of IPv4"),
                None => "it has no default route by a link with an address of IPv4".to_owned(),
            };
            return Err(Error::new(ErrorKind::Transient, "set up", "the node for pods behind veths").detail(
                format!("{link}; it is looked at again every {RETRY:?}; give the node an address, or name its link"),
            ));
        };
        let node = VethNode {
            hairpin: common.hairpin,
            pods: common.pods,
            nat_mark: config.nat_mark,
            services: config.services,
            addresses: own.addresses.clone(),
        };
        Ok((node, common))
    }

    fn fail(&self, error: Error, settings: u64) -> Arc<Error> {
        let error = Arc::new(error);
        let trouble = Some(error.clone());
        self.programmed.send_modify(|programmed| {
            *programmed = Programmed { node: None, trouble, settings };
        });
        error
    }
}

/// The tables that links have or are named after, and that none of `explained` is.
pub(super) fn strange_tables(kernel: &KernelView, explained: &BTreeSet<u32>) -> BTreeSet<u32> {
    let named = kernel.host.iter().filter_map(|link| NicTable::of_link(&link.name));
    let marked = kernel.veths.iter().filter_map(|veth| veth.table);
    let shared = kernel.shared_nics.iter().map(|nic| nic.table);
    named
        .chain(marked)
        .chain(shared)
        .map(NicTable::number)
        .filter(|number| !explained.contains(number))
        .collect()
}

fn own(config: &VethConfig, kernel: &KernelView, state: &State) -> Own {
    let is_ours = |link: &HostLink| {
        link.gateway.is_some()
            || state.nic_by_mac(link.mac).is_some()
            || kernel.veths.iter().any(|veth| veth.nic == Some(link.mac))
            || kernel.shared_nics.iter().any(|nic| nic.mac == link.mac)
    };
    let links: Vec<&HostLink> = kernel.host.iter().filter(|link| !is_ours(link)).collect();
    let of_link = |link: &HostLink| -> Vec<IpAddr> {
        link.addresses.iter().map(ipnet::IpNet::addr).filter(IpAddr::is_ipv4).collect()
    };
    let is_primary = |link: &HostLink| match &config.primary {
        Some(name) => link.name == name.as_str(),
        None => link.default_route,
    };
    let source = links.iter().filter(|link| is_primary(link)).find_map(|link| of_link(link).first().copied());
    let addresses: BTreeSet<IpAddr> = links.iter().flat_map(|link| of_link(link)).collect();
    Own { addresses: addresses.into_iter().collect(), source }
}

/// Has the kernel make the node as planned.
pub(super) async fn set_up(inner: &Inner, plan: &NodePlan) -> Result<()> {
    inner.kernel(Point::SetUpNode, |kernel| kernel.setup_node(plan)).await
}

/// Takes other settings, and waits until node and pods have them.
///
/// # Errors
/// Why the node could not be set up; it is tried again.
pub(super) async fn change(side: &VethSide, config: VethConfig) -> Result<()> {
    let mut programmed = side.programmed.subscribe();
    let mut number = 0;
    side.settings.send_modify(|settings| {
        number = settings.number + 1;
        *settings = Settings { number, config };
    });
    // The sender lives as long as the agent, which the caller borrows.
    let trouble = match programmed.wait_for(|programmed| programmed.settings >= number).await {
        Ok(programmed) => programmed.trouble.clone(),
        Err(_) => None,
    };
    match trouble {
        Some(error) => Err(Error::new(error.kind(), "change", "the settings of pods behind veths")
            .detail(format!("they are taken, and not in force yet; it is tried again: {}", error.chain()))),
        None => Ok(()),
    }
}

/// Keeps the node as it is to be, until it is dropped.
pub(super) async fn run(inner: &Inner) {
    let Some(side) = &inner.veth else { return };
    let (mut settings, mut known) = (side.settings.subscribe(), side.own.subscribe());
    let mut drifted = false;
    loop {
        let number = settings.borrow_and_update().number;
        let own = known.borrow_and_update().clone();
        let failed = match &own {
            Some(own) => !follow(inner, side, own, number).await,
            None => false,
        };
        if std::mem::take(&mut drifted) {
            inner.tally.repaired(Repair::SetUpAgain, !failed);
        }
        tokio::select! {
            // In a fixed order, so that runs can be repeated. The senders live as long as the agent.
            biased;
            _ = settings.changed() => {}
            _ = known.changed() => {}
            () = side.recheck.notified() => drifted = has_drifted(inner, side).await,
            () = tokio::time::sleep(RETRY), if failed => {}
        }
    }
}

/// Has kernel and pods follow, and answers whether they have.
async fn follow(inner: &Inner, side: &VethSide, own: &Own, settings: u64) -> bool {
    let (node, common) = match side.wanted(own) {
        Ok(wanted) => wanted,
        Err(error) => {
            let known = side.programmed.borrow().trouble.clone();
            let news = known.is_none_or(|known| known.chain().to_string() != error.chain().to_string());
            let error = side.fail(error, settings);
            if news {
                tracing::warn!(error = %error.chain(), "pods behind veths cannot be served");
                inner.failures.tell(error);
            }
            return false;
        }
    };
    match switch(inner, side, &node, common).await {
        Ok(()) => {
            side.programmed.send_modify(|programmed| {
                *programmed = Programmed { node: Some(node), trouble: None, settings };
            });
            true
        }
        Err(error) => {
            let error = side.fail(error, settings);
            tracing::warn!(error = %error.chain(), "the node could not be set up for pods behind veths; it is tried again");
            inner.failures.tell(error);
            false
        }
    }
}

/// Pods come before the node where they are to reach each other by their NICs, and after it where not: so each packet
/// finds its way all the while.
async fn switch(inner: &Inner, side: &VethSide, node: &VethNode, common: VethCommon) -> Result<()> {
    let pods = async || {
        side.pods.send_replace(Some(common));
        adapt::pods(inner, common).await;
    };
    let there = side.programmed.borrow().node.as_ref() == Some(node);
    if node.hairpin == Hairpin::On {
        pods().await;
    }
    if !there {
        set_up(inner, &NodePlan::Veth(node.clone())).await?;
    }
    if node.hairpin == Hairpin::Off {
        pods().await;
    }
    Ok(())
}

/// Whether the kernel differs from what it was made to have; it is then set up again by the next round.
async fn has_drifted(inner: &Inner, side: &VethSide) -> bool {
    let Some(node) = side.programmed.borrow().node.clone() else { return false };
    let plan = NodePlan::Veth(node);
    match inner.kernel(Point::CompareNode, |kernel| kernel.check_node(&plan)).await {
        Ok(drifts) => {
            let Some(drift) = drifts.first() else { return false };
            tracing::warn!(%drift, count = drifts.len(), "what the node has for its pods was changed by somebody else; it is set up again");
            side.programmed.send_modify(|programmed| programmed.node = None);
            true
        }
        Err(error) => {
            tracing::debug!(error = %error.chain(), "the node could not be compared with its plan");
            false
        }
    }
}

/// Refuses pods behind veths where there are none, and waits for the node to be set up for them.
pub(super) async fn until_set_up(
    inner: &Inner,
    request: &AddRequest,
    patience: Duration,
    cancel: &CancellationToken,
) -> Result<()> {
    let Some(side) = &inner.veth else {
        return Err(Error::new(ErrorKind::Unsupported, "add", &request.key)
            .detail("this node has no pods behind veths; ask for passthrough, or for nothing"));
    };
    tokio::select! {
        () = side.ready() => Ok(()),
        () = cancel.cancelled() => Err(add::called_off(request)),
        () = tokio::time::sleep(patience) => {
            let why = side.trouble().unwrap_or_default();
            Err(Error::new(ErrorKind::Transient, "add", &request.key).detail(why))
        }
    }
}
