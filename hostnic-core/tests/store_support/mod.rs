//! What the tests of the store share: records to keep, and how much to do.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "only tests use this")]

use std::path::Path;
use std::time::Duration;

use hostnic_core::attachment::{AttachmentKey, NetnsPath, PodRef, Sandbox};
use hostnic_core::clock::BootTime;
use hostnic_core::ipam::Lease;
use hostnic_core::ledger::{
    AddressRecord, AddressState, CreateIntent, LeaseRecord, LeaseState, NicRecord, NicRole, NicState, State,
    SubnetRange, Write,
};
use hostnic_core::route::{PodDatapath, PodLink, PodPlan, Route};
use hostnic_core::store::{Identity, Opened, RedbStore};

/// How many of `all` to do: HOSTNIC_SCALE of them, a tenth unless told.
pub(crate) fn scaled(all: u32) -> u32 {
    let scale = std::env::var("HOSTNIC_SCALE").map_or(0.1, |v| v.parse().expect("HOSTNIC_SCALE is a number"));
    ((f64::from(all) * scale).ceil() as u32).max(1)
}

pub(crate) fn identity(boot: &str, host: &str) -> Identity {
    Identity { boot: boot.parse().unwrap(), host: host.parse().unwrap() }
}

pub(crate) fn ours() -> Identity {
    identity("boot-1", "i-1")
}

pub(crate) fn at(seconds: u64) -> BootTime {
    BootTime::new(Duration::from_secs(seconds))
}

/// Opens the store of the usual host.
pub(crate) async fn open(path: &Path) -> (RedbStore, Opened) {
    RedbStore::open(path, ours(), at(100)).await.unwrap()
}

pub(crate) fn intent(n: u32) -> CreateIntent {
    CreateIntent {
        token: format!("token{n:08}").parse().unwrap(),
        subnet: "vxnet-1".parse().unwrap(),
        count: n,
        since: at(n.into()),
        role: NicRole::Pods,
    }
}

pub(crate) fn key(n: u32) -> AttachmentKey {
    AttachmentKey {
        network: "net".parse().unwrap(),
        container: format!("c{n}").parse().unwrap(),
        ifname: "eth0".parse().unwrap(),
    }
}

pub(crate) fn address(n: u32) -> std::net::Ipv4Addr {
    std::net::Ipv4Addr::from_bits(0xc0a8_0000 + n)
}

pub(crate) fn nic(n: u32, state: AddressState) -> NicRecord {
    let [.., a, b] = n.to_be_bytes();
    NicRecord {
        id: format!("nic-{n}").parse().unwrap(),
        mac: hostnic_core::id::MacAddr::new([0x52, 0x54, 0, 0, a, b]).unwrap(),
        subnet: SubnetRange {
            id: "vxnet-1".parse().unwrap(),
            prefix: "192.168.0.0/16".parse().unwrap(),
            gateway: "192.168.255.254".parse().unwrap(),
            carrier: hostnic_core::cloud::Carrier::default(),
        },
        token: Some(intent(n).token),
        role: NicRole::Pods,
        state: NicState::Ready,
        since: at(n.into()),
        addresses: vec![AddressRecord { address: address(n).into(), state }],
    }
}

pub(crate) fn lease(n: u32, state: LeaseState) -> LeaseRecord {
    let nic = nic(n, AddressState::Claimed);
    let pod_address = format!("{}/16", address(n)).parse().unwrap();
    LeaseRecord {
        started: at(n.into()),
        mark: key(n).mark(),
        key: Some(key(n)),
        pod: Some(PodRef { namespace: "default".into(), name: format!("pod-{n}"), uid: None }),
        state,
        lease: Lease {
            nic: nic.id,
            mac: nic.mac,
            subnet: nic.subnet.id,
            address: pod_address,
            gateway: nic.subnet.gateway,
        },
        plan: PodPlan {
            datapath: PodDatapath::Passthrough,
            mark: key(n).mark(),
            netns: NetnsPath::new(format!("/run/netns/cni-{n}")).unwrap(),
            sandbox: Sandbox { device: 4, inode: n.into() },
            ifname: "eth0".parse().unwrap(),
            mac: nic.mac,
            address: pod_address,
            gateway: nic.subnet.gateway,
            routes: vec![Route { destination: "10.0.0.0/8".parse().unwrap(), next_hop: None }],
            mtu: Some(1450),
        },
        link: Some(PodLink { mac: nic.mac, mtu: 1450 }),
        since: at(n.into()),
        by_wish: false,
    }
}

/// Every kind of record, for `n` pods.
pub(crate) fn populated(n: u32) -> State {
    let mut state = State::default();
    for n in 1..=n {
        state.apply(&[
            Write::PutIntent(intent(n)),
            Write::PutNic(nic(n, AddressState::Leased { mark: key(n).mark() })),
            Write::PutLease(Box::new(lease(n, LeaseState::Active))),
            Write::PutTombstone(key(n + 1000).mark(), at(n.into())),
        ]);
    }
    state
}
