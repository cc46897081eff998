//! One simulated node for the tests of the pool and of the agent: a cloud, a kernel, a store, and what must be true
//! of the three of them whenever nothing is under way.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "only tests use this")]

pub(crate) mod disk;
pub(crate) mod fuse;
pub(crate) mod store;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use hostnic_core::agent::{
    AddAnswer, AddRequest, Agent, AgentConfig, AgentParts, ByHost, CheckRequest, DelRequest, VethConfig,
};
use hostnic_core::attachment::{AttachmentKey, NetnsPath, PodRef};
use hostnic_core::clock::{BootTime, Clock, TokioClock};
use hostnic_core::cloud::{Nic, NicAttachment, NicName};
use hostnic_core::enforcer::PolicyEnforcer;
use hostnic_core::id::{InstanceId, MacAddr, NicId};
use hostnic_core::ledger::{AddressState, LeaseRecord, LeaseState, NicState, State};
use hostnic_core::pods::{NicWish, PodWishes};
use hostnic_core::point::Points;
use hostnic_core::policy::PolicyName;
use hostnic_core::pool::PoolConfig;
use hostnic_core::route::{Datapath, KernelView, PodDatapath, VethPlan};
use hostnic_core::sim::{
    Call, Cloud, CloudBuilder, Durations, Kernel, Operation, PlugByInstance, SimAddresses, SimEnforcer,
};
use hostnic_core::store::{MemoryStore, StateStore};
use hostnic_core::{AddressSource, NicProvider, Result, RouteProgrammer};

use fuse::Fuse;

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) const fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// How many of `all` to do: HOSTNIC_SCALE of them, a tenth unless told.
pub(crate) fn scaled(all: u32) -> u32 {
    let scale = std::env::var("HOSTNIC_SCALE").map_or(0.1, |v| v.parse().unwrap());
    ((f64::from(all) * scale).ceil() as u32).max(1)
}

/// What lives on when an agent dies.
pub(crate) struct World {
    pub(crate) cloud: Cloud,
    pub(crate) kernel: Kernel,
    pub(crate) store: MemoryStore,
    pub(crate) clock: TokioClock,
    pub(crate) config: AgentConfig,
    /// Where pods that share NICs have their addresses from, where there are to be any.
    pub(crate) addresses: Option<SimAddresses>,
    /// Who enforces network policies, where anybody does.
    pub(crate) enforcer: Option<SimEnforcer>,
    me: InstanceId,
    agents: Cell<u64>,
}

/// A pod, as a runtime sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pod {
    pub(crate) key: AttachmentKey,
    pub(crate) netns: NetnsPath,
}

impl Pod {
    /// Only the names: nothing is made.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            key: AttachmentKey {
                network: "net".parse().unwrap(),
                container: name.parse().unwrap(),
                ifname: "eth0".parse().unwrap(),
            },
            netns: NetnsPath::new(format!("/run/netns/{name}")).unwrap(),
        }
    }
}

/// Three roomy subnets; every call takes 100 ms, attaching 5 s and detaching 3 s.
pub(crate) fn usual_cloud(kernel: &Kernel) -> CloudBuilder {
    [
        Operation::Instance,
        Operation::Subnets,
        Operation::CreateNics,
        Operation::AttachNics,
        Operation::DetachNics,
        Operation::DeleteNics,
        Operation::ListNics,
        Operation::Jobs,
    ]
    .into_iter()
    .fold(Cloud::builder(), |builder, operation| builder.latency(operation, millis(100)))
    .subnet("vxnet-1", "192.168.1.0/24")
    .subnet("vxnet-2", "192.168.2.0/24")
    .subnet("vxnet-3", "192.168.3.0/24")
    .instance("i-1")
    .durations(Durations { attach: secs(5), detach: secs(3), reserve: secs(1) })
    .plug(Arc::new(kernel.clone()))
}

/// The usual pool over those subnets.
pub(crate) fn usual_pool() -> PoolConfig {
    PoolConfig::new((1..=3).map(|n| format!("vxnet-{n}").parse().unwrap()).collect())
}

impl World {
    /// The usual cloud, and this pool.
    pub(crate) fn new(pool: PoolConfig) -> Self {
        Self::with_cloud(pool, |builder| builder)
    }

