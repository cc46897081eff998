//! The comparison, row by row: what differs between records, cloud and kernel, and what is to be done about it.
//!
//! Rows about NICs on their way in or out, and about creates, are the pool's: it looks at each of them by itself
//! (`agent_lost.rs`), and the comparison must leave them alone.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says by panicking that it failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use hostnic_core::agent::{Evidence, Finding, Observation, Patience, Suspicions, VethCommon, compare};
use hostnic_core::attachment::{AttachmentKey, AttachmentMark, NetnsPath, Sandbox};
use hostnic_core::clock::BootTime;
use hostnic_core::cloud::{Nic, NicAttachment};
use hostnic_core::id::{MacAddr, NicId};
use hostnic_core::ipam::Lease;
use hostnic_core::ledger::{
    AddressRecord, AddressState, CreateIntent, LeaseRecord, LeaseState, NicRecord, NicRole, NicState, State,
    SubnetRange, Write,
};
use hostnic_core::route::{
    Hairpin, HostLink, KernelView, MarkedLink, MarkedSharedNic, MarkedSharedPod, MarkedVeth, MarkedVethEnd,
    NicTable, PodDatapath, PodLink, PodPlan, PodsTable, Route, SharedPlan, VethPlan,
};

const PATIENCE: Patience = Patience { list_lag: Duration::from_secs(5), grace: Duration::from_secs(60) };

/// What pods behind veths have in common.
const COMMON: Option<VethCommon> = Some(VethCommon {
    pods: PodsTable::OWN,
    source: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 10)),
    hairpin: Hairpin::Off,
});

/// All that is about NIC `n`, pod `n` and address `n`.
fn mac(n: u8) -> MacAddr {
    MacAddr::new([0x52, 0x54, 0, 0, 0, n]).unwrap()
}

fn id(n: u8) -> NicId {
    mac(n).to_string().parse().unwrap()
}

fn address(n: u8) -> IpAddr {
    IpAddr::from([192, 168, 1, n])
}

fn mark(n: u8) -> AttachmentMark {
    key(n).mark()
}

fn key(n: u8) -> AttachmentKey {
    AttachmentKey {
        network: "net".parse().unwrap(),
        container: format!("c{n}").parse().unwrap(),
        ifname: "eth0".parse().unwrap(),
    }
}

fn table(n: u8) -> NicTable {
    NicTable::new(260 + u32::from(n)).unwrap()
}

fn range() -> SubnetRange {
    SubnetRange {
        id: "vxnet-1".parse().unwrap(),
        prefix: "192.168.1.0/24".parse().unwrap(),
        gateway: address(1),
        carrier: hostnic_core::cloud::Carrier::default(),
    }
}

fn at(seconds: u64) -> BootTime {
    BootTime::new(Duration::from_secs(seconds))
}

/// What is seen, before a row adds to it.
#[derive(Default)]
struct Scene {
    state: State,
    nics: Vec<Nic>,
    kernel: KernelView,
    busy_nics: BTreeSet<NicId>,
    busy_leases: BTreeSet<AttachmentMark>,
}

impl Scene {
    fn record(mut self, n: u8, state: NicState, address_state: AddressState) -> Self {
        let record = NicRecord {
            id: id(n),
            mac: mac(n),
            subnet: range(),
            token: None,
            role: NicRole::Pods,
            state,
            since: at(1),
            addresses: vec![AddressRecord { address: address(n), state: address_state }],
        };
        self.state.apply(&[Write::PutNic(record)]);
        self
    }

    /// A ready NIC whose address is free.
    fn free(self, n: u8) -> Self {
        self.record(n, NicState::Ready, AddressState::Free { since: at(1) })
    }

    /// A ready NIC with a pod.
    fn leased(mut self, n: u8, state: LeaseState) -> Self {
        self.state.apply(&[Write::PutLease(Box::new(lease(n, state)))]);
        self.record(n, NicState::Ready, AddressState::Leased { mark: mark(n) })
    }

    fn cloud(mut self, n: u8, name: &str, attachment: NicAttachment) -> Self {
        self.nics.push(Nic {
            id: id(n),
            mac: mac(n),
            name: name.to_owned(),
            subnet: range().id,
            addresses: vec![address(n)],
            attachment,
        });
        self
    }

