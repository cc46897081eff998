use super::*;
use proptest::prelude::*;
use serde_json::json;

fn config(value: Value) -> Result<NetworkConfig, CniError> {
    NetworkConfig::new(decode(value.to_string().as_bytes())?)
}

fn asked(config: &NetworkConfig) -> Vec<String> {
    config.endpoints().iter().map(ToString::to_string).collect()
}

#[test]
fn the_daemon_is_asked_at_the_socket_first_unless_an_address_elsewhere_is_told() {
    let asked = |keys: Value| {
        let mut value = json!({"name": "n", "type": "hostnic"});
        value.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        asked(&config(value).unwrap())
    };
    assert_eq!(asked(json!({})), [DEFAULT_SOCKET, "127.0.0.1:31080"]);
    assert_eq!(asked(json!({"bindaddr": ""})), [DEFAULT_SOCKET, "127.0.0.1:31080"]);
    assert_eq!(asked(json!({"bindaddr": ":8080"})), [DEFAULT_SOCKET, ":8080"]);
    assert_eq!(asked(json!({"bindAddr": "[::1]:8080"})), [DEFAULT_SOCKET, "[::1]:8080"]);
    assert_eq!(asked(json!({"ARGS": {"bindADDR": "0.0.0.0:1"}})), [DEFAULT_SOCKET, "0.0.0.0:1"]);
    assert_eq!(asked(json!({"bindaddr": "10.0.0.2:31080"})), ["10.0.0.2:31080"]);
    assert_eq!(asked(json!({"socket": "/x", "bindaddr": "10.0.0.2:31080"})), ["/x", "10.0.0.2:31080"]);
    assert_eq!(asked(json!({"socket": "/x", "bindaddr": "localhost:1"})), ["/x", "localhost:1"]);
    assert_eq!(asked(json!({"socket": "/x"})), ["/x"]);
}

#[test]
fn an_address_that_is_none_is_left_aside_and_remembered() {
    let config = config(json!({"name": "n", "type": "hostnic", "bindaddr": "localhost"})).unwrap();
    assert_eq!(asked(&config), [DEFAULT_SOCKET]);
    assert_eq!(config.unusable_address(), Some("localhost"));
}

#[test]
fn the_configuration_of_qingcloud_cni_is_understood() {
    let config = config(json!({
        "cniVersion": "0.3.1",
        "name": "mynet",
        "type": "qingcni",
        "isGateway": true,
        "args": {"BindAddr": "127.0.0.1:31080"},
        "ipMasq": true,
        "ipam": {"routes": [{"dst": "10.96.0.0/12", "gw": "192.168.0.3"}]}
    }))
    .unwrap();
    assert_eq!(asked(&config), [DEFAULT_SOCKET, "127.0.0.1:31080"]);
    let wishes = config.wishes().unwrap();
    assert!(wishes.is_gateway && wishes.ip_masq);
    assert_eq!(wishes.routes[0].next_hop, NextHop::Address([192, 168, 0, 3].into()));
}

#[test]
fn the_configuration_of_hostnic_cni_is_understood() {
    let config = config(json!({
        "cniVersion": "0.3.1",
        "name": "hostnic",
        "type": "hostnic",
        "bindaddr": "localhost:31080",
        "ipam": {"routes": [{"dst": "10.96.0.1/12", "gw": "0.0.0.0"}, {"dst": "10.0.0.0/8"}]},
        "isGateway": true
    }))
    .unwrap();
    assert_eq!(asked(&config), [DEFAULT_SOCKET, "localhost:31080"]);
    let wishes = config.wishes().unwrap();
    assert_eq!(wishes.routes[0].destination.to_string(), "10.96.0.0/12");
    assert_eq!(wishes.routes[0].next_hop, NextHop::Host);
    assert_eq!(wishes.routes[1].next_hop, NextHop::Gateway);
    assert!(!wishes.ip_masq);
}

#[test]
fn keys_match_without_regard_to_case_and_unknown_ones_are_left_aside() {
    let config = config(json!({
        "CNIVersion": "1.0.0", "Name": "n", "TYPE": "hostnic", "Socket": "/run/x.sock", "MTU": 1400, "Timeout": 5,
        "IPAM": {"Routes": [{"Dst": "10.0.0.0/8", "GW": "10.0.0.1"}], "type": "host-local"},
        "vethPrefix": "vnic", "runtimeConfig": {"portMappings": []}, "capabilities": {"bandwidth": true}
    }))
    .unwrap();
    assert_eq!(config.version(), Version::V1_0_0);
    assert_eq!(asked(&config), ["/run/x.sock"]);
    assert_eq!(config.timeout(), Some(Duration::from_secs(5)));
    let wishes = config.wishes().unwrap();
    assert_eq!((wishes.mtu.map(Mtu::get), wishes.routes.len()), (Some(1400), 1));
}

#[test]
fn the_configuration_of_the_kubernetes_guide_is_understood() {
    let with_mtu = |mtu: Value| {
        config(json!({
            "cniVersion": "0.3.1", "name": "hostnic", "type": "hostnic", "vethPrefix": "vnic", "mtu": mtu,
            "serviceCIDR": "10.233.0.0/18", "hairpin": true, "natMark": "0x10000", "interface": "eth0", "rt2Pod": 254,
            "hostNicType": "veth", "logLevel": 4, "logFile": "/var/log/hostnic.log", "socket": "/run/hostnic/hostnic.sock"
        }))
        .unwrap()
        .wishes()
        .map(|wishes| wishes.mtu.map(Mtu::get))
    };
    assert_eq!(with_mtu(json!(1500)), Ok(Some(1500)));
    assert_eq!(with_mtu(json!("auto")), Ok(None));
    assert_eq!(with_mtu(json!("Auto")), Ok(None));
    assert!(with_mtu(json!("large")).unwrap_err().to_string().contains("68 to 65535, or auto"));
}

