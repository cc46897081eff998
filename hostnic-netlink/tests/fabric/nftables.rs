//! The nftables layer, with `nft` as the witness.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use hostnic_core::ErrorKind;
use hostnic_core::sim::Plug;
use hostnic_netlink::nft::{Batch, Element, Family, Nft, Rule, Set, SetType, Table, Verdict};
use hostnic_netlink::{NamedNetns, Netns};
use libtest_mimic::Trial;
use serde_json::Value;

use crate::trial;
use crate::world::{World, instance, nic};

pub(crate) fn trials() -> Vec<Trial> {
    let witnessed = match Command::new("nft").arg("--version").output() {
        Ok(_) => true,
        Err(e) if std::env::var_os("CI").is_some() => panic!("`nft` is needed as the witness: {e}"),
        Err(e) => {
            eprintln!(
                "\n*** SKIPPED: what nftables was told is not checked: no `nft` as the witness: {e} ***\n"
            );
            false
        }
    };
    let mut trials = vec![
        trial("a_batch_that_is_refused_changes_nothing_and_names_its_step", refused),
        trial("an_empty_batch_does_nothing", empty),
    ];
    if witnessed {
        trials.push(trial("the_rules_of_a_port_are_what_nft_says_they_are", rules));
        trials.push(trial("chains_that_drop_what_is_forwarded_are_found", forward_drops));
        trials.push(trial("chains_that_write_marks_are_found", mark_writers));
        trials.push(trial("thousands_of_elements_fit_in_a_batch", many_elements));
    }
    trials
}

