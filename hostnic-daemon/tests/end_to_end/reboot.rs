//! What an operator, udev, the cloud or a reboot does to NICs behind the daemon's back.

use hostnic_core::ledger::{AddressState, LeaseState, NicState};
use hostnic_core::sim::Fate;
use libtest_mimic::Trial;
use serde_json::Value;

use crate::host::{Host, free};
use crate::lifecycle::gateway;
use crate::pod::{Given, Pod};
use crate::trial;
use crate::witness::{self, run};
use crate::world::World;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("after_a_reboot_the_nics_are_found_under_any_name_and_serve_new_pods", rebooted),
        trial("after_a_reboot_without_the_store_the_nics_are_found_as_well", rebooted_without_store),
        trial("a_nic_that_somebody_renamed_in_the_node_serves_as_before", renamed),
        trial("a_free_nic_that_was_pulled_is_let_go_and_another_comes", free_nic_pulled),
        trial("a_pods_nic_that_was_pulled_is_put_back_into_its_pod", pods_nic_pulled),
        trial("a_link_that_was_taken_away_is_never_given_to_a_pod", link_gone),
    ]
}

async fn added(host: &Host, id: &str) -> (Pod, Value, Given) {
    let pod = host.pod(id).await;
    let result = host.call("ADD", &pod).succeeds().await;
    let given = pod.agrees_with(&result);
    pod.ping(gateway(given.address)).await;
    (pod, result, given)
}

/// What a boot leaves of a link: neither a name of ours nor what we wrote on it.
async fn as_after_a_boot(host: &Host, mac: &str, name: &str) {
    let link = host.until_back(mac).await;
    let present = link["ifname"].as_str().unwrap();
    run(host.netns(), &["ip", "link", "set", "dev", present, "down"]);
    run(host.netns(), &["ip", "link", "set", "dev", present, "alias", ""]);
    run(host.netns(), &["ip", "address", "flush", "dev", present]);
    run(host.netns(), &["ip", "link", "set", "dev", present, "name", name]);
}

async fn reboot(with_store: bool) {
    let mut world = World::new(1).await;
    let mut host = world.only_host(&world.config()).await;
    let mut macs = Vec::new();
    let mut dels = Vec::new();
    for id in ["c1", "c2", "c3"] {
        let (pod, _, given) = added(&host, id).await;
        dels.push(host.call("DEL", &pod));
        macs.push((pod, given.mac));
    }
    host.until_at_rest().await;
    let ids = host.agent().nics().into_iter().map(|nic| nic.id).collect::<std::collections::BTreeSet<_>>();
    let all: Vec<String> = host.agent().nics().iter().map(|nic| nic.mac.to_string()).collect();
    host.stop().await;
    for (pod, _) in macs {
        pod.end();
    }
    for (number, mac) in all.iter().enumerate() {
        as_after_a_boot(&host, mac, &format!("ens{}", 5 + number)).await;
    }
    if !with_store {
        std::fs::remove_file(host.store()).unwrap();
    }
    host.in_boot("the-next-boot");
    host.start(&world.cloud).await;
    host.agent().compare_now().await.unwrap();
    assert_eq!(host.leases(), []);
    let known = host.agent().nics().into_iter().map(|nic| nic.id).collect();
    assert!(ids.is_subset(&known), "{ids:?} are found again: {known:?}");
    // The runtime deletes what it remembers of the boot before.
    for del in dels {
        del.succeeds().await;
    }
    let mut pods = Vec::new();
    for number in 0..all.len() {
        pods.push(added(&host, &format!("n{number}")).await.0);
    }
    for pod in &pods {
        host.call("DEL", pod).succeeds().await;
    }
    world.end([host]).await;
}

async fn rebooted() {
    reboot(true).await;
}

async fn rebooted_without_store() {
    reboot(false).await;
}

async fn renamed() {
    let mut world = World::new(1).await;
    let mut config = world.config();
    // Every pod gets the same NIC.
    config.pool.max_nics = 1;
    let mut host = world.only_host(&config).await;
    let mac = host.agent().nics()[0].mac.to_string();
    for (number, name) in ["ens7", "eth0", "hostnic_7", "hnx3", "a-very-long-nam"].into_iter().enumerate() {
        let link = host.until_back(&mac).await;
        let present = link["ifname"].as_str().unwrap();
        if present != name {
            run(host.netns(), &["ip", "link", "set", "dev", present, "name", name]);
        }
        // udev does so while a daemon runs, and while none does.
        if number % 2 == 1 {
            host.stop().await;
            host.start(&world.cloud).await;
        }
        let (pod, _, given) = added(&host, &format!("c{number}")).await;
        assert_eq!(given.mac, mac, "as {name}");
        host.call("DEL", &pod).succeeds().await;
        host.until_free(&mac).await;
    }
    world.end([host]).await;
}

