//! The simulated kernel keeps the contract of a route programmer.

use futures::FutureExt;
use hostnic_core::attachment::{AttachmentKey, AttachmentMark, NetnsPath};
use hostnic_core::id::MacAddr;
use hostnic_core::route::{PodDatapath, PodPlan};
use hostnic_core::sim::{Kernel, KernelFault, KernelOperation, When};
use hostnic_core::{Effect, ErrorKind, RouteProgrammer};
use tokio::time::{Instant, timeout};

use crate::{kind, secs};

fn mac() -> MacAddr {
    "52:54:00:00:00:01".parse().unwrap()
}

fn netns() -> NetnsPath {
    NetnsPath::new("/run/netns/p1").unwrap()
}

fn mark(container: &str) -> AttachmentMark {
    let key = AttachmentKey {
        network: "net".parse().unwrap(),
        container: container.parse().unwrap(),
        ifname: "eth0".parse().unwrap(),
    };
    key.mark()
}

/// A kernel with one NIC and one pod, and the plan that joins them.
fn pod() -> (Kernel, PodPlan) {
    let kernel = Kernel::new();
    kernel.add_host_link(mac(), false);
    let plan = PodPlan {
        datapath: PodDatapath::Passthrough,
        mark: mark("c1"),
        sandbox: kernel.add_sandbox(&netns()),
        netns: netns(),
        ifname: "eth0".parse().unwrap(),
        mac: mac(),
        address: "192.168.50.4/24".parse().unwrap(),
        gateway: "192.168.50.1".parse().unwrap(),
        routes: Vec::new(),
        mtu: Some(1400),
    };
    (kernel, plan)
}

/// The NIC is in the node's own namespace, down, without addresses, and no pod has a link.
async fn assert_untouched(kernel: &Kernel) {
    let view = kernel.observe().await.unwrap();
    assert!(view.pods.is_empty(), "{view:?}");
    assert_eq!(view.host.iter().map(|link| (link.mac, link.in_use)).collect::<Vec<_>>(), [(mac(), false)]);
}

#[tokio::test]
async fn set_up_twice_is_set_up_and_taken_down_twice_is_taken_down() {
    let (kernel, plan) = pod();
    assert_eq!(kernel.sandbox(&netns()).await.unwrap(), plan.sandbox);
    for _ in 0..2 {
        let link = kernel.setup_pod(&plan).await.unwrap();
        assert_eq!((link.mac, link.mtu), (mac(), 1400));
        assert_eq!(kernel.check_pod(&plan).await.unwrap(), []);
        let view = kernel.observe().await.unwrap();
        assert!(view.host.is_empty());
        assert_eq!((&view.pods[0].mark, view.pods[0].sandbox), (&plan.mark, plan.sandbox));
        assert_eq!(view.pods[0].addresses, [plan.address]);
    }
    for _ in 0..2 {
        kernel.teardown_pod(&plan).await.unwrap();
        assert_untouched(&kernel).await;
    }
}

#[tokio::test]
async fn anothers_interface_of_that_name_is_a_conflict_and_is_left_alone() {
    let (kernel, plan) = pod();
    let theirs = "02:00:00:00:00:09".parse().unwrap();
    kernel.add_foreign_link(&netns(), &plan.ifname, theirs);
    assert_eq!(kind(kernel.setup_pod(&plan).await), ErrorKind::Conflict);
    kernel.teardown_pod(&plan).await.unwrap();
    assert_eq!(kernel.teardown_marked(&plan.mark, &netns()).await.unwrap(), None);
    assert_untouched(&kernel).await;
    assert_eq!(kind(kernel.setup_pod(&plan).await), ErrorKind::Conflict, "it is still there");
}

