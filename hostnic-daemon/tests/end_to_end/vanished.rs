//! Pods whose namespaces end without a DEL, or before it.

use libtest_mimic::Trial;

use crate::trial;
use crate::world::World;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_del_after_the_end_of_the_namespace_frees_the_address", del_afterwards),
        trial("the_next_pod_gets_the_nic_of_a_namespace_that_has_just_ended", used_at_once),
        trial("a_namespace_that_ends_just_after_its_dels_answer_loses_no_nic", ends_after_its_del),
        trial("a_namespace_that_ends_after_its_add_gives_its_nic_back_without_a_del", never_deleted),
        trial("a_del_to_a_path_that_names_the_next_pod_by_now_leaves_that_alone", path_used_again),
    ]
}

async fn del_afterwards() {
    let mut world = World::new(1).await;
    let host = world.only_host(&world.config()).await;
    let pod = host.pod("c1").await;
    let mac = pod.agrees_with(&host.call("ADD", &pod).succeeds().await).mac;
    let del = host.call("DEL", &pod);
    pod.end();
    host.until_back(&mac).await;
    del.succeeds().await;
    del.succeeds().await;
    host.until_free(&mac).await;

    // The same NIC serves again: all the others are taken.
    let mut pods = Vec::new();
    loop {
        let pod = host.pod(&format!("n{}", pods.len())).await;
        let given = pod.agrees_with(&host.call("ADD", &pod).succeeds().await);
        pod.ping(crate::lifecycle::gateway(given.address)).await;
        pods.push(pod);
        if given.mac == mac {
            break;
        }
    }
    for pod in &pods {
        host.call("DEL", pod).succeeds().await;
    }
    world.end([host]).await;
}

async fn used_at_once() {
    let mut world = World::new(1).await;
    let mut config = world.config();
    // Every pod gets the same NIC.
    config.pool.max_nics = 1;
    let host = world.only_host(&config).await;
    for id in ["c1", "c2", "c3", "c4", "c5"] {
        let pod = host.pod(id).await;
        let given = pod.agrees_with(&host.call("ADD", &pod).succeeds().await);
        pod.ping(crate::lifecycle::gateway(given.address)).await;
        let del = host.call("DEL", &pod);
        pod.end();
        del.succeeds().await;
    }
    world.end([host]).await;
}

async fn ends_after_its_del() {
    let mut world = World::new(1).await;
    let mut config = world.config();
    // Every pod gets the same NIC.
    config.pool.max_nics = 1;
    let host = world.only_host(&config).await;
    for id in ["c1", "c2", "c3", "c4", "c5"] {
        let pod = host.pod(id).await;
        let given = pod.agrees_with(&host.call("ADD", &pod).succeeds().await);
        pod.ping(crate::lifecycle::gateway(given.address)).await;
        host.call("DEL", &pod).succeeds().await;
        pod.end();
    }
    world.end([host]).await;
}

async fn never_deleted() {
    let mut world = World::new(1).await;
    let host = world.only_host(&world.config()).await;
    let pod = host.pod("c1").await;
    let mac = host.call("ADD", &pod).succeeds().await["interfaces"][0]["mac"].as_str().unwrap().to_owned();
    pod.end();
    host.until_back(&mac).await;
    host.agent().compare_now().await.unwrap();
    assert_eq!(host.leases(), []);
    host.until_free(&mac).await;
    world.end([host]).await;
}

async fn path_used_again() {
    let mut world = World::new(1).await;
    let host = world.only_host(&world.config()).await;
    let old = host.pod("c1").await;
    let old_mac = host.call("ADD", &old).succeeds().await["interfaces"][0]["mac"].clone();
    let del = host.call("DEL", &old);
    old.end();
    host.until_back(old_mac.as_str().unwrap()).await;
    // Another container at the same path.
    let next = host.pod("c1").await;
    let result = host.call("ADD", &next).set("CNI_CONTAINERID", "c2").succeeds().await;
    del.succeeds().await;
    next.agrees_with(&result);
    host.until_free(old_mac.as_str().unwrap()).await;
    host.call("DEL", &next).set("CNI_CONTAINERID", "c2").succeeds().await;
    host.until_deleted().await;
    next.is_empty();
    world.end([host]).await;
}
