//! What is left when free NICs are given back, by `clean` and by CleanUpCacheOnExit, with gateways that were made when they
//! were first needed: in the cloud, in the kernel and in the store.

use std::collections::BTreeSet;
use std::path::Path;

use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::machine::{Machine, Running};
use crate::pod::Pod;
use crate::site::{Kind, Site};
use crate::trial;
use crate::witness::{ip, link_by_mac};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a_gateway_is_made_when_it_is_first_needed_and_given_back_by_clean_when_it_no_longer_is",
            gateways,
        ),
        trial("free_nics_are_kept_or_given_back_at_the_end_as_the_go_daemons_flag_says", at_the_end),
    ]
}

/// hostnic-cni 0.x's flags, which make the daemon its `daemon`.
const GO: [&str; 6] = ["--vxnets", "vxnet-a", "--PoolSize", "2", "--policy", "FailRotate"];

/// Who a machine's NICs are, each place by itself: the cloud's list, the links of the namespaces, and the records.
#[derive(Debug, PartialEq, Eq)]
struct Nics {
    cloud: BTreeSet<String>,
    kernel: BTreeSet<String>,
    store: BTreeSet<String>,
}

impl Nics {
    async fn of(site: &Site, number: usize, pods: &[&Pod]) -> Self {
        let machine = &site.machines[number];
        let cloud: BTreeSet<String> =
            site.nics(number).await.iter().map(|nic| nic["mac"].as_str().unwrap().to_owned()).collect();
        let in_pods = pods.iter().map(|pod| pod.path());
        let places: Vec<&Path> = in_pods.chain([machine.netns()]).collect();
        let ours = |link: &Value| link["link_type"] == "ether" && link["ifname"] != "primary";
        let kernel = places
            .into_iter()
            .flat_map(|place| ip(place, &["link", "show"]).as_array().unwrap().clone())
            .filter(|link| ours(link) && link["address"].as_str().unwrap().starts_with("52:54:"))
            .map(|link| link["address"].as_str().unwrap().to_owned())
            .collect();
        Self { cloud, kernel, store: recorded(machine).await }
    }

    /// How many there are, of which all three know.
    fn agreed(&self) -> usize {
        assert_eq!(self.cloud, self.kernel, "cloud and kernel");
        assert_eq!(self.cloud, self.store, "cloud and store");
        self.cloud.len()
    }
}

/// The NICs in a store, by the program that prints it without a daemon.
async fn recorded(machine: &Machine) -> BTreeSet<String> {
    let mut dump = machine.program(&["store", "dump", "--store"]);
    let output = dump.arg(machine.store()).output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let nics = text.lines().filter_map(|line| line.strip_prefix("nics ")?.split_once(' '));
    nics.map(|(_, json)| serde_json::from_str::<Value>(json).unwrap()["mac"].as_str().unwrap().to_owned())
        .collect()
}

/// Waits until the machine has so many free NICs and nothing is under way.
async fn until_free(site: &Site, number: usize, daemon: &Running, count: usize) {
    let machine = &site.machines[number];
    let rests = async || {
        let nics = machine.listed("nics").await;
        let nics = nics.as_array().unwrap();
        let free = nics.iter().filter(|nic| nic["addresses"][0]["state"] == "free").count();
        free == count && nics.iter().all(|nic| nic["state"] == "ready")
    };
    machine.until(daemon, "the pool is filled and rests", rests).await;
}

