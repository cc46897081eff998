//! The agent ends and begins anew, with its records and without them.

use hostnic_core::ErrorKind;
use hostnic_core::agent::{Agent, Finding};
use hostnic_core::ledger::LeaseState;
use hostnic_core::sim::{AddressEvent, Fault, KernelOperation, Operation, When};
use hostnic_core::store::MemoryStore;
use tokio::time::{sleep, timeout};

use crate::support::{World, millis, secs};
use crate::{add_in, address, calls, cluster, del, lease, only_nic, record, view, world};

fn settled(world: &World) -> usize {
    cluster(world).events().iter().filter(|event| **event == AddressEvent::Settled).count()
}

#[tokio::test(start_paused = true)]
async fn over_the_same_records_pods_go_on_and_nothing_is_set_up_again() {
    let world = world();
    let agent = world.agent().await;
    let pods = world.pods("p", 10);
    let answers = world.add_all(&agent, &pods).await;
    agent.stop().await;
    drop(agent);
    let before = (calls(&world, KernelOperation::SetupSharedNic), calls(&world, KernelOperation::SetupPod));
    let agent = world.agent().await;
    agent.ready().await;
    for (pod, answer) in pods.iter().zip(&answers) {
        world.check(&agent, pod).await.unwrap();
        assert_eq!(lease(&agent, pod).lease, answer.lease);
    }
    sleep(secs(10)).await;
    let after = (calls(&world, KernelOperation::SetupSharedNic), calls(&world, KernelOperation::SetupPod));
    assert_eq!(before, after);
    let restored = cluster(&world).events().into_iter().filter_map(|event| match event {
        AddressEvent::Restored(marks) => Some(marks.len()),
        _ => None,
    });
    assert_eq!(restored.collect::<Vec<_>>(), [0, 10]);
    assert_eq!(settled(&world), 2);
    del(&world, &agent, &pods[0]).await;
    assert_eq!(cluster(&world).held().len(), 9);
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_start_needs_neither_the_cloud_nor_the_cluster_to_serve_warm_pods() {
    let world = world();
    let agent = world.agent().await;
    let pods = world.pods("p", 3);
    world.add_all(&agent, &pods).await;
    cluster(&world).set_away(true);
    world.del(&agent, &pods[0]).await.unwrap();
    agent.stop().await;
    drop(agent);
    world.cloud.inject(Operation::Instance, When::Always, Fault::Refuse(ErrorKind::Transient));
    let agent = world.agent().await;
    timeout(secs(20), agent.ready()).await.unwrap();
    assert_eq!(lease(&agent, &pods[0]).state, LeaseState::Releasing);
    world.del(&agent, &pods[1]).await.unwrap();
    world.check(&agent, &pods[2]).await.unwrap();
    assert_eq!(settled(&world), 1, "nothing is settled before cloud and kernel are compared");
    cluster(&world).set_away(false);
    timeout(secs(40), agent.addresses_released()).await.unwrap();
    world.add(&agent, &world.pod("next")).await.unwrap();
    assert_eq!(agent.leases().len(), 2);
    world.cloud.clear_faults();
    timeout(secs(120), async {
        while settled(&world) < 2 {
            sleep(secs(1)).await;
        }
    })
    .await
    .unwrap();
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn without_records_pods_and_their_nics_are_found_and_their_addresses_kept() {
    let mut world = world();
    let agent = world.agent().await;
    let pods = world.pods("p", 6);
    let mut answers = world.add_all(&agent, &pods[..4]).await;
    for pod in &pods[4..] {
        answers.push(add_in(&world, &agent, "other", pod).await.unwrap());
    }
    let tables: Vec<_> = pods.iter().map(|pod| crate::shared(&lease(&agent, pod)).table).collect();
    agent.stop().await;
    drop(agent);
    world.store = MemoryStore::default();
    let agent = world.agent().await;
    agent.ready().await;
    for ((pod, answer), table) in pods.iter().zip(&answers).zip(tables) {
        let found = lease(&agent, pod);
        assert_eq!(found.lease, answer.lease);
        assert_eq!((found.state, crate::shared(&found).table), (LeaseState::Active, table));
        assert!(record(&agent, answer).role.is_shared());
        world.check(&agent, pod).await.unwrap();
    }
    sleep(secs(5)).await;
    assert_eq!(cluster(&world).held().len(), 6);
    let again = world.add(&agent, &pods[0]).await.unwrap();
    assert_eq!(again, answers[0], "a repeated ADD completes it");
    world.add(&agent, &world.pod("next")).await.unwrap();
    assert_eq!(world.nics().len(), 2);
    world.quiet(&agent).await;
    world.agree().await;
    for pod in &pods {
        del(&world, &agent, pod).await;
    }
    assert_eq!(cluster(&world).held().len(), 1);
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn without_records_what_a_del_and_pods_that_ended_have_left_is_taken_away() {
    let mut world = world();
    let agent = world.agent().await;
    let pods = world.pods("p", 4);
    let answers = world.add_all(&agent, &pods).await;
    // One whose DEL was answered and no more, one that ended meanwhile, one that cannot be seen.
    world.kernel.set_latency(KernelOperation::GiveBack, secs(3600));
    world.del_answered(&agent, &pods[0]).await.unwrap();
    drop(agent);
    world.kernel.remove_sandbox(&pods[1].netns);
    world.kernel.hide_sandbox(&pods[2].netns);
    world.kernel.set_latency(KernelOperation::GiveBack, millis(0));
    world.kernel.time_out_flows();
    world.store = MemoryStore::default();
    let agent = world.agent().await;
    agent.ready().await;
    sleep(secs(10)).await;
    let held = cluster(&world).held();
    assert!(!held.contains_key(&address(&answers[0])), "its DEL is finished");
    assert!(!held.contains_key(&address(&answers[1])), "nobody has it any more");
    assert!(held.contains_key(&address(&answers[2])), "it runs somewhere");
    assert_eq!(agent.leases().len(), 1);
    assert_eq!(only_nic(&world).await.senders, [address(&answers[3])]);
    world.kernel.show_sandbox(&pods[2].netns);
    let findings = agent.compare_now().await.unwrap();
    assert!(matches!(&findings[..], [Finding::RebuildShared(_)]), "{findings:?}");
    assert_eq!(lease(&agent, &pods[2]).lease, answers[2].lease);
    world.quiet(&agent).await;
    world.agree().await;
}

/// A pod that was the NIC's sender, and of which nothing else is known, is nobody's when all is told: so the NIC has to ask in
/// another name before that.
#[tokio::test(start_paused = true)]
async fn nothing_is_settled_while_a_nic_may_ask_in_the_name_of_a_pod_that_is_gone() {
    let mut world = world();
    let agent = world.agent().await;
    let pods = world.pods("p", 2);
    let gone = world.add(&agent, &pods[0]).await.unwrap();
    sleep(secs(1)).await;
    world.add(&agent, &pods[1]).await.unwrap();
    assert_eq!(only_nic(&world).await.senders, [address(&gone)]);
    drop(agent);
    world.kernel.remove_sandbox(&pods[0].netns);
    world.kernel.time_out_flows();
    world.store = MemoryStore::default();
    world.kernel.set_latency(KernelOperation::SetupSharedNic, secs(2));
    let before = settled(&world);
    let agent = world.agent().await;
    while settled(&world) == before {
        let (held, senders) = (cluster(&world).held(), only_nic(&world).await.senders);
        assert!(senders.len() == 1 && held.contains_key(&senders[0]), "its pods never do without");
        sleep(millis(1)).await;
    }
    sleep(secs(1)).await;
    let held = cluster(&world).held();
    assert!(!held.contains_key(&address(&gone)), "its address is given back");
    assert!(only_nic(&world).await.senders.iter().all(|sender| held.contains_key(sender)));
    agent.ready().await;
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_del_of_a_pod_that_no_record_names_gives_its_address_back() {
    let mut world = world();
    let agent = world.agent().await;
    let pods = world.pods("p", 2);
    world.add_all(&agent, &pods).await;
    drop(agent);
    world.store = MemoryStore::default();
    world.kernel.hide_sandbox(&pods[0].netns);
    let agent = world.agent().await;
    agent.ready().await;
    assert_eq!(agent.leases().len(), 1);
    del(&world, &agent, &pods[0]).await;
    assert_eq!(cluster(&world).held().len(), 1);
    assert_eq!(view(&world).await.shared_pods.len(), 1);
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_nic_that_was_made_and_attached_before_the_records_were_lost_is_used() {
    let mut world = world();
    let agent = world.agent().await;
    agent.ready().await;
    let pod = world.pod("p");
    // Attached, and not recorded as ready.
    assert!(timeout(millis(5100), world.add(&agent, &pod)).await.is_err());
    drop(agent);
    sleep(secs(10)).await;
    world.store = MemoryStore::default();
    let agent = world.agent().await;
    let answer = world.add(&agent, &pod).await.unwrap();
    assert_eq!(world.nics().len(), 1);
    assert!(record(&agent, &answer).role.is_shared());
    world.quiet(&agent).await;
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_answer_was_lost_makes_no_second_nic() {
    let world = world();
    let agent = world.agent().await;
    let lost = Fault::LoseAnswer;
    world.cloud.inject(Operation::CreateNics, When::Next(1), lost);
    world.add(&agent, &world.pod("p")).await.unwrap();
    world.quiet(&agent).await;
    assert_eq!(world.nics().len(), 1);
    world.agree().await;
}

#[tokio::test(start_paused = true)]
async fn pods_that_shared_go_on_when_the_node_turns_to_another_way_and_back() {
    let mut world = world();
    let agent = world.agent().await;
    let pods = world.pods("p", 3);
    world.add_all(&agent, &pods).await;
    agent.stop().await;
    drop(agent);
    let addresses = world.addresses.clone();
    for datapath in [hostnic_core::route::Datapath::Veth, hostnic_core::route::Datapath::Passthrough] {
        world.config.datapath = datapath;
        let agent: Agent = world.agent().await;
        agent.ready().await;
        for pod in &pods[1..] {
            world.check(&agent, pod).await.unwrap();
        }
        agent.stop().await;
    }
    world.config.datapath = hostnic_core::route::Datapath::Shared;
    world.addresses = addresses;
    let agent = world.agent().await;
    agent.ready().await;
    for pod in &pods {
        del(&world, &agent, pod).await;
    }
    assert!(cluster(&world).held().is_empty());
    world.quiet(&agent).await;
    world.agree().await;
}
