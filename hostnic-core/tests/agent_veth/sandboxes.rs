//! Pods whose sandboxes are replaced, end, or are out of sight.

use hostnic_core::ErrorKind;
use hostnic_core::agent::{AddAnswer, AddRequest, Agent, Finding, Repair};
use hostnic_core::pool::PoolConfig;
use hostnic_core::route::Datapath;
use tokio::time::sleep;

use crate::support::{Pod, World, secs, usual_pool, veth};
use crate::{lease, named, table, world};

#[tokio::test(start_paused = true)]
async fn a_newer_sandbox_takes_over_and_the_older_one_keeps_its_nic_until_its_del() {
    let world = world();
    let agent = world.warm_agent().await;
    let (older, newer) = (world.pod("older"), world.pod("newer"));
    let request = |pod: &Pod| AddRequest { pod: Some(named("web-0")), ..world.add_request(pod) };
    let first = agent.add(request(&older)).await.unwrap();
    sleep(secs(1)).await;
    let second = agent.add(request(&newer)).await.unwrap();
    assert_ne!(first.lease.nic, second.lease.nic);
    assert_ne!(table(&agent, &older), table(&agent, &newer));
    assert_eq!(veth(&lease(&agent, &older)).host_ifname, veth(&lease(&agent, &newer)).host_ifname);
    for _ in 0..3 {
        agent.compare_now().await.unwrap();
        world.check(&agent, &newer).await.unwrap();
        world.check_kernel(&newer, &second).await;
    }
    assert_eq!(agent.counts().repairs.get(&Repair::SetUpAgain), None);
    let error = world.check(&agent, &older).await.unwrap_err();
    assert!(error.to_string().contains("newer sandbox"), "{error}");
    assert_eq!(agent.add(request(&older)).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(lease(&agent, &older).lease, first.lease);
    world.quiet(&agent).await;
    world.agree().await;

    world.del(&agent, &older).await.unwrap();
    world.check(&agent, &newer).await.unwrap();
    world.check_kernel(&newer, &second).await;
    world.agree().await;
    world.del(&agent, &newer).await.unwrap();
    sleep(secs(300)).await;
    world.quiet(&agent).await;
    world.agree().await;
}

/// Two sandboxes of one pod, the older of which nobody has taken away yet.
struct TwoSandboxes {
    world: World,
    agent: Agent,
    older: Pod,
    newer: Pod,
    /// What the newer one was given.
    given: AddAnswer,
}

impl TwoSandboxes {
    /// Of a node that joins its pods in this way; beside a NIC that is moved in, they have a veth to services.
    async fn new(datapath: Datapath) -> Self {
        let mut world = world();
        world.config.datapath = datapath;
        let agent = world.warm_agent().await;
        let (older, newer) = (world.pod("older"), world.pod("newer"));
        let request = |pod: &Pod| AddRequest { pod: Some(named("web-0")), ..world.add_request(pod) };
        agent.add(request(&older)).await.unwrap();
        sleep(secs(1)).await;
        let given = agent.add(request(&newer)).await.unwrap();
        Self { world, agent, older, newer, given }
    }

    /// The newer one has all that it was given, and nothing is left of anything else.
    async fn newer_is_whole(self) {
        let Self { world, agent, newer, given, .. } = self;
        agent.compare_now().await.unwrap();
        assert_eq!(agent.leases().len(), 1);
        world.check(&agent, &newer).await.unwrap();
        world.check_kernel(&newer, &given).await;
        world.quiet(&agent).await;
        world.agree().await;
    }
}

const WAYS: [Datapath; 2] = [Datapath::Veth, Datapath::Passthrough];

#[tokio::test(start_paused = true)]
async fn the_del_of_an_older_sandbox_takes_nothing_from_the_newer_one() {
    for way in WAYS {
        let both = TwoSandboxes::new(way).await;
        both.agent.compare_now().await.unwrap();
        both.world.del(&both.agent, &both.older).await.unwrap();
        both.newer_is_whole().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_older_sandbox_that_is_gone_is_released_and_the_newer_one_keeps_its_own() {
    for way in WAYS {
        let both = TwoSandboxes::new(way).await;
        both.world.kernel.remove_sandbox(&both.older.netns);
        both.newer_is_whole().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_older_sandbox_has_its_link_back_when_the_newer_one_went_first() {
    for way in WAYS {
        let TwoSandboxes { world, agent, older, newer, .. } = TwoSandboxes::new(way).await;
        world.del(&agent, &newer).await.unwrap();
        agent.compare_now().await.unwrap();
        world.check(&agent, &older).await.unwrap();
        world.quiet(&agent).await;
        world.agree().await;
    }
}

#[tokio::test(start_paused = true)]
async fn pods_whose_veths_ended_are_released_unless_too_many_go_at_once() {
    let world = World::behind_veths(PoolConfig { low: 2, high: 60, ..usual_pool() });
    let agent = world.warm_agent().await;
    let pods = world.pods("p", 4);
    world.add_all(&agent, &pods).await;
    pods.iter().for_each(|pod| world.kernel.remove_sandbox(&pod.netns));
    let findings = agent.compare_now().await.unwrap();
    assert!(findings.contains(&Finding::BlindToSandboxes(4)), "{findings:?}");
    assert_eq!(agent.leases().len(), 4);
    world.del_all(&agent, &pods[1..]).await;
    agent.compare_now().await.unwrap();
    assert_eq!(agent.leases(), [], "one of one may be gone");
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_not_in_sight_is_not_released() {
    let world = world();
    let agent = world.warm_agent().await;
    let pod = world.pod("p");
    world.add(&agent, &pod).await.unwrap();
    world.kernel.hide_sandbox(&pod.netns);
    assert_eq!(agent.compare_now().await.unwrap(), []);
    assert_eq!(agent.leases().len(), 1);
    world.kernel.show_sandbox(&pod.netns);
    world.check(&agent, &pod).await.unwrap();
}