async fn gateways() {
    let site = Site::new(&["vxnet-a=192.168.50.0/24"]).await;
    let machine = &site.machines[0];
    let flags = ["--vxnet", "vxnet-a", "--pool-low", "1", "--pool-high", "1", "--cooling", "0"];
    let daemon = site
        .start(0, "log", &[&flags[..], &["--gateway-name", "gw", "--cleanup-cache-on-exit"]].concat())
        .await;
    until_free(&site, 0, &daemon, 1).await;
    assert_eq!(Nics::of(&site, 0, &[]).await.agreed(), 1, "no gateway is made before it is needed");
    let gateways = || {
        let links = ip(machine.netns(), &["link", "show"]);
        let names = links.as_array().unwrap().iter().map(|link| link["ifname"].as_str().unwrap().to_owned());
        names.filter(|name| name.starts_with("gw")).collect::<Vec<_>>()
    };
    assert_eq!(gateways(), Vec::<String>::new());

    // A pod that does not ask for one does not have it made.
    let plain = machine.pod("plain").await;
    plain.agrees_with(&machine.call("ADD", &plain).succeeds().await);
    assert_eq!(gateways(), Vec::<String>::new());
    let pods = [machine.pod("a").await, machine.pod("b").await];
    let mut next_hops = BTreeSet::new();
    for (pod, kind) in pods.iter().zip([Kind::Hostnic, Kind::Qingcni]) {
        let result = kind.call(machine, "ADD", pod).succeeds().await;
        pod.agrees_with(&result);
        let routes = result["routes"].as_array().unwrap();
        let service = routes.iter().find(|route| route["dst"] == "10.96.0.0/12").unwrap();
        next_hops.insert(service["gw"].as_str().unwrap().to_owned());
    }
    assert_eq!((next_hops.len(), gateways()), (1, vec!["gw0".to_owned()]), "one for both");
    until_free(&site, 0, &daemon, 1).await;
    let all = [&plain, &pods[0], &pods[1]];
    assert_eq!(Nics::of(&site, 0, &all).await.agreed(), 5, "three pods, a gateway, and one that is free");

    // What is in use stays; what was free is given back, and another is made.
    let before = Nics::of(&site, 0, &all).await.cloud;
    let said = machine.asked(&["clean"]).await.unwrap();
    assert!(said.contains("4 NICs"), "{said}");
    until_free(&site, 0, &daemon, 1).await;
    let after = Nics::of(&site, 0, &all).await;
    assert_eq!((after.agreed(), after.cloud.intersection(&before).count()), (5, 4));
    assert_eq!(gateways(), ["gw0"]);

    for (pod, kind) in pods.iter().zip([Kind::Hostnic, Kind::Qingcni]) {
        kind.call(machine, "DEL", pod).succeeds().await;
    }
    machine.call("DEL", &plain).succeeds().await;
    machine.until_released().await;
    machine.asked(&["clean"]).await.unwrap();
    assert_eq!(gateways(), Vec::<String>::new(), "nobody is in its vxnet any more");
    until_free(&site, 0, &daemon, 1).await;
    assert_eq!(Nics::of(&site, 0, &[]).await.agreed(), 1);
    println!(
        "    a gateway for two of three pods; 5 NICs before and after `clean`, 4 of them the same; 1 when no pod is left"
    );
    site.end([daemon]).await;
}

async fn at_the_end() {
    let site = Site::new(&["vxnet-a=192.168.50.0/24"]).await;
    let machine = &site.machines[0];
    let first = site.start(0, "log-1", &[&GO[..], &["--CleanUpCacheOnExit=false"]].concat()).await;
    until_free(&site, 0, &first, 2).await;
    let pod = machine.pod("a").await;
    let given = pod.agrees_with(&Kind::Hostnic.call(machine, "ADD", &pod).succeeds().await);
    until_free(&site, 0, &first, 2).await;
    let (success, said) = first.ends_by(Signal::SIGTERM).await;
    assert!(success, "{said}");
    let kept = Nics::of(&site, 0, &[&pod]).await;
    assert_eq!(kept.agreed(), 4, "the pod's, its gateway, and two that are free");

    // The next one begins with those, and keeps the pod's and its gateway.
    let second = site.start(0, "log-2", &[&GO[..], &["--CleanUpCacheOnExit"]].concat()).await;
    assert_eq!(Nics::of(&site, 0, &[&pod]).await, kept);
    assert!(second.ends_by(Signal::SIGTERM).await.0);
    let of_pod = Nics::of(&site, 0, &[&pod]).await;
    assert_eq!(of_pod.agreed(), 2, "the pod's and its gateway");
    assert!(link_by_mac(pod.path(), &given.mac).is_some());
    pod.ping(crate::lifecycle::gateway(given.address)).await;

    let third = site.start(0, "log-3", &[&GO[..], &["--CleanUpCacheOnExit=true"]].concat()).await;
    Kind::Hostnic.call(machine, "DEL", &pod).succeeds().await;
    machine.until_released().await;
    assert!(third.ends_by(Signal::SIGTERM).await.0);
    assert_eq!(Nics::of(&site, 0, &[&pod]).await.agreed(), 0);
    println!("    without the flag 4 NICs stay, with it 2 while a pod needs them, and 0 afterwards");
    site.end([]).await;
}
