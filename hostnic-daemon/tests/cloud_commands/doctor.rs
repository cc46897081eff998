//! `hostnic-daemon doctor` names what is wrong, and nothing where all is well.

use std::fs;
use std::io;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hostnic_core::sim::Quotas;
use hostnic_qingcloud::WallClock;
use hostnic_qingcloud::simulator::SimulatorConfig;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::place::{OTHER, Place, SECRET, WRONG_SECRET, config};
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_sound_machine_has_no_finding", sound),
        trial("a_wrong_secret_names_the_access_file", wrong_secret),
        trial("a_clock_that_is_off_is_told_in_seconds", wrong_clock),
        trial("a_vxnet_that_does_not_exist_or_is_full_is_named", vxnets),
        trial("a_vxnet_without_dhcp_or_router_is_named", bare_vxnets),
        trial("settings_of_the_kernel_and_the_firewall_are_named", host),
        trial("settings_that_the_daemon_cannot_set_are_named_with_what_they_have_to_be", read_only),
        trial("a_missing_plugin_or_configuration_is_named", cni),
        trial("what_keeps_the_cloud_from_being_asked_is_a_finding", not_asked),
    ]
}

/// The kernel's settings on a sound machine.
pub(crate) const SOUND: [(&str, &str); 3] =
    [("ip_forward", "1"), ("conf/all/rp_filter", "0"), ("conf/all/send_redirects", "0")];

pub(crate) fn set((name, value): (&str, &str)) -> io::Result<()> {
    fs::write(format!("/proc/sys/net/ipv4/{name}"), value)
}

/// What the doctor finds with these flags more, and that its exit code agrees with it.
pub(crate) async fn findings(place: &Place, flags: &[&str]) -> Vec<Value> {
    let [conf, bin] = ["net.d", "bin"].map(|folder| place.path(folder).display().to_string());
    let folders = ["doctor", "-o", "json", "--cni-conf-dir", &conf, "--cni-bin-dir", &bin];
    let output = place.run(&[&folders, flags].concat()).await;
    let findings: Vec<Value> =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let errors = findings.iter().any(|finding| finding["severity"] == "error");
    assert_eq!(output.status.code(), Some(i32::from(errors)), "{output:?}");
    findings
}

/// The one finding with the flags of a sound machine: its object and its problem, beside a remedy.
async fn only(place: &Place) -> (String, String) {
    let findings = findings(place, &["--vxnet", "vxnet-a,vxnet-b"]).await;
    let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
    let text = |key: &str| finding[key].as_str().unwrap().to_owned();
    assert!(!text("remedy").is_empty(), "{finding}");
    (text("object"), text("problem"))
}

async fn sound() {
    let place = Place::new(config()).await;
    let none: [Value; 0] = [];
    assert_eq!(findings(&place, &["--vxnet", "vxnet-a,vxnet-b"]).await, none);
    let [conf, bin] = ["net.d", "bin"].map(|folder| place.path(folder).display().to_string());
    let output =
        place.run(&["doctor", "--vxnet", "vxnet-a", "--cni-conf-dir", &conf, "--cni-bin-dir", &bin]).await;
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && told.starts_with("no finding"), "{told}");
}

async fn wrong_secret() {
    let place = Place::new(config()).await;
    place.access_file(WRONG_SECRET);
    let file = place.path("client.yaml").display().to_string();
    assert_eq!(only(&place).await.0, format!("credentials of {file}"));
}

/// A clock that is ahead by some seconds.
#[derive(Debug)]
pub(crate) struct Ahead(pub(crate) u64);

impl WallClock for Ahead {
    fn now(&self) -> SystemTime {
        SystemTime::now() + Duration::from_secs(self.0)
    }
}

async fn wrong_clock() {
    let place = Place::new(SimulatorConfig { clock: Arc::new(Ahead(120)), ..config() }).await;
    let (object, problem) = only(&place).await;
    let told = problem.split(' ').find_map(|word| word.parse::<u64>().ok()).unwrap();
    // The date of an answer has whole seconds, and is older by the time that the answer took.
    let off = (60..=120).contains(&told) && problem.contains(&format!("{told} s behind"));
    assert!(object == "clock" && off, "{object} {problem}");
}

async fn vxnets() {
    let quotas = Quotas { nics_per_subnet: 3, ..Quotas::default() };
    let place = Place::new(SimulatorConfig { quotas, ..config() }).await;
    place.nics(OTHER, 1, 3).await;
    let (object, problem) = only(&place).await;
    assert!(object == "vxnet vxnet-b" && problem.contains("is full"), "{object} {problem}");
    let findings = findings(&place, &["--vxnet", "vxnet-a,vxnet-none"]).await;
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(findings[0]["object"], "vxnet vxnet-none");
    assert!(findings[0]["problem"].as_str().unwrap().contains("does not exist"), "{findings:#?}");
}

