//! Ten things that keep pods from their NICs, each made on a machine on which all else is well: what `hostnic-daemon doctor`
//! finds, and what it says to do.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use hostnic_core::sim::Quotas;
use hostnic_qingcloud::simulator::SimulatorConfig;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::doctor::{Ahead, SOUND, findings, nft, set, with_vxnet_a};
use crate::place::{NODE, OTHER, Place, WRONG_SECRET, config};
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("each_of_ten_causes_is_found_by_its_object_and_has_a_remedy", ten)]
}

/// What was found for each cause.
#[derive(Default)]
struct Told(Vec<(&'static str, Value)>);

impl Told {
    /// Makes sure that the doctor of a place finds this one thing.
    async fn one(&mut self, cause: &'static str, place: &Place, object: &str, remedy: &str) {
        let found = findings(place, &["--vxnet", "vxnet-a,vxnet-b"]).await;
        let [finding] = found.as_slice() else { panic!("{cause}: {found:#?}") };
        assert!(finding["object"].as_str().unwrap().contains(object), "{cause}: {finding:#}");
        assert!(finding["remedy"].as_str().unwrap().contains(remedy), "{cause}: {finding:#}");
        self.0.push((cause, finding.clone()));
    }

    fn print(&self) {
        println!("\n{:<38} | {:<44} | remedy", "cause", "finding");
        for (cause, finding) in &self.0 {
            let [severity, object, remedy] =
                ["severity", "object", "remedy"].map(|key| finding[key].as_str().unwrap());
            println!("{cause:<38} | {:<44} | {remedy}", format!("{severity}: {object}"));
        }
    }
}

async fn ten() {
    let mut told = Told::default();
    in_the_cloud(&mut told).await;
    on_the_host(&mut told).await;
    assert_eq!(told.0.len(), 10);
    // And where nothing is wrong, nothing is found.
    let none: [Value; 0] = [];
    assert_eq!(findings(&Place::new(config()).await, &["--vxnet", "vxnet-a,vxnet-b"]).await, none);
    told.print();
}

async fn in_the_cloud(told: &mut Told) {
    let place = Place::new(config()).await;
    place.access_file(WRONG_SECRET);
    told.one("wrong secret", &place, "client.yaml", "access key").await;
    let place = Place::new(SimulatorConfig { clock: Arc::new(Ahead(120)), ..config() }).await;
    told.one("clock 120 s off", &place, "clock", "timedatectl").await;
    let (place, _state) = with_vxnet_a(|network| network["features"] = json!(0)).await;
    told.one("vxnet without DHCP", &place, "vxnet vxnet-a", "DHCP").await;
    let (place, _state) = with_vxnet_a(|network| *network = Value::Null).await;
    told.one("vxnet without router", &place, "vxnet vxnet-a", "VPC").await;
    let quotas = Quotas { nics_per_subnet: 3, ..Quotas::default() };
    let place = Place::new(SimulatorConfig { quotas, ..config() }).await;
    place.nics(OTHER, 1, 3).await;
    told.one("quota full", &place, "vxnet vxnet-b", "nic sweep").await;
}

async fn on_the_host(told: &mut Told) {
    let place = Place::new(config()).await;
    for (cause, (name, value), object) in [
        ("all/rp_filter 1", ("conf/all/rp_filter", "1"), "net.ipv4.conf.all.rp_filter"),
        ("ip_forward 0", ("ip_forward", "0"), "net.ipv4.ip_forward"),
    ] {
        set((name, value)).unwrap();
        told.one(cause, &place, object, "sysctl -w").await;
        SOUND.into_iter().for_each(|setting| set(setting).unwrap());
    }
    nft(
        "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }",
    );
    told.one("FORWARD policy DROP", &place, "chain ip filter FORWARD", "FORWARD ACCEPT").await;
    nft("delete table ip filter");

    let nic = place.nics(NODE, 1, 1).await.remove(0);
    place.attach(&nic).await;
    let mac = nic.mac.to_string();
    ip(&["link", "add", "nic0", "address", &mac, "type", "veth", "peer", "name", "port0"]);
    let index = fs::read_to_string("/sys/class/net/nic0/ifindex").unwrap();
    fs::create_dir_all("/run/NetworkManager/devices").unwrap();
    let state = format!("/run/NetworkManager/devices/{}", index.trim());
    fs::write(&state, "[device]\nmanaged=true\n").unwrap();
    let found = findings(&place, &["--vxnet", "vxnet-a,vxnet-b"]).await;
    // That nothing tells it otherwise is a finding of its own.
    let [link, file] = found.as_slice() else { panic!("{found:#?}") };
    assert_eq!((&link["object"], &link["severity"]), (&"link nic0".into(), &"error".into()));
    assert_eq!((&file["object"], &file["severity"]), (&"NetworkManager".into(), &"warning".into()));
    for finding in [link, file] {
        let remedy = finding["remedy"].as_str().unwrap();
        assert!(remedy.contains("unmanaged-devices=type:ethernet"), "{remedy}");
    }
    told.0.push(("NetworkManager managing our NIC", link.clone()));
    fs::remove_dir_all("/run/NetworkManager").unwrap();
    ip(&["link", "delete", "nic0"]);

    fs::remove_file(place.path("bin/hostnic")).unwrap();
    told.one("CNI binary missing", &place, "bin/hostnic", "install -m 0755 hostnic").await;
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
