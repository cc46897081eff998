//! The rules of CNI 1.1.0 and the habits of its Go library, one after the other, on the whole plugin.
//!
//! The letters are G for everything, V for versions, A for ADD, D for DEL, C for CHECK, X for GC and S for STATUS. What
//! only a daemon can get right (an interface made, kept or freed) is tested with the daemon; mistakes are in `mistakes.rs`.

mod support;

use hostnic_cni::contract::{Freed, NextHop, NodeStatus, NotReady};
use hostnic_cni::error::{CniError, Code};
use serde_json::{Value, json};

use support::{Answers, Asked, FakeDaemon, PluginCall, failure, interface, previous, printed};

const COMMANDS: [&str; 5] = ["ADD", "DEL", "CHECK", "GC", "STATUS"];

#[test]
fn g1_an_error_is_told_in_the_version_of_the_configuration() {
    let daemon = FakeDaemon::start(Answers::default());
    let version = |call: PluginCall| printed(&call.run())["cniVersion"].clone();
    assert_eq!(
        version(daemon.call("ADD").with("cniVersion", json!("0.3.1")).unset(&["CNI_IFNAME"])),
        "0.3.1"
    );
    assert_eq!(version(daemon.call("ADD").without("cniVersion").without("name")), "0.1.0");
    assert_eq!(version(daemon.call("ADD").stdin("{")), "1.1.0");
    assert_eq!(version(daemon.call("ADD").with("cniVersion", json!("9.0.0"))), "1.1.0");
}

#[test]
fn g2_input_that_cannot_be_read_is_an_io_error() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
    }
    let outcome = hostnic_cni::plugin::run(hostnic_cni::plugin::Invocation {
        started_at: hostnic_core::clock::BootTime::default(),
        environment: &|name| (name == "CNI_COMMAND").then(|| "STATUS".into()),
        stdin: &mut Broken,
        at_terminal: false,
    });
    assert_eq!(failure(&outcome).0, 5);
}

#[test]
fn g3_a_person_at_a_terminal_is_told_what_this_is() {
    let daemon = FakeDaemon::start(Answers::default());
    let mut call = daemon.call("ADD").unset(&["CNI_COMMAND"]);
    call.at_terminal = true;
    let outcome = call.run();
    assert!(outcome.success && outcome.stdout.is_empty());
    assert!(outcome.stderr.contains("CNI_COMMAND") && outcome.stderr.contains("1.1.0"), "{}", outcome.stderr);
}

#[test]
fn g4_no_more_is_required_than_the_specification_requires() {
    let daemon = FakeDaemon::start(Answers::default());
    let all = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"];
    for (command, not_needed) in [
        ("ADD", &all[3..]),
        ("CHECK", &all[3..]),
        ("DEL", &["CNI_NETNS", "CNI_PATH"]),
        ("GC", &all[..3]),
        ("STATUS", &all),
        ("VERSION", &all),
    ] {
        let outcome = daemon.call(command).unset(not_needed).run();
        assert!(outcome.success, "{command}: {}", outcome.stdout);
    }
}

#[test]
fn g7_the_pod_of_cni_args_reaches_the_daemon() {
    let daemon = FakeDaemon::start(Answers::default());
    let args = "IgnoreUnknown=true;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_UID=u-1;K8S_POD_INFRA_CONTAINER_ID=c1;X=y";
    assert!(daemon.call("ADD").set("CNI_ARGS", args).run().success);
    let [Asked::Add(add)] = &daemon.asked()[..] else { panic!("no ADD") };
    let pod = add.pod.as_ref().unwrap();
    assert_eq!((pod.to_string().as_str(), pod.uid.as_deref()), ("default/web-0", Some("u-1")));
}

#[test]
fn g8_unknown_and_reserved_keys_are_tolerated_by_every_command() {
    let daemon = FakeDaemon::start(Answers::default());
    for command in COMMANDS {
        let outcome = daemon
            .call(command)
            .with(
                "runtimeConfig",
                json!({"portMappings": [{"hostPort": 80}], "io.kubernetes.cri.pod-annotations": {}}),
            )
            .with("args", json!({"cni": {"ips": []}}))
            .with("cni.dev/other", json!(1))
            .with("capabilities", json!({"portMappings": true}))
            .with("disableCheck", json!(true))
            .with("vethPrefix", json!("vnic"))
            .run();
        assert!(outcome.success, "{command}: {}", outcome.stdout);
    }
}

