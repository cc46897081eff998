//! The simulated kernel keeps that contract for pods behind veths, too.

use hostnic_core::attachment::{AttachmentKey, AttachmentMark, NetnsPath};
use hostnic_core::id::MacAddr;
use hostnic_core::route::{
    Drift, Hairpin, KernelView, NicTable, NodePlan, PodDatapath, PodPlan, PodsTable, VethPlan,
};
use hostnic_core::sim::{Kernel, KernelOperation};
use hostnic_core::{ErrorKind, RouteProgrammer};
use tokio::time::timeout;

use crate::{kind, secs};

fn mac(n: u8) -> MacAddr {
    MacAddr::new([0x52, 0x54, 0, 0, 0, n]).unwrap()
}

fn netns(n: u8) -> NetnsPath {
    NetnsPath::new(format!("/run/netns/p{n}")).unwrap()
}

fn mark(n: u8) -> AttachmentMark {
    let key = AttachmentKey {
        network: "net".parse().unwrap(),
        container: format!("c{n}").parse().unwrap(),
        ifname: "eth0".parse().unwrap(),
    };
    key.mark()
}

/// Adds a NIC and a pod with this number.
fn pod(kernel: &Kernel, n: u8) -> PodPlan {
    kernel.add_host_link(mac(n), false);
    PodPlan {
        datapath: PodDatapath::Veth(VethPlan {
            table: NicTable::new(260 + u32::from(n)).unwrap(),
            pods: PodsTable::OWN,
            host_ifname: format!("vnic{n}").parse().unwrap(),
            source: "10.0.0.10".parse().unwrap(),
            hairpin: Hairpin::Off,
            mtu_at_most: Some(1400),
        }),
        mark: mark(n),
        sandbox: kernel.add_sandbox(&netns(n)),
        netns: netns(n),
        ifname: "eth0".parse().unwrap(),
        mac: mac(n),
        address: format!("192.168.50.{n}/24").parse().unwrap(),
        gateway: "192.168.50.1".parse().unwrap(),
        routes: Vec::new(),
        mtu: None,
    }
}

fn veth(plan: &mut PodPlan) -> &mut VethPlan {
    match &mut plan.datapath {
        PodDatapath::Veth(veth) => veth,
        PodDatapath::Passthrough => panic!("it is no veth"),
        other => panic!("{other:?}"),
    }
}

/// Nothing is left of any pod.
fn assert_bare(view: &KernelView) {
    assert_eq!((&view.pods, &view.veths), (&Vec::new(), &Vec::new()));
    assert!(view.host.iter().all(|link| !link.in_use && !link.name.starts_with("hostnic")), "{view:?}");
}

#[tokio::test]
async fn a_nic_stays_in_the_node_and_carries_the_mark_name_and_address_of_its_pod() {
    let kernel = Kernel::new();
    let plan = pod(&kernel, 4);
    for _ in 0..2 {
        let link = kernel.setup_pod(&plan).await.unwrap();
        assert_eq!(link.mtu, 1400);
        assert_ne!(link.mac, plan.mac);
        assert_eq!(kernel.check_pod(&plan).await.unwrap(), []);
        let view = kernel.observe().await.unwrap();
        assert_eq!((&*view.host[0].name, view.host[0].in_use), ("hostnic_264", true));
        assert_eq!(view.pods, []);
        let [veth] = &view.veths[..] else { panic!("{view:?}") };
        assert_eq!((&veth.mark, veth.nic, veth.table.unwrap().number()), (&plan.mark, Some(plan.mac), 264));
        assert_eq!(veth.host_ifname, Some("vnic4".parse().unwrap()));
        assert_eq!((veth.addresses[0], veth.mtu), (plan.address.addr(), Some(1400)));
        assert_eq!(veth.pod.as_ref().unwrap().sandbox, plan.sandbox);
    }
    for _ in 0..2 {
        kernel.teardown_pod(&plan).await.unwrap();
        assert_bare(&kernel.observe().await.unwrap());
    }
}

