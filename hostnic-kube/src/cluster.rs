//! One node's connection to its cluster: the tasks, and the handles on what they do.

use std::fmt;
use std::sync::Arc;

use hostnic_core::error::Result;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::choice::{Chooser, NodeSubnet, choose};
use crate::client::{Asker, Reach, connect};
use crate::config::{ClusterConfig, NodeName};
use crate::error::ConnectError;
use crate::events::{Notice, Reporter, Speaker, write};
use crate::facts::{ClusterUid, ProxyMode, cluster_uid, node_uid, proxy_mode};
use crate::ipam::BlockAddresses;
use crate::node::{Capacity, NodeView, Readiness, Wanted, keep};
use crate::pods::{Cache, Calico, Later, Pods};
use crate::services::{ServiceRange, service_range};
use crate::v_pool::VPool;
use crate::{node, pods, v_pool};

/// A node's connection to its cluster.
///
/// What is set here is what the node's object comes to say, and goes on saying when somebody changes it or the API server was
/// away: it is written when it differs, and only then. Nothing is written before it is set, and dropping or stopping this
/// leaves what stands there.
pub struct Cluster {
    asker: Asker,
    node: NodeName,
    v_pool: watch::Receiver<VPool>,
    pods: Arc<Pods>,
    later: Arc<Later>,
    subnet: watch::Receiver<NodeSubnet>,
    reach: watch::Receiver<Reach>,
    wanted: watch::Sender<Wanted>,
    view: watch::Receiver<NodeView>,
    reporter: Reporter,
    /// `None` once it is at work.
    chooser: Option<(Chooser, watch::Sender<NodeSubnet>)>,
    tasks: JoinSet<()>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("subnet", &*self.subnet.borrow())
            .field("reach", &*self.reach.borrow())
            .field("wanted", &*self.wanted.borrow())
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// Reads how to reach the API server, and begins to follow it. Waits for no answer of it.
    ///
    /// # Errors
    /// [`ConnectError`] where there is nothing to connect with: no service account, an unreadable kubeconfig.
    ///
    /// Dropping the future leaves nothing behind. Must be called within a tokio runtime.
    pub async fn connect(config: ClusterConfig) -> Result<Self, ConnectError> {
        let ClusterConfig { node, access, pods: rules, choice, telling, deadlines } = config;
        let (asker, reach) = connect(&access, deadlines.request).await?;
        let (reporter, told) = Reporter::new(node.clone(), telling);
        let (wanted, to_be) = watch::channel(Wanted::default());
        let (subnet_told, subnet) = watch::channel(NodeSubnet::Unknown);
        let (view_told, view) = watch::channel(NodeView::Unknown);
        let cache = Arc::new(Cache::default());

        let mut tasks = JoinSet::new();
        tasks.spawn(pods::follow(asker.client.clone(), node.clone(), cache.clone()));
        tasks.spawn(node::follow(asker.client.clone(), node.clone(), view_told));
        tasks.spawn(write(asker.clone(), Speaker::Node(node.clone()), told));
        tasks.spawn(keep(asker.clone(), node.clone(), view.clone(), to_be));
        let (v_pool_told, v_pool) = watch::channel(VPool::Unknown);
        tasks.spawn(v_pool::follow(asker.clone(), v_pool_told));
        let chooser =
            Chooser { asker: asker.clone(), node: node.clone(), rules: choice, reporter: reporter.clone() };

        let pods = Arc::new(Pods::new(cache, asker.clone(), rules, deadlines, reporter.clone()));
        let later = Arc::new(Later::default());
        tasks.spawn(pods::tell_later(pods.clone(), later.clone()));
        let chooser = Some((chooser, subnet_told));
        Ok(Self { asker, node, v_pool, pods, later, subnet, reach, wanted, view, reporter, chooser, tasks })
    }

    /// The pods of this node. The handle may outlive this; then it knows what it knew, and asks for the rest.
    pub fn pods(&self) -> Arc<Pods> {
        Arc::clone(&self.pods)
    }

    /// Whom the addresses of this node's pods are told where Calico's Felix enforces policies. What it is to tell later is told as long as
    /// this lives.
    ///
    /// Nothing is told, and nothing asked, before it is given to an agent. Needs the verb patch on pods.
    pub fn calico(&self) -> Calico {
        Calico::new(Arc::clone(&self.pods), Arc::clone(&self.later))
    }

    /// Begins to follow which subnet the node's pool draws from, and to choose one where nobody said it. A node whose pods share
    /// NICs needs none. Calling it again does nothing. Must be called within a tokio runtime.
    pub fn choose_subnet(&mut self) {
        if let Some((chooser, told)) = self.chooser.take() {
            self.tasks.spawn(choose(chooser, self.view.clone(), told));
        }
    }