#[tokio::test]
async fn an_attachment_of_another_container_is_neither_overwritten_nor_taken_down() {
    let (kernel, plan) = pod();
    kernel.setup_pod(&plan).await.unwrap();
    let other = PodPlan { mark: mark("c2"), ..plan.clone() };
    assert_eq!(kind(kernel.setup_pod(&other).await), ErrorKind::Conflict);
    kernel.teardown_pod(&other).await.unwrap();
    assert_eq!(kernel.check_pod(&plan).await.unwrap(), []);
    assert_eq!(kernel.check_pod(&other).await.unwrap().len(), 1);
    let other_nic = PodPlan { mac: "52:54:00:00:00:02".parse().unwrap(), ..plan.clone() };
    assert_eq!(kind(kernel.setup_pod(&other_nic).await), ErrorKind::Conflict);
    assert_eq!(kernel.check_pod(&plan).await.unwrap(), [], "a set-up that fails takes back only what it did");
}

#[tokio::test]
async fn a_missing_nic_or_namespace_is_not_found_and_nothing_is_left() {
    let (kernel, plan) = pod();
    let elsewhere = PodPlan { mac: "52:54:00:00:00:02".parse().unwrap(), ..plan.clone() };
    assert_eq!(kind(kernel.setup_pod(&elsewhere).await), ErrorKind::NotFound);
    let other_path = PodPlan { netns: NetnsPath::new("/run/netns/p2").unwrap(), ..plan.clone() };
    assert_eq!(kind(kernel.setup_pod(&other_path).await), ErrorKind::NotFound);
    kernel.add_sandbox(&netns());
    assert_eq!(kind(kernel.setup_pod(&plan).await), ErrorKind::NotFound, "the path names another namespace");
    kernel.remove_sandbox(&netns());
    assert_eq!(kind(kernel.setup_pod(&plan).await), ErrorKind::NotFound);
    assert_eq!(kind(kernel.sandbox(&netns()).await), ErrorKind::NotFound);
    assert_eq!(kind(kernel.sandbox(&NetnsPath::new("/proc/self/ns/net").unwrap()).await), ErrorKind::Invalid);
    assert_untouched(&kernel).await;
}

