//! What an ADD prints, letter by letter, in every version.

#![allow(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

mod support;

use std::path::Path;

use hostnic_cni::version::Version;
use serde_json::{Value, json};

use support::{Answers, FakeDaemon};

/// Set to write the files anew instead of comparing them.
const UPDATE: &str = "HOSTNIC_UPDATE_GOLDEN";

/// A test's namespace is somewhere else each time.
const NETNS: &str = "/run/netns/pod";

fn compare_in_every_version(name: &str, previous: &Value) {
    let daemon = FakeDaemon::start(Answers::default());
    for version in Version::ALL {
        let call = daemon.call("ADD").with("cniVersion", json!(version)).with("prevResult", previous.clone());
        let outcome = call.run();
        assert!(outcome.success, "{}", outcome.stdout);
        let printed = outcome.stdout.replace(daemon.netns().to_str().unwrap(), NETNS) + "\n";
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}-{version}.json"));
        if std::env::var_os(UPDATE).is_some() {
            std::fs::write(&file, &printed).unwrap();
        }
        let golden = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(printed, golden, "{} (set {UPDATE}=1 to write it anew)", file.display());
    }
}

#[test]
fn the_result_of_an_add_alone() {
    compare_in_every_version("alone", &Value::Null);
}

#[test]
fn the_result_of_an_add_after_another_plugin() {
    compare_in_every_version(
        "chained",
        &json!({
            "cniVersion": "1.1.0",
            "interfaces": [
                {"name": "br0", "mac": "02:00:00:00:00:01", "mtu": 9000},
                {"name": "net1", "mac": "02:00:00:00:00:02", "sandbox": NETNS, "pciID": "0000:00:1f.6"}
            ],
            "ips": [{"interface": 1, "address": "fd00:1::2/64", "gateway": "fd00:1::1"}],
            "routes": [{"dst": "fd00::/8", "gw": "fd00:1::1", "mtu": 8900, "priority": 10}],
            "dns": {"nameservers": ["fd00:1::53"], "search": ["example.org"]}
        }),
    );
}
