//! Document 000, of hostnic-cni 0.x.

use super::desk::{ACCESS, Desk, FIRST, SECOND, THIRD};
use super::table::Table;
use super::{fill, life, loopback_is_there};
use crate::machine::Running;
use crate::witness::ip;

const CLIENT: &str = r#"cat >/etc/qingcloud/client.yaml <<EOF
qy_access_key_id: "Your access key id"
qy_secret_access_key: "Your secret access key"
# your instance zone
zone: "pek3a"
EOF
"#;

const START: &str =
    "./bin/daemon start --bindAddr :31080 --vxnets vxnet-xxxxxxx,vxnet-xxxxxxx --PoolSize 3 --loglevel debug";

const NETWORK: &str = r#"cat >/etc/cni/net.d/10-hostnic.conf <<EOF
{
    "cniVersion": "0.3.1",
    "name": "hostnic",
    "type": "hostnic",
    "bindaddr":"localhost:31080",
    "ipam":{
      "routes":[{"dst":"kubernetes service cidr","gw":"hostip or 0.0.0.0"}]
    },
    "isGateway": true
}
EOF
"#;

const LOOPBACK: &str = r#"cat >/etc/cni/net.d/99-loopback.conf <<EOF
{
    "cniVersion": "0.2.0",
    "type": "loopback"
}
EOF
"#;

const SERVICE_CIDR: &str = "kubernetes service cidr";
const BY_HOST: &str = "hostip or 0.0.0.0";

pub(super) async fn followed() {
    if !loopback_is_there() {
        return;
    }
    let mut table = Table::new("000");
    let desk = Desk::new(THIRD).await;
    let filled = fill(&fill(START, "vxnet-xxxxxxx", FIRST), "vxnet-xxxxxxx", SECOND);
    access_file(&desk, &mut table, &filled).await;
    let daemon = start(&desk, &mut table, &filled).await;
    network(&desk, &mut table).await;
    loopback(&desk, &mut table).await;
    commands(&desk, &mut table).await;
    let said = desk.stop(daemon).await;
    for debug in
        ["cloud_call{operation=\"attach_nics\"", "outcome=\"ok\"", "a NIC is ready", "ADD done", "DEL done"]
    {
        assert!(said.contains(debug), "{debug} is logged at the level that was asked for: {said}");
    }
    flags(&desk, &mut table).await;
    desk.end().await;
    host_address(&mut table).await;
    table.end();
}

/// The access file, without and with a key.
async fn access_file(desk: &Desk, table: &mut Table, start: &str) {
    desk.succeeds(CLIENT).await;
    table.row("`/etc/qingcloud/client.yaml`, its placeholders left in", desk.refuses(start).await);
    let [key, secret] = ACCESS;
    desk.succeeds(&fill(&fill(CLIENT, "Your access key id", key), "Your secret access key", secret)).await;
    desk.add_place_of_api();
}

/// The daemon's help, its example, and a second daemon beside it.
async fn start(desk: &Desk, table: &mut Table, filled: &str) -> Running {
    let help = desk.succeeds("cd bin && ./daemon start -h").await;
    assert!(help.contains("Usage: daemon start [OPTIONS]") && help.contains("--bind-addr"), "{help}");
    table.row("`./daemon start -h`", "prints the help, with each flag by the name that it has now");
    table.row(format!("`{START}`"), desk.refuses(START).await);
    let daemon = desk.start(filled).await;
    desk.until_free(&daemon, 3).await;
    let listens = desk.listens();
    let exposed = desk.told(&daemon, "/etc/qingcloud/client.yaml holds");
    let exposed = exposed.rsplit_once(" file=").unwrap().0;
    let happened = format!("is read as it is; as the line leaves it open to all, the log says \"{exposed}\"");
    table.row("`/etc/qingcloud/client.yaml` with a key", happened);
    let told = desk.told(&daemon, "bind-addr is");
    table.row(format!("`{filled}`"), format!("starts and fills its pool; {listens}; says \"{told}\""));
    let second = desk.refuses(filled).await;
    let named = format!("daemon (pid {})", daemon.pid());
    assert!(second.contains(&named), "{second}");
    table.row("the same line once more, while the first one runs", second.replace(&named, "daemon (pid N)"));
    daemon
}

/// The CNI configuration with `0.0.0.0`, and with what has to be replaced in it.
async fn network(desk: &Desk, table: &mut Table) {
    desk.succeeds(NETWORK).await;
    let file = "`/etc/cni/net.d/10-hostnic.conf`";
    table.row(format!("{file}, its placeholders left in"), life::refused(desk, "placeholders").await);
    let network = fill(NETWORK, SERVICE_CIDR, life::SERVICES);
    desk.succeeds(&network).await;
    table.row(format!("{file}, `{BY_HOST}` left in"), life::refused(desk, "gw").await);
    desk.succeeds(&fill(&network, BY_HOST, "0.0.0.0")).await;
    table.row(format!("{file} with `0.0.0.0`"), life::of_two_pods(desk).await);
    table.row(format!("{file}, with nobody at the unix socket"), life::by_tcp(desk).await);
}