#[test]
fn a_wrong_value_is_named_with_its_key() {
    let base = json!({"cniVersion": "1.1.0", "name": "n", "type": "hostnic"});
    for (key, value, named) in [
        ("name", json!("a b"), "\"a b\""),
        ("name", json!(7), "7"),
        ("name", json!(""), "missing"),
        ("type", json!(null), "missing"),
        ("cniVersion", json!(1.1), "1.1"),
        ("socket", json!("relative"), "\"relative\""),
        ("timeout", json!(0), "0"),
        ("timeout", json!("60"), "\"60\""),
        ("mtu", json!(67), "67"),
        ("mtu", json!(-1), "-1"),
        ("isGateway", json!("yes"), "\"yes\""),
        ("ipMasq", json!(1), "1"),
        ("ipam", json!([]), "[]"),
        ("ipam.routes", json!({}), "{}"),
        ("ipam.routes[0]", json!("x"), "\"x\""),
        ("ipam.routes[0].dst", json!("kubernetes service cidr"), "\"kubernetes service cidr\""),
        ("ipam.routes[0].dst", json!("10.0.0.1"), "\"10.0.0.1\""),
        ("ipam.routes[0].gw", json!("hostip or 0.0.0.0"), "\"hostip or 0.0.0.0\""),
        ("ipam.routes[0].gw", json!("fd00::1"), "\"fd00::1\""),
        ("ipam.routes[0].gw", json!("224.0.0.1"), "\"224.0.0.1\""),
    ] {
        let mut whole = base.clone();
        match key {
            "ipam.routes" => whole["ipam"] = json!({"routes": value}),
            "ipam.routes[0]" => whole["ipam"] = json!({"routes": [value]}),
            "ipam.routes[0].dst" => whole["ipam"] = json!({"routes": [{"dst": value}]}),
            "ipam.routes[0].gw" => whole["ipam"] = json!({"routes": [{"dst": "10.0.0.0/8", "gw": value}]}),
            _ => whole[key] = value,
        }
        let error = config(whole).and_then(|config| config.wishes()).unwrap_err();
        assert_eq!(error.code, Code::InvalidConfig, "{key}: {error}");
        assert!(error.message.contains(key) && error.message.contains(named), "{key}: {error}");
    }
}

#[test]
fn an_absent_version_is_the_oldest_and_an_unknown_one_is_refused() {
    assert_eq!(config(json!({"name": "n", "type": "t"})).unwrap().version(), Version::V0_1_0);
    let error = config(json!({"cniVersion": "2.0.0", "name": "n", "type": "t"})).unwrap_err();
    assert_eq!(error.code, Code::IncompatibleVersion);
}

#[test]
fn what_is_no_json_object_cannot_be_decoded() {
    for text in ["", "{", "[]", "\"x\"", "null", "{} {}", &"[".repeat(1000)] {
        assert_eq!(decode(text.as_bytes()).unwrap_err().code, Code::Decode, "{text:?}");
    }
}

#[test]
fn an_empty_list_of_living_attachments_is_not_the_same_as_none() {
    let listed = |key: &str, value: Value| {
        let mut whole = json!({"cniVersion": "1.1.0", "name": "n", "type": "t"});
        whole[key] = value;
        config(whole).unwrap().valid_attachments().map(|list| list.map(|list| list.len()))
    };
    let one = json!([{"containerID": "c1", "ifname": "eth0"}]);
    assert_eq!(listed("other", json!([])), Ok(None));
    assert_eq!(listed("cni.dev/valid-attachments", json!(null)), Ok(None));
    assert_eq!(listed("cni.dev/valid-attachments", json!([])), Ok(Some(0)));
    assert_eq!(listed("cni.dev/valid-attachments", one.clone()), Ok(Some(1)));
    assert_eq!(listed("cni.dev/attachments", one), Ok(Some(1)));
    for wrong in
        [json!({}), json!([1]), json!([{"ifname": "eth0"}]), json!([{"containerID": "/", "ifname": "eth0"}])]
    {
        assert_eq!(listed("cni.dev/valid-attachments", wrong).unwrap_err().code, Code::InvalidConfig);
    }
}

/// JSON of any shape, with the keys that are looked for among its keys.
fn json_value() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "cniVersion",
        "name",
        "type",
        "socket",
        "timeout",
        "mtu",
        "ipam",
        "routes",
        "dst",
        "gw",
        "args",
        "BindAddr",
        "isGateway",
        "prevResult",
        "ips",
        "ip4",
        "address",
        "cni.dev/valid-attachments",
        "containerID",
        "ifname",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(vec!["1.1.0", "0.2.0", "n", "10.0.0.0/8", "0.0.0.0", "::", "", "/x"])
            .prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_configuration_is_read_or_refused_with_a_code_of_the_specification(mut value in json_value(), valid: bool) {
        if let (true, Value::Object(object)) = (valid, &mut value) {
            object.extend([("name".to_owned(), json!("n")), ("type".to_owned(), json!("t"))]);
            object.insert("cniVersion".to_owned(), json!("1.1.0"));
        }
        let codes = match config(value) {
            Err(error) => vec![error.code],
            Ok(config) => [
                config.wishes().err(),
                config.previous().err(),
                config.valid_attachments().err(),
            ]
            .into_iter()
            .flatten()
            .map(|error| error.code)
            .collect(),
        };
        for code in codes {
            prop_assert!(matches!(code.number(), 1 | 6 | 7), "{:?}", code);
        }
    }
}
