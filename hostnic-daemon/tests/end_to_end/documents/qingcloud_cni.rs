//! Documents 001 and 003, of qingcloud-cni.

use serde_json::Value;

use super::desk::{Desk, FIRST, THIRD};
use super::table::Table;
use super::{fill, life};

/// The lines of the configuration file.
const AGENT: [&str; 4] = [
    "QYAccessFilePath: '/etc/qingcloud/client.yaml'",
    "vxnet: 'vxnet-xxxxxxx'",
    "iface: 'eth0'",
    "loglevel: 'debug'",
];

const NETWORK: &str = r#"{
        "cniVersion": "0.3.1",
        "name": "mynet",
        "type": "qingcni",
        "isGateway": true,
        "args": {
                "BindAddr":"127.0.0.1:31080"
        },
        "ipMasq": true,
        "ipam": {
           "routes":[{"dst":"kubernetes service cidr","gw":"hostip or 0.0.0.0"}]
        }
}
"#;

const NETWORK_FILE: &str = "/etc/cni/net.d/10-mynet.conf";
const SERVICE_CIDR: &str = "kubernetes service cidr";
const BY_HOST: &str = "hostip or 0.0.0.0";

pub(super) async fn followed() {
    let mut table = Table::new("001");
    let desk = Desk::new(THIRD).await;
    desk.write_access_file();
    let help = desk.succeeds("./bin/qingagent start -h").await;
    assert!(help.contains("Usage: qingagent start [OPTIONS]") && help.contains("--bind-addr"), "{help}");
    table.row("`./bin/qingagent start -h`", "prints the help, with each flag by the name that it has now");
    file(&desk, &mut table).await;
    flags(&desk, &mut table).await;
    addresses(&desk, &mut table).await;
    desk.end().await;
    host_address(&mut table).await;
    table.end();
}

/// The agent's file, and pods by the CNI configuration.
async fn file(desk: &Desk, table: &mut Table) {
    let start = "./bin/qingagent start";
    desk.write("QingAgent.yaml", &AGENT.join("\n"));
    table
        .row("`QingAgent.yaml` in the working directory, its placeholder left in", desk.refuses(start).await);
    let text = fill(&AGENT.join("\n"), "vxnet-xxxxxxx", FIRST);
    desk.write("QingAgent.yaml", &text);
    let daemon = desk.start(start).await;
    let told = desk.told(&daemon, "bind-addr is");
    let listens = desk.listens();
    table.row(
        "`QingAgent.yaml` with a vxnet; `qingagent start`",
        format!("starts; {listens}; says \"{told}\""),
    );

    let label = "`/etc/cni/net.d/10-mynet.conf`";
    desk.write(NETWORK_FILE, NETWORK);
    table.row(format!("{label}, its placeholders left in"), life::refused(desk, "placeholders").await);
    let network = fill(NETWORK, SERVICE_CIDR, life::SERVICES);
    desk.write(NETWORK_FILE, &network);
    table.row(format!("{label}, `{BY_HOST}` left in"), life::refused(desk, "gw").await);
    desk.write(NETWORK_FILE, &fill(&network, BY_HOST, "0.0.0.0"));
    table.row(format!("{label} with `0.0.0.0`"), life::of_two_pods(desk).await);
    table.row(format!("{label}, with nobody at the unix socket"), life::by_tcp(desk).await);
    let said = desk.stop(daemon).await;
    assert!(said.contains(" DEBUG "), "it logs at the level that the file asks for: {said}");
    std::fs::remove_file(desk.file("QingAgent.yaml")).unwrap();
    for (name, text) in in_other_formats() {
        desk.write(name, &text);
        let daemon = desk.start(start).await;
        desk.stop(daemon).await;
        std::fs::remove_file(desk.file(name)).unwrap();
        table.row(format!("the same settings in `{name}`"), "starts");
    }
}

