//! Routes and MTU from configurations of both earlier systems.

use libtest_mimic::Trial;
use serde_json::json;

use crate::trial;
use crate::witness;
use crate::world::World;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("the_routes_of_a_qingcni_configuration_are_set", qingcni),
        trial("the_routes_of_a_hostnic_configuration_are_set", hostnic),
        trial("a_route_that_the_kernel_refuses_is_an_error_and_all_is_undone", refused),
        trial("an_mtu_is_set_and_does_not_outlive_its_pod", mtu),
    ]
}

/// G1's: the plugin under its old name, the daemon's old address, and routes by the host's address.
async fn qingcni() {
    let mut world = World::new(1).await;
    let host = world.only_host(&world.config()).await;
    let pod = host.pod("c1").await;
    let call = |command| {
        host.call(command, &pod)
            .with("cniVersion", json!("0.3.1"))
            .with("type", json!("qingcni"))
            .with("args", json!({"BindAddr": "127.0.0.1:31080"}))
            .with(
                "ipam",
                json!({"routes": [
                    {"dst": "10.96.0.0/12", "gw": "192.168.50.9"},
                    {"dst": "172.30.0.0/16", "gw": "10.0.0.7"},
                    {"dst": "10.96.0.0/12", "gw": "192.168.50.9"},
                ]}),
            )
    };
    let result = call("ADD").succeeds().await;
    let gateway = result["ips"][0]["gateway"].as_str().unwrap();
    let mut routes = witness::routes(pod.path());
    routes.sort();
    let subnet = format!("{}.0/24 via the link", gateway.strip_suffix(".1").unwrap());
    let mut expected = [
        "10.96.0.0/12 via 192.168.50.9".to_owned(),
        "172.30.0.0/16 via 10.0.0.7".to_owned(),
        subnet,
        format!("default via {gateway}"),
    ];
    expected.sort();
    assert_eq!(routes, expected);
    call("DEL").succeeds().await;
    world.end([host]).await;
}

/// G2's: keys without regard to case, a route without a next hop, and keys that mean nothing any more.
async fn hostnic() {
    let mut world = World::new(1).await;
    let host = world.only_host(&world.config()).await;
    let pod = host.pod("c1").await;
    let call = |command| {
        host.call(command, &pod)
            .with("cniVersion", json!("0.3.0"))
            .with("BindAddr", json!("127.0.0.1:31080"))
            .with("vethPrefix", json!("vnic"))
            .with("isGateway", json!(true))
            .with("IPMasq", json!(false))
            .with(
                "Ipam",
                json!({"Routes": [{"Dst": "10.96.0.0/12"}, {"DST": "10.1.0.0/16", "GW": "192.168.51.9"}]}),
            )
    };
    let result = call("ADD").succeeds().await;
    let gateway = result["ips"][0]["gateway"].as_str().unwrap();
    let routes = witness::routes(pod.path());
    assert!(routes.contains(&"10.1.0.0/16 via 192.168.51.9".to_owned()), "{routes:?}");
    assert!(routes.contains(&format!("default via {gateway}")), "{routes:?}");
    // What goes by the gateway has the default route.
    assert_eq!(routes.len(), 3, "{routes:?}");
    call("DEL").succeeds().await;
    world.end([host]).await;
}

async fn refused() {
    let mut world = World::new(1).await;
    let mut config = world.config();
    // Every try gets the same NIC.
    config.pool.max_nics = 1;
    let host = world.only_host(&config).await;
    let pod = host.pod("c1").await;
    let add = host.call("ADD", &pod);
    let routes = json!([{"dst": "10.96.0.0/12"}, {"dst": "10.0.0.0/8", "gw": "255.255.255.255"}]);
    for _ in 0..3 {
        let message = add.clone().with("ipam", json!({"routes": routes})).fails(7).await;
        assert!(message.contains("10.0.0.0/8"), "{message}");
        pod.is_empty();
        assert_eq!(host.leases(), []);
    }
    pod.agrees_with(&add.succeeds().await);
    host.call("DEL", &pod).succeeds().await;
    world.end([host]).await;
}

async fn mtu() {
    let mut world = World::new(1).await;
    let mut config = world.config();
    // Every pod gets the same NIC.
    config.pool.max_nics = 1;
    let host = world.only_host(&config).await;
    let wanted = [json!(1400), json!(null), json!(9000), json!(0), json!(68)];
    for (mtu, expected) in wanted.into_iter().zip([1400, 1500, 9000, 1500, 68]) {
        let pod = host.pod("c1").await;
        let result = host.call("ADD", &pod).with("mtu", mtu).succeeds().await;
        assert_eq!(result["interfaces"][0]["mtu"], expected);
        let given = pod.agrees_with(&result);
        if expected == 1400 {
            pod.ping(crate::lifecycle::gateway(given.address)).await;
        }
        host.call("DEL", &pod).succeeds().await;
    }
    world.end([host]).await;
}
