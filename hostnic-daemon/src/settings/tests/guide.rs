//! The two files of the Kubernetes guide's ConfigMap.

use std::path::Path;

use hostnic_core::agent::PodMtu;
use hostnic_core::route::{Datapath, Hairpin};

use super::*;

const FILE: &str = "/etc/hostnic/hostnic.json";

const POOL: &str = r#"{
    "pool": {"poolHigh": 5, "poolLow": 3, "maxNic": 60, "vxNets": ["vxnet-cfn58ev", "vxnet-oca1g0z"], "tag": "tag-a",
             "sync": 3, "nodeSync": 60, "routeTableBase": 260, "freePeriod": 720},
    "server": {"serverPath": "/var/run/hostnic/hostnic.socket", "networkPolicy": "calico",
               "policyFailOpen": true}
}"#;

const NETWORK: &str = r#"{
    "cniVersion": "0.3.1", "name": "hostnic", "type": "hostnic", "vethPrefix": "vnic", "mtu": 1500,
    "serviceCIDR": "10.233.0.0/18", "hairpin": true, "natMark": "0x10000", "interface": "eth0", "rt2Pod": 254,
    "hostNicType": "veth", "logLevel": 4, "logFile": "/var/log/hostnic.log"
}"#;

fn node(pool: &str, network: &str) -> Said {
    line("hostnic-node start").file(FILE, pool).network(network)
}

#[test]
fn every_key_of_the_config_map_is_in_force() {
    let said = node(POOL, NETWORK);
    let wanted = [
        ("pool-high", "5", "pool.poolHigh"),
        ("pool-low", "3", "pool.poolLow"),
        ("max-nics", "60", "pool.maxNic"),
        ("vxnet", "vxnet-cfn58ev,vxnet-oca1g0z", "pool.vxNets"),
        ("nic-tag", "tag-a", "pool.tag"),
        ("job-poll", "3", "pool.sync"),
        ("node-sync", "60", "pool.nodeSync"),
        ("first-table", "260", "pool.routeTableBase"),
        ("free-period", "720", "pool.freePeriod"),
        ("socket", "/var/run/hostnic/hostnic.socket", "server.serverPath"),
        ("network-policy", "calico", "server.networkPolicy"),
        ("policy-fail-open", "true", "server.policyFailOpen"),
        ("veth-prefix", "vnic", "vethPrefix"),
        ("mtu", "1500", "mtu"),
        ("service-cidr", "10.233.0.0/18", "serviceCIDR"),
        ("hairpin", "true", "hairpin"),
        ("nat-mark", "0x10000", "natMark"),
        ("iface", "eth0", "interface"),
        ("pod-table", "254", "rt2Pod"),
        ("pod-type", "veth", "hostNicType"),
        ("log-level", "info", "logLevel"),
        ("log-file", "/var/log/hostnic.log", "logFile"),
    ];
    for (setting, value, key) in wanted {
        let (shown, source) = said.shown(setting);
        assert_eq!(shown, value, "{setting}");
        assert!(
            source.ends_with(&format!("/hostnic.json: {key}"))
                || source.ends_with(&format!("/hostnic-cni.json: {key}")),
            "{source}"
        );
    }
    assert!(said.notices().iter().all(|notice| notice.contains("pool.freePeriod")), "{:?}", said.notices());
}

#[test]
fn settings_become_what_an_agent_takes() {
    let settings = node(POOL, NETWORK).settings();
    let veth = settings.veth.config(settings.iface.value.clone());
    assert_eq!((veth.hairpin, veth.pods.number(), veth.mtu), (Hairpin::On, 254, PodMtu::Exactly(1500)));
    assert_eq!(veth.primary, Some("eth0".parse().unwrap()));
    assert_eq!(settings.pod_type.value, Some(Datapath::Veth));
    let usual = line("hostnic-node start --service-cidr 10.96.0.0/12").settings();
    let usual = usual.veth.config(usual.iface.value.clone());
    assert_eq!(usual, hostnic_core::agent::VethConfig::new(vec!["10.96.0.0/12".parse().unwrap()]));
}

