//! Gateways of the node, with `ip` and `nft` as witnesses.

use hostnic_core::gateway::GatewayNumber;
use hostnic_core::route::{GatewayPlan, Masquerade, OwnGateway};
use hostnic_core::{ErrorKind, RouteProgrammer};
use hostnic_netlink::NetlinkProgrammer;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::trial;
use crate::world::{MAC, World, everything, ip, links, run};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_gateway_has_exactly_what_it_needs", exactly),
        trial("a_second_setup_of_gateways_changes_nothing", again),
        trial("a_gateway_is_repaired_whatever_was_done_to_it", repaired),
        trial("a_gateway_that_is_planned_no_more_leaves_nothing", retired),
        trial("a_nic_of_the_operators_serves_without_being_changed", operators),
        trial("two_gateways_stand_side_by_side", two),
        trial("what_a_gateway_cannot_have_is_an_error_that_says_so", refused),
        trial("the_node_tells_of_gateways_addresses_and_its_default_route", observed),
    ]
}

const SECOND: &str = "52:54:00:00:00:02";

fn plan(number: u32, mac: &str, address: &str) -> GatewayPlan {
    let address: ipnet::IpNet = address.parse().unwrap();
    GatewayPlan {
        mac: mac.parse().unwrap(),
        address,
        masquerade: Masquerade::Services,
        own: Some(OwnGateway {
            number: GatewayNumber(number),
            ifname: format!("gw{number}").parse().unwrap(),
            table: 900 + number,
            router: address.hosts().next().unwrap(),
        }),
    }
}

/// A node whose NIC [`MAC`] is to be a gateway.
async fn world() -> (World, NetlinkProgrammer, GatewayPlan) {
    let world = World::new().await;
    world.plug("eth1", MAC).await;
    let programmer = world.programmer().await;
    (world, programmer, plan(0, MAC, "192.168.50.9/24"))
}

/// All that gateways are about: links, addresses, routes, rules and nftables.
fn whole(world: &World) -> String {
    let node = world.node.path();
    format!("{}\n{:#}\n{}", everything(node), ip(node, &["rule", "show"]), filter(world))
}

/// Our table as `nft` prints it, without what was counted.
fn filter(world: &World) -> String {
    let listed = run(world.node.path(), &["nft", "--stateless", "list", "ruleset"]);
    String::from_utf8(listed.stdout).unwrap()
}

fn setting(world: &World, link: &str, name: &str) -> String {
    let path = format!("/proc/sys/net/ipv4/conf/{link}/{name}");
    String::from_utf8(run(world.node.path(), &["cat", &path]).stdout).unwrap().trim().to_owned()
}

fn address_of(world: &World, link: &str) -> Value {
    let link = &ip(world.node.path(), &["-4", "address", "show", link])[0];
    link["addr_info"].clone()
}

