//! What `ip` says about a namespace: a witness that shares no code with what is tested.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Runs `ip` in a namespace and returns what it prints, as JSON; no output is an empty list.
pub(crate) fn ip(netns: &Path, arguments: &[&str]) -> Value {
    let output = run(netns, &[&["ip", "-j", "-d"], arguments].concat());
    if output.stdout.is_empty() {
        return Value::Array(Vec::new());
    }
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs a command in a namespace, and expects it to succeed.
pub(crate) fn run(netns: &Path, command: &[&str]) -> Output {
    // `nsenter` changes the network alone, where `ip netns exec` would also mount a new /sys.
    let network = format!("--net={}", netns.display());
    let output = Command::new("nsenter").arg(network).args(command).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The link of that MAC address in a namespace.
pub(crate) fn link_by_mac(netns: &Path, mac: &str) -> Option<Value> {
    let links = ip(netns, &["link", "show"]);
    links.as_array().unwrap().iter().find(|link| link["address"] == mac).cloned()
}

/// The MAC addresses of all links of a namespace.
pub(crate) fn macs(netns: &Path) -> BTreeSet<String> {
    let links = ip(netns, &["link", "show"]);
    links.as_array().unwrap().iter().map(|link| link["address"].as_str().unwrap().to_owned()).collect()
}

/// The routes of a namespace's main table, each as "destination via next hop".
pub(crate) fn routes(netns: &Path) -> Vec<String> {
    let routes = ip(netns, &["-4", "route", "show"]);
    let said = |route: &Value| {
        let via = route["gateway"].as_str().map_or("the link".to_owned(), str::to_owned);
        format!("{} via {via}", route["dst"].as_str().unwrap())
    };
    routes.as_array().unwrap().iter().map(said).collect()
}

/// Everything in a namespace that an operation could change, each thing a line; without what the kernel adds by itself
/// some time later.
pub(crate) fn everything(netns: &Path) -> BTreeSet<String> {
    let mut things = BTreeSet::new();
    let mut note = |what: &str, command: &[&str], keys: &[&str]| {
        for thing in ip(netns, command).as_array().unwrap() {
            let told = keys.iter().map(|key| format!(" {key} {}", thing[*key]));
            things.insert(format!("{what}:{}", told.collect::<String>()));
        }
    };
    note("link", &["link", "show"], &["ifname", "mtu", "ifalias", "group", "altnames", "master"]);
    note("up", &["link", "show", "up"], &["ifname"]);
    note("address", &["-4", "address", "show"], &["ifname", "addr_info"]);
    let all_routes = ["-4", "route", "show", "table", "all"];
    note("route", &all_routes, &["dst", "gateway", "dev", "table", "prefsrc", "scope"]);
    note("rule", &["-4", "rule", "show"], &["priority", "src", "dst", "iif", "fwmark", "table"]);
    note("proxy", &["-4", "neighbour", "show", "proxy"], &["dst", "dev"]);
    let listed = run(netns, &["nft", "--stateless", "list", "ruleset"]).stdout;
    things.extend(String::from_utf8(listed).unwrap().lines().map(|line| format!("nft: {line}")));
    things
}

/// Makes sure that nothing is more or less than before.
pub(crate) fn assert_same(before: &BTreeSet<String>, after: &BTreeSet<String>, what: &str) {
    let [less, more]: [Vec<_>; 2] = [before.difference(after).collect(), after.difference(before).collect()];
    assert!(less.is_empty() && more.is_empty(), "{what}: less {less:#?}, more {more:#?}");
}