#[tokio::test]
async fn a_removed_namespace_gives_its_nic_back() {
    let (kernel, plan) = pod();
    kernel.setup_pod(&plan).await.unwrap();
    let mut back = Box::pin(kernel.wait_for_nic(mac()));
    assert!(back.as_mut().now_or_never().is_none());
    kernel.remove_sandbox(&netns());
    assert!(!back.await.unwrap().in_use);
    assert_untouched(&kernel).await;
    kernel.teardown_pod(&plan).await.unwrap();
    assert!(!kernel.check_pod(&plan).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_silenced_pod_keeps_its_namespace_until_its_nic_is_back() {
    let (kernel, plan) = pod();
    assert!(kernel.silence_pod(&plan).await.unwrap().is_none(), "it is not set up");
    kernel.setup_pod(&plan).await.unwrap();
    let mut silenced = kernel.silence_pod(&plan).await.unwrap().unwrap();
    let link = kernel.observe().await.unwrap().pods.remove(0);
    assert!(link.silenced && link.ifname != plan.ifname && link.mark == plan.mark, "{link:?}");
    let _second = kernel.silence_pod(&plan).await.unwrap().unwrap();
    assert_eq!(kernel.observe().await.unwrap().pods, [link], "it is silent already");
    kernel.remove_sandbox(&netns());
    assert_eq!(kernel.observe().await.unwrap().host, [], "the namespace lives on");
    for _ in 0..2 {
        silenced.give_back().await.unwrap();
        silenced.forget().await.unwrap();
        assert_untouched(&kernel).await;
    }
}

#[tokio::test]
async fn a_silenced_pod_that_is_dropped_is_found_by_both_ways_out() {
    for set_up in [false, true] {
        let (kernel, plan) = pod();
        kernel.setup_pod(&plan).await.unwrap();
        drop(kernel.silence_pod(&plan).await.unwrap());
        assert!(kernel.observe().await.unwrap().pods[0].silenced);
        if set_up {
            kernel.setup_pod(&plan).await.unwrap();
            assert_eq!(kernel.check_pod(&plan).await.unwrap(), []);
            assert!(!kernel.observe().await.unwrap().pods[0].silenced);
        }
        kernel.teardown_pod(&plan).await.unwrap();
        assert_untouched(&kernel).await;
    }
    let (kernel, plan) = pod();
    kernel.setup_pod(&plan).await.unwrap();
    let silenced = kernel.silence_pod(&plan).await.unwrap();
    kernel.remove_sandbox(&netns());
    drop(silenced);
    assert_untouched(&kernel).await;
}

#[tokio::test]
async fn a_mark_is_taken_down_without_a_plan() {
    let (kernel, plan) = pod();
    kernel.setup_pod(&plan).await.unwrap();
    assert_eq!(kernel.teardown_marked(&mark("c2"), &netns()).await.unwrap(), None);
    assert_eq!(kernel.teardown_marked(&plan.mark, &netns()).await.unwrap(), Some(mac()));
    assert_eq!(kernel.teardown_marked(&plan.mark, &netns()).await.unwrap(), None);
    assert_untouched(&kernel).await;
}

#[tokio::test]
async fn what_was_taken_from_a_pod_is_drift_and_a_set_up_repairs_it() {
    let (kernel, plan) = pod();
    kernel.setup_pod(&plan).await.unwrap();
    kernel.strip_pod_link(&netns(), &plan.ifname);
    let drift: Vec<_> = kernel.check_pod(&plan).await.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(
        drift,
        ["interface eth0: down", "address 192.168.50.4/24: missing", "route to 0.0.0.0/0: missing"]
    );
    kernel.setup_pod(&plan).await.unwrap();
    assert_eq!(kernel.check_pod(&plan).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_set_up_dropped_midway_is_partly_done_and_both_ways_out_put_it_right() {
    for dropped_after in [1, 2] {
        for finish in [true, false] {
            let (kernel, plan) = pod();
            kernel.set_latency(KernelOperation::SetupPod, secs(3));
            assert!(timeout(secs(dropped_after) + secs(1) / 2, kernel.setup_pod(&plan)).await.is_err());
            let moved = dropped_after == 2;
            assert_eq!(kernel.observe().await.unwrap().pods.len(), usize::from(moved));
            assert!(!kernel.check_pod(&plan).await.unwrap().is_empty());
            if finish {
                kernel.setup_pod(&plan).await.unwrap();
                assert_eq!(kernel.check_pod(&plan).await.unwrap(), []);
            } else {
                kernel.teardown_pod(&plan).await.unwrap();
                assert_untouched(&kernel).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_goes_away_midway_fails_the_set_up_and_nothing_is_left() {
    let (kernel, plan) = pod();
    kernel.set_latency(KernelOperation::SetupPod, secs(3));
    let start = Instant::now();
    let (done, ()) = tokio::join!(kernel.setup_pod(&plan), async {
        tokio::time::sleep(secs(5) / 2).await;
        kernel.remove_sandbox(&netns());
    });
    assert_eq!(kind(done), ErrorKind::NotFound);
    assert_eq!(start.elapsed(), secs(3));
    assert_untouched(&kernel).await;
    let again = PodPlan { mark: mark("c2"), sandbox: kernel.add_sandbox(&netns()), ..plan };
    kernel.setup_pod(&again).await.unwrap();
}

#[tokio::test]
async fn a_fault_before_changes_nothing_and_one_after_says_that_it_may_be_done() {
    let (kernel, plan) = pod();
    kernel.inject(KernelOperation::SetupPod, When::Nth(1), KernelFault::Before(ErrorKind::Transient));
    kernel.inject(KernelOperation::SetupPod, When::Nth(2), KernelFault::After(ErrorKind::Internal));
    let before = kernel.setup_pod(&plan).await.unwrap_err();
    assert_eq!((before.kind(), before.effect()), (ErrorKind::Transient, Effect::None));
    assert_untouched(&kernel).await;
    let after = kernel.setup_pod(&plan).await.unwrap_err();
    assert_eq!((after.kind(), after.effect()), (ErrorKind::Internal, Effect::Unknown));
    assert_eq!(kernel.check_pod(&plan).await.unwrap(), []);
    assert_eq!(kernel.calls()[&KernelOperation::SetupPod], 2);
}