async fn exactly() {
    let (world, programmer, plan) = world().await;
    run(world.node.path(), &["sysctl", "-qw", "net.ipv4.ip_forward=0"]);
    programmer.setup_gateways(std::slice::from_ref(&plan)).await.unwrap();
    assert_eq!(programmer.check_gateways(&[plan]).await.unwrap(), []);

    let node = world.node.path();
    assert_eq!(links(node), ["gw0"]);
    let link = &ip(node, &["link", "show", "gw0"])[0];
    assert_eq!((&link["ifalias"], &link["address"]), (&json!("hostnic-gateway:0"), &json!(MAC)));
    let address = &address_of(&world, "gw0")[0];
    assert_eq!((&address["local"], &address["prefixlen"]), (&json!("192.168.50.9"), &json!(24)));
    assert_eq!(address["noprefixroute"], true, "{address}");
    // Not even the route that the kernel adds by itself.
    assert_eq!(ip(node, &["route", "show"]), json!([]));
    let routes = ip(node, &["route", "show", "table", "900"]);
    let routes: Vec<_> =
        routes.as_array().unwrap().iter().map(|r| (r["dst"].clone(), r["gateway"].clone())).collect();
    let by = |dst: &str, via: Option<&str>| (json!(dst), via.map_or(Value::Null, |via| json!(via)));
    assert_eq!(routes, [by("default", Some("192.168.50.1")), by("192.168.50.0/24", None)]);

    let rules = ip(node, &["rule", "show"]);
    let ours: Vec<&Value> =
        rules.as_array().unwrap().iter().filter(|rule| rule["protocol"] == "104").collect();
    assert_eq!(ours.len(), 2, "{rules:#}");
    assert_eq!((&ours[0]["src"], &ours[0]["table"]), (&json!("192.168.50.9"), &json!("900")));
    assert_eq!((&ours[1]["dst"], &ours[1]["dstlen"]), (&json!("192.168.50.0"), &json!(24)));
    assert_eq!((&ours[1]["fwmark"], &ours[1]["fwmask"]), (&json!("0x20000"), &json!("0x20000")));

    for (name, value) in [
        ("forwarding", "1"),
        ("send_redirects", "0"),
        ("rp_filter", "0"),
        ("src_valid_mark", "1"),
        ("arp_ignore", "1"),
        ("arp_announce", "2"),
    ] {
        assert_eq!(setting(&world, "gw0", name), value, "{name}");
    }
    let forwards = run(node, &["cat", "/proc/sys/net/ipv4/ip_forward"]);
    assert_eq!(String::from_utf8(forwards.stdout).unwrap().trim(), "1");

    let filter = filter(&world);
    for line in [
        "type filter hook prerouting priority mangle; policy accept;",
        "iifname \"gw0\" ct direction original counter ct mark set ct mark | 0x00020000",
        "ct mark & 0x00020000 == 0x00020000 counter meta mark set meta mark | 0x00020000",
        "type route hook output priority mangle; policy accept;",
        "oifname \"gw0\" icmp type redirect counter drop",
        "type nat hook postrouting priority srcnat - 1; policy accept;",
        "ct mark & 0x00020000 == 0x00020000 ct status & dnat == dnat counter masquerade",
    ] {
        assert!(filter.contains(line), "{line:?} is not in {filter}");
    }
    assert_eq!(filter.matches("masquerade").count(), 1, "{filter}");
}

async fn again() {
    let (world, programmer, plan) = world().await;
    programmer.setup_gateways(std::slice::from_ref(&plan)).await.unwrap();
    let before = whole(&world);
    programmer.setup_gateways(&[plan]).await.unwrap();
    assert_eq!(whole(&world), before);
}

async fn repaired() {
    let (world, programmer, plan) = world().await;
    let plans = [plan];
    programmer.setup_gateways(&plans).await.unwrap();
    let before = whole(&world);
    for damage in [
        "ip link set gw0 down",
        "ip link set gw0 down; ip link set gw0 name other",
        "ip link set gw0 alias ''",
        "ip address flush dev gw0",
        "ip address flush dev gw0; ip address add 192.168.50.9/24 dev gw0",
        "ip route flush table 900",
        "ip rule del pref 1524",
        "ip rule del pref 1525",
        "ip rule add pref 1525 to 10.0.0.0/8 fwmark 0x20000/0x20000 lookup 901 protocol 104",
        "sysctl -qw net.ipv4.ip_forward=0",
        "sysctl -qw net.ipv4.conf.gw0.send_redirects=1",
        "nft delete table ip hostnic-gateways",
        "nft flush chain ip hostnic-gateways postrouting",
    ] {
        run(world.node.path(), &["sh", "-c", damage]);
        let stray = damage.contains("10.0.0.0/8");
        assert_eq!(programmer.check_gateways(&plans).await.unwrap().is_empty(), stray, "{damage}");
        programmer.setup_gateways(&plans).await.unwrap();
        assert_eq!(whole(&world), before, "{damage}");
        assert_eq!(programmer.check_gateways(&plans).await.unwrap(), [], "{damage}");
    }
}

async fn retired() {
    let (world, programmer, plan) = world().await;
    // Somebody else's, which stay.
    for foreign in [
        "ip rule add pref 1524 from 10.9.9.9 lookup 900; ip rule add pref 1538 from 10.9.9.9 lookup 900",
        "nft add table ip foreign",
        "ip link add br0 alias mine type bridge",
    ] {
        run(world.node.path(), &["sh", "-c", foreign]);
    }
    // A link that was up once has another queue.
    for command in [&["up"][..], &["down"], &["name", "eth0"]] {
        ip(world.node.path(), &[&["link", "set", "eth1"], command].concat());
    }
    let before = whole(&world);
    programmer.setup_gateways(&[plan]).await.unwrap();
    assert_ne!(whole(&world), before);
    programmer.setup_gateways(&[]).await.unwrap();
    assert_eq!(whole(&world), before);
    // There is nothing to be done a second time.
    programmer.setup_gateways(&[]).await.unwrap();
    assert_eq!(whole(&world), before);
}

