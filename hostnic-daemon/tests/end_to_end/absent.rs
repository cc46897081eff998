//! The plugin without a daemon, and what the daemon answers from memory.

use std::time::Duration;

use hostnic_core::agent::AgentConfig;
use hostnic_core::sim::{Fault, Operation, When};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::trial;
use crate::world::World;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("without_a_daemon_every_command_fails_at_once_and_says_what_to_start", without_daemon),
        trial("a_del_that_found_no_daemon_succeeds_when_it_is_back", del_when_back),
        trial("status_and_version_are_answered_though_the_cloud_is_silent", silent_cloud),
    ]
}

/// The time in which the plugin is to give up.
const AT_ONCE: Duration = Duration::from_secs(1);

async fn without_daemon() {
    let mut world = World::new(1).await;
    let mut host = world.only_host(&world.config()).await;
    let pod = host.pod("c1").await;
    let result = host.call("ADD", &pod).succeeds().await;
    host.stop().await;
    for (command, code) in [("ADD", 11), ("DEL", 11), ("CHECK", 11), ("GC", 11), ("STATUS", 50)] {
        let mut call = host.call(command, &pod).with("cni.dev/valid-attachments", json!([]));
        if command == "CHECK" {
            call = call.with("prevResult", result.clone());
        }
        let outcome = call.run().await;
        let error: Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert!(!outcome.success);
        assert_eq!(error["code"], code, "{command}");
        let message = error["msg"].as_str().unwrap();
        assert!(message.contains("hostnic-daemon start"), "{command}: {message}");
        assert!(message.contains(&host.socket().display().to_string()), "{command}: {message}");
        assert!(outcome.took < AT_ONCE, "{command} took {:?}", outcome.took);
    }
    host.call("VERSION", &pod).succeeds().await;
    pod.agrees_with(&result);
    host.start(&world.cloud).await;
    host.call("DEL", &pod).succeeds().await;
    world.end([host]).await;
}

async fn del_when_back() {
    let mut world = World::new(1).await;
    let mut host = world.only_host(&world.config()).await;
    let pod = host.pod("c1").await;
    let mac = pod.agrees_with(&host.call("ADD", &pod).succeeds().await).mac;
    host.stop().await;
    let del = host.call("DEL", &pod);
    del.fails(11).await;
    pod.end();
    host.start(&world.cloud).await;
    del.succeeds().await;
    host.until_free(&mac).await;
    world.end([host]).await;
}

/// All that the pool and the comparison ask of a cloud.
const CALLS: [Operation; 8] = [
    Operation::Instance,
    Operation::Subnets,
    Operation::ListNics,
    Operation::CreateNics,
    Operation::AttachNics,
    Operation::DetachNics,
    Operation::DeleteNics,
    Operation::Jobs,
];

async fn silent_cloud() {
    let mut world = World::new(1).await;
    let config = AgentConfig { survey_patience: Duration::from_millis(100), ..world.config() };
    let mut host = world.only_host(&config).await;
    let pod = host.pod("c1").await;
    let result = host.call("ADD", &pod).succeeds().await;
    let mac = pod.agrees_with(&result).mac;
    let cloud = world.cloud.cloud();
    for operation in CALLS {
        cloud.inject(operation, When::Always, Fault::NeverAnswer);
    }
    host.stop().await;
    host.start_cold(&world.cloud).await;
    host.agent().ready().await;
    assert_eq!(host.call("STATUS", &pod).succeeds().await, Value::Null);
    let version = host.call("VERSION", &pod).succeeds().await;
    assert_eq!(version["cniVersion"], "1.1.0");
    assert_eq!(version["supportedVersions"].as_array().unwrap().len(), 7);
    // Pods are served from what is warm.
    host.call("CHECK", &pod).with("prevResult", result).succeeds().await;
    host.call("DEL", &pod).succeeds().await;
    host.until_free(&mac).await;
    host.call("ADD", &pod).succeeds().await;
    host.call("DEL", &pod).succeeds().await;
    cloud.clear_faults();
    host.stop().await;
    host.start(&world.cloud).await;
    world.end([host]).await;
}