#[test]
fn keys_match_in_any_case_and_unknown_ones_warn() {
    let said = node(
        r#"{"POOL": {"POOLLOW": "2", "poolHi": 9, "nodeThreshold": 32, "VXNETTHRESHOLD": 128}, "colour": 1}"#,
        r#"{"SERVICEcidr": ["10.96.0.0/12", "10.112.0.0/12"], "Name": "n", "hairPins": true, "ipam": {"routes": []}}"#,
    );
    assert_eq!(said.shown("pool-low").0, "2");
    assert_eq!(said.shown("service-cidr").0, "10.96.0.0/12,10.112.0.0/12");
    let (file, network) = (FILE, "/etc/hostnic/hostnic-cni.json");
    assert_eq!(
        said.notices(),
        [
            format!(
                "{file}: the key \"pool.poolHi\" is not known and has no effect; the nearest known one is \"poolHigh\""
            ),
            format!("{file}: pool.nodeThreshold has no effect any more; take it out"),
            format!("{file}: pool.VXNETTHRESHOLD has no effect any more; take it out"),
            format!("{file}: the key \"colour\" is not known and has no effect"),
            format!(
                "{network}: the key \"hairPins\" is not known and has no effect; the nearest known one is \"hairpin\""
            ),
        ]
    );
}

#[test]
fn wrong_values_are_refused_with_the_key_the_value_and_what_may_be_there() {
    let cases = [
        ("pool", "poolLow", "6", &["pool.poolLow: 6", "pool.poolHigh: 5"][..]),
        ("pool", "maxNic", "64", &["pool.maxNic", "\"64\"", "1 to 63"]),
        ("pool", "maxNic", "0", &["pool.maxNic", "\"0\"", "1 to 63"]),
        ("pool", "sync", "0", &["pool.sync", "\"0\"", "1 to 3600"]),
        ("pool", "nodeSync", "0", &["pool.nodeSync", "\"0\"", "1 to 86400"]),
        ("pool", "routeTableBase", "254", &["pool.routeTableBase", "\"254\"", "253 to 255"]),
        ("pool", "routeTableBase", "\"x\"", &["pool.routeTableBase", "\"x\""]),
        ("pool", "vxNets", "[\"vxnet-xxxxxxx\"]", &["pool.vxNets", "vxnet-xxxxxxx", "placeholder"]),
        ("pool", "vxNets", "{\"a\": 1}", &["pool.vxNets", "list"]),
        ("pool", "freePeriod", "0", &["pool.freePeriod", "\"0\"", "1 to 525600"]),
        ("server", "networkPolicy", "\"cilium\"", &["server.networkPolicy", "\"cilium\"", "none or calico"]),
        ("cni", "vethPrefix", "\"vnics\"", &["vethPrefix", "\"vnics\"", "1 to 4 bytes"]),
        ("cni", "mtu", "67", &["mtu", "\"67\"", "68 to 65535"]),
        ("cni", "mtu", "\"big\"", &["mtu", "\"big\"", "auto"]),
        ("cni", "serviceCIDR", "\"10.96.0.0\"", &["serviceCIDR", "\"10.96.0.0\"", "10.96.0.0/12"]),
        ("cni", "serviceCIDR", "\"kubernetes service cidr\"", &["serviceCIDR", "placeholder"]),
        ("cni", "hairpin", "\"maybe\"", &["hairpin", "\"maybe\"", "true or false"]),
        ("cni", "natMark", "0", &["natMark", "\"0\"", "1 to"]),
        ("cni", "natMark", "\"0x0\"", &["natMark", "\"0x0\"", "0x1 to"]),
        ("cni", "interface", "\"a/b\"", &["interface", "\"a/b\""]),
        ("cni", "rt2Pod", "255", &["rt2Pod", "\"255\"", "253 and 255"]),
        ("cni", "hostNicType", "\"sriov\"", &["hostNicType", "\"sriov\"", "veth or passthrough"]),
        ("cni", "logLevel", "7", &["logLevel", "\"7\"", "0 to 6"]),
        ("cni", "plugins", "[{\"type\": \"hostnic\"}]", &["hostnic-cni.json", "list of plugins"]),
        ("cni", "cniVersion", "\"9.9.9\"", &["hostnic-cni.json", "9.9.9"]),
    ];
    for (section, key, value, wanted) in cases {
        let mut pool: serde_json::Value = serde_json::from_str(POOL).unwrap();
        let mut network: serde_json::Value = serde_json::from_str(NETWORK).unwrap();
        let place = if section == "cni" { &mut network } else { &mut pool[section] };
        place[key] = serde_json::from_str(value).unwrap();
        let errors = node(&pool.to_string(), &network.to_string()).errors();
        assert_eq!(errors.len(), 1, "{key} {value}: {errors:?}");
        for want in wanted {
            assert!(errors[0].contains(want), "{key} {value}: {want} is not in {}", errors[0]);
        }
    }
}