async fn operators() {
    let (world, programmer, plan) = world().await;
    let node = world.node.path();
    for command in [
        &["address", "add", "192.168.50.9/24", "dev", "eth1"][..],
        &["link", "set", "eth1", "up"],
        &["route", "add", "default", "via", "192.168.50.1"],
    ] {
        ip(node, command);
    }
    let before = everything(node);
    let plans = [GatewayPlan { own: None, masquerade: Masquerade::Everything, ..plan }];
    programmer.setup_gateways(&plans).await.unwrap();
    assert_eq!(everything(node), before);
    assert_eq!(programmer.check_gateways(&plans).await.unwrap(), []);
    assert_eq!(ip(node, &["rule", "show"]).as_array().unwrap().len(), 3);
    let filter = filter(&world);
    for line in [
        "iifname \"eth1\" ct direction original ip saddr 192.168.50.0/24 counter ct mark set ct mark | 0x00020000",
        "ct mark & 0x00020000 == 0x00020000 ip saddr 192.168.50.0/24 counter masquerade",
    ] {
        assert!(filter.contains(line), "{line:?} is not in {filter}");
    }
    programmer.setup_gateways(&[]).await.unwrap();
    assert_eq!(everything(node), before);
    assert_eq!(self::filter(&world), "");
}

async fn two() {
    let (world, programmer, first) = world().await;
    world.plug("eth2", SECOND).await;
    let second = plan(1, SECOND, "192.168.51.9/24");
    programmer.setup_gateways(&[first.clone(), second.clone()]).await.unwrap();
    assert_eq!(links(world.node.path()), ["gw0", "gw1"]);
    assert_eq!(programmer.check_gateways(&[first.clone(), second.clone()]).await.unwrap(), []);
    programmer.setup_gateways(std::slice::from_ref(&second)).await.unwrap();
    assert_eq!(programmer.check_gateways(&[second]).await.unwrap(), []);
    assert_ne!(programmer.check_gateways(&[first]).await.unwrap(), []);
    assert!(!filter(&world).contains("gw0"));
    assert_eq!(address_of(&world, "eth0"), Value::Null);
}

async fn refused() {
    let (world, programmer, plan) = world().await;
    let before = whole(&world);
    let absent = GatewayPlan { mac: SECOND.parse().unwrap(), ..plan.clone() };
    let error = programmer.setup_gateways(std::slice::from_ref(&absent)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_ne!(programmer.check_gateways(&[absent]).await.unwrap(), []);
    let ipv6 = GatewayPlan { address: "2001:db8::9/64".parse().unwrap(), ..plan.clone() };
    let error = programmer.setup_gateways(&[ipv6]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert_eq!(whole(&world), before);

    ip(world.node.path(), &["link", "add", "gw0", "type", "bridge"]);
    let error = programmer.setup_gateways(&[plan]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(error.to_string().contains("gw0"), "{error}");
}

async fn observed() {
    let (world, programmer, plan) = world().await;
    world.plug("eth2", SECOND).await;
    for command in [
        &["address", "add", "10.1.0.2/24", "dev", "eth2"][..],
        &["link", "set", "eth2", "up"],
        &["route", "add", "default", "via", "10.1.0.1"],
    ] {
        ip(world.node.path(), command);
    }
    programmer.setup_gateways(&[plan]).await.unwrap();
    let host = programmer.observe().await.unwrap().host;
    let find = |mac: &str| host.iter().find(|link| link.mac.to_string() == mac).unwrap();
    let (gateway, primary) = (find(MAC), find(SECOND));
    assert_eq!(gateway.gateway, Some(GatewayNumber(0)));
    // Its own default route is in another table than the node's.
    assert!(!gateway.default_route);
    assert!(primary.default_route && primary.gateway.is_none());
    assert_eq!(primary.addresses, ["10.1.0.2/24".parse().unwrap()]);
}
