//! Whoever enforces network policies knows a pod's address before the pod runs, however its NIC comes to it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says by panicking that it failed")]

mod support;

use std::time::Duration;

use hostnic_core::agent::{AddAnswer, AddRequest, Agent};
use hostnic_core::attachment::PodRef;
use hostnic_core::pool::PoolConfig;
use hostnic_core::route::{Datapath, PodDatapath};
use hostnic_core::sim::{KernelFault, KernelOperation, SimEnforcer, When};
use hostnic_core::{ErrorKind, Result};
use tokio::time::{Instant, timeout};

use support::{Pod, World, in_namespace, millis, secs, usual_pool};

const WAYS: [Datapath; 3] = [Datapath::Passthrough, Datapath::Veth, Datapath::Shared];

/// A node whose pods are joined in this way, with a pod on it, and somebody who enforces policies.
struct Scene {
    world: World,
    agent: Agent,
    enforcer: SimEnforcer,
}

impl Scene {
    async fn set(way: Datapath, fail_open: bool) -> Self {
        let mut world = World::of(way, PoolConfig { low: 8, high: 12, ..usual_pool() });
        let enforcer = SimEnforcer::new();
        world.enforcer = Some(enforcer.clone());
        world.config.policy_fail_open = fail_open;
        let agent = world.warm_agent().await;
        let scene = Self { world, agent, enforcer };
        scene.add(&scene.world.pod("first")).await.unwrap();
        scene
    }

    fn request(&self, pod: &Pod) -> AddRequest {
        AddRequest { pod: Some(in_namespace("default", pod)), ..self.world.add_request(pod) }
    }

    async fn add(&self, pod: &Pod) -> Result<AddAnswer> {
        self.agent.add(self.request(pod)).await
    }

    fn told(&self, pod: &Pod) -> Option<std::net::IpAddr> {
        self.enforcer.address(&in_namespace("default", pod))
    }

