//! What is carried, and that none of it counts as an offence.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use libtest_mimic::Trial;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::time::timeout;

use crate::trial;
use crate::world::{PATIENCE, PORT, Pod, World, nic, socket, talk};
use hostnic_core::sim::Plug;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("packets_travel_in_a_subnet_and_between_subnets_and_nothing_is_counted", good_traffic),
        trial("the_noise_that_kernels_make_over_ipv6_is_no_offence", ipv6_noise),
        trial("a_dhcp_client_that_has_no_address_yet_is_heard", dhcp),
    ]
}

async fn good_traffic() {
    let world = World::new().await;
    let first = world.pod(1, &nic("a", 11)).await;
    for (number, other) in [(1, nic("a", 12)), (2, nic("a", 13)), (1, nic("b", 14)), (2, nic("b", 15))] {
        let other = world.pod(number, &other).await;
        let answerer = other.listen().await;
        let asker = first.sender(&first.address.to_string()).await;
        talk(&asker, &answerer, SocketAddr::new(other.address, PORT)).await;
    }
    assert_eq!(world.drops().await, []);
    world.fabric.shutdown().await.unwrap();
}

async fn ipv6_noise() {
    let world = World::new().await;
    let one = world.pod(1, &nic("a", 11)).await;
    let other = world.pod(2, &nic("a", 12)).await;
    // Once a link-local address can be sent from, the kernel has asked for duplicates and for routers.
    let all_nodes: Ipv6Addr = "ff02::1".parse().unwrap();
    let scope = one.link.0;
    let to = SocketAddr::V6(SocketAddrV6::new(all_nodes, PORT, 0, scope));
    let listener = socket(&other.netns, SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), PORT)).await;
    let heard = async {
        loop {
            let sender = socket(&one.netns, SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0)).await;
            // The address is not valid before the kernel has made sure that nobody else has it.
            let _ = sender.send_to(b"hello", to).await;
            let mut buffer = [0; 16];
            if let Ok(heard) =
                timeout(std::time::Duration::from_millis(100), listener.recv_from(&mut buffer)).await
            {
                return heard.unwrap().1.ip();
            }
        }
    };
    let IpAddr::V6(from) = timeout(PATIENCE, heard).await.unwrap() else {
        panic!("IPv6 from an IPv4 address")
    };
    assert!(from.is_unicast_link_local(), "{from}");
    assert_eq!(world.drops().await, []);
}

async fn dhcp() {
    let world = World::new().await;
    let server = world.pod(1, &nic("a", 11)).await;
    let client = world.pod(2, &nic("a", 12)).await;
    forget_addresses(&client).await;
    world.fabric.set_sources(&nic("a", 12).id, &[]).await.unwrap();
    let server = socket(&server.netns, "0.0.0.0:67".parse().unwrap()).await;
    let sender = socket(&client.netns, "0.0.0.0:68".parse().unwrap()).await;
    sender.set_broadcast(true).unwrap();
    setsockopt(&sender, sockopt::BindToDevice, &"eth0".into()).unwrap();
    let heard = async {
        loop {
            sender.send_to(b"discover", "255.255.255.255:67").await.unwrap();
            let mut buffer = [0; 16];
            if let Ok(heard) =
                timeout(std::time::Duration::from_millis(100), server.recv_from(&mut buffer)).await
            {
                return heard.unwrap().1;
            }
        }
    };
    assert_eq!(timeout(PATIENCE, heard).await.unwrap(), "0.0.0.0:68".parse().unwrap());
    assert_eq!(world.drops().await, []);
}

async fn forget_addresses(pod: &Pod) {
    for address in pod.connection.addresses_of(pod.link).await.unwrap() {
        if address.address.addr().is_ipv4() {
            pod.connection.delete_address(&address).await.unwrap();
        }
    }
}