    /// The subnet that the node's pool draws from, now and whenever it changes; unknown before
    /// [`choose_subnet`](Self::choose_subnet).
    pub fn node_subnet(&self) -> watch::Receiver<NodeSubnet> {
        self.subnet.clone()
    }

    /// Whether the cluster's nodes are to share NICs, now and whenever that changes.
    pub fn v_pool(&self) -> watch::Receiver<VPool> {
        self.v_pool.clone()
    }

    /// The uid of the node's object. Asks the API server once; the future may be dropped.
    ///
    /// # Errors
    /// `NotFound` where there is no such node, `Transient` where the API server cannot be reached.
    pub async fn node_uid(&self) -> Result<String> {
        node_uid(&self.asker, &self.node).await
    }

    /// The addresses that pods of this node have, which share NICs; `uid` is the node's. A pod whose namespace is to have blocks that
    /// do not exist is told so at once, while it waits. To be called once. Must be called within a tokio runtime.
    pub fn addresses(&self, uid: &str) -> BlockAddresses {
        BlockAddresses::begin(self.asker.clone(), &self.node, uid, Some(self.pods.clone()))
    }

    /// Whether the API server answers, now and whenever that changes. A quiet watch is no request: what is told may be as old
    /// as five minutes.
    pub fn reach(&self) -> watch::Receiver<Reach> {
        self.reach.clone()
    }

    /// Sets the node's condition `NetworkUnavailable`: false with the reason `HostnicReady`, or true with `HostnicNotReady`.
    ///
    /// When ready, the taint `hostnic.network.kubesphere.io/agent-not-ready:NoSchedule` is taken away, with which the kubelet
    /// registered the node. It is never put back: from then on the condition says it, from which Kubernetes makes a taint of
    /// its own. Set it to not ready as the first thing, since after a reboot the condition is what it was before.
    pub fn set_readiness(&self, readiness: Readiness) {
        self.want(|wanted| wanted.readiness = Some(readiness));
    }

    /// Puts on, or takes off, the taint `hostnic.network.kubesphere.io/no-nic:NoSchedule`.
    pub fn set_scarce(&self, scarce: bool) {
        self.want(|wanted| wanted.scarce = Some(scarce));
    }

    /// Waits until the node's object says whether it is short of NICs as it was set last. Never returns while it is not written.
    pub async fn until_scarce_is_told(&self) {
        let wanted = self.wanted.borrow().scarce;
        let mut view = self.view.clone();
        let told = view.wait_for(|view| view.scarce().is_some_and(|scarce| Some(scarce) == wanted)).await;
        if told.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Sets the resource `hostnic.network.kubesphere.io/nic` of the node: all NICs that it may ever lease to pods.
    pub fn set_capacity(&self, nics: u32) {
        self.want(|wanted| wanted.capacity = Some(Capacity::Nics(nics)));
    }

    /// Takes that resource away: pods share NICs, and their number limits no pod.
    pub fn clear_capacity(&self) {
        self.want(|wanted| wanted.capacity = Some(Capacity::Shared));
    }

    /// Tells something by an event on the node. Never waits; when the API server is away it is told later, if not too much is.
    pub fn tell_node(&self, notice: Notice) {
        self.reporter.node(notice);
    }

    /// Which cluster this is. Asks the API server once; the future may be dropped.
    ///
    /// # Errors
    /// `Transient` where the API server cannot be reached, `Unauthorised` where the namespace may not be read.
    pub async fn uid(&self) -> Result<ClusterUid> {
        cluster_uid(&self.asker).await
    }

    /// How kube-proxy works, as far as its ConfigMap tells. Asks the API server once; the future may be dropped.
    ///
    /// # Errors
    /// As [`uid`](Self::uid).
    pub async fn proxy_mode(&self) -> Result<ProxyMode> {
        proxy_mode(&self.asker).await
    }

    /// The addresses of the cluster's services; `None` where it does not tell them. Asks the API server twice at the most; the
    /// future may be dropped.
    ///
    /// # Errors
    /// `Transient` where the API server cannot be reached. What may not be read tells nothing.
    pub async fn service_range(&self) -> Result<Option<ServiceRange>> {
        service_range(&self.asker).await
    }

    /// Ends all that goes on here, and waits until it has ended. Events that were not told yet are lost. Dropping this ends it as
    /// well, without waiting.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }

    fn want(&self, change: impl FnOnce(&mut Wanted)) {
        self.wanted.send_if_modified(|wanted| {
            let before = wanted.clone();
            change(wanted);
            *wanted != before
        });
    }
}