    /// Only the first pod has anything, and all agree on it.
    async fn is_as_before(&self) {
        self.agent.dels_ended().await;
        self.agent.addresses_released().await;
        assert_eq!(self.agent.leases().len(), 1, "{:?}", self.agent.leases());
        self.world.quiet(&self.agent).await;
        self.world.agree().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_is_told_once_while_the_kernel_is_at_work() {
    for way in WAYS {
        let scene = Scene::set(way, false).await;
        let (pod, before) = (scene.world.pod("p"), scene.enforcer.asked());
        scene.world.kernel.set_latency(KernelOperation::SetupPod, millis(700));
        scene.enforcer.set_latency(millis(800));
        let begun = Instant::now();
        let answer = scene.add(&pod).await.unwrap();
        let took = begun.elapsed();
        assert!(took >= millis(800) && took < millis(900), "{way:?}: {took:?}, beside 700 ms in the kernel");
        assert_eq!(scene.told(&pod), Some(answer.lease.address.addr()));
        assert_eq!(scene.enforcer.asked(), before + 1);
        // The runtime did not hear the answer.
        assert_eq!(scene.add(&pod).await.unwrap(), answer);
        assert_eq!(scene.enforcer.asked(), before + 2);
        scene.world.del(&scene.agent, &pod).await.unwrap();
        assert_eq!(scene.enforcer.asked(), before + 2, "a DEL tells nothing");
        scene.is_as_before().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_address_cannot_be_told_is_not_started() {
    use ErrorKind::{Cancelled, Conflict, Invalid, NotFound, Transient, Unauthorised};
    for way in WAYS {
        let scene = Scene::set(way, false).await;
        // Runtimes try again after each of these, which the kinds themselves would not all say.
        let kinds = [
            (Transient, Transient),
            (NotFound, Transient),
            (Invalid, Transient),
            (Conflict, Transient),
            (Unauthorised, Unauthorised),
            (Cancelled, Cancelled),
        ];
        for (number, (failing, kind)) in kinds.into_iter().enumerate() {
            scene.enforcer.set_failing(Some(failing));
            let error = scene.add(&scene.world.pod(&format!("p{number}"))).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{way:?}: {}", error.chain());
            assert!(error.to_string().contains(&format!("default/p{number}")), "{error}");
            scene.is_as_before().await;
        }
        assert!(scene.enforcer.left_for_later().is_empty());
        scene.enforcer.set_failing(None);
        scene.add(&scene.world.pod("again")).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_waited_for_longer_than_five_seconds_or_for_nothing() {
    for way in WAYS {
        let scene = Scene::set(way, false).await;
        scene.enforcer.set_latency(secs(3600));
        let begun = Instant::now();
        let error = scene.add(&scene.world.pod("late")).await.unwrap_err();
        assert_eq!((error.kind(), begun.elapsed().as_secs()), (ErrorKind::Transient, 5), "{way:?}");
        assert!(error.chain().to_string().contains("5s"), "{}", error.chain());
        scene.is_as_before().await;

        // Where the kernel has failed, or a DEL has overtaken the ADD.
        let begun = Instant::now();
        let refused = KernelFault::Before(ErrorKind::Invalid);
        scene.world.kernel.inject(KernelOperation::SetupPod, When::Nth(1), refused);
        let error = scene.add(&scene.world.pod("refused")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let gone = scene.world.pod("gone");
        let add = scene.add(&gone);
        tokio::pin!(add);
        assert!(timeout(millis(300), &mut add).await.is_err());
        let (added, deleted) = tokio::join!(add, scene.world.del(&scene.agent, &gone));
        assert_eq!((added.unwrap_err().kind(), deleted.is_ok()), (ErrorKind::Cancelled, true));
        assert!(begun.elapsed() < secs(3), "{way:?}: {:?}", begun.elapsed());
        scene.is_as_before().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_may_start_before_its_address_is_told_where_that_is_set() {
    for way in WAYS {
        let scene = Scene::set(way, true).await;
        let soon = scene.world.pod("soon");
        scene.add(&soon).await.unwrap();
        assert!(scene.told(&soon).is_some(), "what can be told is told first");
        assert!(scene.enforcer.left_for_later().is_empty());
        let mut expected = Vec::new();
        let away = |latency: Duration, failing| {
            scene.enforcer.set_latency(latency);
            scene.enforcer.set_failing(failing);
        };
        for (name, latency, failing, takes) in
            [("refused", Duration::ZERO, Some(ErrorKind::Unauthorised), 0), ("late", secs(3600), None, 5)]
        {
            away(latency, failing);
            let begun = Instant::now();
            let answer = scene.add(&scene.world.pod(name)).await.unwrap();
            assert_eq!(begun.elapsed().as_secs(), takes, "{way:?} {name}");
            expected.push((format!("default/{name}"), answer.lease.address.addr()));
        }
        assert_eq!(scene.enforcer.left_for_later(), expected);
        // Nobody starts a pod that is gone.
        away(Duration::ZERO, Some(ErrorKind::Cancelled));
        let error = scene.add(&scene.world.pod("gone")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert_eq!(scene.enforcer.left_for_later(), expected);
        scene.world.quiet(&scene.agent).await;
        scene.world.agree().await;

        // With the agent all that was left is forgotten, so the next one leaves it again.
        scene.agent.stop().await;
        let again = scene.world.agent().await;
        let left = scene.enforcer.left_for_later().split_off(expected.len());
        assert!(expected.iter().all(|told| left.contains(told)), "{left:?}");
        assert_eq!(left.len(), again.leases().len());
    }
}

/// What the veth of a pod is called in the node.
fn veth(agent: &Agent, pod: &Pod) -> String {
    let lease = agent.leases().into_iter().find(|lease| lease.mark == pod.key.mark()).unwrap();
    match lease.plan.datapath {
        PodDatapath::Veth(veth) => veth.host_ifname.to_string(),
        PodDatapath::Shared(shared) => shared.host_ifname.to_string(),
        PodDatapath::PassthroughWithServices(services) => services.host_ifname.to_string(),
        other => panic!("{other:?} has none"),
    }
}

/// Felix's rule, as Calico's libcalico-go has it (`VethNameForWorkload`): the first prefix, and the first 11 digits of the SHA-1 of
/// namespace, dot and name.
fn as_felix_has_it(prefix: &str, namespace: &str, name: &str) -> String {
    use sha1::Digest;
    let digest = sha1::Sha1::digest(format!("{namespace}.{name}"));
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{prefix}{}", &digits[..11])
}

#[tokio::test(start_paused = true)]
async fn veths_have_the_names_that_felix_looks_for() {
    // Those of Calico's own tests (libcalico-go/lib/backend/k8s/conversion/conversion_test.go) are told there as well.
    let told = [
        ("cali", "default", "podA", Some("cali7f94ce7c295")),
        ("eni", "namespace", "podname", Some("eni82111e10a96")),
        ("vnic", "namespace", "podname", Some("vnic82111e10a96")),
        ("vnic", "kube-system", "coredns-5d78c9869d-9x7kq", None),
        ("vnic", "a", "b.c", None),
        (
            "vnic",
            "default",
            "a-name-of-a-pod-that-is-much-longer-than-that-of-any-link-could-ever-be-0",
            None,
        ),
    ];
    for way in [Datapath::Veth, Datapath::Shared] {
        for (number, (prefix, namespace, name, expected)) in told.into_iter().enumerate() {
            let mut world = World::of(way, usual_pool());
            world.config.veth.as_mut().unwrap().prefix = prefix.parse().unwrap();
            if let Some(addresses) = &world.addresses {
                let subnet = "192.168.1.0/24".parse().unwrap();
                addresses.add("", "vxnet-1", subnet, "192.168.1.1".parse().unwrap(), 200..=220);
            }
            let agent = world.warm_agent().await;
            let pod = world.pod(&format!("sandbox{number}"));
            let named = PodRef { namespace: namespace.to_owned(), name: name.to_owned(), uid: None };
            agent.add(AddRequest { pod: Some(named), ..world.add_request(&pod) }).await.unwrap();
            let veth = veth(&agent, &pod);
            assert_eq!(veth, as_felix_has_it(prefix, namespace, name), "{way:?}");
            assert!(expected.is_none_or(|expected| veth == expected), "{veth}, not {expected:?}");
        }
    }
}
