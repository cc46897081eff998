//! The simulated kernel keeps that contract for pods that share a NIC, too.

use hostnic_core::attachment::{AttachmentKey, AttachmentMark, NetnsPath};
use hostnic_core::id::MacAddr;
use hostnic_core::route::{
    Drift, Hairpin, KernelView, NicTable, PodDatapath, PodPlan, PodsTable, SharedNicPlan, SharedPlan,
    SharedRoutes, VethPlan,
};
use hostnic_core::sim::{Kernel, KernelOperation};
use hostnic_core::{ErrorKind, RouteProgrammer};
use tokio::time::timeout;

use crate::{kind, secs};

const NIC: u8 = 200;

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

fn nic_plan() -> SharedNicPlan {
    SharedNicPlan {
        mac: mac(NIC),
        subnet: "192.168.50.0/24".parse().unwrap(),
        sender: "192.168.50.250".parse().ok(),
        ifname: "hostnic_vx1".parse().unwrap(),
        table: NicTable::FIRST,
        routes: SharedRoutes::Ours { gateway: "192.168.50.1".parse().unwrap(), others: Vec::new() },
    }
}

/// A kernel with a NIC that pods share.
async fn kernel() -> Kernel {
    let kernel = Kernel::new();
    kernel.add_host_link(mac(NIC), false);
    kernel.setup_shared_nic(&nic_plan()).await.unwrap();
    kernel
}

/// Adds a pod with this number.
fn pod(kernel: &Kernel, n: u8) -> PodPlan {
    PodPlan {
        datapath: PodDatapath::Shared(SharedPlan {
            table: NicTable::FIRST,
            pods: PodsTable::OWN,
            host_ifname: format!("vnic{n}").parse().unwrap(),
            source: "10.0.0.10".parse().unwrap(),
            mtu_at_most: Some(1400),
        }),
        mark: mark(n),
        sandbox: kernel.add_sandbox(&netns(n)),
        netns: netns(n),
        ifname: "eth0".parse().unwrap(),
        mac: mac(NIC),
        address: format!("192.168.50.{n}/24").parse().unwrap(),
        gateway: "192.168.50.1".parse().unwrap(),
        routes: Vec::new(),
        mtu: None,
    }
}

/// Nothing is left of any pod, and the NIC answers for nobody.
fn assert_bare(view: &KernelView) {
    assert_eq!((&view.pods, &view.veths, &view.shared_pods), (&Vec::new(), &Vec::new(), &Vec::new()));
    assert!(view.shared_nics.iter().all(|nic| nic.answers_for.is_empty()), "{view:?}");
}

#[tokio::test]
async fn pods_share_a_nic_that_answers_for_each_of_them() {
    let kernel = kernel().await;
    let plans: Vec<PodPlan> = (4..7).map(|n| pod(&kernel, n)).collect();
    for _ in 0..2 {
        for plan in &plans {
            let link = kernel.setup_pod(plan).await.unwrap();
            assert_eq!(link.mtu, 1400);
            assert_ne!(link.mac, plan.mac);
            assert_eq!(kernel.check_pod(plan).await.unwrap(), []);
            kernel.announce_pod(plan).await.unwrap();
        }
        assert_eq!(kernel.check_shared_nic(&nic_plan()).await.unwrap(), []);
        let view = kernel.observe().await.unwrap();
        assert_eq!((view.host.len(), &*view.host[0].name), (1, "hostnic_vx1"));
        assert_eq!((&view.pods, &view.veths), (&Vec::new(), &Vec::new()));
        let addresses: Vec<_> = plans.iter().map(|plan| plan.address.addr()).collect();
        assert_eq!(view.shared_nics[0].answers_for, addresses);
        assert_eq!(view.shared_nics[0].senders, [nic_plan().sender.unwrap()]);
        let shared = view.shared_pods.iter().find(|pod| pod.mark == plans[0].mark).unwrap();
        assert_eq!((shared.address, shared.nic), (addresses[0], Some(mac(NIC))));
        assert_eq!((shared.host_ifname.as_str(), shared.mtu, shared.silenced), ("vnic4", 1400, false));
        assert_eq!(shared.pod.as_ref().unwrap().sandbox, plans[0].sandbox);
    }
    for plan in &plans {
        kernel.teardown_pod(plan).await.unwrap();
        kernel.teardown_pod(plan).await.unwrap();
    }
    assert_bare(&kernel.observe().await.unwrap());
    kernel.teardown_shared_nic(mac(NIC)).await.unwrap();
    kernel.teardown_shared_nic(mac(NIC)).await.unwrap();
    let view = kernel.observe().await.unwrap();
    assert!(view.shared_nics.is_empty() && !view.host[0].in_use, "{view:?}");
}

