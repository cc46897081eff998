//! Pods of nodes with veths that are found again without records.

use hostnic_core::RouteProgrammer;
use hostnic_core::agent::{AddRequest, Agent, Repair};
use hostnic_core::ledger::LeaseRecord;
use hostnic_core::route::{Datapath, PodDatapath, Route};
use hostnic_core::sim::KernelOperation;
use hostnic_core::store::{MemoryStore, StateStore};
use tokio::time::{sleep, timeout};

use crate::support::{Pod, World, secs};
use crate::{lease, named, table, world};

#[tokio::test(start_paused = true)]
async fn pods_behind_veths_are_found_again_without_records() {
    let mut world = world();
    let agent = world.warm_agent().await;
    let pods = world.pods("p", 3);
    let route =
        Route { destination: "10.9.0.0/16".parse().unwrap(), next_hop: Some("192.168.1.9".parse().unwrap()) };
    let asked = |world: &World, pod: &Pod| AddRequest {
        routes: vec![route.clone()],
        mtu: Some(1400),
        pod: Some(named(pod.key.container.as_str())),
        ..world.add_request(pod)
    };
    let mut answers = Vec::new();
    for pod in &pods {
        answers.push(agent.add(asked(&world, pod)).await.unwrap());
    }
    let before: Vec<LeaseRecord> = agent.leases();
    drop(agent);
    // One has gone unnoticed.
    world.store = MemoryStore::default();
    world.kernel.remove_sandbox(&pods[2].netns);

    let repeated = asked(&world, &pods[0]);
    let agent = world.agent().await;
    assert_eq!(timeout(secs(5), agent.add(repeated)).await.unwrap().unwrap(), answers[0]);
    let plans = |leases: &[LeaseRecord]| -> Vec<_> {
        let of_living = leases.iter().filter(|lease| lease.mark != pods[2].key.mark());
        of_living.map(|lease| (lease.lease.clone(), lease.plan.routes.clone(), lease.plan.mtu)).collect()
    };
    assert_eq!(plans(&agent.leases()), plans(&before));
    let found = lease(&agent, &pods[1]).link.unwrap();
    assert_eq!(found, answers[1].link, "what a CHECK compares with what the runtime was told");
    assert_eq!(agent.leases().len(), 2, "{:#?}", agent.leases());
    agent.compare_now().await.unwrap();
    assert_eq!(agent.counts().repairs.get(&Repair::SetUpAgain), None, "nothing was taken from pods that run");
    for pod in &pods[..2] {
        world.check(&agent, pod).await.unwrap();
    }
    world.quiet(&agent).await;
    world.agree().await;
    let new = world.pod("new");
    world.add(&agent, &new).await.unwrap();
    world.del_all(&agent, &pods).await;
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_passthrough_pod_that_is_found_again_keeps_its_veth_to_services() {
    let mut world = world();
    world.config.datapath = Datapath::Passthrough;
    let agent = world.warm_agent().await;
    let pods = world.pods("p", 2);
    for pod in &pods {
        world.add(&agent, pod).await.unwrap();
    }
    let plan = |agent: &Agent, pod: &Pod| lease(agent, pod).plan.datapath;
    let before = plan(&agent, &pods[0]);
    assert!(matches!(before, PodDatapath::PassthroughWithServices(_)), "{before:?}");
    drop(agent);

    world.store = MemoryStore::default();
    let agent = world.agent().await;
    agent.ready().await;
    assert_eq!(plan(&agent, &pods[0]), before);
    world.add(&agent, &pods[0]).await.unwrap();
    agent.compare_now().await.unwrap();
    assert_eq!(plan(&agent, &pods[0]), before);
    assert_eq!(agent.counts().repairs.get(&Repair::SetUpAgain), None, "nothing was taken from pods that run");
    for pod in &pods {
        world.check(&agent, pod).await.unwrap();
    }
    world.del_all(&agent, &pods).await;
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_veth_pod_whose_del_was_answered_is_finished_though_the_records_are_lost() {
    let mut world = world();
    let agent = world.warm_agent().await;
    let pods = world.pods("p", 2);
    world.add_all(&agent, &pods).await;
    world.kernel.set_latency(KernelOperation::GiveBack, secs(3600));
    world.del_answered(&agent, &pods[0]).await.unwrap();
    drop(agent);
    world.kernel.set_latency(KernelOperation::GiveBack, secs(0));
    world.store = MemoryStore::default();
    let agent = world.agent().await;
    agent.ready().await;
    assert_eq!(agent.leases().len(), 1);
    assert_eq!(world.kernel.observe().await.unwrap().veths.len(), 1);
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_nic_whose_pod_is_not_in_sight_is_set_aside_until_it_is() {
    for keep_store in [false, true] {
        let mut world = world();
        let agent = world.warm_agent().await;
        let pod = world.pod("p");
        let before = world.state().await;
        let answer = world.add(&agent, &pod).await.unwrap();
        drop(agent);
        // Records of before, or none at all; and the pod's namespace cannot be seen.
        world.store = MemoryStore::default();
        if keep_store {
            world.store.commit(&before.to_writes()).await.unwrap();
        }
        world.kernel.hide_sandbox(&pod.netns);
        let agent = world.agent().await;
        agent.ready().await;
        let state = || agent.nics().into_iter().find(|nic| nic.id == answer.lease.nic).unwrap().state;
        assert_eq!(state().word(), "quarantined", "{keep_store}");
        let others = world.pods("q", 3);
        for other in world.add_all(&agent, &others).await {
            assert_ne!(other.lease.nic, answer.lease.nic);
        }
        for pod in &others {
            assert_ne!(table(&agent, pod), 260, "it is the hidden pod's");
        }
        sleep(secs(300)).await;
        assert_eq!(state().word(), "quarantined", "{keep_store}");
        world.kernel.show_sandbox(&pod.netns);
        agent.compare_now().await.unwrap();
        assert_eq!(lease(&agent, &pod).lease, answer.lease);
        world.quiet(&agent).await;
        world.agree().await;
    }
}