    /// In the cloud and attached here.
    fn here(self, n: u8) -> Self {
        self.cloud(n, OURS, here())
    }

    fn available(self, n: u8) -> Self {
        self.cloud(n, OURS, NicAttachment::Available)
    }

    fn host(mut self, n: u8, in_use: bool) -> Self {
        self.kernel.host.push(HostLink { in_use, ..HostLink::unused(mac(n), format!("ens{n}")) });
        self
    }

    fn in_pod(mut self, n: u8) -> Self {
        self.kernel.pods.push(MarkedLink {
            mark: mark(n),
            mac: mac(n),
            ifname: "eth0".parse().unwrap(),
            netns: netns(n),
            sandbox: sandbox(n),
            addresses: vec![
                "192.168.1.0/24"
                    .parse::<ipnet::IpNet>()
                    .map(|net| ipnet::IpNet::new(address(n), net.prefix_len()).unwrap())
                    .unwrap(),
            ],
            silenced: false,
            gateway: None,
            services: None,
        });
        self
    }

    /// The pod's DEL was answered before its NIC was back.
    fn silenced(mut self) -> Self {
        self.kernel.pods.iter_mut().for_each(|link| link.silenced = true);
        self.kernel.veths.iter_mut().for_each(|veth| veth.silenced = true);
        self
    }

    /// The node has the NIC of a pod behind a veth, and its veth.
    fn behind_veth(mut self, n: u8) -> Self {
        self.kernel.veths.push(MarkedVeth {
            mark: mark(n),
            nic: Some(mac(n)),
            table: Some(table(n)),
            addresses: vec![address(n)],
            subnet: Some(range().prefix),
            gateway: Some(range().gateway),
            routes: Vec::new(),
            host_ifname: Some(format!("vnic{n}").parse().unwrap()),
            mtu: Some(1400),
            pod: Some(MarkedVethEnd {
                mark: mark(n),
                mac: mac(n + 100),
                ifname: "eth0".parse().unwrap(),
                netns: netns(n),
                sandbox: sandbox(n),
            }),
            silenced: false,
        });
        self.host(n, true)
    }

    /// The namespaces of pods behind veths are not in sight.
    fn unseen(mut self) -> Self {
        self.kernel.veths.iter_mut().for_each(|veth| veth.pod = None);
        self
    }

    /// They have ended, and the veths with them.
    fn ended(mut self) -> Self {
        self.kernel.veths.iter_mut().for_each(|veth| veth.host_ifname = None);
        self.unseen()
    }

    /// The pod of a lease is behind a veth.
    fn leased_veth(self, n: u8) -> Self {
        let mut scene = self.leased(n, LeaseState::Active);
        let mut lease = lease(n, LeaseState::Active);
        lease.plan.datapath = PodDatapath::Veth(VethPlan {
            table: table(n),
            pods: PodsTable::OWN,
            host_ifname: format!("vnic{n}").parse().unwrap(),
            source: IpAddr::from([10, 0, 0, 10]),
            hairpin: Hairpin::Off,
            mtu_at_most: None,
        });
        scene.state.apply(&[Write::PutLease(Box::new(lease))]);
        scene
    }

    /// What is found, comparison by comparison, each so many seconds after the one before; each finding in short.
    fn findings(&self, comparisons: usize, apart: u64) -> Vec<Vec<String>> {
        let mut suspicions = Suspicions::default();
        let evidence = Evidence {
            instance: "i-1".parse().unwrap(),
            nics: self.nics.clone(),
            subnets: BTreeMap::from([(range().id, range())]),
        };
        let compared = (0..comparisons).map(|n| {
            let seen = Observation {
                now: at(1000 + n as u64 * apart),
                state: &self.state,
                kernel: &self.kernel,
                cloud: Some(&evidence),
                busy_nics: &self.busy_nics,
                busy_leases: &self.busy_leases,
                veth: COMMON,
            };
            compare(&seen, &mut suspicions, PATIENCE).iter().map(short).collect()
        });
        compared.collect()
    }
}