/// Takes a NIC out of the instance, as a person does in the cloud's console.
async fn pull(world: &World, host: &Host, mac: &str) {
    let nic = host.agent().nics().into_iter().find(|nic| nic.mac.to_string() == mac).unwrap().id;
    let control = world.cloud.cloud().control();
    // Its link is there before the job that attached it has ended.
    let begun = async {
        while control.detach_nics(host.instance(), std::slice::from_ref(&nic), Fate::Succeed).is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::host::PATIENCE, begun).await.unwrap();
    let out = async {
        while world.cloud.cloud().snapshot()[&nic].attachment.instance().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::host::PATIENCE, out).await.unwrap();
}

/// Compares twice, which is how often something must be seen to be believed.
async fn compare(host: &Host) {
    for _ in 0..2 {
        host.agent().compare_now().await.unwrap();
    }
}

async fn free_nic_pulled() {
    let mut world = World::new(1).await;
    let mut config = world.config();
    config.pool.visibility = std::time::Duration::ZERO;
    let host = world.only_host(&config).await;
    host.until_at_rest().await;
    let mac = host.agent().nics()[0].mac.to_string();
    pull(&world, &host, &mac).await;
    compare(&host).await;
    host.until("the NIC is let go and another is there", |agent| {
        agent.nics().iter().all(|nic| nic.mac.to_string() != mac && nic.state == NicState::Ready)
            && free(agent) >= 1
    })
    .await;
    let (pod, ..) = added(&host, "c1").await;
    host.call("DEL", &pod).succeeds().await;
    world.end([host]).await;
}

async fn pods_nic_pulled() {
    let mut world = World::new(1).await;
    let mut config = world.config();
    config.pool.visibility = std::time::Duration::ZERO;
    let host = world.only_host(&config).await;
    let (pod, result, given) = added(&host, "c1").await;
    pull(&world, &host, &given.mac).await;
    assert!(pod.link("eth0").is_none());
    compare(&host).await;
    assert_eq!(host.leases()[0].state, LeaseState::Active, "the lease stays until its DEL");
    host.until("the NIC is attached again", |agent| {
        agent.nics().iter().any(|nic| nic.mac.to_string() == given.mac && nic.state == NicState::Ready)
    })
    .await;
    compare(&host).await;
    assert_eq!(pod.agrees_with(&result), given);
    pod.ping(gateway(given.address)).await;
    host.call("DEL", &pod).succeeds().await;
    world.end([host]).await;
}

async fn link_gone() {
    let mut world = World::new(1).await;
    let mut config = world.config();
    config.pool.visibility = std::time::Duration::ZERO;
    let host = world.only_host(&config).await;
    host.until_at_rest().await;
    let nic = host.agent().nics()[0].clone();
    let mac = nic.mac.to_string();
    // Into a namespace where nobody looks for pods: for the daemon it is gone.
    let elsewhere = Pod::create(&host.netns().with_file_name("elsewhere"), "gone").await;
    let link = witness::link_by_mac(host.netns(), &mac).unwrap();
    let netns = elsewhere.path().to_str().unwrap();
    run(host.netns(), &["ip", "link", "set", "dev", link["ifname"].as_str().unwrap(), "netns", netns]);
    compare(&host).await;
    let state = || host.agent().nics().into_iter().find(|own| own.id == nic.id).map(|own| own.state);
    assert_eq!(state(), Some(NicState::Quarantined));
    let listed = host.listed("nics").await;
    let row = listed.as_array().unwrap().iter().find(|row| row["mac"] == mac.as_str()).unwrap();
    assert_eq!(row["state"], "quarantined", "{row:#}");
    let mut pods = Vec::new();
    for number in 0..3 {
        let (pod, _, given) = added(&host, &format!("c{number}")).await;
        assert_ne!(given.mac, mac);
        pods.push(pod);
    }
    elsewhere.end();
    host.until_back(&mac).await;
    compare(&host).await;
    let rests =
        |state: &AddressState| matches!(state, AddressState::Cooling { .. } | AddressState::Free { .. });
    let back = host.agent().nics().into_iter().find(|own| own.id == nic.id).unwrap();
    assert!(back.state == NicState::Ready && rests(&back.addresses[0].state), "{back:#?}");
    for pod in &pods {
        host.call("DEL", pod).succeeds().await;
    }
    world.end([host]).await;
}