#[test]
fn g9_the_own_namespace_is_allowed_when_the_runtime_says_so() {
    let daemon = FakeDaemon::start(Answers::default());
    for value in ["1", "true", "TRUE"] {
        let call = daemon.call("ADD").set("CNI_NETNS", "/proc/self/ns/net").set("CNI_NETNS_OVERRIDE", value);
        assert!(call.run().success, "{value}");
    }
}

#[test]
fn v1_version_is_answered_in_the_version_asked_in_and_needs_nothing_else() {
    let daemon = FakeDaemon::start(Answers::default());
    let answer = |stdin: &str| {
        let outcome = daemon.call("VERSION").stdin(stdin).run();
        assert!(outcome.success);
        let answer = printed(&outcome);
        assert_eq!(
            answer["supportedVersions"],
            json!(["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
        );
        answer["cniVersion"].as_str().unwrap().to_owned()
    };
    assert_eq!(answer(""), "1.1.0");
    assert_eq!(answer("{}"), "1.1.0");
    assert_eq!(answer(r#"{"cniVersion":"0.4.0"}"#), "0.4.0");
    assert_eq!(answer(r#"{"cniVersion":"7.0.0"}"#), "1.1.0");
    assert_eq!(daemon.asked(), []);
}

#[test]
fn v3_the_result_has_the_version_of_the_configuration_and_the_oldest_where_it_names_none() {
    let daemon = FakeDaemon::start(Answers::default());
    for version in hostnic_cni::version::Version::ALL {
        let outcome = daemon.call("ADD").with("cniVersion", json!(version)).run();
        assert_eq!(printed(&outcome)["cniVersion"], version.as_str());
    }
    assert_eq!(printed(&daemon.call("ADD").without("cniVersion").run())["cniVersion"], "0.1.0");
}

#[test]
fn v5_a_previous_result_may_be_of_any_version_or_inherit_the_configurations() {
    let daemon = FakeDaemon::start(Answers::default());
    for previous in [
        json!({"cniVersion": "0.2.0", "ip4": {"ip": "10.1.0.2/16"}}),
        json!({"cniVersion": "0.3.1", "ips": [{"version": "4", "address": "10.1.0.2/16"}]}),
        json!({"ips": [{"version": "4", "address": "10.1.0.2/16"}]}),
        json!({"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.2/16"}]}),
    ] {
        let outcome =
            daemon.call("ADD").with("cniVersion", json!("0.4.0")).with("prevResult", previous.clone()).run();
        assert!(outcome.success, "{previous}: {}", outcome.stdout);
        assert_eq!(printed(&outcome)["ips"][0]["address"], "10.1.0.2/16", "{previous}");
    }
}

#[test]
fn a1_an_interface_of_that_name_is_the_daemons_error_passed_on_whole() {
    let refusal =
        CniError::new(Code::Conflict, "set up eth0 in /run/netns/a: it exists").details("another plugin's");
    let daemon = FakeDaemon::start(Answers { add: Err(refusal), ..Answers::default() });
    let outcome = daemon.call("ADD").run();
    assert_eq!(failure(&outcome), (100, "set up eth0 in /run/netns/a: it exists".to_owned()));
    assert_eq!(printed(&outcome)["details"], "another plugin's");
}

#[test]
fn a2_and_a5_the_result_has_the_interface_in_its_sandbox_and_its_address() {
    let daemon = FakeDaemon::start(Answers::default());
    let result = printed(&daemon.call("ADD").run());
    assert_eq!(result, previous(&daemon.netns()));
}

#[test]
fn a3_what_others_have_answered_stays_and_ours_is_added() {
    let daemon = FakeDaemon::start(Answers::default());
    let others = json!({
        "interfaces": [{"name": "br0", "mac": "02:00:00:00:00:01"}, {"name": "net1", "sandbox": "/run/netns/a"}],
        "ips": [{"interface": 1, "address": "10.1.0.2/16"}],
        "routes": [{"dst": "10.1.0.0/16"}],
        "dns": {"nameservers": ["10.1.0.53"]}
    });
    let result = printed(&daemon.call("ADD").with("prevResult", others.clone()).run());
    assert_eq!(result["interfaces"].as_array().unwrap()[..2], others["interfaces"].as_array().unwrap()[..]);
    assert_eq!(result["interfaces"][2]["name"], "eth0");
    assert_eq!(result["ips"][0], others["ips"][0]);
    assert_eq!(result["ips"][1]["interface"], 2);
    assert_eq!(result["routes"][0], others["routes"][0]);
    assert_eq!(result["dns"], others["dns"]);
}

#[test]
fn a6_another_interface_name_is_another_attachment() {
    let daemon = FakeDaemon::start(Answers::default());
    for name in ["eth0", "net1"] {
        let outcome = daemon.call("ADD").set("CNI_IFNAME", name).run();
        assert_eq!(printed(&outcome)["interfaces"][0]["name"], name);
    }
    let keys: Vec<String> = daemon
        .asked()
        .into_iter()
        .map(|asked| match asked {
            Asked::Add(add) => add.key.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(keys, ["net/c1/eth0", "net/c1/net1"]);
}

#[test]
fn an_add_tells_the_daemon_everything_that_was_asked_for() {
    let daemon = FakeDaemon::start(Answers::default());
    let routes = json!([{"dst": "10.96.0.0/12", "gw": "0.0.0.0"}, {"dst": "10.0.0.0/8", "gw": "192.168.50.9"}, {"dst": "fd00::/8"}]);
    let call = daemon
        .call("ADD")
        .with("ipam", json!({"routes": routes}))
        .with("isGateway", json!(true))
        .with("ipMasq", json!(true))
        .with("mtu", json!(1400));
    assert!(call.run().success);
    let [Asked::Add(add)] = &daemon.asked()[..] else { panic!("no ADD") };
    let hops: Vec<NextHop> = add.routes.iter().map(|route| route.next_hop).collect();
    assert_eq!(hops, [NextHop::Host, NextHop::Address([192, 168, 50, 9].into()), NextHop::Gateway]);
    assert_eq!((add.is_gateway, add.ip_masq, add.mtu.unwrap().get()), (true, true, 1400));
    assert_eq!(add.netns.as_path(), daemon.netns());
    let patience = add.call.remaining.as_millis();
    assert!(
        (55_000..=59_000).contains(&patience),
        "{patience} ms; the daemon must give up before the plugin does"
    );
    assert!(!add.call.started_at.since_boot().is_zero());
}

#[test]
fn d1_to_d3_a_del_needs_its_ids_only_and_always_frees_the_address() {
    let daemon = FakeDaemon::start(Answers::default());
    let changes: [fn(PluginCall) -> PluginCall; 9] = [
        |c| c,
        |c| c.unset(&["CNI_NETNS"]),
        |c| c.set("CNI_NETNS", ""),
        |c| c.set("CNI_NETNS", "/proc/self/none"),
        |c| c.set("CNI_NETNS", "/proc/self/ns/net"),
        |c| c.set("CNI_NETNS", "relative"),
        |c| c.with("prevResult", json!({"ips": "broken"})),
        |c| c.set("CNI_ARGS", "broken"),
        |c| c.with("ipam", json!({"routes": "broken"})).with("mtu", json!("broken")),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let outcome = change(daemon.call("DEL")).run();
        assert!(outcome.success && outcome.stdout.is_empty(), "{index}: {}", outcome.stdout);
        let [Asked::Del(del)] = &daemon.asked()[..] else { panic!("no DEL: {index}") };
        assert_eq!(del.key.to_string(), "net/c1/eth0");
        let names_a_sandbox = matches!(index, 0 | 6..);
        assert_eq!(del.netns.is_some(), names_a_sandbox, "{index}");
    }
}

#[test]
fn d4_a_del_says_when_it_began() {
    let daemon = FakeDaemon::start(Answers::default());
    assert!(daemon.call("DEL").run().success);
    assert!(daemon.call("ADD").run().success);
    let [Asked::Del(del), Asked::Add(add)] = &daemon.asked()[..] else { panic!("not both") };
    assert!(del.call.started_at < add.call.started_at);
}

#[test]
fn d5_a_del_that_a_retry_can_finish_fails_with_the_daemons_reason() {
    let refusal = CniError::new(Code::TryAgainLater, "take down net/c1/eth0: the kernel did not answer");
    let daemon = FakeDaemon::start(Answers { del: Err(refusal.clone()), ..Answers::default() });
    assert_eq!(failure(&daemon.call("DEL").run()), (11, refusal.message));
}

#[test]
fn c1_a_difference_between_the_runtimes_record_and_the_daemons_is_an_error() {
    let mut moved = interface();
    moved.address = "192.168.50.5/24".parse().unwrap();
    let mut other_nic = interface();
    other_nic.mac = "52:54:00:00:00:99".parse().unwrap();
    for (present, named) in [(moved, "192.168.50.5/24"), (other_nic, "52:54:00:00:00:99")] {
        let daemon = FakeDaemon::start(Answers { check: Ok(present), ..Answers::default() });
        let (code, message) = failure(&daemon.call("CHECK").run());
        assert_eq!(code, 101);
        assert!(message.contains(named), "{message}");
    }
}

#[test]
fn c1_a_difference_that_the_daemon_finds_is_an_error() {
    let refusal = CniError::new(Code::Drift, "check net/c1/eth0: default route: missing");
    let daemon = FakeDaemon::start(Answers { check: Err(refusal.clone()), ..Answers::default() });
    assert_eq!(failure(&daemon.call("CHECK").run()), (101, refusal.message));
}

#[test]
fn c2_and_c3_what_later_plugins_added_is_tolerated_and_success_is_silent() {
    let daemon = FakeDaemon::start(Answers::default());
    let mut previous = previous(&daemon.netns());
    previous["interfaces"].as_array_mut().unwrap().insert(0, json!({"name": "eth0"}));
    previous["ips"] = json!([
        {"interface": 1, "address": "10.9.0.1/24"},
        {"interface": 1, "address": "192.168.50.4/24"},
        {"address": "fd00::1/64"}
    ]);
    previous["routes"].as_array_mut().unwrap().push(json!({"dst": "172.16.0.0/12"}));
    let outcome = daemon.call("CHECK").with("prevResult", previous).with("disableCheck", json!(false)).run();
    assert!(outcome.success && outcome.stdout.is_empty(), "{}", outcome.stdout);
    let [Asked::Check(check)] = &daemon.asked()[..] else { panic!("no CHECK") };
    assert_eq!(check.previous.mtu, Some(1500));
    assert_eq!(check.previous.addresses.len(), 2);
}

#[test]
fn c2_a_check_right_after_its_add_succeeds_in_every_version_that_has_it() {
    let daemon = FakeDaemon::start(Answers::default());
    for version in ["0.4.0", "1.0.0", "1.1.0"] {
        let result = printed(&daemon.call("ADD").with("cniVersion", json!(version)).run());
        let check = daemon.call("CHECK").with("cniVersion", json!(version)).with("prevResult", result);
        let outcome = check.run();
        assert!(outcome.success, "{version}: {}", outcome.stdout);
    }
}

#[test]
fn x1_x2_and_x3_a_gc_names_its_network_and_what_lives_and_does_nothing_where_nobody_says_what_does() {
    let daemon = FakeDaemon::start(Answers::default());
    let one = json!([{"containerID": "c1", "ifname": "eth0"}]);
    let gc = |keys: Value| {
        let mut call = daemon.call("GC").without("cni.dev/valid-attachments");
        call.config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        let outcome = call.run();
        assert!(outcome.success && outcome.stdout.is_empty(), "{}", outcome.stdout);
        daemon.asked().into_iter().next().map(|asked| match asked {
            Asked::Gc(gc) => {
                assert_eq!(gc.network.as_str(), "net");
                gc.valid.len()
            }
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(gc(json!({})), None);
    assert_eq!(gc(json!({"cni.dev/valid-attachments": null})), None);
    assert_eq!(gc(json!({"cni.dev/valid-attachments": []})), Some(0));
    assert_eq!(gc(json!({"cni.dev/valid-attachments": one})), Some(1));
    assert_eq!(gc(json!({"cni.dev/attachments": one})), Some(1));
    assert_eq!(gc(json!({"cni.dev/valid-attachments": one, "cni.dev/attachments": []})), Some(1));
}

#[test]
fn x4_all_failures_of_a_gc_are_told_in_one_error() {
    let failures = vec![
        CniError::new(Code::TryAgainLater, "del net/c2/eth0: the kernel did not answer"),
        CniError::new(Code::TryAgainLater, "del net/c3/eth0: the store is full").details("ENOSPC"),
    ];
    let daemon = FakeDaemon::start(Answers { gc: Ok(Freed { freed: 5, failures }), ..Answers::default() });
    let outcome = daemon.call("GC").run();
    assert_eq!(failure(&outcome).0, 11);
    let details = printed(&outcome)["details"].as_str().unwrap().to_owned();
    assert!(
        details.contains("net/c2/eth0") && details.contains("net/c3/eth0") && details.contains("ENOSPC"),
        "{details}"
    );
}

#[test]
fn s1_a_ready_node_is_silent_and_one_that_is_not_says_why() {
    let daemon = FakeDaemon::start(Answers::default());
    let outcome = daemon.call("STATUS").run();
    assert!(outcome.success && outcome.stdout.is_empty());
    for (running_affected, code) in [(false, 50), (true, 51)] {
        let not_ready = NotReady { running_affected, reason: "the cloud refuses the credentials".to_owned() };
        let status = NodeStatus { not_ready: Some(not_ready), ..NodeStatus::default() };
        let daemon = FakeDaemon::start(Answers { status, ..Answers::default() });
        assert_eq!(
            failure(&daemon.call("STATUS").run()),
            (code, "the cloud refuses the credentials".to_owned())
        );
    }
}

#[test]
fn without_a_daemon_every_command_says_what_to_start_and_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let netns = dir.path().join("netns");
    std::fs::write(&netns, "").unwrap();
    let stale = dir.path().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    for socket in [dir.path().join("none.sock"), stale] {
        for command in COMMANDS {
            let started = hostnic_core::clock::SystemClock;
            let before = hostnic_core::clock::Clock::now(&started);
            let (code, message) = failure(&PluginCall::new(command, &socket, &netns).run());
            assert_eq!(code, if command == "STATUS" { 50 } else { 11 }, "{command}: {message}");
            assert!(
                message.contains("hostnic-daemon start") && message.contains(socket.to_str().unwrap()),
                "{message}"
            );
            let took = hostnic_core::clock::Clock::now(&started).since(before);
            assert!(took.as_millis() < 1000, "{command} took {took:?}");
        }
    }
}

#[test]
fn a_daemon_that_listens_at_the_configured_address_only_is_found_after_the_socket() {
    let daemon = FakeDaemon::start(Answers::default());
    let address = daemon.tcp();
    let missing = daemon.socket().with_file_name("none.sock");
    let call = |keys: &[(&str, Value)]| {
        let call = PluginCall::new("ADD", &missing, &daemon.netns());
        keys.iter().fold(call, |call, (key, value)| call.with(key, value.clone()))
    };
    for port in [json!(address.to_string()), json!(format!("localhost:{}", address.port()))] {
        assert!(call(&[("bindaddr", port.clone())]).run().success);
        assert!(call(&[("args", json!({"BindAddr": port}))]).run().success);
    }
    assert_eq!(daemon.asked().len(), 4);
    // Where the socket answers, nobody is asked at the address.
    let elsewhere = FakeDaemon::start(Answers::default());
    let outcome = elsewhere.call("ADD").with("bindaddr", json!(address.to_string())).run();
    assert!(outcome.success);
    assert_eq!((daemon.asked().len(), elsewhere.asked().len()), (0, 1));
}

#[test]
fn a_refusal_at_the_socket_is_the_answer_and_nobody_else_is_asked() {
    let refusing = FakeDaemon::start(Answers {
        add: Err(CniError::new(Code::TryAgainLater, "nothing is free")),
        ..Answers::default()
    });
    let other = FakeDaemon::start(Answers::default());
    let outcome = refusing.call("ADD").with("bindaddr", json!(other.tcp().to_string())).run();
    assert_eq!(failure(&outcome), (11, "nothing is free".to_owned()));
    assert_eq!(other.asked(), []);
}

#[test]
fn without_a_daemon_every_place_that_was_tried_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let call = || PluginCall::new("DEL", &dir.path().join("none.sock"), dir.path());
    let error = printed(&call().with("bindaddr", json!(free)).run());
    assert!(error["msg"].as_str().unwrap().contains("none.sock"), "{error}");
    assert!(error["details"].as_str().unwrap().contains(&format!("nor at {free}")), "{error}");
    let error = printed(&call().with("bindaddr", json!("localhost")).run());
    assert!(error["details"].as_str().unwrap().contains("\"localhost\" is left aside"), "{error}");
}

#[test]
fn a_daemon_that_does_not_answer_is_given_up_at_the_deadline() {
    let daemon = FakeDaemon::start(Answers { silent: true, ..Answers::default() });
    let (code, message) = failure(&daemon.call("DEL").with("timeout", json!(1)).run());
    assert_eq!(code, 11);
    assert!(message.contains("DEL within 1 s"), "{message}");
}

#[test]
fn s3_the_patience_that_was_configured_for_attaching_does_not_make_status_slow() {
    let daemon = FakeDaemon::start(Answers { silent: true, ..Answers::default() });
    let (code, message) = failure(&daemon.call("STATUS").with("timeout", json!(600)).run());
    assert_eq!(code, 50);
    assert!(message.contains("STATUS within 1 s"), "{message}");
}
