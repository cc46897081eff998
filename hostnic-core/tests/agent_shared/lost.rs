//! NICs that somebody changed, took out, or deleted, while pods share them.

use hostnic_core::agent::{Agent, Finding, Repair};
use hostnic_core::ledger::NicState;
use hostnic_core::sim::{KernelFault, KernelOperation, When};
use hostnic_core::{ErrorKind, NicProvider, RouteProgrammer};
use tokio::time::sleep;

use crate::support::{World, secs};
use crate::{address, calls, cluster, del, lease, only_nic, shared, world};

/// Pods on one NIC, for a while.
async fn running(
    count: usize,
) -> (World, Agent, Vec<crate::support::Pod>, Vec<hostnic_core::agent::AddAnswer>) {
    let world = world();
    let agent = world.agent().await;
    let pods = world.pods("p", count);
    let answers = world.add_all(&agent, &pods).await;
    sleep(secs(5)).await;
    (world, agent, pods, answers)
}

#[tokio::test(start_paused = true)]
async fn what_somebody_changed_of_nic_and_pods_is_repaired_and_counted() {
    let (world, agent, pods, answers) = running(3).await;
    let mac = answers[0].lease.mac;
    world.kernel.teardown_shared_nic(mac).await.unwrap();
    world.kernel.strip_pod_link(&pods[1].netns, &pods[1].key.ifname);
    assert_eq!(world.check(&agent, &pods[0]).await.unwrap_err().kind(), ErrorKind::Conflict);
    sleep(secs(65)).await;
    for pod in &pods {
        world.check(&agent, pod).await.unwrap();
    }
    assert_eq!(agent.counts().repairs[&Repair::SetUpAgain], 2);
    world.kernel.clear_host_link(mac);
    agent.compare_now().await.unwrap();
    assert_eq!(only_nic(&world).await.senders.len(), 1);
    world.kernel.delete_veth(&shared(&lease(&agent, &pods[0])).host_ifname);
    assert_eq!(agent.compare_now().await.unwrap(), [Finding::CameBack(pods[0].key.mark())]);
    world.check(&agent, &pods[0]).await.unwrap();
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_served_though_somebody_has_undone_its_nic() {
    let (world, agent, pods, answers) = running(2).await;
    world.kernel.teardown_shared_nic(answers[0].lease.mac).await.unwrap();
    let pod = world.pod("next");
    world.add(&agent, &pod).await.unwrap();
    for pod in pods.iter().chain([&pod]) {
        world.check(&agent, pod).await.unwrap();
    }
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_namespace_is_gone_gives_its_address_back() {
    let (world, agent, pods, answers) = running(3).await;
    world.kernel.remove_sandbox(&pods[0].netns);
    sleep(secs(65)).await;
    agent.addresses_released().await;
    assert_eq!(agent.leases().len(), 2);
    assert!(!cluster(&world).held().contains_key(&address(&answers[0])));
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_nic_that_was_taken_out_is_attached_again_and_its_pods_are_announced() {
    let (world, agent, pods, answers) = running(3).await;
    let nic = answers[0].lease.nic.clone();
    drop(world.provider().detach_nics(std::slice::from_ref(&nic)).await.unwrap());
    sleep(secs(10)).await;
    let announced = calls(&world, KernelOperation::AnnouncePod);
    for _ in 0..2 {
        agent.compare_now().await.unwrap();
        sleep(secs(6)).await;
    }
    world.until(&agent, |state| state.nics[&nic].state == NicState::Ready).await;
    sleep(secs(2)).await;
    for pod in &pods {
        world.check(&agent, pod).await.unwrap();
    }
    assert_eq!(calls(&world, KernelOperation::AnnouncePod) - announced, 3);
    assert_eq!(world.nics().len(), 1);
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_nic_that_is_gone_from_the_cloud_is_made_anew_and_the_leases_stay() {
    let (world, agent, pods, answers) = running(3).await;
    let (nic, table) = (answers[0].lease.nic.clone(), shared(&lease(&agent, &pods[0])).table);
    world.cloud.vanish(&nic).unwrap();
    sleep(secs(10)).await;
    for _ in 0..3 {
        agent.compare_now().await.unwrap();
        sleep(secs(6)).await;
    }
    sleep(secs(20)).await;
    let now = lease(&agent, &pods[0]);
    assert_ne!(now.lease.nic, nic);
    assert_eq!(now.lease.address, answers[0].lease.address);
    println!("table {} after {}", shared(&now).table.number(), table.number());
    for (pod, answer) in pods.iter().zip(&answers) {
        world.check(&agent, pod).await.unwrap();
        world.check_kernel(pod, answer).await;
    }
    let next = world.add(&agent, &world.pod("next")).await.unwrap();
    assert_eq!(next.lease.nic, now.lease.nic);
    for _ in 0..3 {
        agent.compare_now().await.unwrap();
        sleep(secs(6)).await;
    }
    assert_eq!(agent.nics().len(), 1, "the old one is forgotten");
    world.quiet(&agent).await;
    world.agree().await;
    for pod in &pods {
        del(&world, &agent, pod).await;
    }
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_nic_without_a_link_is_replaced_and_does_not_stay_in_the_cloud() {
    let (world, agent, pods, answers) = running(2).await;
    let nic = answers[0].lease.nic.clone();
    world.kernel.remove_link(answers[0].lease.mac);
    for _ in 0..3 {
        agent.compare_now().await.unwrap();
        sleep(secs(6)).await;
    }
    sleep(secs(180)).await;
    world.quiet(&agent).await;
    assert_ne!(lease(&agent, &pods[0]).lease.nic, nic);
    for pod in &pods {
        world.check(&agent, pod).await.unwrap();
    }
    assert_eq!(world.nics().len(), 1, "{:?}", world.nics());
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn what_keeps_a_nic_from_being_set_up_is_told_and_passes() {
    let world = world();
    world.kernel.inject(
        KernelOperation::SetupSharedNic,
        When::Always,
        KernelFault::Before(ErrorKind::Conflict),
    );
    let agent = world.agent().await;
    let pod = world.pod("p");
    let error = world.add(&agent, &pod).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("set up shared NIC"), "{error}");
    world.kernel.clear_faults();
    world.add(&agent, &pod).await.unwrap();
    world.quiet(&agent).await;
    world.agree().await;
}