    /// A cloud that differs from the usual one.
    pub(crate) fn with_cloud(pool: PoolConfig, change: impl FnOnce(CloudBuilder) -> CloudBuilder) -> Self {
        let kernel = Kernel::new();
        let cloud = change(usual_cloud(&kernel)).build().unwrap();
        Self::around(cloud, kernel, Self::instance(), pool, TokioClock::new())
    }

    /// Two nodes, i-1 and i-2, of one cloud.
    pub(crate) fn two(pool: PoolConfig) -> [Self; 2] {
        let kernels = [Kernel::new(), Kernel::new()];
        let ids = ["i-1", "i-2"].map(|id| InstanceId::new(id).unwrap());
        let plugs = ids.iter().zip(&kernels).fold(PlugByInstance::new(), |plugs, (id, kernel)| {
            plugs.with(id.clone(), Arc::new(kernel.clone()))
        });
        let cloud = usual_cloud(&kernels[0]).instance("i-2").plug(Arc::new(plugs)).build().unwrap();
        let clock = TokioClock::new();
        let [one, two] = kernels;
        let [first, second] = ids;
        [
            Self::around(cloud.clone(), one, first, pool.clone(), clock),
            Self { agents: Cell::new(100), ..Self::around(cloud, two, second, pool, clock) },
        ]
    }

    fn around(cloud: Cloud, kernel: Kernel, me: InstanceId, pool: PoolConfig, clock: TokioClock) -> Self {
        let (store, config) = (MemoryStore::default(), AgentConfig::new(pool));
        let (addresses, enforcer) = (None, None);
        Self { cloud, kernel, store, clock, config, addresses, enforcer, me, agents: Cell::new(0) }
    }

    /// The usual cloud, this pool, and pods behind veths. The node has an address of its own.
    pub(crate) fn behind_veths(pool: PoolConfig) -> Self {
        let mut world = Self::new(pool);
        world.config.datapath = Datapath::Veth;
        world.config.veth = Some(VethConfig::new(vec!["10.96.0.0/12".parse().unwrap()]));
        world.kernel.add_host_link(node_mac(), true);
        world.kernel.configure_host_link(node_mac(), NODE.parse().unwrap(), true);
        world
    }

    /// The usual cloud, and pods that share NICs: those of namespace `default` have addresses of vxnet-1, those of `other` of
    /// vxnet-2, and those of `third` of vxnet-3. The pool keeps no NIC warm.
    pub(crate) fn sharing(pool: PoolConfig) -> Self {
        let mut world = Self::behind_veths(PoolConfig { low: 0, high: 0, ..pool });
        world.config.datapath = Datapath::Shared;
        world.addresses = Some(shared_addresses());
        world
    }

    /// A world whose pods are joined to their NICs in this way.
    pub(crate) fn of(datapath: Datapath, pool: PoolConfig) -> Self {
        match datapath {
            Datapath::Veth => Self::behind_veths(pool),
            Datapath::Shared => Self::sharing(pool),
            _ => Self::new(pool),
        }
    }

    pub(crate) fn instance() -> InstanceId {
        "i-1".parse().unwrap()
    }

    pub(crate) fn provider(&self) -> Arc<dyn NicProvider> {
        Arc::new(self.cloud.node(&self.me))
    }

    /// The parts of the next agent.
    pub(crate) fn parts(&self) -> AgentParts {
        self.agents.set(self.agents.get() + 1);
        AgentParts {
            provider: self.provider(),
            forwarding: Some(Arc::new(self.cloud.node(&self.me))),
            tagging: Some(Arc::new(self.cloud.node(&self.me))),
            programmer: Arc::new(self.kernel.clone()),
            addresses: self.source(),
            enforcer: self.enforcer.clone().map(|enforcer| Arc::new(enforcer) as Arc<dyn PolicyEnforcer>),
            store: Arc::new(self.store.clone()),
            clock: Arc::new(self.clock),
            seed: self.agents.get(),
        }
    }

    /// The addresses of this node, as after its start.
    fn source(&self) -> Option<Arc<dyn AddressSource>> {
        let node =
            |cluster: &SimAddresses| Arc::new(cluster.node(self.me.as_str())) as Arc<dyn AddressSource>;
        self.addresses.as_ref().map(node)
    }

    /// Starts an agent.
    pub(crate) async fn agent(&self) -> Agent {
        Agent::start(self.parts(), self.config.clone()).await.unwrap()
    }

    /// Starts an agent that reaches the world through a fuse.
    pub(crate) async fn agent_behind(&self, fuse: &Fuse) -> Result<Agent> {
        self.agent_probed(fuse, Points::default()).await
    }

