//! A runtime that is not Kubernetes': no CNI_ARGS, a UUID as the container's id, a namespace in a folder of its own as Mesos
//! has them, an interface by another name, and a plain `.conf`.

use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::desk::{Desk, FIRST, THIRD};
use crate::lifecycle::gateway;
use crate::pod::Pod;

const CONTAINER: &str = "5d3c8a52-9f0e-4c0b-8d3c-2a1f7be0c6d4";
const FOLDER: &str = "/run/mesos/isolators/network/cni";
const IFNAME: &str = "cloud0";
const FILE: &str = "10-cloud.conf";
const NETWORK: &str = r#"{ "cniVersion": "0.3.1", "name": "cloud", "type": "hostnic" }"#;

pub(super) async fn served() {
    let desk = Desk::new(THIRD).await;
    desk.write_access_file();
    desk.write(&format!("/etc/cni/net.d/{FILE}"), NETWORK);
    let start = format!("./bin/hostnic-daemon start --vxnet {FIRST}");
    let daemon = desk.start(&start).await;
    let pod = Pod::create(&Path::new(FOLDER).join(CONTAINER), "ns").await;
    let result = call(&desk, "ADD", &pod).await;
    let link = pod.link(IFNAME).unwrap();
    assert_eq!(link["address"], result["interfaces"][0]["mac"]);
    assert_eq!(result["interfaces"][0]["sandbox"], pod.path().to_str().unwrap());
    let address = result["ips"][0]["address"].as_str().unwrap().split('/').next().unwrap();
    pod.ping(gateway(address.parse().unwrap())).await;
    let listed = desk.machine().listed("pods").await;
    assert_eq!(listed[0]["attachment"], format!("cloud/{CONTAINER}/{IFNAME}"));
    assert_eq!(
        (&listed[0]["pod"], &listed[0]["netns"]),
        (&Value::Null, &pod.path().to_str().unwrap().into())
    );

    daemon.ends_by(Signal::SIGKILL).await;
    let daemon = desk.start(&start).await;
    assert_eq!(desk.machine().listed("pods").await, listed);
    assert_eq!(call(&desk, "ADD", &pod).await, result, "the same ADD has the same answer");
    // Twice, as runtimes do.
    for _ in 0..2 {
        assert_eq!(call(&desk, "DEL", &pod).await, Value::Null);
        desk.machine().until_released().await;
        pod.is_empty();
    }

    // Records that are lost.
    let result = call(&desk, "ADD", &pod).await;
    daemon.ends_by(Signal::SIGKILL).await;
    std::fs::remove_file(desk.file("/run/state.redb")).unwrap();
    let daemon = desk.start(&start).await;
    let listed = desk.machine().listed("pods").await;
    assert_eq!(
        (listed.as_array().unwrap().len(), &listed[0]["netns"]),
        (1, &pod.path().to_str().unwrap().into())
    );
    assert_eq!(listed[0]["address"], result["ips"][0]["address"]);
    assert_eq!(call(&desk, "DEL", &pod).await, Value::Null);
    desk.machine().until_released().await;
    pod.is_empty();

    // A container that ends with its namespace before its DEL.
    call(&desk, "ADD", &pod).await;
    let path = pod.path().to_owned();
    pod.end();
    let gone = [("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", CONTAINER), ("CNI_IFNAME", IFNAME)];
    let netns = [("CNI_NETNS", path.to_str().unwrap())];
    desk.plug(FILE, &[gone.as_slice(), &netns].concat()).await.unwrap();
    desk.plug(FILE, &gone).await.unwrap();
    desk.machine().until_released().await;
    desk.stop(daemon).await;
    desk.end().await;
}

async fn call(desk: &Desk, command: &str, pod: &Pod) -> Value {
    let environment = [
        ("CNI_COMMAND", command),
        ("CNI_CONTAINERID", CONTAINER),
        ("CNI_NETNS", pod.path().to_str().unwrap()),
        ("CNI_IFNAME", IFNAME),
        ("CNI_PATH", "/opt/cni/bin"),
    ];
    desk.plug(FILE, &environment).await.unwrap()
}
