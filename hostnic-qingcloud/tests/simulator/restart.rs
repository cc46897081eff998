//! The state survives a restart.

use serde_json::Value;

use crate::client::text;
use crate::{config, finish, start_with};

#[tokio::test]
async fn everything_is_as_it_was_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config();
    config.state = Some(folder.path().join("state.json"));
    config.cluster = Some("cl-simulate".into());
    let (simulator, client) = start_with(config.clone()).await;
    let made = client.ok("CreateNics", "vxnet=vxnet-aaaaaaa&nic_name=kept").await;
    let nic = text(&made, "/nics/0/nic_id").to_owned();
    let tag = text(&client.ok("CreateTag", "tag_name=kept").await, "/tag_id").to_owned();
    client
        .ok(
            "AttachTags",
            &format!(
                "resource_tag_pairs.1.tag_id={tag}&resource_tag_pairs.1.resource_type=nic&\
                 resource_tag_pairs.1.resource_id={nic}"
            ),
        )
        .await;
    let rule = "security_group=sg-simulate&rules.1.protocol=tcp&rules.1.priority=1";
    client.ok("AddSecurityGroupRules", rule).await;
    let vips = "vxnet_id=vxnet-aaaaaaa&count=2&vip_name=kept";
    client.ok("AllocateVips", vips).await;
    let vxnet = text(&client.ok("CreateVxnets", "vxnet_type=1").await, "/vxnets/0").to_owned();
    let join = format!("router=rtr-simulate&vxnet={vxnet}&ip_network=192.168.60.0/24");
    client.ok("JoinRouter", &join).await;
    let attach = client.ok("AttachNics", &format!("nics.1={nic}&instance=i-node1")).await;
    let lists = [
        "DescribeNics",
        "DescribeTags",
        "DescribeSecurityGroups",
        "DescribeSecurityGroupRules",
        "DescribeVxnets",
        "DescribeJobs",
        "DescribeClusters",
        "DescribeVips",
    ];
    let mut before: Vec<Value> = Vec::new();
    for list in lists {
        before.push(client.ok(list, "limit=100").await);
    }
    drop(simulator);

    let (simulator, client) = start_with(config).await;
    for (list, before) in lists.iter().zip(before) {
        let mut after = client.ok(list, "limit=100").await;
        if *list == "DescribeJobs" {
            // A job is pending only for a moment.
            after = serde_json::from_str(&after.to_string().replace("working", "pending")).unwrap();
            let before = before.to_string().replace("working", "pending");
            assert_eq!(after, serde_json::from_str::<Value>(&before).unwrap());
        } else {
            assert_eq!(after, before, "{list}");
        }
    }
    finish(&simulator);
    let job = client.ok("DescribeJobs", &format!("jobs.1={}", text(&attach, "/job_id"))).await;
    assert_eq!(text(&job, "/job_set/0/status"), "successful");
    let nics = client.ok("DescribeNics", &format!("nics.1={nic}")).await;
    assert_eq!(text(&nics, "/nic_set/0/status"), "in-use");
    assert_eq!(client.ok("DescribeVips", "vip_name=kept").await["total_count"], 2);
    let joined = client.ok("DescribeVxnets", &format!("vxnets.1={vxnet}")).await;
    assert_eq!(text(&joined, "/vxnet_set/0/router/ip_network"), "192.168.60.0/24");
}

#[tokio::test]
async fn no_secret_is_saved_and_a_damaged_state_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let mut config = config();
    config.keys.insert("OTHER".into(), "a-secret-of-its-own".into());
    config.state = Some(path.clone());
    let (simulator, client) = start_with(config.clone()).await;
    client.ok("CreateTag", "tag_name=t").await;
    let saved = std::fs::read_to_string(&path).unwrap();
    assert!(!saved.contains("a-secret-of-its-own"));
    drop(simulator);
    std::fs::write(&path, &saved[..saved.len() / 2]).unwrap();
    let error = hostnic_qingcloud::simulator::Simulator::start(config).await.unwrap_err();
    assert_eq!(error.kind(), hostnic_core::ErrorKind::Damaged);
    assert!(error.to_string().contains("state.json"), "{error}");
}