    /// The same, and these points hear of what it does.
    pub(crate) async fn agent_probed(&self, fuse: &Fuse, points: Points) -> Result<Agent> {
        let parts = self.parts();
        let parts = AgentParts {
            provider: Arc::new(fuse.provider(parts.provider)),
            programmer: Arc::new(fuse.programmer(parts.programmer)),
            store: Arc::new(fuse.store(parts.store)),
            addresses: parts
                .addresses
                .map(|source| Arc::new(fuse.addresses(source)) as Arc<dyn AddressSource>),
            enforcer: parts
                .enforcer
                .map(|enforcer| Arc::new(fuse.enforcer(enforcer)) as Arc<dyn PolicyEnforcer>),
            ..parts
        };
        Agent::start_probed(parts, self.config.clone(), points).await
    }

    /// Starts an agent and waits until its pool has what it wants.
    pub(crate) async fn warm_agent(&self) -> Agent {
        let agent = self.agent().await;
        agent.ready().await;
        self.until(&agent, |state| free(state) >= self.config.pool.low).await;
        agent
    }

    /// Makes a pod's namespace.
    pub(crate) fn pod(&self, name: &str) -> Pod {
        let pod = Pod::named(name);
        self.kernel.add_sandbox(&pod.netns);
        pod
    }

    pub(crate) fn pods(&self, prefix: &str, count: usize) -> Vec<Pod> {
        (0..count).map(|n| self.pod(&format!("{prefix}{n}"))).collect()
    }

    /// What a runtime's clock says.
    pub(crate) fn now(&self) -> BootTime {
        self.clock.now()
    }

    pub(crate) fn add_request(&self, pod: &Pod) -> AddRequest {
        AddRequest {
            key: pod.key.clone(),
            netns: pod.netns.clone(),
            pod: self.addresses.as_ref().map(|_| in_namespace("default", pod)),
            wishes: PodWishes::default(),
            routes: Vec::new(),
            by_host: ByHost::default(),
            mtu: None,
            started: self.clock.now(),
            patience: secs(60),
        }
    }

    /// An ADD of a pod that asks for a NIC of its own.
    pub(crate) async fn add_wished(&self, agent: &Agent, pod: &Pod, nic: NicWish) -> Result<AddAnswer> {
        self.add_within(agent, pod, nic, secs(60)).await
    }

    /// The same, with less patience than usual.
    pub(crate) async fn add_within(
        &self,
        agent: &Agent,
        pod: &Pod,
        nic: NicWish,
        patience: Duration,
    ) -> Result<AddAnswer> {
        let wishes = PodWishes { nic, ..PodWishes::default() };
        agent.add(AddRequest { wishes, patience, ..self.add_request(pod) }).await
    }

    pub(crate) async fn add(&self, agent: &Agent, pod: &Pod) -> Result<AddAnswer> {
        agent.add(self.add_request(pod)).await
    }

    /// All at once.
    pub(crate) async fn add_all(&self, agent: &Agent, pods: &[Pod]) -> Vec<AddAnswer> {
        let answers = pods.iter().map(|pod| self.add(agent, pod));
        futures::future::join_all(answers).await.into_iter().map(Result::unwrap).collect()
    }

    pub(crate) fn del_request(&self, pod: &Pod) -> DelRequest {
        DelRequest { key: pod.key.clone(), netns: Some(pod.netns.clone()), started: self.clock.now() }
    }

    /// A DEL and all that follows its answer.
    pub(crate) async fn del(&self, agent: &Agent, pod: &Pod) -> Result<()> {
        let answer = self.del_answered(agent, pod).await;
        agent.dels_ended().await;
        answer
    }

    /// A DEL, up to its answer.
    pub(crate) async fn del_answered(&self, agent: &Agent, pod: &Pod) -> Result<()> {
        agent.del(self.del_request(pod)).await
    }

    pub(crate) async fn del_all(&self, agent: &Agent, pods: &[Pod]) {
        let answers = pods.iter().map(|pod| self.del(agent, pod));
        futures::future::join_all(answers).await.into_iter().for_each(Result::unwrap);
    }

    pub(crate) async fn check(&self, agent: &Agent, pod: &Pod) -> Result<()> {
        agent.check(CheckRequest { key: pod.key.clone(), netns: pod.netns.clone() }).await.map(drop)
    }