const OURS: &str = "hostnic_i-1.token0000000001";

fn here() -> NicAttachment {
    NicAttachment::Attached { instance: "i-1".parse().unwrap(), primary: false }
}

fn elsewhere() -> NicAttachment {
    NicAttachment::Attached { instance: "i-2".parse().unwrap(), primary: false }
}

fn netns(n: u8) -> NetnsPath {
    NetnsPath::new(format!("/run/netns/c{n}")).unwrap()
}

fn sandbox(n: u8) -> Sandbox {
    Sandbox { device: 4, inode: n.into() }
}

fn lease(n: u8, state: LeaseState) -> LeaseRecord {
    let net = ipnet::IpNet::new(address(n), 24).unwrap();
    LeaseRecord {
        mark: mark(n),
        key: Some(key(n)),
        pod: None,
        started: at(1),
        state,
        lease: Lease { nic: id(n), mac: mac(n), subnet: range().id, address: net, gateway: address(1) },
        plan: PodPlan {
            datapath: PodDatapath::Passthrough,
            mark: mark(n),
            netns: netns(n),
            sandbox: sandbox(n),
            ifname: "eth0".parse().unwrap(),
            mac: mac(n),
            address: net,
            gateway: address(1),
            routes: Vec::new(),
            mtu: None,
        },
        link: (state == LeaseState::Active).then(|| PodLink { mac: mac(n), mtu: 1500 }),
        since: at(1),
        by_wish: false,
    }
}

fn short(finding: &Finding) -> String {
    let number = |nic: &NicId| nic.as_str().rsplit(':').next().unwrap().to_owned();
    let whose = |found: &AttachmentMark| (0..=255).find(|n| mark(*n) == *found).unwrap();
    let address =
        |nic: &NicRecord| nic.addresses.iter().map(|a| a.state.word()).collect::<Vec<_>>().join(",");
    match finding {
        Finding::Forget(nic) => format!("forget {}", number(nic)),
        Finding::Adopt(nic) if nic.role.is_shared() => {
            let table =
                nic.role.shared_table().map_or_else(String::new, |table| format!(" {}", table.number()));
            format!("adopt {} {} shared{table}", number(&nic.id), nic.state.word())
        }
        Finding::Adopt(nic) => format!("adopt {} {} {}", number(&nic.id), nic.state.word(), address(nic)),
        Finding::Rebuild(nic, lease) => {
            let state = lease.state.word();
            format!(
                "rebuild {} {} {} for {} {state}",
                number(&nic.id),
                nic.state.word(),
                address(nic),
                whose(&lease.mark)
            )
        }
        Finding::RebuildShared(lease) => {
            format!("rebuild {} on {} {}", whose(&lease.mark), number(&lease.lease.nic), lease.state.word())
        }
        Finding::Quarantine(nic) => format!("{} {}", nic.state.word(), number(&nic.id)),
        Finding::Expel(nic) => format!("expel {} {}", number(&nic.id), nic.state.word()),
        Finding::Unplugged(nic) => format!("unplugged {}", number(nic)),
        Finding::Lose(nic) => format!("lose {}", number(nic)),
        Finding::Unfinished(mark) => format!("unfinished {}", whose(mark)),
        Finding::CameBack(mark) => format!("came back {}", whose(mark)),
        Finding::BlindToSandboxes(count) => format!("blind to {count}"),
    }
}

/// One row: nothing is found in the comparisons before the last, and `found` in that.
fn row(name: &str, scene: &Scene, comparisons: usize, apart: u64, found: &[&str]) {
    let all = scene.findings(comparisons, apart);
    let (last, before) = all.split_last().unwrap();
    assert!(before.iter().all(Vec::is_empty), "{name}: found too early: {before:?}");
    assert_eq!(last, found, "{name}");
    // Where nothing is left to be seen, nothing is found: doubts are about what is seen in a row.
    let busy = scene.nics.iter().map(|nic| nic.id.clone()).chain(scene.state.nics.keys().cloned()).collect();
    let still = Scene {
        state: scene.state.clone(),
        nics: scene.nics.clone(),
        kernel: scene.kernel.clone(),
        busy_nics: busy,
        busy_leases: scene.state.leases.keys().cloned().collect(),
    };
    assert!(
        still.findings(6, 60).iter().all(Vec::is_empty),
        "{name}: what something happens to is left alone"
    );
}

