//! How many NICs a node has for pods to share, when they are made, and when they go.

use hostnic_core::agent::{AddRequest, Agent};
use hostnic_core::ledger::NicState;
use hostnic_core::pods::PodWishes;
use hostnic_core::pool::PoolConfig;
use hostnic_core::route::Datapath;
use hostnic_core::sim::{Fault, KernelOperation, Operation, Quotas, When};
use hostnic_core::{ErrorKind, Result};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{Pod, World, made, millis, secs, usual_pool};
use crate::{HOUR, add_in, calls, cluster, del, request, view, world};

async fn passthrough(world: &World, agent: &Agent, pod: &Pod) -> Result<()> {
    let wishes = PodWishes { datapath: Some(Datapath::Passthrough), ..PodWishes::default() };
    agent.add(AddRequest { wishes, ..world.add_request(pod) }).await.map(drop)
}

#[tokio::test(start_paused = true)]
async fn a_nic_goes_when_it_was_without_pods_for_its_time() {
    let mut world = world();
    world.config.pool.free_period = 12 * HOUR;
    let agent = world.agent().await;
    let pods = world.pods("p", 2);
    world.add(&agent, &pods[0]).await.unwrap();
    del(&world, &agent, &pods[0]).await;
    sleep(11 * HOUR).await;
    assert_eq!(world.nics().len(), 1);
    // The next pod begins it anew.
    world.add(&agent, &pods[1]).await.unwrap();
    sleep(24 * HOUR).await;
    del(&world, &agent, &pods[1]).await;
    sleep(12 * HOUR - secs(60)).await;
    assert_eq!(world.nics().len(), 1);
    sleep(secs(90)).await;
    world.quiet(&agent).await;
    assert_eq!((world.nics().len(), agent.nics().len()), (0, 0));
    assert!(view(&world).await.shared_nics.is_empty());
    assert_eq!(calls(&world, KernelOperation::TeardownSharedNic), 1, "before it was detached");
    world.agree().await;
    world.add(&agent, &world.pod("again")).await.unwrap();
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn its_time_goes_on_over_a_restart() {
    let world = world();
    let agent = world.agent().await;
    let pod = world.pod("p");
    world.add(&agent, &pod).await.unwrap();
    del(&world, &agent, &pod).await;
    sleep(8 * HOUR).await;
    agent.stop().await;
    drop(agent);
    let agent = world.agent().await;
    sleep(3 * HOUR).await;
    assert_eq!(world.nics().len(), 1);
    sleep(HOUR + secs(60)).await;
    world.quiet(&agent).await;
    assert_eq!(world.nics().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn draining_and_cleaning_give_back_what_no_pod_has() {
    let world = world();
    let agent = world.agent().await;
    let pods = world.pods("p", 2);
    world.add(&agent, &pods[0]).await.unwrap();
    add_in(&world, &agent, "other", &pods[1]).await.unwrap();
    del(&world, &agent, &pods[0]).await;
    let cleaned = agent.clean(secs(60)).await;
    assert_eq!((cleaned.given_back, cleaned.held), (1, 1));
    assert_eq!(agent.drain(secs(60)).await, 1);
    world.del(&agent, &pods[1]).await.unwrap();
    assert_eq!(agent.drain(secs(60)).await, 0);
    assert_eq!(world.nics().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn on_a_full_node_what_nobody_has_makes_way_and_else_a_pod_is_told() {
    let world = World::sharing(PoolConfig { max_nics: 2, ..usual_pool() });
    let agent = world.agent().await;
    let pods = world.pods("p", 4);
    world.add(&agent, &pods[0]).await.unwrap();
    add_in(&world, &agent, "other", &pods[1]).await.unwrap();
    let start = Instant::now();
    let error = add_in(&world, &agent, "third", &pods[2]).await.unwrap_err();
    assert!(start.elapsed() < secs(1), "{:?}", start.elapsed());
    assert_eq!((error.kind(), error.refusal().unwrap().word()), (ErrorKind::Exhausted, "NoNicLeft"));
    agent.addresses_released().await;
    assert_eq!(cluster(&world).held().len(), 2);
    // That of a subnet without pods makes way for another subnet, and for a pod that takes any NIC.
    del(&world, &agent, &pods[0]).await;
    add_in(&world, &agent, "third", &pods[2]).await.unwrap();
    assert_eq!(world.by_subnet(), [0, 1, 1]);
    del(&world, &agent, &pods[2]).await;
    timeout(secs(60), passthrough(&world, &agent, &pods[3])).await.unwrap().unwrap();
    assert_eq!(agent.nics().iter().filter(|nic| nic.role.is_shared()).count(), 1);
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn on_a_full_node_warm_nics_make_way_for_pods_that_share() {
    let mut world = World::sharing(PoolConfig { max_nics: 3, ..usual_pool() });
    (world.config.pool.low, world.config.pool.high) = (3, 3);
    let agent = world.agent().await;
    world.until(&agent, |state| crate::support::free(state) == 3).await;
    world.add(&agent, &world.pod("p")).await.unwrap();
    world.quiet(&agent).await;
    assert_eq!(agent.nics().iter().filter(|nic| nic.role.is_shared()).count(), 1);
    assert_eq!(world.nics().len(), 3);
    // One that was made for a pod alone makes it wait for nothing.
    let own = PodWishes { nic: made(Some("vxnet-1"), None), ..PodWishes::default() };
    let pod = world.pod("own");
    agent.add(AddRequest { wishes: own, ..world.add_request(&pod) }).await.unwrap();
    world.quiet(&agent).await;
    assert_eq!(world.nics().len(), 3);
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_subnet_that_cannot_be_had_is_told_and_others_are_served() {
    let mut world = World::with_cloud(usual_pool(), |cloud| {
        let quotas = Quotas { nics_per_subnet: 1, ..Quotas::default() };
        cloud.quotas(quotas)
    });
    world.addresses = Some(crate::support::shared_addresses());
    let sharing = World::sharing(usual_pool());
    world.config = sharing.config.clone();
    let node = crate::support::node_mac();
    world.kernel.add_host_link(node, true);
    world.kernel.configure_host_link(node, crate::support::NODE.parse().unwrap(), true);
    let (prefix, gateway) = ("192.168.7.0/24".parse().unwrap(), "192.168.7.1".parse().unwrap());
    cluster(&world).add("strange", "vxnet-7", prefix, gateway, 100..=110);
    let agent = world.agent().await;
    agent.ready().await;
    let start = Instant::now();
    let error = add_in(&world, &agent, "strange", &world.pod("s")).await.unwrap_err();
    assert!(start.elapsed() < secs(2), "{:?}", start.elapsed());
    assert_eq!((error.kind(), error.refusal().unwrap().word()), (ErrorKind::Invalid, "UnknownSubnet"));
    world.add(&agent, &world.pod("p")).await.unwrap();
    agent.addresses_released().await;
    assert_eq!(cluster(&world).held().len(), 1);
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_create_that_the_cloud_refuses_for_a_while_is_tried_again_within_the_pods_patience() {
    let world = world();
    let agent = world.agent().await;
    agent.ready().await;
    world.cloud.inject(Operation::CreateNics, When::Next(2), Fault::Refuse(ErrorKind::Transient));
    world.add(&agent, &world.pod("p")).await.unwrap();
    world.cloud.inject(Operation::CreateNics, When::Always, Fault::Refuse(ErrorKind::Unauthorised));
    let pod = world.pod("q");
    let start = Instant::now();
    let error = add_in(&world, &agent, "other", &pod).await.unwrap_err();
    assert!(start.elapsed() < secs(2), "{:?}", start.elapsed());
    assert_eq!(error.kind(), ErrorKind::Unauthorised, "{error}");
    world.cloud.clear_faults();
    sleep(secs(61)).await;
    add_in(&world, &agent, "other", &pod).await.unwrap();
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn an_attach_that_fails_is_tried_again_for_as_long_as_a_pod_waits() {
    let world = world();
    let agent = world.agent().await;
    agent.ready().await;
    world.cloud.inject(Operation::AttachNics, When::Next(2), Fault::FailJob);
    let pod = world.pod("p");
    agent.add(request(&world, "default", &pod)).await.unwrap();
    world.cloud.inject(Operation::AttachNics, When::Always, Fault::FailJob);
    let other = world.pod("q");
    let add = AddRequest { patience: secs(20), ..request(&world, "other", &other) };
    let error = agent.add(add).await.unwrap_err();
    println!("{error}");
    agent.addresses_released().await;
    sleep(secs(600)).await;
    world.until(&agent, |state| state.nics.values().all(|nic| nic.state == NicState::Ready)).await;
    assert_eq!(world.nics().len(), 1, "what does not come in is given up when nobody waits");
    assert!(timeout(millis(100), world.check(&agent, &pod)).await.unwrap().is_ok());
    world.cloud.clear_faults();
    world.quiet(&agent).await;
    world.agree().await;
}