#[tokio::test]
async fn a_table_a_name_or_a_nic_of_two_pods_is_a_conflict() {
    let kernel = Kernel::new();
    let first = pod(&kernel, 4);
    kernel.setup_pod(&first).await.unwrap();
    let mut same_table = pod(&kernel, 5);
    veth(&mut same_table).table = NicTable::new(264).unwrap();
    let same_nic = PodPlan { mac: mac(4), ..pod(&kernel, 6) };
    let mut same_tables = pod(&kernel, 7);
    veth(&mut same_tables).pods = PodsTable::new(267).unwrap();
    let mut foreign_name = pod(&kernel, 8);
    veth(&mut foreign_name).host_ifname =
        kernel.observe().await.unwrap().host.last().unwrap().name.parse().unwrap();
    for (refused, why) in [
        (&same_table, ErrorKind::Conflict),
        (&same_nic, ErrorKind::Conflict),
        (&same_tables, ErrorKind::Invalid),
        (&foreign_name, ErrorKind::Conflict),
    ] {
        assert_eq!(kind(kernel.setup_pod(refused).await), why);
    }
    let passthrough = PodPlan { datapath: PodDatapath::Passthrough, ..same_nic };
    assert_eq!(kind(kernel.setup_pod(&passthrough).await), ErrorKind::Conflict);
    assert_eq!(kernel.check_pod(&first).await.unwrap(), []);
    assert_eq!(kernel.observe().await.unwrap().veths.len(), 1);
}

#[tokio::test]
async fn a_veth_ends_with_its_pod_and_the_nic_waits_to_be_taken_down() {
    let kernel = Kernel::new();
    let plan = pod(&kernel, 4);
    kernel.setup_pod(&plan).await.unwrap();
    kernel.remove_sandbox(&netns(4));
    let view = kernel.observe().await.unwrap();
    let veth = &view.veths[0];
    assert_eq!((veth.nic, &veth.host_ifname, &veth.pod), (Some(plan.mac), &None, &None));
    assert!(view.host[0].in_use);
    kernel.teardown_pod(&plan).await.unwrap();
    assert_bare(&kernel.observe().await.unwrap());
}

#[tokio::test]
async fn a_newer_pod_takes_the_name_of_an_older_ones_veth() {
    let kernel = Kernel::new();
    let (older, mut newer) = (pod(&kernel, 4), pod(&kernel, 5));
    veth(&mut newer).host_ifname = "vnic4".parse().unwrap();
    kernel.setup_pod(&older).await.unwrap();
    kernel.setup_pod(&newer).await.unwrap();
    assert_eq!(kernel.check_pod(&newer).await.unwrap(), []);
    let view = kernel.observe().await.unwrap();
    let older_veth = view.veths.iter().find(|veth| veth.mark == older.mark).unwrap();
    assert!(older_veth.host_ifname.as_ref().unwrap().as_str().starts_with("hnx"));
    assert!(!older_veth.silenced && older_veth.pod.is_some());
    kernel.teardown_pod(&older).await.unwrap();
    assert_eq!(kernel.check_pod(&newer).await.unwrap(), []);
}

#[tokio::test]
async fn a_silenced_veth_is_known_as_that_and_can_be_set_up_again() {
    let kernel = Kernel::new();
    let plan = pod(&kernel, 4);
    assert!(kernel.silence_pod(&plan).await.unwrap().is_none(), "it is not set up");
    kernel.setup_pod(&plan).await.unwrap();
    drop(kernel.silence_pod(&plan).await.unwrap().unwrap());
    assert!(kernel.observe().await.unwrap().veths[0].silenced);
    assert_ne!(kernel.check_pod(&plan).await.unwrap(), []);
    kernel.setup_pod(&plan).await.unwrap();
    assert_eq!(kernel.check_pod(&plan).await.unwrap(), []);
    let mut silenced = kernel.silence_pod(&plan).await.unwrap().unwrap();
    kernel.remove_sandbox(&netns(4));
    for _ in 0..2 {
        silenced.give_back().await.unwrap();
        silenced.forget().await.unwrap();
        assert_bare(&kernel.observe().await.unwrap());
    }
    let plan = pod(&kernel, 5);
    kernel.setup_pod(&plan).await.unwrap();
    assert_eq!(kernel.teardown_marked(&plan.mark, &netns(9)).await.unwrap(), Some(plan.mac));
    assert_bare(&kernel.observe().await.unwrap());
}