fn scene() -> Scene {
    Scene::default()
}

#[test]
fn the_recovery_table() {
    use AddressState::Claimed;
    use LeaseState::{Active, Preparing, Releasing};
    let job = || Some("job-1".parse().unwrap());
    let attaching = |job| NicState::Attaching { job, failures: 0 };
    let quarantined = || scene().record(2, NicState::Quarantined, Claimed);

    // Nothing differs.
    row("ready and here", &scene().free(2).here(2).host(2, false), 6, 60, &[]);
    row("leased and here", &scene().leased(2, Active).here(2).in_pod(2), 6, 60, &[]);

    // On their way: the pool's.
    for attachment in [here(), NicAttachment::Available] {
        for state in
            [attaching(None), attaching(job()), NicState::Detaching { job: job() }, NicState::Deleting]
        {
            let moving = scene().record(2, state.clone(), Claimed).cloud(2, OURS, attachment.clone());
            row(&format!("{state:?} and {attachment:?}"), &moving, 6, 60, &[]);
        }
    }
    row("attaching and gone", &scene().record(2, attaching(job()), Claimed), 6, 60, &[]);
    let mut created = scene().available(2);
    let token = "token0000000001".parse().unwrap();
    let intent = CreateIntent { token, subnet: range().id, count: 1, since: at(1), role: NicRole::Pods };
    created.state.apply(&[Write::PutIntent(intent)]);
    row("made by a create whose answer is awaited", &created, 6, 60, &[]);

    // In another instance: never touched again.
    row("ready, elsewhere", &scene().free(2).cloud(2, OURS, elsewhere()), 2, 5, &["lose 02"]);
    row("leased, elsewhere", &scene().leased(2, Active).cloud(2, OURS, elsewhere()), 2, 5, &["lose 02"]);
    let moving = scene().record(2, attaching(None), Claimed).cloud(2, OURS, elsewhere());
    row("attaching, elsewhere", &moving, 2, 5, &["lose 02"]);

    // Gone, or unplugged.
    row("ready, gone, within the lists' lag", &scene().free(2), 2, 4, &[]);
    row("ready, gone, no link", &scene().free(2), 2, 5, &["forget 02"]);
    row("ready, gone, link there", &scene().free(2).host(2, false), 5, 2, &["forget 02"]);
    row("leased, gone", &scene().leased(2, Active), 6, 60, &[]);
    row("leased, detached", &scene().leased(2, Active).available(2), 2, 5, &["unplugged 02"]);
    row("ready, detached", &scene().free(2).available(2), 2, 5, &["unplugged 02"]);
    row("quarantined, detached by a person", &quarantined().available(2), 2, 5, &["unplugged 02"]);
    row("quarantined, gone", &quarantined(), 2, 5, &["forget 02"]);

    // Half-way leases and lost sandboxes.
    row("preparing", &scene().leased(2, Preparing).here(2).in_pod(2), 1, 0, &["unfinished 2"]);
    row("releasing", &scene().leased(2, Releasing).here(2).host(2, false), 1, 0, &["unfinished 2"]);
    row("active, sandbox gone", &scene().leased(2, Active).here(2).host(2, false), 1, 0, &["came back 2"]);

    // Recorded as nobody's, and in a pod, or nowhere to be seen.
    let found = ["rebuild 02 ready leased for 2 active"];
    row("free, in a pod of ours", &scene().free(2).here(2).in_pod(2), 1, 0, &found);
    let rests = AddressState::Cooling { since: at(1) };
    row(
        "cooling, in a pod of ours",
        &scene().record(2, NicState::Ready, rests).in_pod(2).here(2),
        1,
        0,
        &found,
    );
    row("quarantined, in a pod of ours", &quarantined().here(2).in_pod(2), 1, 0, &found);
    let twice = || scene().here(2).in_pod(2);
    row("free, in the node and, by its MAC, in a pod", &twice().free(2).host(2, false), 6, 60, &[]);
    row("in the node and, by its MAC, in a pod", &twice().host(2, false), 1, 0, &["adopt 02 ready cooling"]);
    row("in two pods by its MAC", &twice().in_pod(2), 2, 5, &["quarantined 02"]);
    let silenced = scene().free(2).here(2).in_pod(2).silenced();
    row(
        "free, in a pod whose DEL was answered",
        &silenced,
        1,
        0,
        &["rebuild 02 ready leased for 2 releasing"],
    );
    row("free, no link, within the grace", &scene().free(2).here(2), 2, 59, &[]);
    row("free, no link", &scene().free(2).here(2), 2, 60, &["quarantined 02"]);
    row("quarantined, no link", &quarantined().here(2), 6, 60, &[]);
    row("quarantined, in use", &quarantined().here(2).host(2, true), 6, 60, &[]);
    row("quarantined, back", &quarantined().here(2).host(2, false), 1, 0, &["adopt 02 ready cooling"]);

    // Unrecorded.
    row("unused, here", &scene().here(2).host(2, false), 1, 0, &["adopt 02 ready cooling"]);
    row("in a pod of ours", &scene().here(2).in_pod(2), 1, 0, &["rebuild 02 ready leased for 2 active"]);
    let answered = ["rebuild 02 ready leased for 2 releasing"];
    row("in a pod whose DEL was answered", &scene().here(2).in_pod(2).silenced(), 1, 0, &answered);
    row("used by nobody knows whom", &scene().here(2).host(2, true), 1, 0, &["quarantined 02"]);
    row("in a namespace that cannot be seen", &scene().here(2), 2, 5, &["quarantined 02"]);
    row("attached nowhere, old", &scene().available(2), 2, 60, &["expel 02 deleting"]);
    row("attached nowhere, young", &scene().available(2), 6, 11, &[]);
    let go = scene().cloud(2, "hostnic_i-1", NicAttachment::Available);
    row("the Go version's, attached nowhere", &go, 2, 60, &["expel 02 deleting"]);
    row("another instance's", &scene().cloud(2, "hostnic_i-2.token0000000001", here()), 6, 60, &[]);
    row(
        "another instance's, nowhere",
        &scene().cloud(2, "hostnic_i-2", NicAttachment::Available),
        6,
        60,
        &[],
    );
    row("not ours", &scene().cloud(2, "my NIC", here()).host(2, false), 6, 60, &[]);
    let primary = NicAttachment::Attached { instance: "i-1".parse().unwrap(), primary: true };
    row("the primary one, named like ours", &scene().cloud(2, OURS, primary).host(2, true), 6, 60, &[]);
}