#[test]
fn everything_that_is_wrong_in_both_files_is_told_at_once() {
    let errors = node(
        r#"{"pool": {"maxNic": 99, "sync": 0}, "server": []}"#,
        r#"{"mtu": 67, "natMark": 0, "vethPrefix": "vnics"}"#,
    );
    let errors = errors.errors();
    for want in ["maxNic", "sync", "mtu", "natMark", "vethPrefix"] {
        assert!(errors.iter().any(|error| error.contains(want)), "{want}: {errors:#?}");
    }
    assert_eq!(errors.len(), 5, "{errors:#?}");
}

#[test]
fn a_section_that_is_none_and_a_file_that_is_no_json_are_refused() {
    let errors = node(r#"{"pool": [1]}"#, NETWORK).errors();
    assert!(errors[0].starts_with(&format!("{FILE}: pool: keys with values")), "{errors:?}");
    let errors = node(POOL, "{\n\"mtu\" 1}").errors();
    assert!(errors.iter().any(|error| error.contains("hostnic-cni.json, line 2")), "{errors:?}");
}

#[test]
fn both_files_must_name_the_same_socket() {
    let network = NETWORK.replacen('{', "{\"socket\": \"/run/other.sock\",", 1);
    let errors = node(POOL, &network).errors();
    assert!(
        errors[0].contains("server.serverPath") && errors[0].contains("hostnic-cni.json: socket"),
        "{errors:?}"
    );
}

#[test]
fn a_node_of_kubernetes_has_its_ways_by_name_or_by_file() {
    let ways = |said: Said| {
        let settings = said.settings();
        let kubernetes = settings.kubernetes;
        (
            settings.personality,
            kubernetes.enabled.value,
            kubernetes.cni_conf_dir.value.is_some(),
            settings.bind_addr.value,
        )
    };
    let of_node = (Personality::Node, true, true, None);
    assert_eq!(ways(node(POOL, NETWORK)), of_node);
    assert_eq!(ways(line("hostnic-daemon start --service-cidr 10.0.0.0/8").file(FILE, POOL)), of_node);
    assert_eq!(ways(line("x start --compat hostnic-node --service-cidr 10.0.0.0/8")), of_node);
    let own = (Personality::Own, false, false, None);
    assert_eq!(ways(line("hostnic-daemon start").variable("MY_NODE_NAME", "i-1")), own);
    let plain = line("hostnic-node start --kubernetes=false").settings();
    assert_eq!(plain.kubernetes.cni_conf_dir.value, None);
}

#[test]
fn a_node_of_kubernetes_knows_the_go_versions_flags_and_its_name() {
    let said = line("hostnic-node start --dbpath /var/lib/hostnic --log-level 5 --log-file /var/log/h.log --mode passthrough")
        .variable("MY_NODE_NAME", "i-xrwbww35");
    assert_eq!(said.shown("node-name"), ("i-xrwbww35".into(), "environment: MY_NODE_NAME".into()));
    assert_eq!(said.shown("log-level").0, "debug");
    assert_eq!(said.shown("log-file").0, "/var/log/h.log");
    assert_eq!(said.notices(), ["flag: --dbpath has no effect any more; take it out"]);
    let ours = said.variable("HOSTNIC_NODE_NAME", "other");
    assert_eq!(ours.shown("node-name").0, "other");
}

#[test]
fn veth_mode_needs_the_services_addresses_where_no_cluster_can_tell_them() {
    let errors = line("hostnic-daemon start --mode veth").errors();
    assert!(errors[0].starts_with("serviceCIDR (service-cidr) is missing"), "{errors:?}");
    // On Kubernetes the cluster may tell them.
    let told = ["hostnic-node start", "hostnic-node start --mode veth", "x start --kubernetes"];
    for does_not in [&told[..], &["hostnic-daemon start", "daemon start"]].concat() {
        line(does_not).settings();
    }
    let shared = line("hostnic-daemon start --mode shared").errors();
    assert!(shared[0].contains("for nodes of Kubernetes only"), "{shared:?}");
    assert_eq!(line("hostnic-node start --mode shared").shown("mode").0, "shared");
}

#[test]
fn the_cni_configuration_is_found_with_the_file_that_tells_it() {
    let network = |said: Said| said.invocation().places(Some(Path::new("/root"))).network;
    assert_eq!(network(line("hostnic-node start")), NetworkPlace::Of(Personality::Node));
    assert_eq!(network(line("hostnic-daemon start")), NetworkPlace::OfFile);
    assert_eq!(network(line("daemon start")), NetworkPlace::Of(Personality::Daemon));
    let named = NetworkPlace::Named("/a.conf".into());
    assert_eq!(network(line("daemon start --cni-config /a.conf")), named);
    assert_eq!(network(line("daemon start").variable("HOSTNIC_CNI_CONFIG", "/a.conf")), named);
}
