//! Silencing pods, and what is left of taking them down.

use hostnic_core::{ErrorKind, RouteProgrammer};
use libtest_mimic::Trial;
use serde_json::json;

use crate::setup::assert_freed;
use crate::trial;
use crate::world::{World, eventually, ip, links};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_silenced_link_is_down_under_another_name_and_says_whose_it_was", silent),
        trial("silencing_again_and_giving_back_again_succeed", again),
        trial("silencing_finds_nothing_where_the_link_or_the_namespace_is_gone", gone),
        trial("a_namespace_without_a_path_lives_until_its_nic_is_back", outlives_its_path),
        trial("a_silenced_pod_that_is_dropped_lets_go_of_the_namespace", dropped),
        trial("a_set_up_after_a_silencing_takes_it_back", set_up_again),
        trial("a_silenced_pod_is_taken_down_like_any_other", taken_down),
        trial("a_pod_whose_own_link_has_our_name_is_not_silenced_and_taken_down_all_the_same", name_taken),
    ]
}

async fn silent() {
    let (world, pod, plan, programmer) = World::with_a_pod().await;
    programmer.setup_pod(&plan).await.unwrap();
    let mut silenced = programmer.silence_pod(&plan).await.unwrap().unwrap();
    let link = &ip(pod.path(), &["link", "show", "type", "veth"])[0];
    assert_eq!(link["ifname"], format!("hnx{}", link["ifindex"]));
    assert!(!link["flags"].as_array().unwrap().contains(&json!("UP")), "{link}");
    assert_eq!(link["ifalias"], format!("{} mtu 1500 silenced", plan.mark.alias()));
    let view = programmer.observe().await.unwrap();
    assert_eq!((&view.pods[0].mark, view.pods[0].silenced), (&plan.mark, true));
    assert_eq!(links(world.node.path()), Vec::<String>::new(), "the NIC is still in the pod");
    assert!(!programmer.check_pod(&plan).await.unwrap().is_empty());
    // The pod's owner may use the name at once.
    ip(pod.path(), &["link", "add", "eth0", "type", "bridge"]);
    silenced.give_back().await.unwrap();
    assert_eq!(links(pod.path()), ["eth0"]);
    assert_freed(&world);
}

async fn again() {
    let (world, pod, plan, programmer) = World::with_a_pod().await;
    programmer.setup_pod(&plan).await.unwrap();
    let mut first = programmer.silence_pod(&plan).await.unwrap().unwrap();
    let mut second = programmer.silence_pod(&plan).await.unwrap().unwrap();
    for _ in 0..2 {
        for silenced in [&mut first, &mut second] {
            silenced.give_back().await.unwrap();
            assert_eq!(links(pod.path()), Vec::<String>::new());
            assert_freed(&world);
        }
    }
}

async fn gone() {
    let (world, pod, plan, programmer) = World::with_a_pod().await;
    assert!(programmer.silence_pod(&plan).await.unwrap().is_none(), "it was never set up");
    programmer.setup_pod(&plan).await.unwrap();
    programmer.teardown_pod(&plan).await.unwrap();
    assert!(programmer.silence_pod(&plan).await.unwrap().is_none());
    pod.remove().unwrap();
    assert!(programmer.silence_pod(&plan).await.unwrap().is_none());
    let _another = world.pod("pod").await;
    assert!(programmer.silence_pod(&plan).await.unwrap().is_none(), "the path names another by now");
    assert_freed(&world);
}

async fn outlives_its_path() {
    let (world, pod, plan, programmer) = World::with_a_pod().await;
    // A pair ends with the namespace of one of its ends, so the other end tells.
    ip(pod.path(), &["link", "add", "witness", "type", "veth", "peer", "name", "other"]);
    ip(pod.path(), &["link", "set", "other", "netns", world.outside.path().to_str().unwrap()]);
    programmer.setup_pod(&plan).await.unwrap();
    let mut silenced = programmer.silence_pod(&plan).await.unwrap().unwrap();
    pod.remove().unwrap();
    silenced.give_back().await.unwrap();
    assert_freed(&world);
    assert!(links(world.outside.path()).contains(&"eth1".to_owned()), "it is the same NIC, not a new one");
    eventually("the namespace ends", || links(world.outside.path()) == ["eth1"]).await;
    drop(silenced);
}

async fn dropped() {
    let (world, pod, plan, programmer) = World::with_a_pod().await;
    programmer.setup_pod(&plan).await.unwrap();
    let silenced = programmer.silence_pod(&plan).await.unwrap().unwrap();
    pod.remove().unwrap();
    drop(silenced);
    eventually("the namespace ends", || links(world.outside.path()).is_empty()).await;
}

async fn set_up_again() {
    let (world, pod, plan, programmer) = World::with_a_pod().await;
    programmer.setup_pod(&plan).await.unwrap();
    drop(programmer.silence_pod(&plan).await.unwrap().unwrap());
    programmer.setup_pod(&plan).await.unwrap();
    assert_eq!(programmer.check_pod(&plan).await.unwrap(), []);
    assert_eq!(links(pod.path()), ["eth0"]);
    assert!(!programmer.observe().await.unwrap().pods[0].silenced);
    programmer.teardown_pod(&plan).await.unwrap();
    assert_freed(&world);
}

async fn taken_down() {
    let (world, pod, plan, programmer) = World::with_a_pod().await;
    for by_mark in [false, true] {
        programmer.setup_pod(&plan).await.unwrap();
        drop(programmer.silence_pod(&plan).await.unwrap().unwrap());
        if by_mark {
            let freed = programmer.teardown_marked(&plan.mark, &plan.netns).await.unwrap();
            assert_eq!(freed, Some(plan.mac));
        } else {
            programmer.teardown_pod(&plan).await.unwrap();
        }
        assert_eq!(links(pod.path()), Vec::<String>::new());
        assert_freed(&world);
    }
}

async fn name_taken() {
    let (world, pod, plan, programmer) = World::with_a_pod().await;
    programmer.setup_pod(&plan).await.unwrap();
    let index = ip(pod.path(), &["link", "show", "eth0"])[0]["ifindex"].to_string();
    let ours = format!("hnx{index}");
    ip(pod.path(), &["link", "add", &ours, "type", "bridge"]);
    assert_eq!(programmer.silence_pod(&plan).await.unwrap_err().kind(), ErrorKind::Conflict);
    programmer.teardown_pod(&plan).await.unwrap();
    assert_eq!(links(pod.path()), [ours]);
    assert_freed(&world);
}