#[test]
fn the_recovery_table_of_pods_behind_veths() {
    let leased = || scene().leased_veth(2).here(2);
    let quarantined = || scene().record(2, NicState::Quarantined, AddressState::Claimed).here(2);
    row("leased and there", &leased().behind_veth(2), 6, 60, &[]);
    row("leased, the NIC in use and marked", &leased().behind_veth(2).host(3, true), 6, 60, &[]);
    row("leased, not in sight", &leased().behind_veth(2).unseen(), 6, 60, &[]);
    row("leased, the veth ended", &leased().behind_veth(2).ended(), 1, 0, &["came back 2"]);
    row("leased, nothing there but the NIC", &leased().host(2, false), 1, 0, &["came back 2"]);
    let mut moved = leased().behind_veth(2);
    moved.kernel.veths[0].pod.as_mut().unwrap().sandbox = sandbox(9);
    row("leased, its end in another namespace", &moved, 1, 0, &["came back 2"]);

    let found = ["rebuild 02 ready leased for 2 active"];
    let over = ["rebuild 02 ready leased for 2 releasing"];
    for (name, scene) in
        [("free", scene().free(2).here(2)), ("quarantined", quarantined()), ("unrecorded", scene().here(2))]
    {
        let with = |change: fn(Scene) -> Scene| {
            let mut other =
                Scene { state: scene.state.clone(), nics: scene.nics.clone(), ..Scene::default() };
            other = change(other.behind_veth(2));
            other
        };
        row(&format!("{name}, a pod's"), &with(|scene| scene), 1, 0, &found);
        row(&format!("{name}, its DEL answered"), &with(Scene::silenced), 1, 0, &over);
        row(&format!("{name}, its DEL answered, ended"), &with(|s| s.silenced().ended()), 1, 0, &over);
        row(&format!("{name}, its pod ended"), &with(Scene::ended), 1, 0, &over);
        let unseen = with(Scene::unseen);
        match name {
            "quarantined" => row("quarantined, not in sight", &unseen, 6, 60, &[]),
            _ => assert_eq!(unseen.findings(1, 0), [["quarantined 02"]], "{name}"),
        }
    }
    // Somebody else's, and lent to a pod, of whatever subnet.
    let mut lent = scene().cloud(2, "my NIC", here()).behind_veth(2);
    row("lent", &lent, 1, 0, &found);
    lent.nics[0].subnet = "vxnet-9".parse().unwrap();
    row("lent, of another subnet", &lent, 1, 0, &found);
    lent.kernel.veths[0].gateway = None;
    row("lent, of a subnet that cannot be told", &lent, 6, 60, &[]);

    // Set down by somebody, and a pod's all the same.
    let mut down = quarantined().behind_veth(2).unseen();
    down.kernel.host[0].in_use = false;
    row("quarantined, not in sight, down", &down, 6, 60, &[]);
}

