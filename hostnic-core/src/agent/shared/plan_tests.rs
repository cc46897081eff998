use std::time::Duration;

use super::*;
use crate::attachment::{AttachmentKey, NetnsPath, Sandbox};
use crate::id::MacAddr;
use crate::ledger::SubnetRange;
use crate::route::PodsTable;

fn at(seconds: u64) -> BootTime {
    BootTime::new(Duration::from_secs(seconds))
}

fn mac(n: u8) -> MacAddr {
    MacAddr::new([0x52, 0x54, 0, 0, 0, n]).unwrap()
}

fn table(n: u32) -> NicTable {
    NicTable::new(n).unwrap()
}

fn nic(n: u8, state: NicState, table: Option<u32>) -> NicRecord {
    NicRecord {
        id: format!("nic-{n}").parse().unwrap(),
        mac: mac(n),
        subnet: SubnetRange {
            id: "vxnet-a1b2c3d".parse().unwrap(),
            prefix: "192.168.1.0/24".parse().unwrap(),
            gateway: "192.168.1.1".parse().unwrap(),
            carrier: Carrier::Vxlan,
        },
        token: None,
        role: NicRole::Shared(table.map(self::table)),
        state,
        since: at(0),
        addresses: Vec::new(),
    }
}

fn address(n: u8) -> IpAddr {
    IpAddr::from([192, 168, 1, n])
}

/// A lease of a pod with that address, on the NIC of that number.
fn lease(n: u8, nic: u8, state: LeaseState, since: u64) -> LeaseRecord {
    let key = AttachmentKey {
        network: "net".parse().unwrap(),
        container: format!("c{n}").parse().unwrap(),
        ifname: "eth0".parse().unwrap(),
    };
    let of_nic = self::nic(nic, NicState::Ready, None);
    let net = ipnet::IpNet::new(address(n), 24).unwrap();
    let lease = Lease {
        nic: of_nic.id,
        mac: of_nic.mac,
        subnet: of_nic.subnet.id,
        address: net,
        gateway: of_nic.subnet.gateway,
    };
    let plan = PodPlan {
        datapath: PodDatapath::Shared(SharedPlan {
            table: table(260),
            pods: PodsTable::OWN,
            host_ifname: format!("vnic{n}").parse().unwrap(),
            source: "10.0.0.10".parse().unwrap(),
            mtu_at_most: None,
        }),
        mark: key.mark(),
        netns: NetnsPath::new("/run/netns/p").unwrap(),
        sandbox: Sandbox { device: 4, inode: n.into() },
        ifname: key.ifname.clone(),
        mac: lease.mac,
        address: net,
        gateway: lease.gateway,
        routes: Vec::new(),
        mtu: None,
    };
    LeaseRecord {
        mark: key.mark(),
        key: Some(key),
        pod: None,
        started: at(since),
        state,
        lease,
        plan,
        link: None,
        since: at(since),
        by_wish: false,
    }
}

fn state(nics: Vec<NicRecord>, leases: Vec<LeaseRecord>) -> State {
    let mut state = State::default();
    state.apply(&nics.into_iter().map(Write::PutNic).collect::<Vec<_>>());
    state.apply(&leases.into_iter().map(|lease| Write::PutLease(Box::new(lease))).collect::<Vec<_>>());
    state
}

fn sender_of(leases: Vec<LeaseRecord>, asks: Option<IpAddr>) -> Option<IpAddr> {
    let state = state(vec![nic(1, NicState::Ready, Some(260))], leases);
    nic_plans(&state, |_| asks).into_values().next().unwrap().sender
}

#[test]
fn a_nic_asks_in_the_name_of_whom_it_asks_for_already_or_of_who_has_run_longest() {
    use LeaseState::{Active, Preparing, Releasing};
    let pods = || vec![lease(4, 1, Active, 7), lease(5, 1, Active, 3), lease(6, 1, Active, 5)];
    assert_eq!(sender_of(pods(), None), Some(address(5)));
    assert_eq!(sender_of(pods(), Some(address(6))), Some(address(6)), "it is not changed without need");
    assert_eq!(sender_of(pods(), Some(address(9))), Some(address(5)));
    let leaving = vec![lease(4, 1, Active, 7), lease(5, 1, Releasing, 3)];
    assert_eq!(
        sender_of(leaving, Some(address(5))),
        Some(address(4)),
        "who leaves is not asked for any more"
    );
    assert_eq!(sender_of(vec![lease(4, 1, Releasing, 7)], Some(address(4))), None);
    assert_eq!(
        sender_of(vec![lease(4, 1, Preparing, 1)], None),
        Some(address(4)),
        "the first pod's from the start"
    );
    assert_eq!(sender_of(vec![lease(4, 1, Preparing, 1), lease(5, 1, Active, 3)], None), Some(address(5)));
    assert_eq!(sender_of(vec![lease(4, 2, Active, 1)], None), None, "that pod is on another NIC");
}