fn in_other_formats() -> [(&'static str, String); 3] {
    let settings = [
        ("QYAccessFilePath", "/etc/qingcloud/client.yaml"),
        ("vxnet", FIRST),
        ("iface", "eth0"),
        ("loglevel", "debug"),
    ];
    let each = |form: &dyn Fn(&str, &str) -> String| settings.map(|(key, value)| form(key, value));
    [
        (
            "QingAgent.json",
            format!("{{{}}}", each(&|key, value| format!("\"{key}\": \"{value}\"")).join(", ")),
        ),
        ("QingAgent.toml", each(&|key, value| format!("{key} = '{value}'")).join("\n")),
        (
            "QingAgent.xml",
            format!("<config>{}</config>", each(&|key, value| format!("<{key}>{value}</{key}>")).concat()),
        ),
    ]
}

/// Each flag of the help with its default.
async fn flags(desk: &Desk, table: &mut Table) {
    let all = format!(
        "./bin/qingagent start --QYAccessFilePath /etc/qingcloud/client.yaml --gatewayns hostnic --iface eth0 --policy \
         FailRotate --vxnet {FIRST} --zone pek3a --loglevel info"
    );
    let daemon = desk.start(&all).await;
    table.row(format!("`{all}`"), format!("starts; {}", desk.listens()));
    desk.stop(daemon).await;
    for policy in ["FailRotate", "RoundRotate", "Random"] {
        let daemon = desk.start(&format!("./bin/qingagent start --vxnet {FIRST} --policy {policy}")).await;
        let status = desk.machine().listed("status").await;
        assert_eq!(status["pool"]["policy"], policy, "{status:#}");
        desk.stop(daemon).await;
        table.row(format!("`qingagent start --policy {policy}`"), format!("starts; `status` names {policy}"));
    }
    let left_in = "./bin/qingagent start --vxnet vxnet-xxxxxxx";
    table.row("`qingagent start --vxnet vxnet-xxxxxxx`", desk.refuses(left_in).await);
    desk.write("elsewhere.yaml", &fill(&AGENT.join("\n"), "vxnet-xxxxxxx", FIRST));
    let daemon = desk.start("./bin/qingagent start --config ./elsewhere.yaml").await;
    desk.stop(daemon).await;
    table.row("`qingagent start --config FILE`", "starts by that file");
}

/// The address of the help's default, spelled out, and the line that works in its place.
async fn addresses(desk: &Desk, table: &mut Table) {
    let line = format!("./bin/qingagent start --vxnet {FIRST}");
    let spelled = "--bindaddr 0.0.0.0:31080";
    let before = desk.listeners();
    let refused = desk.refuses(&format!("{line} {spelled}")).await;
    assert_eq!(desk.listeners(), before);
    let works = refused.split_once("write ").unwrap().1.split_once(" or,").unwrap().0.to_owned();
    table.row(format!("`qingagent start {spelled}`"), refused);
    let daemon = desk.start(&format!("{line} {works}")).await;
    table.row(
        format!("`qingagent start {works}`, the line of that refusal"),
        format!("starts; {}", desk.listens()),
    );
    desk.stop(daemon).await;
    let daemon = desk.start(&format!("{line} {spelled} --allow-remote")).await;
    table.row(format!("`qingagent start {spelled} --allow-remote`"), format!("starts; {}", desk.listens()));
    desk.stop(daemon).await;
}

/// The CNI configuration with the host's own address.
async fn host_address(table: &mut Table) {
    let desk = Desk::new(FIRST).await;
    desk.write_access_file();
    desk.let_own_nic_forward().await;
    let host = desk.host().to_string();
    desk.write(NETWORK_FILE, &fill(&fill(NETWORK, SERVICE_CIDR, life::SERVICES), BY_HOST, &host));
    desk.write("QingAgent.yaml", &fill(&AGENT.join("\n"), "vxnet-xxxxxxx", FIRST));
    let daemon = desk.start("./bin/qingagent start").await;
    let happened = life::of_two_pods(&desk).await;
    table.row("`/etc/cni/net.d/10-mynet.conf` with the host's address in the pods' vxnet", happened);
    desk.stop(daemon).await;
    desk.end().await;
}

/// Document 003: what is printed on one line there is written on one line.
pub(super) async fn followed_without_line_breaks() {
    let mut table = Table::new("003");
    let desk = Desk::new(THIRD).await;
    desk.write_access_file();
    let start = "./bin/qingagent start";
    let one_line = fill(&AGENT.join(" "), "vxnet-xxxxxxx", FIRST);
    desk.write("QingAgent.yaml", &one_line);
    table.row("`QingAgent.yaml` on one line, as it is printed there", desk.refuses(start).await);
    desk.write("QingAgent.yaml", &fill(&AGENT.join("\n"), "vxnet-xxxxxxx", FIRST));
    let daemon = desk.start(start).await;
    table.row("`QingAgent.yaml`, its line breaks put back", format!("starts; {}", desk.listens()));
    let network = NETWORK.split_whitespace().collect::<Vec<_>>().join(" ");
    let network = fill(&fill(&network, SERVICE_CIDR, life::SERVICES), BY_HOST, "0.0.0.0");
    serde_json::from_str::<Value>(&network).unwrap();
    desk.write(NETWORK_FILE, &network);
    table.row("`/etc/cni/net.d/10-mynet.conf` on one line with `0.0.0.0`", life::of_two_pods(&desk).await);
    desk.stop(daemon).await;
    desk.end().await;
    table.end();
}