#[test]
fn a_pod_behind_a_veth_is_rebuilt_as_the_kernel_has_it_and_with_what_all_have_in_common() {
    let mut scene = scene().free(2).here(2).behind_veth(2);
    let route = Route { destination: "10.9.0.0/16".parse().unwrap(), next_hop: Some(address(9)) };
    scene.kernel.veths[0].routes = vec![route.clone()];
    let evidence = Evidence { instance: "i-1".parse().unwrap(), nics: Vec::new(), subnets: BTreeMap::new() };
    let mut seen = Observation {
        now: at(1000),
        state: &scene.state,
        kernel: &scene.kernel,
        cloud: Some(&evidence),
        busy_nics: &BTreeSet::new(),
        busy_leases: &BTreeSet::new(),
        veth: COMMON,
    };
    let findings = compare(&seen, &mut Suspicions::default(), PATIENCE);
    let [Finding::Rebuild(_, rebuilt)] = &findings[..] else { panic!("{findings:?}") };
    let PodDatapath::Veth(veth) = &rebuilt.plan.datapath else { panic!("{rebuilt:?}") };
    assert_eq!((veth.table, veth.host_ifname.as_str(), veth.mtu_at_most), (table(2), "vnic2", None));
    let common = COMMON.unwrap();
    assert_eq!((veth.pods, veth.source, veth.hairpin), (common.pods, common.source, common.hairpin));
    assert_eq!((&rebuilt.plan.routes, rebuilt.plan.mtu), (&vec![route], Some(1400)));
    assert_eq!(rebuilt.plan.sandbox, sandbox(2));
    // Before that is known, nobody else may have the NIC.
    seen.veth = None;
    let findings = compare(&seen, &mut Suspicions::default(), PATIENCE);
    assert_eq!(findings.iter().map(short).collect::<Vec<_>>(), ["quarantined 02"]);
}

#[test]
fn when_many_sandboxes_look_gone_none_is_released() {
    let many = |gone: u8, all: u8| {
        (2..2 + all).fold(scene(), |scene, n| {
            let scene = scene.leased(n, LeaseState::Active).here(n);
            if n < 2 + gone { scene.host(n, false) } else { scene.in_pod(n) }
        })
    };
    assert_eq!(many(3, 3).findings(1, 0)[0].len(), 3, "three may go at once");
    assert_eq!(many(4, 4).findings(1, 0), [["blind to 4"]]);
    assert_eq!(many(4, 15).findings(1, 0), [["blind to 4"]]);
    assert_eq!(many(4, 16).findings(1, 0)[0].len(), 4, "a quarter of all may");
}