    /// The pod has its link, with the NIC and the address that it was told, whatever any agent says.
    pub(crate) async fn check_kernel(&self, pod: &Pod, answer: &AddAnswer) {
        let kernel = self.kernel.observe().await.unwrap();
        if let Some(shared) = kernel.shared_pods.iter().find(|shared| shared.mark == pod.key.mark()) {
            let end = shared.pod.as_ref().unwrap_or_else(|| panic!("{} has no link", pod.key));
            assert_eq!((&end.netns, &end.ifname), (&pod.netns, &pod.key.ifname));
            assert_eq!((shared.address, shared.silenced), (answer.lease.address.addr(), false));
            assert!(shared.nic.is_some(), "a NIC answers for it");
            return;
        }
        if let Some(veth) = kernel.veths.iter().find(|veth| veth.mark == pod.key.mark()) {
            let end = veth.pod.as_ref().unwrap_or_else(|| panic!("{} has no link", pod.key));
            assert_eq!((&end.netns, &end.ifname), (&pod.netns, &pod.key.ifname));
            assert_eq!(veth.nic, Some(answer.lease.mac));
            assert_eq!(veth.addresses, [answer.lease.address.addr()]);
            return;
        }
        let link = kernel.pods.iter().find(|link| link.netns == pod.netns && link.ifname == pod.key.ifname);
        let link = link.unwrap_or_else(|| panic!("{} has no link", pod.key));
        assert_eq!((link.mac, &link.addresses), (answer.lease.mac, &vec![answer.lease.address]));
    }

    /// What the store holds.
    pub(crate) async fn state(&self) -> State {
        self.store.load().await.unwrap()
    }

