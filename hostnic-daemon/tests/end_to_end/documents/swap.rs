//! What the daemon does with the NICs that a Go version has left on a node whose pods run.

use hostnic_core::NicProvider;
use hostnic_core::cloud::{Nic, NicName};
use hostnic_core::provider::{CreateNics, NicAddresses};
use serde_json::Value;

use super::desk::{Desk, FIRST, INSTANCE, THIRD};
use crate::lifecycle::gateway;
use crate::witness::{self, ip};

const FILE: &str = "10-hostnic.conf";
const NETWORK: &str =
    r#"{ "cniVersion": "0.3.1", "name": "hostnic", "type": "hostnic", "bindaddr": "localhost:31080" }"#;

/// Two NICs under the name that the Go versions give, attached.
async fn left_by_go(desk: &Desk) -> [Nic; 2] {
    let make = async |cloud: hostnic_qingcloud::QingCloudProvider| {
        let request = CreateNics {
            subnet: FIRST.parse()?,
            count: 2,
            name: NicName { instance: INSTANCE.parse()?, token: None },
            addresses: NicAddresses::Assigned(1),
        };
        let nics = cloud.create_nics(&request).await?;
        let ids: Vec<_> = nics.iter().map(|nic| nic.id.clone()).collect();
        let _job = cloud.attach_nics(&ids).await?;
        Ok(nics)
    };
    let nics: [Nic; 2] = desk.api().elsewhere(INSTANCE, make).await.try_into().unwrap();
    for nic in &nics {
        while witness::link_by_mac(desk.machine().netns(), &nic.mac.to_string()).is_none() {
            tokio::task::yield_now().await;
        }
    }
    nics
}

/// The state in which the daemon lists a NIC; `None` for one that it does not know.
async fn state(desk: &Desk, nic: &Nic) -> Option<String> {
    let nics = desk.machine().listed("nics").await;
    let nic = nics.as_array().unwrap().iter().find(|listed| listed["id"] == nic.id.as_str())?.clone();
    Some(nic["state"].as_str().unwrap().to_owned())
}

pub(super) async fn pods_go_on() {
    let desk = Desk::new(THIRD).await;
    desk.write_access_file();
    desk.write(&format!("/etc/cni/net.d/{FILE}"), NETWORK);
    let [given, spare] = left_by_go(&desk).await;
    let node = desk.machine().netns();
    let pod = desk.machine().pod("of-go").await;
    let std::net::IpAddr::V4(address) = given.addresses[0] else { panic!("{given:?}") };
    let link =
        witness::link_by_mac(node, &given.mac.to_string()).unwrap()["ifname"].as_str().unwrap().to_owned();
    ip(node, &["link", "set", &link, "netns", pod.path().to_str().unwrap()]);
    let set_up = [
        format!("link set {link} name eth0"),
        format!("address add {address}/24 dev eth0"),
        "link set eth0 up".to_owned(),
        format!("route add default via {}", gateway(address)),
    ];
    for command in set_up {
        ip(pod.path(), &command.split(' ').collect::<Vec<_>>());
    }
    let before = witness::everything(pod.path());

    let start = format!("./bin/daemon start --vxnets {FIRST}");
    let daemon = desk.start(&start).await;
    assert_ne!(state(&desk, &given).await.as_deref(), Some("ready"));
    assert_eq!(state(&desk, &spare).await.as_deref(), Some("ready"), "one that nobody has is taken over");
    let other = desk.machine().pod("of-ours").await;
    let result = desk.call("ADD", &other).await.unwrap();
    assert_ne!(result["interfaces"][0]["mac"], given.mac.to_string());
    other.ping(address).await;
    pod.ping(gateway(address)).await;
    witness::assert_same(&before, &witness::everything(pod.path()), "the pod of the Go version");

    // Its DEL is nothing to fail on, and with its namespace's end the NIC is back.
    for pod in [&pod, &other] {
        assert_eq!(desk.call("DEL", pod).await, Ok(Value::Null));
    }
    witness::assert_same(&before, &witness::everything(pod.path()), "the pod of the Go version");
    pod.end();
    while witness::link_by_mac(node, &given.mac.to_string()).is_none() {
        tokio::task::yield_now().await;
    }
    desk.stop(daemon).await;
    let daemon = desk.start(&start).await;
    let known = async || state(&desk, &given).await.as_deref() == Some("ready");
    desk.machine().until(&daemon, "the NIC is taken over", known).await;
    desk.stop(daemon).await;
    desk.end().await;
}