#[test]
fn a_pod_whose_nic_is_recorded_as_nobodys_is_found_without_the_cloud() {
    let scene = scene().free(2).in_pod(2);
    let seen = Observation {
        now: at(1000),
        state: &scene.state,
        kernel: &scene.kernel,
        cloud: None,
        busy_nics: &BTreeSet::new(),
        busy_leases: &BTreeSet::new(),
        veth: COMMON,
    };
    let findings = compare(&seen, &mut Suspicions::default(), PATIENCE);
    let [Finding::Rebuild(nic, rebuilt)] = &findings[..] else { panic!("{findings:?}") };
    let known = lease(2, LeaseState::Active);
    assert_eq!((&rebuilt.mark, &rebuilt.lease, rebuilt.state), (&known.mark, &known.lease, known.state));
    assert_eq!(nic.addresses[0].state, AddressState::Leased { mark: mark(2) });
    let busy = BTreeSet::from([id(2)]);
    let left_alone = Observation { busy_nics: &busy, ..seen };
    assert_eq!(compare(&left_alone, &mut Suspicions::default(), PATIENCE), []);
}

#[test]
fn what_is_not_seen_in_a_row_is_not_acted_on() {
    let (gone, there) = (scene().free(2), scene().free(2).here(2));
    let mut suspicions = Suspicions::default();
    for (n, scene) in [&gone, &there, &gone, &there, &gone].into_iter().enumerate() {
        let evidence = Evidence {
            instance: "i-1".parse().unwrap(),
            nics: scene.nics.clone(),
            subnets: BTreeMap::from([(range().id, range())]),
        };
        let mut seen = Observation {
            now: at(1000 + n as u64 * 60),
            state: &scene.state,
            kernel: &scene.kernel,
            cloud: Some(&evidence),
            busy_nics: &BTreeSet::new(),
            busy_leases: &BTreeSet::new(),
            veth: COMMON,
        };
        assert_eq!(compare(&seen, &mut suspicions, PATIENCE), []);
        // A comparison without the cloud says nothing about NICs.
        seen.cloud = None;
        assert_eq!(compare(&seen, &mut suspicions, PATIENCE), []);
    }
    let evidence = Evidence { instance: "i-1".parse().unwrap(), nics: Vec::new(), subnets: BTreeMap::new() };
    let seen = Observation {
        now: at(1300),
        state: &gone.state,
        kernel: &gone.kernel,
        cloud: Some(&evidence),
        busy_nics: &BTreeSet::new(),
        busy_leases: &BTreeSet::new(),
        veth: COMMON,
    };
    assert_eq!(
        compare(&seen, &mut suspicions, PATIENCE),
        [Finding::Forget(id(2))],
        "nor does it take a doubt away"
    );
}

impl Scene {
    /// In the cloud without an address, and attached here.
    fn bare(mut self, n: u8) -> Self {
        self = self.here(n);
        self.nics.iter_mut().filter(|nic| nic.id == id(n)).for_each(|nic| nic.addresses.clear());
        self
    }

    /// The node has it for pods to share.
    fn sharing(mut self, n: u8) -> Self {
        self.kernel.shared_nics.push(MarkedSharedNic {
            mac: mac(n),
            name: format!("hostnic_{n}x"),
            table: table(n),
            subnet: Some(range().prefix),
            senders: Vec::new(),
            answers_for: Vec::new(),
        });
        self.host(n, true)
    }

    /// A NIC that pods share, in that state.
    fn shared(mut self, n: u8, state: NicState) -> Self {
        self = self.record(n, state, AddressState::Claimed);
        let record = self.state.nics[&id(n)].clone();
        let shared = NicRecord { role: NicRole::Shared(Some(table(n))), addresses: Vec::new(), ..record };
        self.state.apply(&[Write::PutNic(shared)]);
        self
    }

    /// A pod on the NIC `nic` that the kernel knows.
    fn sharer(mut self, n: u8, nic: u8) -> Self {
        self.kernel.shared_pods.push(MarkedSharedPod {
            mark: mark(n),
            address: address(n),
            nic: Some(mac(nic)),
            host_ifname: format!("vnic{n}").parse().unwrap(),
            mtu: 1400,
            pod: Some(MarkedVethEnd {
                mark: mark(n),
                mac: mac(n + 100),
                ifname: "eth0".parse().unwrap(),
                netns: netns(n),
                sandbox: sandbox(n),
            }),
            silenced: false,
        });
        self
    }