/// A cloud whose vxnet-a was changed so, by its saved state: the API's client has no action for that.
pub(crate) async fn with_vxnet_a(change: impl FnOnce(&mut Value)) -> (Place, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.json");
    let config = SimulatorConfig { state: Some(state.clone()), ..config() };
    let first = Place::new(config.clone()).await;
    first.nics(OTHER, 1, 1).await;
    drop(first);
    let mut saved: Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
    let network = saved.pointer_mut("/account/vxnets/vxnet-a/network").unwrap();
    change(network);
    fs::write(&state, saved.to_string()).unwrap();
    (Place::new(config).await, folder)
}

async fn bare_vxnets() {
    let (place, _state) = with_vxnet_a(|network| network["features"] = json!(0)).await;
    let (object, problem) = only(&place).await;
    assert!(object == "vxnet vxnet-a" && problem.contains("DHCP off"), "{object} {problem}");
    let (place, _state) = with_vxnet_a(|network| *network = Value::Null).await;
    let (object, problem) = only(&place).await;
    assert!(object == "vxnet vxnet-a" && problem.contains("no VPC router"), "{object} {problem}");
}

async fn host() {
    let place = Place::new(config()).await;
    let wrong = [
        ("ip_forward", "0", "net.ipv4.ip_forward"),
        ("conf/all/rp_filter", "1", "net.ipv4.conf.all.rp_filter"),
    ];
    for (name, value, object) in wrong {
        set((name, value)).unwrap();
        assert_eq!(only(&place).await.0, object);
        SOUND.into_iter().for_each(|setting| set(setting).unwrap());
    }
    nft(
        "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }",
    );
    let (object, problem) = only(&place).await;
    assert!(object == "nftables chain ip filter FORWARD" && problem.contains("drop"), "{object} {problem}");
    nft("chain ip filter FORWARD { policy accept; }");
    let none: [Value; 0] = [];
    assert_eq!(findings(&place, &["--vxnet", "vxnet-a"]).await, none);
    nft("delete table ip filter");
}

/// As container runtimes have it.
fn bind_settings(options: &[&str]) {
    let output =
        Command::new("mount").args(options).args(["/proc/sys/net", "/proc/sys/net"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

async fn read_only() {
    let place = Place::new(config()).await;
    set(("ip_forward", "0")).unwrap();
    bind_settings(&["--bind"]);
    bind_settings(&["-o", "remount,bind,ro"]);
    let findings =
        findings(&place, &["--vxnet", "vxnet-a", "--mode", "veth", "--service-cidr", "10.96.0.0/12"]).await;
    let unmounted = Command::new("umount").arg("/proc/sys/net").output().unwrap();
    assert!(unmounted.status.success(), "{unmounted:?}");
    SOUND.into_iter().for_each(|setting| set(setting).unwrap());
    let told: Vec<[&str; 3]> = findings
        .iter()
        .map(|finding| ["severity", "object", "problem"].map(|key| finding[key].as_str().unwrap()))
        .collect();
    let [forward, filter, redirects] = told.as_slice() else { panic!("{findings:#?}") };
    assert_eq!(forward[..2], ["error", "net.ipv4.ip_forward"]);
    assert!(forward[2].starts_with("is 0 and has to be 1, and the daemon cannot set it"), "{}", forward[2]);
    for (told, name) in [(filter, "rp_filter"), (redirects, "send_redirects")] {
        assert_eq!((told[0], told[1]), ("warning", format!("net.ipv4.conf.all.{name}").as_str()));
        assert!(told[2].starts_with("is 0, which is right"), "{}", told[2]);
    }
}

pub(crate) fn nft(commands: &str) {
    let output = Command::new("nft").arg(commands).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

async fn cni() {
    let place = Place::new(config()).await;
    fs::remove_file(place.path("bin/hostnic")).unwrap();
    let (object, problem) = only(&place).await;
    assert!(object.ends_with("bin/hostnic") && problem.contains("missing"), "{object} {problem}");
    fs::remove_file(place.path("net.d/10-hostnic.conf")).unwrap();
    let (object, problem) = only(&place).await;
    assert!(object.ends_with("net.d") && problem.contains("no configuration"), "{object} {problem}");
}

async fn not_asked() {
    let place = Place::new(config()).await;
    let none = findings(&place, &[]).await;
    assert!(none.len() == 1 && none[0]["object"] == "vxnet", "{none:#?}");
    fs::remove_file(place.path("client.yaml")).unwrap();
    assert_eq!(only(&place).await.0, "access file");
    place.access_file(SECRET);
    place.simulator.set_listening(false).await.unwrap();
    assert_eq!(only(&place).await.0, "the cloud's API");
}