#[tokio::test]
async fn what_differs_from_a_veths_plan_is_drift_and_a_set_up_repairs_it() {
    let kernel = Kernel::new();
    let plan = pod(&kernel, 4);
    kernel.setup_pod(&plan).await.unwrap();
    let drifts = async |plan: &PodPlan| -> Vec<String> {
        kernel.check_pod(plan).await.unwrap().iter().map(Drift::to_string).collect()
    };
    kernel.strip_pod_link(&netns(4), &plan.ifname);
    let stripped = ["interface eth0: down", "address 192.168.50.4/32: missing", "default route: missing"];
    assert_eq!(drifts(&plan).await, stripped);
    kernel.setup_pod(&plan).await.unwrap();
    kernel.delete_veth(&"vnic4".parse().unwrap());
    let deleted = ["interface vnic4 of the node: missing or changed", "interface eth0: missing"];
    assert_eq!(drifts(&plan).await, deleted);
    kernel.setup_pod(&plan).await.unwrap();
    let mut other = plan.clone();
    veth(&mut other).hairpin = Hairpin::On;
    assert_eq!(drifts(&other).await, ["NIC hostnic_264: its table or rules differ"]);
    veth(&mut other).source = "10.0.0.11".parse().unwrap();
    kernel.setup_pod(&other).await.unwrap();
    assert_eq!(drifts(&other).await, [""; 0]);
    assert_eq!(drifts(&plan).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_set_up_of_a_veth_dropped_midway_can_be_finished_and_undone() {
    for dropped_after in [1, 2] {
        for finish in [true, false] {
            let kernel = Kernel::new();
            let plan = pod(&kernel, 4);
            kernel.set_latency(KernelOperation::SetupPod, secs(3));
            assert!(timeout(secs(dropped_after) + secs(1) / 2, kernel.setup_pod(&plan)).await.is_err());
            let veth = &kernel.observe().await.unwrap().veths[0];
            assert_eq!(veth.host_ifname.is_some(), dropped_after == 2);
            if finish {
                kernel.setup_pod(&plan).await.unwrap();
                assert_eq!(kernel.check_pod(&plan).await.unwrap(), []);
            } else {
                kernel.teardown_pod(&plan).await.unwrap();
                assert_bare(&kernel.observe().await.unwrap());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_goes_away_midway_leaves_no_veth() {
    let kernel = Kernel::new();
    let plan = pod(&kernel, 4);
    kernel.set_latency(KernelOperation::SetupPod, secs(3));
    let (done, ()) = tokio::join!(kernel.setup_pod(&plan), async {
        tokio::time::sleep(secs(5) / 2).await;
        kernel.remove_sandbox(&netns(4));
    });
    assert_eq!(kind(done), ErrorKind::NotFound);
    assert_bare(&kernel.observe().await.unwrap());
}

#[tokio::test]
async fn the_node_is_as_it_was_last_set_up_until_somebody_changes_it() {
    let kernel = Kernel::new();
    let plan = NodePlan::Passthrough;
    assert_eq!(kernel.check_node(&plan).await.unwrap().len(), 1);
    kernel.setup_node(&plan).await.unwrap();
    assert_eq!((kernel.check_node(&plan).await.unwrap(), kernel.node()), (vec![], Some(plan.clone())));
    kernel.forget_node();
    assert_eq!(kernel.check_node(&plan).await.unwrap().len(), 1);
}