#[tokio::test]
async fn a_nic_is_a_pods_or_shared_and_never_both() {
    let kernel = kernel().await;
    let sharing = pod(&kernel, 4);
    let passthrough = PodPlan { datapath: PodDatapath::Passthrough, ..sharing.clone() };
    assert_eq!(kind(kernel.setup_pod(&passthrough).await), ErrorKind::Conflict);
    let veth = PodDatapath::Veth(VethPlan {
        table: NicTable::new(261).unwrap(),
        pods: PodsTable::OWN,
        host_ifname: "vnic4".parse().unwrap(),
        source: "10.0.0.10".parse().unwrap(),
        hairpin: Hairpin::Off,
        mtu_at_most: None,
    });
    let alone = PodPlan { datapath: veth, ..sharing.clone() };
    assert_eq!(kind(kernel.setup_pod(&alone).await), ErrorKind::Conflict);
    kernel.add_host_link(mac(7), false);
    let own = PodPlan { mac: mac(7), ..alone };
    kernel.setup_pod(&own).await.unwrap();
    assert_eq!(
        kind(kernel.setup_shared_nic(&SharedNicPlan { mac: mac(7), ..nic_plan() }).await),
        ErrorKind::Conflict
    );
    kernel.teardown_pod(&own).await.unwrap();
    let bare = PodPlan { mac: mac(7), ..sharing.clone() };
    assert_eq!(kind(kernel.setup_pod(&bare).await), ErrorKind::Conflict);
    let gone = PodPlan { mac: mac(9), ..sharing.clone() };
    assert_eq!(kind(kernel.setup_pod(&gone).await), ErrorKind::NotFound);
    let routes =
        vec![hostnic_core::route::Route { destination: "10.9.0.0/16".parse().unwrap(), next_hop: None }];
    assert_eq!(kind(kernel.setup_pod(&PodPlan { routes, ..sharing }).await), ErrorKind::Invalid);
    let outside = SharedNicPlan { sender: "192.168.51.9".parse().ok(), ..nic_plan() };
    assert_eq!(kind(kernel.setup_shared_nic(&outside).await), ErrorKind::Invalid);
    assert_bare(&kernel.observe().await.unwrap());
}

#[tokio::test]
async fn a_silenced_pod_is_answered_for_no_more_and_can_be_set_up_again() {
    let kernel = kernel().await;
    let (plan, other) = (pod(&kernel, 4), pod(&kernel, 5));
    assert!(kernel.silence_pod(&plan).await.unwrap().is_none(), "it is not set up");
    kernel.setup_pod(&plan).await.unwrap();
    kernel.setup_pod(&other).await.unwrap();
    drop(kernel.silence_pod(&plan).await.unwrap().unwrap());
    let view = kernel.observe().await.unwrap();
    assert_eq!(view.shared_nics[0].answers_for, [other.address.addr()]);
    let silenced = view.shared_pods.iter().find(|pod| pod.mark == plan.mark).unwrap();
    assert_eq!((silenced.silenced, silenced.nic), (true, None));
    assert_eq!(kernel.check_shared_nic(&nic_plan()).await.unwrap(), []);
    assert_ne!(kernel.check_pod(&plan).await.unwrap(), []);
    kernel.setup_pod(&plan).await.unwrap();
    assert_eq!(kernel.check_pod(&plan).await.unwrap(), []);
    let mut silenced = kernel.silence_pod(&plan).await.unwrap().unwrap();
    for _ in 0..2 {
        silenced.give_back().await.unwrap();
        silenced.forget().await.unwrap();
    }
    assert_eq!(kernel.remembered().len(), 1);
    assert_eq!(kernel.teardown_marked(&other.mark, &netns(9)).await.unwrap(), None);
    assert_bare(&kernel.observe().await.unwrap());
    assert_eq!(kernel.remembered().len(), 0);
}