    /// Its lease.
    fn sharer_leased(mut self, n: u8, nic: u8, state: LeaseState) -> Self {
        let mut lease = lease(n, state);
        (lease.lease.nic, lease.lease.mac, lease.plan.mac) = (id(nic), mac(nic), mac(nic));
        lease.plan.datapath = PodDatapath::Shared(SharedPlan {
            table: table(nic),
            pods: PodsTable::OWN,
            host_ifname: format!("vnic{n}").parse().unwrap(),
            source: IpAddr::from([10, 0, 0, 10]),
            mtu_at_most: None,
        });
        self.state.apply(&[Write::PutLease(Box::new(lease))]);
        self
    }
}

#[test]
fn the_recovery_table_of_nics_that_pods_share() {
    use LeaseState::{Active, Releasing};
    use NicState::{Lost, Quarantined, Ready};
    let silenced = |mut scene: Scene| {
        scene.kernel.shared_pods.iter_mut().for_each(|pod| pod.silenced = true);
        scene
    };
    let unseen = |mut scene: Scene| {
        scene.kernel.shared_pods.iter_mut().for_each(|pod| pod.pod = None);
        scene
    };
    let well = || scene().shared(4, Ready).bare(4).sharing(4).sharer(9, 4).sharer_leased(9, 4, Active);
    row("all is well", &well(), 6, 60, &[]);
    row("a shared NIC without records", &scene().bare(4).sharing(4), 1, 0, &["adopt 04 ready shared 264"]);
    let found = scene().bare(4).sharing(4).sharer(9, 4);
    row("and its pod", &found, 1, 0, &["adopt 04 ready shared 264", "rebuild 9 on 04 active"]);
    row(
        "and its pod whose DEL was answered",
        &silenced(unseen(scene().bare(4).sharing(4).sharer(9, 4))),
        1,
        0,
        &["adopt 04 ready shared 264", "rebuild 9 on 04 releasing"],
    );
    row(
        "a pod that is not in sight",
        &unseen(scene().shared(4, Ready).bare(4).sharing(4).sharer(9, 4)),
        6,
        60,
        &[],
    );
    row(
        "a pod without a lease",
        &scene().shared(4, Ready).bare(4).sharing(4).sharer(9, 4),
        1,
        0,
        &["rebuild 9 on 04 active"],
    );
    row(
        "made for pods, and none has come",
        &scene().bare(4).host(4, false),
        1,
        0,
        &["adopt 04 ready shared"],
    );
    let gone = || scene().shared(4, Ready).sharer(9, 4).sharer_leased(9, 4, Active);
    row("gone from the cloud under its pods", &gone(), 2, 60, &["forget 04"]);
    row(
        "lost, and its pods wait for another",
        &scene().shared(4, Lost).sharer(9, 4).sharer_leased(9, 4, Active),
        6,
        60,
        &[],
    );
    row("lost, and nobody's", &scene().shared(4, Lost), 2, 60, &["forget 04"]);
    let out = scene().shared(4, Ready).sharer(9, 4).sharer_leased(9, 4, Active);
    row("taken out under its pods", &out.cloud(4, OURS, NicAttachment::Available), 2, 60, &["unplugged 04"]);
    row("its link is gone", &gone().bare(4), 2, 60, &["unplugged 04"]);
    row("without a link, and given up", &scene().shared(4, Quarantined).bare(4), 6, 60, &[]);
    let elsewhere = gone().cloud(4, OURS, elsewhere());
    row("in another instance", &elsewhere, 2, 60, &["lose 04"]);
    let left = scene().shared(4, Ready).bare(4).sharing(4).sharer_leased(9, 4, Active);
    row("its pod's veth is gone", &left, 1, 0, &["came back 9"]);
    let owed = scene().shared(4, Ready).bare(4).sharing(4).sharer_leased(9, 4, Releasing);
    row("a DEL is owed", &owed, 1, 0, &["unfinished 9"]);
}
