//! Every mistake that a runtime or a person can make in the input, by the rule of CNI 1.1.0 that it breaks.
//!
//! The letters are those of `protocol.rs`.

mod support;

use std::os::unix::ffi::OsStringExt;

use serde_json::{Value, json};

use support::{Answers, FakeDaemon, PluginCall, failure, previous};

/// A mistake, the code that it must have, and what the message must name.
struct Mistake {
    rule: &'static str,
    command: &'static str,
    make: fn(PluginCall) -> PluginCall,
    code: u64,
    named: &'static [&'static str],
}

const MISTAKES: &[Mistake] = &[
    Mistake {
        rule: "G3 missing",
        command: "ADD",
        make: |c| c.unset(&["CNI_COMMAND"]),
        code: 4,
        named: &["CNI_COMMAND", "missing"],
    },
    Mistake { rule: "G3 empty", command: "", make: |c| c, code: 4, named: &["CNI_COMMAND", "missing"] },
    Mistake {
        rule: "G3 unknown",
        command: "UPDATE",
        make: |c| c,
        code: 4,
        named: &["CNI_COMMAND", "\"UPDATE\""],
    },
    Mistake { rule: "G3 case", command: "add", make: |c| c, code: 4, named: &["CNI_COMMAND"] },
    Mistake {
        rule: "G4 all together",
        command: "ADD",
        make: |c| c.unset(&["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]),
        code: 4,
        named: &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
    },
    Mistake {
        rule: "G4 empty",
        command: "ADD",
        make: |c| c.set("CNI_NETNS", ""),
        code: 4,
        named: &["CNI_NETNS"],
    },
    Mistake {
        rule: "G4",
        command: "CHECK",
        make: |c| c.unset(&["CNI_NETNS"]),
        code: 4,
        named: &["CNI_NETNS"],
    },
    Mistake {
        rule: "G4",
        command: "DEL",
        make: |c| c.unset(&["CNI_CONTAINERID", "CNI_IFNAME"]),
        code: 4,
        named: &["CNI_CONTAINERID", "CNI_IFNAME"],
    },
    Mistake { rule: "G4", command: "GC", make: |c| c.unset(&["CNI_PATH"]), code: 4, named: &["CNI_PATH"] },
    Mistake {
        rule: "G4 before the configuration",
        command: "ADD",
        make: |c| c.unset(&["CNI_IFNAME"]).stdin("{"),
        code: 4,
        named: &["CNI_IFNAME"],
    },
    Mistake {
        rule: "G5",
        command: "ADD",
        make: |c| c.set("CNI_CONTAINERID", "-c"),
        code: 4,
        named: &["CNI_CONTAINERID", "\"-c\""],
    },
    Mistake {
        rule: "G5",
        command: "DEL",
        make: |c| c.set("CNI_CONTAINERID", "a/b"),
        code: 4,
        named: &["CNI_CONTAINERID"],
    },
    Mistake {
        rule: "G5",
        command: "ADD",
        make: |c| c.set("CNI_IFNAME", "0123456789abcdef"),
        code: 4,
        named: &["CNI_IFNAME"],
    },
    Mistake {
        rule: "G5",
        command: "ADD",
        make: |c| c.set("CNI_IFNAME", ".."),
        code: 4,
        named: &["CNI_IFNAME"],
    },
    Mistake {
        rule: "G5",
        command: "CHECK",
        make: |c| c.set("CNI_IFNAME", "a b"),
        code: 4,
        named: &["CNI_IFNAME"],
    },
    Mistake {
        rule: "G5",
        command: "DEL",
        make: |c| c.set("CNI_IFNAME", "a:b"),
        code: 4,
        named: &["CNI_IFNAME"],
    },
    Mistake {
        rule: "G5",
        command: "ADD",
        make: |c| c.set("CNI_NETNS", "run/netns"),
        code: 4,
        named: &["CNI_NETNS"],
    },
    Mistake {
        rule: "G5 not UTF-8",
        command: "ADD",
        make: |c| c.set("CNI_CONTAINERID", std::ffi::OsString::from_vec(vec![0xff])),
        code: 4,
        named: &["CNI_CONTAINERID"],
    },
    Mistake { rule: "G5", command: "ADD", make: |c| c.without("name"), code: 7, named: &["name"] },
    Mistake {
        rule: "G5",
        command: "DEL",
        make: |c| c.with("name", json!("a/b")),
        code: 7,
        named: &["name", "\"a/b\""],
    },
    Mistake { rule: "G6 empty", command: "ADD", make: |c| c.stdin(""), code: 6, named: &["JSON"] },
    Mistake { rule: "G6", command: "DEL", make: |c| c.stdin("{\"name\":"), code: 6, named: &["JSON"] },
    Mistake { rule: "G6 no object", command: "STATUS", make: |c| c.stdin("[]"), code: 6, named: &["JSON"] },
    Mistake {
        rule: "G6 too long",
        command: "ADD",
        make: |c| c.stdin(vec![b' '; (4 << 20) + 1]),
        code: 6,
        named: &["4 MiB"],
    },
    Mistake { rule: "G6 required", command: "ADD", make: |c| c.without("type"), code: 7, named: &["type"] },
    Mistake {
        rule: "G6 wrong value",
        command: "ADD",
        make: |c| c.with("ipam", json!({"routes": [{"dst": "kubernetes service cidr", "gw": "0.0.0.0"}]})),
        code: 7,
        named: &["ipam.routes[0].dst", "\"kubernetes service cidr\""],
    },
    Mistake {
        rule: "G7",
        command: "ADD",
        make: |c| c.set("CNI_ARGS", "A=b"),
        code: 4,
        named: &["CNI_ARGS", "\"A\""],
    },
    Mistake {
        rule: "G7",
        command: "ADD",
        make: |c| c.set("CNI_ARGS", "IgnoreUnknown=1;A=b=c"),
        code: 4,
        named: &["CNI_ARGS"],
    },
    Mistake {
        rule: "G7",
        command: "ADD",
        make: |c| c.set("CNI_ARGS", "IgnoreUnknown"),
        code: 4,
        named: &["CNI_ARGS"],
    },
    Mistake {
        rule: "G9",
        command: "ADD",
        make: |c| c.set("CNI_NETNS", "/proc/self/ns/net"),
        code: 8,
        named: &["CNI_NETNS", "/proc/self/ns/net"],
    },
    Mistake {
        rule: "G9",
        command: "CHECK",
        make: |c| {
            c.set("CNI_NETNS", "/proc/self/ns/net").with("prevResult", previous("/proc/self/ns/net".as_ref()))
        },
        code: 8,
        named: &["CNI_NETNS"],
    },
    Mistake {
        rule: "G9 no override",
        command: "ADD",
        make: |c| c.set("CNI_NETNS", "/proc/self/ns/net").set("CNI_NETNS_OVERRIDE", "0"),
        code: 8,
        named: &["CNI_NETNS"],
    },
    Mistake {
        rule: "A: nothing there",
        command: "ADD",
        make: |c| c.set("CNI_NETNS", "/proc/self/none"),
        code: 8,
        named: &["/proc/self/none"],
    },
    Mistake {
        rule: "V2",
        command: "ADD",
        make: |c| c.with("cniVersion", json!("1.2.0")),
        code: 1,
        named: &["\"1.2.0\""],
    },
    Mistake {
        rule: "V2",
        command: "DEL",
        make: |c| c.with("cniVersion", json!("0.5.0")),
        code: 1,
        named: &["\"0.5.0\""],
    },
    Mistake {
        rule: "V4",
        command: "CHECK",
        make: |c| c.with("cniVersion", json!("0.3.1")),
        code: 1,
        named: &["CHECK", "0.3.1"],
    },
    Mistake {
        rule: "V4 absent",
        command: "CHECK",
        make: |c| c.without("cniVersion"),
        code: 1,
        named: &["CHECK"],
    },
    Mistake {
        rule: "V4",
        command: "GC",
        make: |c| c.with("cniVersion", json!("1.0.0")),
        code: 1,
        named: &["GC", "1.0.0"],
    },
    Mistake {
        rule: "V4",
        command: "STATUS",
        make: |c| c.with("cniVersion", json!("1.0.0")),
        code: 1,
        named: &["STATUS"],
    },
    Mistake {
        rule: "V5",
        command: "ADD",
        make: |c| c.with("prevResult", json!({"ips": 1})),
        code: 7,
        named: &["prevResult"],
    },
    Mistake {
        rule: "C1",
        command: "CHECK",
        make: |c| c.without("prevResult"),
        code: 7,
        named: &["prevResult"],
    },
    Mistake {
        rule: "C1 null",
        command: "CHECK",
        make: |c| c.with("prevResult", Value::Null),
        code: 7,
        named: &["prevResult"],
    },
    Mistake {
        rule: "C1 not there",
        command: "CHECK",
        make: |c| c.set("CNI_IFNAME", "eth1"),
        code: 7,
        named: &["prevResult", "eth1"],
    },
    Mistake {
        rule: "X1",
        command: "GC",
        make: |c| c.with("cni.dev/valid-attachments", json!("all")),
        code: 7,
        named: &["cni.dev/valid-attachments"],
    },
    Mistake {
        rule: "X1",
        command: "GC",
        make: |c| c.with("cni.dev/valid-attachments", json!([{"containerID": "c1"}])),
        code: 7,
        named: &["cni.dev/valid-attachments[0].ifname"],
    },
];

#[test]
fn every_mistake_has_its_code_names_its_culprit_and_never_reaches_the_daemon() {
    let daemon = FakeDaemon::start(Answers::default());
    for mistake in MISTAKES {
        let outcome = (mistake.make)(daemon.call(mistake.command)).run();
        let (code, message) = failure(&outcome);
        let about = format!("{} {}: {message}", mistake.rule, mistake.command);
        assert_eq!(code, mistake.code, "{about}");
        for named in mistake.named {
            assert!(message.contains(named), "{named:?} is not in {about}");
        }
        assert_eq!(daemon.asked(), [], "{about}");
    }
}