async fn nft(netns: &Netns, arguments: &[&str]) -> String {
    let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    // A process begins in the namespace of the thread that starts it.
    let output = netns.run(move || Command::new("nft").args(arguments).output()).await.unwrap().unwrap();
    assert!(output.status.success(), "nft: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What the fabric means to tell nftables about no port at all.
const NO_PORTS: &str = "
table bridge police {
    map ports {
        type ifname : verdict
    }
    chain prerouting {
        type filter hook prerouting priority filter; policy accept;
        iifname vmap @ports
    }
}";

/// What it means to tell about one port, `p0`, of the NIC 11 in subnet `a`.
const ONE_PORT: &str = r#"
table bridge police {
    map ports {
        type ifname : verdict
        elements = { "p0" : jump p0 }
    }
    set p0-sources {
        type ipv4_addr
        elements = { 10.1.0.11, 10.1.0.12 }
    }
    chain prerouting {
        type filter hook prerouting priority filter; policy accept;
        iifname vmap @ports
    }
    chain p0-forwarded {
    }
    chain p0 {
        ether saddr != 52:54:00:00:01:0b counter drop comment "source-mac"
        ip saddr 0.0.0.0 ip daddr 255.255.255.255 ip protocol udp udp sport 68 udp dport 67 accept
        ip saddr @p0-sources ether daddr 02:fa:b1:1c:00:00 ip saddr != 10.1.0.0/24 counter drop comment "foreign-source"
        ip saddr @p0-sources accept
        meta protocol ip jump p0-forwarded
        meta protocol ip counter drop comment "ipv4-source"
        arp ptype ip arp hlen 6 arp plen 4 arp saddr ether 52:54:00:00:01:0b arp saddr ip @p0-sources accept
        meta protocol arp counter drop comment "arp-sender"
        ip6 saddr fe80::/10 accept
        ip6 saddr :: accept
        drop
    }
}"#;

async fn rules() {
    let world = World::new().await;
    let mut shared = nic("a", 11);
    shared.addresses = ["10.1.0.11", "10.1.0.12"].map(|a| a.parse().unwrap()).into();
    world.plug(1, &shared).await;
    let vpc = Netns::open(world.fabric.vpc_path()).unwrap();
    assert_eq!(nft(&vpc, &["list", "ruleset"]).await, as_listed(&world.folder.join("one"), ONE_PORT).await);
    world.fabric.unplug(&instance(1), &shared).await.unwrap();
    assert_eq!(nft(&vpc, &["list", "ruleset"]).await, as_listed(&world.folder.join("none"), NO_PORTS).await);
}

/// How `nft` lists what it made of these rules itself; versions differ in how they write the same.
async fn as_listed(place: &Path, rules: &str) -> String {
    let named = NamedNetns::create(place).await.unwrap();
    let file = place.with_extension("nft");
    std::fs::write(&file, rules).unwrap();
    let netns = named.open().unwrap();
    nft(&netns, &["-f", file.to_str().unwrap()]).await;
    nft(&netns, &["list", "ruleset"]).await
}

async fn namespace(name: &str) -> (NamedNetns, Nft) {
    let named = NamedNetns::create(format!("/run/nft-{name}")).await.unwrap();
    let nft = Nft::new(named.open().unwrap());
    (named, nft)
}

async fn forward_drops() {
    let (named, nftables) = namespace("forward").await;
    let netns = named.open().unwrap();
    assert_eq!(nftables.forward_drops().await.unwrap(), []);
    // Those that are not meant: another policy, another hook, other packets, no base chain.
    let rules = "
        table ip filter {
            chain FORWARD { type filter hook forward priority 0; policy drop; }
            chain INPUT { type filter hook input priority 0; policy drop; }
            chain plain { drop; }
        }
        table ip other {
            chain FORWARD { type filter hook forward priority 1; policy accept; }
        }
        table inet fw {
            chain f { type filter hook forward priority 2; policy drop; }
        }
        table ip6 filter {
            chain FORWARD { type filter hook forward priority 0; policy drop; }
        }
        table bridge b {
            chain f { type filter hook forward priority 0; policy drop; }
        }
        table netdev n {
            chain i { type filter hook ingress device lo priority 0; policy accept; }
        }
    ";
    let file = Path::new("/run/nft-forward.nft");
    std::fs::write(file, rules).unwrap();
    nft(&netns, &["-f", file.to_str().unwrap()]).await;
    let found = nftables.forward_drops().await.unwrap();
    let mut found: Vec<_> = found.iter().map(ToString::to_string).collect();
    found.sort();
    assert_eq!(found, ["inet fw f", "ip filter FORWARD"]);
}

/// As nftables has it, and as `iptables` has it with nftables below.
async fn mark_writers() {
    let (named, nftables) = namespace("marks").await;
    let netns = named.open().unwrap();
    assert_eq!(nftables.mark_writers().await.unwrap(), []);
    let rules = "
        table ip calico {
            chain filter-cali-FORWARD {
                meta mark set meta mark & 0xfff1ffff;
                meta mark set meta mark | 0x00100000 counter;
            }
            chain reads { meta mark & 0x10000 == 0x10000 counter accept; ct mark set meta mark; }
            chain whole { meta mark set 0x1; }
        }
    ";
    let file = Path::new("/run/nft-marks.nft");
    std::fs::write(file, rules).unwrap();
    nft(&netns, &["-f", file.to_str().unwrap()]).await;
    let mut expected = vec![("ip calico filter-cali-FORWARD", 0x1e_0000), ("ip calico whole", u32::MAX)];
    let script = "iptables-nft -t mangle -N cali-PREROUTING && \
        iptables-nft -t mangle -A cali-PREROUTING -j MARK --set-xmark 0x0/0xe0000 && \
        iptables-nft -t mangle -A cali-PREROUTING -m mark --mark 0x800000/0x800000 -j MARK --set-xmark 0x10000/0x10000";
    let made = std::process::Command::new("nsenter")
        .arg(format!("--net={}", named.path().display()))
        .args(["sh", "-c", script])
        .output()
        .unwrap();
    if made.status.success() {
        expected.push(("ip mangle cali-PREROUTING", 0xf_0000));
    } else {
        eprintln!("*** SKIPPED: rules of iptables: {} ***", String::from_utf8_lossy(&made.stderr));
    }
    let found = nftables.mark_writers().await.unwrap();
    let mut found: Vec<_> = found.iter().map(|writer| (writer.to_string(), writer.bits)).collect();
    found.sort();
    let found: Vec<_> = found.iter().map(|(chain, bits)| (chain.as_str(), *bits)).collect();
    assert_eq!(found, expected);
}

async fn many_elements() {
    let (named, nftables) = namespace("many").await;
    let table = Table::new(Family::Bridge, "t");
    let elements: Vec<_> = (0..4000).map(|n| Element::address(Ipv4Addr::from(0x0a00_0000 + n))).collect();
    let mut batch = Batch::new();
    batch
        .add_table(&table)
        .add_set(&table, &Set::new("s", SetType::Ipv4Addresses))
        .add_elements(&table, "s", &elements);
    nftables.apply(batch).await.unwrap();
    let netns = named.open().unwrap();
    let listed: Value =
        serde_json::from_str(&nft(&netns, &["-j", "list", "set", "bridge", "t", "s"]).await).unwrap();
    assert_eq!(listed["nftables"][1]["set"]["elem"].as_array().unwrap().len(), 4000);

    let mut batch = Batch::new();
    batch.flush_set(&table, "s");
    nftables.apply(batch).await.unwrap();
    let listed: Value =
        serde_json::from_str(&nft(&netns, &["-j", "list", "set", "bridge", "t", "s"]).await).unwrap();
    assert_eq!(listed["nftables"][1]["set"]["elem"], Value::Null);

    let mut batch = Batch::new();
    batch.delete_table(&table);
    nftables.apply(batch).await.unwrap();
    assert_eq!(nft(&netns, &["list", "ruleset"]).await, "");
}

async fn refused() {
    let (_named, nftables) = namespace("refused").await;
    let table = Table::new(Family::Bridge, "t");
    let mut batch = Batch::new();
    batch.add_table(&table).add_chain(&table, "c").add_rule(
        &table,
        "c",
        &Rule::new().counter().verdict(Verdict::Jump("nowhere".into())).comment("lost"),
    );
    batch.add_chain(&table, "d");
    let error = nftables.apply(batch).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().starts_with("add nftables rule bridge t c, lost:"), "{error}");
    let mut batch = Batch::new();
    batch.delete_table(&table);
    let error = nftables.apply(batch).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "the table was made: {error}");
}

async fn empty() {
    let (_named, nftables) = namespace("empty").await;
    nftables.apply(Batch::new()).await.unwrap();
    assert_eq!(nftables.counters(&Table::new(Family::Bridge, "none"), None).await.unwrap(), []);
}