/// The loopback's configuration beside ours, with Debian's plugin.
async fn loopback(desk: &Desk, table: &mut Table) {
    desk.succeeds(LOOPBACK).await;
    let file = "99-loopback.conf";
    assert_eq!(desk.networks(), ["10-hostnic.conf", file]);
    let pod = desk.machine().pod("loopback").await;
    let environment = |command| {
        [
            ("CNI_COMMAND", command),
            ("CNI_CONTAINERID", pod.id()),
            ("CNI_NETNS", pod.path().to_str().unwrap()),
            ("CNI_IFNAME", "lo"),
            ("CNI_PATH", "/opt/cni/bin"),
        ]
    };
    let label = "`/etc/cni/net.d/99-loopback.conf` with Debian's `loopback`";
    let nameless = desk.plug(file, &environment("ADD")).await.unwrap_err();
    table.row(
        format!("{label}, the file handed to it as it is"),
        format!("{nameless} (by `loopback` itself)"),
    );
    // Runtimes name the network in what they hand to a plugin.
    let named = LOOPBACK.replacen('{', "{\n    \"name\": \"cni-loopback\",", 1);
    desk.succeeds(&named).await;
    desk.plug(file, &environment("ADD")).await.unwrap();
    let up =
        ip(pod.path(), &["link", "show", "up"]).as_array().unwrap().iter().any(|link| link["ifname"] == "lo");
    assert!(up);
    desk.call("ADD", &pod).await.unwrap();
    pod.ping([127, 0, 0, 1].into()).await;
    desk.call("DEL", &pod).await.unwrap();
    desk.machine().until_released().await;
    pod.is_empty();
    desk.plug(file, &environment("DEL")).await.unwrap();
    let doctor = desk.run(&format!("./bin/daemon doctor -o json --vxnets {FIRST}")).await;
    assert!(doctor.stdout.starts_with('[') && !doctor.stdout.contains("net.d"), "{doctor:?}");
    table.row(
        format!("{label}, handed to it with a name, as runtimes do"),
        "the pod's loopback is up beside its NIC; `doctor` finds nothing wrong with the two files",
    );
}

/// The daemon's other commands, with the flags that all of them took.
async fn commands(desk: &Desk, table: &mut Table) {
    let version = desk.succeeds("./bin/daemon version --loglevel info").await;
    let ours = env!("CARGO_PKG_VERSION");
    assert_eq!(version, format!("program  {ours}\ndaemon   {ours}\n"));
    table.row("`daemon version`", "prints the versions of the program and of the daemon that runs");
    let cleaned = desk.succeeds("./bin/daemon clean --manageAddr :31081").await;
    assert!(
        cleaned.contains("given back; 0 NICs of pods stay; new ones are made where they are needed"),
        "{cleaned}"
    );
    table.row("`daemon clean`", "gives the NICs that no pod has back, and the pool fills up again");
}

/// Each flag of the help with its default or its example.
async fn flags(desk: &Desk, table: &mut Table) {
    let all = format!(
        "./bin/daemon start --CleanUpCacheOnExit --PoolSize 3 --QyAccessFilePath /etc/qingcloud/client.yaml --vxnets \
         {FIRST},{SECOND} --bindAddr :31080 --loglevel info --manageAddr :31081"
    );
    let daemon = desk.start(&all).await;
    let listens = desk.listens();
    let said = desk.stop(daemon).await;
    assert!(said.contains("the NICs that no pod has are given back"), "{said}");
    let left = desk.api().nics().await;
    assert!(left.len() <= 2, "no more is left than the host was given for routes: {left:#?}");
    table.row(format!("`{all}`"), format!("starts; {listens}; told to stop, it gives back its free NICs"));
    let vxnets = format!("--vxnets {FIRST}");
    for flag in ["--bindAddr 127.0.0.1:31080", "--manageAddr 127.0.0.1:31080 --bindAddr off"] {
        let daemon = desk.start(&format!("./bin/daemon start {vxnets} {flag}")).await;
        table.row(format!("`daemon start {flag}`"), format!("starts; {}", desk.listens()));
        desk.stop(daemon).await;
    }
    for flag in [
        "--bindAddr [fe80::1%lo0]:80",
        "--bindAddr node-1:31080",
        "--manageAddr [fe80::1%lo0]:80",
        "--manageAddr 127.0.0.1:31080",
    ] {
        let refused = desk.refuses(&format!("./bin/daemon start {vxnets} {flag}")).await;
        table.row(format!("`daemon start {flag}`"), refused);
    }
    assert_eq!(desk.run("ls /run/hostnic/hostnic.sock").await.stdout, "");
    let file = format!("vxnets: {FIRST},{SECOND}\nPoolSize: 2\n");
    desk.write("~/.daemon.yaml", &file);
    let daemon = desk.start("./bin/daemon start").await;
    desk.until_free(&daemon, 2).await;
    desk.stop(daemon).await;
    desk.write("elsewhere.yaml", &file);
    std::fs::remove_file(desk.file("~/.daemon.yaml")).unwrap();
    let daemon = desk.start("./bin/daemon start --config elsewhere.yaml").await;
    desk.stop(daemon).await;
    table.row(
        "`$HOME/.daemon.yaml`, or a file named with `--config`",
        "is read, with the flags' names as its keys",
    );
}

/// The CNI configuration with the host's own address.
async fn host_address(table: &mut Table) {
    let desk = Desk::new(FIRST).await;
    desk.write_access_file();
    desk.let_own_nic_forward().await;
    let host = desk.host().to_string();
    desk.succeeds(&fill(&fill(NETWORK, SERVICE_CIDR, life::SERVICES), BY_HOST, &host)).await;
    let daemon = desk.start(&format!("./bin/daemon start --vxnets {FIRST}")).await;
    let happened = life::of_two_pods(&desk).await;
    table.row("`/etc/cni/net.d/10-hostnic.conf` with the host's address in the pods' vxnet", happened);
    desk.stop(daemon).await;
    assert!(desk.api().macs().await.len() >= 3, "unless told, NICs are kept for the next start");
    desk.end().await;
}