#[test]
fn only_what_is_in_and_has_a_table_is_planned_and_in_a_vlan_the_table_is_not_ours() {
    let attaching = NicState::Attaching { job: None, failures: 0 };
    let vlan = NicRecord {
        subnet: SubnetRange { carrier: Carrier::Vlan, ..nic(4, NicState::Ready, None).subnet },
        ..nic(4, NicState::Ready, Some(263))
    };
    let state = state(
        vec![
            nic(1, NicState::Ready, Some(260)),
            nic(2, NicState::Ready, None),
            nic(3, attaching, Some(262)),
            vlan,
        ],
        Vec::new(),
    );
    let plans = nic_plans(&state, |_| None);
    let found: Vec<_> = plans.values().map(|plan| (plan.mac, plan.table, plan.routes.clone())).collect();
    let ours = SharedRoutes::Ours { gateway: address(1), others: Vec::new() };
    assert_eq!(found, [(mac(1), table(260), ours), (mac(4), table(263), SharedRoutes::Vlan)]);
    assert!(plans.values().all(|plan| plan.ifname.as_str() == "hostnic_a1b2c3d"));
}

#[test]
fn pods_whose_nic_is_lost_get_the_next_one_with_its_table() {
    use LeaseState::{Active, Releasing};
    let leases = || vec![lease(4, 1, Active, 1), lease(5, 1, Releasing, 1), lease(6, 2, Active, 1)];
    let choose = |_: &State| Some(table(300));
    for old in [None, Some(NicState::Lost), Some(NicState::Quarantined)] {
        let mut nics: Vec<_> = old.clone().map(|state| nic(1, state, Some(260))).into_iter().collect();
        assert_eq!(
            moved(&state(nics.clone(), vec![lease(4, 1, Active, 1)]), choose),
            [],
            "there is no other yet"
        );
        nics.push(nic(2, NicState::Ready, None));
        let mut state = state(nics, leases());
        let writes = moved(&state, choose);
        for write in &writes {
            state.check(write).unwrap();
        }
        state.apply(&writes);
        assert_eq!(state.nics.values().last().unwrap().role, NicRole::Shared(Some(table(300))));
        for n in [4, 5] {
            let now = &state.leases[&lease(n, 1, Active, 1).mark];
            assert_eq!(
                (&now.lease.nic, now.plan.mac),
                (&nic(2, NicState::Ready, None).id, mac(2)),
                "{old:?}"
            );
            assert_eq!(datapath::shared(&now.plan).unwrap().table, table(300));
            assert_eq!(now.lease.address.addr(), address(n));
        }
        assert_eq!(moved(&state, choose), [], "once");
    }
    let attaching = NicState::Attaching { job: None, failures: 1 };
    let nics = vec![nic(1, attaching, Some(260)), nic(2, NicState::Ready, Some(261))];
    assert_eq!(moved(&state(nics, vec![lease(4, 1, Active, 1)]), choose), [], "that one is on its way in");
}

#[test]
fn a_nic_is_without_pods_since_its_last_lease_was_over() {
    use LeaseState::{Active, Releasing};
    let nics = || vec![nic(1, NicState::Ready, Some(260))];
    let (last, other) = (lease(4, 1, Releasing, 1), lease(5, 1, Active, 1));
    let two = state(nics(), vec![last.clone(), other.clone()]);
    assert_eq!(ended(&two, &last.mark, at(9)), [Write::DropLease(last.mark.clone())]);
    assert_eq!(ended(&two, &other.mark, at(9)), [], "it is in use");
    let writes = ended(&state(nics(), vec![last.clone()]), &last.mark, at(9));
    assert_eq!(writes[1], Write::PutNic(nic(1, NicState::Ready, Some(260)).in_state(NicState::Ready, at(9))));
    assert_eq!(undone(&two, &other.mark, at(9)), [], "only what nobody was answered is undone");
}

#[test]
fn a_shared_nic_has_no_address_and_stays_while_a_lease_names_it() {
    let held = state(vec![nic(1, NicState::Ready, Some(260))], vec![lease(4, 1, LeaseState::Releasing, 1)]);
    let bare = state(vec![nic(1, NicState::Ready, Some(260))], Vec::new());
    let next = |state: NicState| Write::PutNic(nic(1, state, Some(260)));
    let detaching = next(NicState::Detaching { job: None });
    assert!(held.check(&detaching).is_err() && bare.check(&detaching).is_ok());
    let gone = Write::DropNic(nic(1, NicState::Ready, None).id);
    assert!(held.check(&gone).is_err() && bare.check(&gone).is_ok());
    assert!(held.check(&next(NicState::Attaching { job: None, failures: 0 })).is_ok());
    assert!(held.check(&next(NicState::Lost)).is_ok());
    assert!(bare.check(&Write::PutNic(nic(1, NicState::Ready, Some(261)))).is_err(), "its table stays");
    let own =
        crate::ledger::AddressRecord { address: address(9), state: crate::ledger::AddressState::Claimed };
    let owning = NicRecord { addresses: vec![own], ..nic(1, NicState::Ready, Some(260)) };
    assert!(bare.check(&Write::PutNic(owning)).is_err());
    let pods = NicRecord { role: NicRole::Pods, ..nic(1, NicState::Ready, None) };
    assert!(bare.check(&Write::PutNic(pods)).is_err());
    for role in [NicRole::Shared(None), NicRole::Shared(Some(table(260)))] {
        let text = serde_json::to_string(&role).unwrap();
        assert_eq!(serde_json::from_str::<NicRole>(&text).unwrap(), role, "{text}");
    }
    assert_eq!(serde_json::from_str::<NicRole>(r#""Pods""#).unwrap(), NicRole::Pods);
    let range = r#"{"id":"vxnet-1","prefix":"192.168.1.0/24","gateway":"192.168.1.1"}"#;
    let read: SubnetRange = serde_json::from_str(range).unwrap();
    assert_eq!((read.carrier, serde_json::to_string(&read).unwrap().as_str()), (Carrier::Vxlan, range));
}