#[tokio::test]
async fn what_answers_for_a_pod_that_is_gone_is_seen_and_taken_away() {
    let kernel = kernel().await;
    let plans = [pod(&kernel, 4), pod(&kernel, 5)];
    for plan in &plans {
        kernel.setup_pod(plan).await.unwrap();
    }
    kernel.remove_sandbox(&netns(4));
    kernel.remove_sandbox(&netns(5));
    let view = kernel.observe().await.unwrap();
    assert_eq!((view.shared_pods.len(), view.shared_nics[0].answers_for.len()), (0, 2));
    let drift = kernel.check_shared_nic(&nic_plan()).await.unwrap();
    assert_eq!(
        drift.iter().map(Drift::to_string).collect::<Vec<_>>(),
        ["NIC hostnic_vx1: answers for other pods"]
    );
    kernel.teardown_pod(&plans[0]).await.unwrap();
    assert_eq!(kernel.observe().await.unwrap().shared_nics[0].answers_for, [plans[1].address.addr()]);
    kernel.setup_shared_nic(&nic_plan()).await.unwrap();
    assert_bare(&kernel.observe().await.unwrap());
}

#[tokio::test]
async fn what_differs_is_drift_and_a_set_up_repairs_it() {
    let kernel = kernel().await;
    let plan = pod(&kernel, 4);
    kernel.setup_pod(&plan).await.unwrap();
    let drifts = async |plan: &PodPlan| -> Vec<String> {
        kernel.check_pod(plan).await.unwrap().iter().map(Drift::to_string).collect()
    };
    kernel.delete_veth(&"vnic4".parse().unwrap());
    let deleted = ["interface vnic4 of the node: missing or changed", "interface eth0: missing"];
    assert_eq!(drifts(&plan).await, deleted);
    kernel.setup_pod(&plan).await.unwrap();
    assert_eq!(drifts(&plan).await, [""; 0]);
    kernel.teardown_shared_nic(mac(NIC)).await.unwrap();
    assert_eq!(drifts(&plan).await, ["NIC 52:54:00:00:00:c8 that is shared: missing"]);
    assert_eq!(kernel.check_shared_nic(&nic_plan()).await.unwrap().len(), 1);
    kernel.setup_shared_nic(&nic_plan()).await.unwrap();
    assert_eq!(drifts(&plan).await, [""; 0], "the NIC answers again for the pods that share it");
    let none = SharedNicPlan { sender: None, ..nic_plan() };
    assert_eq!(kernel.check_shared_nic(&none).await.unwrap().len(), 1);
    kernel.setup_shared_nic(&none).await.unwrap();
    assert_eq!(kernel.observe().await.unwrap().shared_nics[0].senders, [] as [std::net::IpAddr; 0]);
    assert_eq!(drifts(&plan).await, [""; 0]);
    let other = SharedNicPlan { sender: "192.168.50.251".parse().ok(), ..nic_plan() };
    assert_eq!(kernel.check_shared_nic(&other).await.unwrap().len(), 1);
    kernel.setup_shared_nic(&other).await.unwrap();
    assert_eq!(kernel.check_shared_nic(&other).await.unwrap(), []);
    kernel.clear_host_link(mac(NIC));
    assert_eq!(kernel.check_shared_nic(&other).await.unwrap().len(), 1);
    kernel.remove_link(mac(NIC));
    assert_eq!(drifts(&plan).await, ["NIC 52:54:00:00:00:c8: missing"]);
    assert_eq!(kind(kernel.setup_shared_nic(&other).await), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_set_up_dropped_midway_can_be_finished_and_undone() {
    for dropped_after in [1, 2] {
        for finish in [true, false] {
            let kernel = kernel().await;
            let plan = pod(&kernel, 4);
            kernel.set_latency(KernelOperation::SetupPod, secs(3));
            assert!(timeout(secs(dropped_after) + secs(1) / 2, kernel.setup_pod(&plan)).await.is_err());
            let begun = kernel.observe().await.unwrap();
            assert_eq!(begun.shared_pods.len(), usize::from(dropped_after == 2));
            assert!(begun.shared_nics[0].answers_for.is_empty());
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