    /// Waits, at most a quarter of an hour, until the store's state is as `wanted`.
    pub(crate) async fn until(&self, agent: &Agent, wanted: impl Fn(&State) -> bool) {
        let mut changes = agent.changes();
        let came = async {
            while !wanted(&self.state().await) {
                changes.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(secs(900), came).await.is_err() {
            panic!("it did not come to that: {}", told(&self.state().await));
        }
    }

    /// Waits until nothing is under way.
    pub(crate) async fn quiet(&self, agent: &Agent) {
        self.until(agent, is_quiet).await;
    }

    /// Our NICs in the cloud, as they are.
    pub(crate) fn nics(&self) -> BTreeMap<NicId, Nic> {
        let mut nics = self.cloud.snapshot();
        nics.retain(|_, nic| NicName::parse(&nic.name).is_some_and(|name| name.instance == self.me));
        nics
    }

    /// How many of our NICs are in each subnet.
    pub(crate) fn by_subnet(&self) -> Vec<usize> {
        let nics = self.nics();
        let count =
            |n: usize| nics.values().filter(|nic| nic.subnet.as_str() == format!("vxnet-{n}")).count();
        (1..=3).map(count).collect()
    }

    /// The calls so far, as a table.
    pub(crate) fn calls(&self) -> Vec<Call> {
        let calls = self.cloud.history();
        for call in &calls {
            println!(
                "{:>8.3} s  {:<18} {:>3}  {:?}",
                call.at.as_secs_f64(),
                call.operation.verb(),
                call.items,
                call.outcome
            );
        }
        calls
    }

    pub(crate) fn count(&self, operation: Operation) -> u64 {
        self.cloud.calls().get(&operation).copied().unwrap_or_default()
    }

    /// Records, cloud and kernel agree, and nothing is under way.
    pub(crate) async fn agree(&self) {
        self.agree_on(&self.state().await).await;
    }

    /// The same, of these records.
    pub(crate) async fn agree_on(&self, state: &State) {
        let wrong = self.disagreements(state).await;
        assert!(
            wrong.is_empty(),
            "records, cloud and kernel disagree:\n{}\n{}",
            wrong.join("\n"),
            told(state)
        );
    }

    async fn disagreements(&self, state: &State) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut note = |text: String| wrong.push(text);
        if !is_quiet(state) {
            note("something is under way".to_owned());
        }
        let cloud = self.nics();
        for nic in cloud.values().filter(|nic| !state.nics.contains_key(&nic.id)) {
            note(format!("{} is in the cloud ({:?}) and not in the records", nic.id, nic.attachment));
        }
        let all = self.cloud.snapshot();
        let here = NicAttachment::Attached { instance: self.me.clone(), primary: false };
        let kernel = self.kernel.observe().await.unwrap();
        let mut addresses = BTreeSet::new();
        for nic in state.nics.values() {
            match all.get(&nic.id) {
                None => note(format!("{} is in the records and not in the cloud", nic.id)),
                Some(real) if real.attachment != here => note(format!("{} is {:?}", nic.id, real.attachment)),
                Some(real) if real.mac != nic.mac => note(format!("{} has another MAC", nic.id)),
                Some(_) => {}
            }
            for address in &nic.addresses {
                if !addresses.insert(address.address) {
                    note(format!("{} is on two NICs", address.address));
                }
                if let AddressState::Leased { mark } = &address.state
                    && state.leases.get(mark).is_none_or(|l| l.lease.address.addr() != address.address)
                {
                    note(format!("{} is leased to {mark}, which has no such lease", address.address));
                }
            }
            let links = kernel.host.iter().filter(|l| l.mac == nic.mac).count()
                + kernel.pods.iter().filter(|l| l.mac == nic.mac).count();
            if links != 1 {
                note(format!("{} has {links} links in the kernel", nic.id));
            }
        }
        for address in self.kernel.remembered() {
            if !state.leases.values().any(|lease| lease.lease.address.addr() == address) {
                note(format!("flows of {address} have survived its lease"));
            }
        }
        let mut held = BTreeSet::new();
        for lease in state.leases.values() {
            let address = lease.lease.address.addr();
            if !held.insert(address) {
                note(format!("{address} is leased twice"));
            }
            let leased = AddressState::Leased { mark: lease.mark.clone() };
            let carries = |r: &hostnic_core::ledger::NicRecord| {
                r.addresses.iter().any(|a| a.address == address && a.state == leased)
            };
            let shares = |r: &hostnic_core::ledger::NicRecord| r.role.is_shared() && r.mac == lease.lease.mac;
            if !state.nics.get(&lease.lease.nic).is_some_and(|nic| carries(nic) || shares(nic)) {
                note(format!("the NIC of {} does not know of it", lease.mark));
            }
            if is_superseded(state, lease) {
                continue;
            }
            for drift in self.kernel.check_pod(&lease.plan).await.unwrap() {
                note(format!("pod {}: {drift}", lease.mark));
            }
        }
        for link in kernel.pods.iter().filter(|link| !state.leases.contains_key(&link.mark)) {
            note(format!("{} has a link and no lease", link.netns));
        }
        for veth in kernel.veths.iter().filter(|veth| !state.leases.contains_key(&veth.mark)) {
            note(format!("{veth:?} is of no lease"));
        }
        self.sharing_disagreements(state, &kernel, &mut note);
        for link in kernel.host.iter().filter(|link| {
            let idle = |nic: &hostnic_core::ledger::NicRecord| {
                !nic.has_holder() && !nic.role.is_gateway() && !nic.role.is_shared()
            };
            state.nic_by_mac(link.mac).is_some_and(idle)
        }) {
            if link.in_use {
                note(format!("{} is in use and nobody's", link.name));
            }
        }
        wrong
    }

    /// What pods that share NICs have: in the node, and of the addresses of the cluster.
    fn sharing_disagreements(&self, state: &State, kernel: &KernelView, note: &mut impl FnMut(String)) {
        for pod in kernel.shared_pods.iter().filter(|pod| !state.leases.contains_key(&pod.mark)) {
            note(format!("{pod:?} is of no lease"));
        }
        let pods = |mac| state.leases.values().filter(move |lease| lease.lease.mac == mac);
        for nic in &kernel.shared_nics {
            let record = state.nic_by_mac(nic.mac);
            if record.and_then(|record| record.role.shared_table()) != Some(nic.table) {
                note(format!("{nic:?} is recorded as {record:?}"));
            }
            let addresses: BTreeSet<_> = pods(nic.mac).map(|lease| lease.lease.address.addr()).collect();
            if nic.answers_for.iter().copied().collect::<BTreeSet<_>>() != addresses {
                note(format!(
                    "{} answers for {:?}, and its pods are {addresses:?}",
                    nic.name, nic.answers_for
                ));
            }
            let asks = nic.senders.len() == usize::from(!addresses.is_empty());
            if !asks || !nic.senders.iter().all(|sender| addresses.contains(sender)) {
                note(format!("{} asks from {:?}, and its pods are {addresses:?}", nic.name, nic.senders));
            }
        }
        let Some(cluster) = &self.addresses else { return };
        let shared = state.leases.values().filter(|l| matches!(l.plan.datapath, PodDatapath::Shared(_)));
        let leased: BTreeMap<_, _> =
            shared.map(|lease| (lease.lease.address.addr(), lease.mark.clone())).collect();
        if cluster.held() != leased {
            note(format!("the cluster says that {:?} are held, and the records {leased:?}", cluster.held()));
        }
    }
}

/// A pod in a namespace of the orchestrator's.
pub(crate) fn in_namespace(namespace: &str, pod: &Pod) -> PodRef {
    PodRef { namespace: namespace.to_owned(), name: pod.key.container.to_string(), uid: None }
}

/// A hundred addresses of each subnet, for a namespace each.
pub(crate) fn shared_addresses() -> SimAddresses {
    let cluster = SimAddresses::new();
    for (namespace, n) in [("default", 1), ("other", 2), ("third", 3)] {
        let (prefix, gateway) = (format!("192.168.{n}.0/24"), format!("192.168.{n}.1"));
        let subnet = format!("vxnet-{n}");
        cluster.add(namespace, &subnet, prefix.parse().unwrap(), gateway.parse().unwrap(), 100..=199);
    }
    cluster
}

/// The node's own address, and the MAC of its own link.
pub(crate) const NODE: &str = "10.0.0.10/24";

pub(crate) fn node_mac() -> MacAddr {
    "52:54:00:ff:00:01".parse().unwrap()
}

/// The veth's part of a lease's plan.
pub(crate) fn veth(lease: &LeaseRecord) -> &VethPlan {
    match &lease.plan.datapath {
        PodDatapath::Veth(veth) => veth,
        other => panic!("{other:?}"),
    }
}

/// Whether another pod has the name of the lease's veth by now.
fn is_superseded(state: &State, lease: &LeaseRecord) -> bool {
    let name = |lease: &LeaseRecord| match &lease.plan.datapath {
        PodDatapath::Veth(veth) => Some(veth.host_ifname.clone()),
        PodDatapath::Shared(shared) => Some(shared.host_ifname.clone()),
        _ => None,
    };
    let newer = |other: &LeaseRecord| other.started > lease.started && name(other) == name(lease);
    name(lease).is_some() && state.leases.values().any(newer)
}

/// Whether no NIC is on its way anywhere and no lease is half-way.
pub(crate) fn is_quiet(state: &State) -> bool {
    state.intents.is_empty()
        && state.nics.values().all(|nic| nic.state == NicState::Ready)
        && state.leases.values().all(|lease| lease.state == LeaseState::Active)
}

/// How many addresses are free.
pub(crate) fn free(state: &State) -> u32 {
    let ready = state.nics.values().filter(|nic| nic.state == NicState::Ready);
    let free = ready.flat_map(|nic| &nic.addresses).filter(|a| matches!(a.state, AddressState::Free { .. }));
    u32::try_from(free.count()).unwrap()
}

/// The state of an address, wherever it is.
pub(crate) fn address_state(state: &State, answer: &AddAnswer) -> AddressState {
    let address = answer.lease.address.addr();
    let mut all = state.nics.values().flat_map(|nic| &nic.addresses);
    all.find(|a| a.address == address).unwrap().state.clone()
}

/// The records in short.
pub(crate) fn told(state: &State) -> String {
    let mut text = String::new();
    for nic in state.nics.values() {
        let addresses: Vec<_> =
            nic.addresses.iter().map(|a| format!("{} {}", a.address, a.state.word())).collect();
        writeln!(text, "  NIC {} {:?} {}", nic.id, nic.state, addresses.join(", ")).unwrap();
    }
    for lease in state.leases.values() {
        let key = lease.key.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string);
        writeln!(text, "  lease {} {key} {} {}", lease.mark, lease.state.word(), lease.lease.address)
            .unwrap();
    }
    for intent in state.intents.values() {
        writeln!(text, "  intent {intent:?}").unwrap();
    }
    text
}

/// A NIC that is made for the pod.
pub(crate) fn made(subnet: Option<&str>, address: Option<&str>) -> NicWish {
    NicWish::Made {
        subnet: subnet.map(|id| id.parse().unwrap()),
        address: address.map(|address| address.parse().unwrap()),
    }
}

/// All three policies.
pub(crate) const POLICIES: [PolicyName; 3] =
    [PolicyName::FailRotate, PolicyName::RoundRotate, PolicyName::Random];

pub(crate) fn netns(path: &str) -> NetnsPath {
    NetnsPath::new(path).unwrap()
}
