//! What a node has in each subnet, counted.

use std::collections::BTreeMap;

use hostnic_core::id::SubnetId;
use hostnic_core::ledger::{AddressState, NicRecord, NicRole, NicState};

/// The NICs and addresses of one subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stock {
    /// NICs on their way in.
    pub(crate) attaching: u32,
    /// NICs that are in.
    pub(crate) ready: u32,
    /// NICs on their way out.
    pub(crate) detaching: u32,
    /// NICs that are out and are to be deleted.
    pub(crate) deleting: u32,
    /// NICs on which cloud and records disagree for good.
    pub(crate) lost: u32,
    /// NICs that wait for a person.
    pub(crate) quarantined: u32,
    /// Addresses of NICs on their way in.
    pub(crate) coming: u32,
    /// Addresses that anybody could have now.
    pub(crate) free: u32,
    /// Addresses that pods have.
    pub(crate) leased: u32,
    /// Addresses that rest.
    pub(crate) cooling: u32,
}

impl Stock {
    fn add(&mut self, nic: &NicRecord) {
        let count = match nic.state {
            NicState::Attaching { .. } => &mut self.attaching,
            NicState::Ready => &mut self.ready,
            NicState::Detaching { .. } => &mut self.detaching,
            NicState::Deleting => &mut self.deleting,
            NicState::Lost => &mut self.lost,
            NicState::Quarantined => &mut self.quarantined,
        };
        *count += 1;
        for address in &nic.addresses {
            match (&address.state, &nic.state) {
                (AddressState::Leased { .. }, _) => self.leased += 1,
                // A gateway's address is for no pod, and that of a NIC for one pod is for no other.
                (AddressState::Claimed, NicState::Attaching { .. }) if nic.role == NicRole::Pods => {
                    self.coming += 1
                }
                (AddressState::Free { .. }, NicState::Ready) => self.free += 1,
                (AddressState::Cooling { .. }, NicState::Ready) => self.cooling += 1,
                // Nobody can have it, and nobody has.
                _ => {}
            }
        }
    }

    /// The NICs by state.
    pub(crate) fn nics(&self) -> [(&'static str, u32); 6] {
        [
            ("attaching", self.attaching),
            ("ready", self.ready),
            ("detaching", self.detaching),
            ("deleting", self.deleting),
            ("lost", self.lost),
            ("quarantined", self.quarantined),
        ]
    }

    /// The addresses by state.
    pub(crate) fn addresses(&self) -> [(&'static str, u32); 4] {
        [("coming", self.coming), ("free", self.free), ("leased", self.leased), ("cooling", self.cooling)]
    }
}

/// The stock by subnet: the configured ones in their order, empty or not, then those that NICs are left in.
pub(crate) fn stock(configured: &[SubnetId], nics: &[NicRecord]) -> Vec<(SubnetId, Stock)> {
    let mut found: BTreeMap<&SubnetId, Stock> = BTreeMap::new();
    for nic in nics {
        found.entry(&nic.subnet.id).or_default().add(nic);
    }
    let mut stocks: Vec<(SubnetId, Stock)> =
        configured.iter().map(|id| (id.clone(), found.remove(id).unwrap_or_default())).collect();
    stocks.extend(found.into_iter().map(|(id, stock)| (id.clone(), stock)));
    stocks
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use hostnic_core::clock::BootTime;
    use hostnic_core::gateway::GatewayNumber;
    use hostnic_core::ledger::{AddressRecord, SubnetRange};

    use super::*;

    fn nic(number: u8, subnet: &str, state: NicState, address: AddressState) -> NicRecord {
        NicRecord {
            id: format!("nic-{number}").parse().unwrap(),
            mac: format!("52:54:00:00:00:{number:02x}").parse().unwrap(),
            subnet: SubnetRange {
                id: subnet.parse().unwrap(),
                prefix: "192.168.1.0/24".parse().unwrap(),
                gateway: IpAddr::from([192, 168, 1, 1]),
                carrier: hostnic_core::cloud::Carrier::default(),
            },
            token: None,
            role: NicRole::Pods,
            state,
            since: BootTime::default(),
            addresses: vec![AddressRecord { address: IpAddr::from([192, 168, 1, number]), state: address }],
        }
    }

    #[test]
    fn configured_subnets_come_first_and_only_a_ready_nic_has_a_free_address() {
        let since = BootTime::default();
        let coming = nic(5, "vxnet-b", NicState::Attaching { job: None, failures: 0 }, AddressState::Claimed);
        let gateway = NicRecord { role: NicRole::Gateway(GatewayNumber(0)), ..coming.clone() };
        let nics = [
            nic(2, "vxnet-left", NicState::Ready, AddressState::Cooling { since }),
            nic(3, "vxnet-b", NicState::Ready, AddressState::Free { since }),
            nic(4, "vxnet-b", NicState::Quarantined, AddressState::Free { since }),
            coming,
            gateway,
        ];
        let stocks = stock(&["vxnet-b".parse().unwrap(), "vxnet-a".parse().unwrap()], &nics);
        let names: Vec<_> = stocks.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(names, ["vxnet-b", "vxnet-a", "vxnet-left"]);
        let b = Stock { ready: 1, quarantined: 1, attaching: 2, free: 1, coming: 1, ..Stock::default() };
        assert_eq!(stocks[0].1, b);
        assert_eq!(stocks[1].1, Stock::default());
        assert_eq!(stocks[2].1, Stock { ready: 1, cooling: 1, ..Stock::default() });
    }
}
