//! Gateways: NICs that stay in the node's own namespace, with an address in a subnet, so that pods there have the node as
//! a next hop.
//!
//! A passthrough pod reaches the VPC without its node. What the node must see, such as the addresses of services, which
//! nobody in the VPC knows, the pod sends to the node's gateway in its own subnet.

mod status;

use std::collections::BTreeMap;
use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::agent::Evidence;
use crate::attachment::IfName;
use crate::cloud::Nic;
use crate::id::{InvalidValue, MacAddr, SubnetId};
use crate::ledger::{NicRole, NicState, State};
use crate::pool::PoolConfig;
use crate::route::{GatewayPlan, HostLink, KernelView, Masquerade, OwnGateway};

pub(crate) use status::statuses;
pub use status::{GatewayOwner, GatewayProgress, GatewayStatus};

/// Which of a node's gateways it is. The number is in the alias, the name and the routing table of the gateway's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GatewayNumber(pub u32);

impl GatewayNumber {
    const PREFIX: &'static str = "hostnic-gateway:";

    /// The alias of the link of that gateway.
    pub fn alias(self) -> String {
        format!("{}{}", Self::PREFIX, self.0)
    }

    /// The number in a link's alias; `None` where the alias is not one of ours.
    pub fn from_alias(alias: &str) -> Option<Self> {
        alias.strip_prefix(Self::PREFIX)?.parse().ok().map(Self)
    }
}

impl fmt::Display for GatewayNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The settings of a node's gateways. Make one with [`GatewayConfig::new`] and change what is to differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayConfig {
    /// What the names of the links of our gateways begin with; a number follows. Default "hostnic".
    pub name: String,
    /// The lowest of the routing tables for what leaves by our gateways, one for each. Default 25600.
    pub first_table: u32,
    /// Links of the node whose NICs we leave alone whatever their names in the cloud are, as we do with that of the
    /// node's default route. They may serve as gateways all the same: nothing about them is changed for that.
    pub spare_links: Vec<IfName>,
}

impl GatewayConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self { name: "hostnic".to_owned(), first_table: 25600, spare_links: Vec::new() }
    }

    /// Whether the settings make sense.
    ///
    /// # Errors
    /// [`InvalidValue`] naming the setting, its value and what it must be.
    pub fn validate(&self) -> Result<(), InvalidValue> {
        let rule = "1 to 13 bytes of an interface's name";
        let named = self.link(GatewayNumber(PoolConfig::NIC_LIMIT - 1));
        if self.name.is_empty() || named.is_err() {
            return Err(InvalidValue::new("name of the gateways", self.name.clone(), rule));
        }
        // The kernel's own tables are 253 to 255, and the highest number stands for none.
        if !(256..=u32::MAX - PoolConfig::NIC_LIMIT).contains(&self.first_table) {
            let rule = "at least 256, and less than the kernel's highest";
            return Err(InvalidValue::new("table of the gateways", self.first_table.to_string(), rule));
        }
        Ok(())
    }

    /// The name of the link of a gateway.
    fn link(&self, number: GatewayNumber) -> Result<IfName, InvalidValue> {
        IfName::new(format!("{}{number}", self.name))
    }

    /// Whether the NIC of a link is left alone.
    pub fn spares(&self, link: &HostLink) -> bool {
        link.default_route || self.spare_links.iter().any(|name| name.as_str() == link.name)
    }
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// A NIC of the operator's that can serve as the gateway of its subnet as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The NIC.
    pub mac: MacAddr,
    /// Its address, with its subnet's prefix length.
    pub address: IpNet,
}

/// The candidates of a node, one for each subnet.
pub type Candidates = BTreeMap<SubnetId, Candidate>;

/// The operator's NICs that can serve: up in the node's namespace, with the address that the cloud gave them, in one of
/// our subnets. Where several are in one, the kernel's first.
pub fn candidates(state: &State, kernel: &KernelView, cloud: &Evidence) -> Candidates {
    let mut found = Candidates::new();
    for link in kernel.host.iter().filter(|link| link.in_use && link.gateway.is_none()) {
        let here = |nic: &&Nic| nic.mac == link.mac && nic.attachment.instance() == Some(&cloud.instance);
        let Some(nic) = cloud.nics.iter().find(here).filter(|nic| !state.nics.contains_key(&nic.id)) else {
            continue;
        };
        let Some(range) = cloud.subnets.get(&nic.subnet) else { continue };
        let own = nic.addresses.iter().find(|own| link.addresses.iter().any(|a| a.addr() == **own));
        if let Some(address) = own.and_then(|own| IpNet::new(*own, range.prefix.prefix_len()).ok()) {
            found.entry(nic.subnet.clone()).or_insert(Candidate { mac: nic.mac, address });
        }
    }
    found
}

/// What the kernel has to be made to have. Ours come first: pods that use one go on using it when the operator adds a
/// NIC of the same subnet.
pub fn plans(config: &GatewayConfig, state: &State, candidates: &Candidates) -> Vec<GatewayPlan> {
    let masquerade = |address: IpNet| {
        let everything = state.leases.values().any(|lease| lease.plan.gateway == address.addr());
        if everything { Masquerade::Everything } else { Masquerade::Services }
    };
    let own = state.nics.values().filter(|nic| nic.state == NicState::Ready).filter_map(|nic| {
        let NicRole::Gateway(number) = nic.role else { return None };
        let address = nic.addresses.first()?.address;
        let address = IpNet::new(address, nic.subnet.prefix.prefix_len()).ok()?;
        let own = OwnGateway {
            number,
            ifname: config.link(number).ok()?,
            table: config.first_table.checked_add(number.0)?,
            router: nic.subnet.gateway,
        };
        Some(GatewayPlan { mac: nic.mac, address, masquerade: masquerade(address), own: Some(own) })
    });
    let theirs = candidates.values().map(|candidate| GatewayPlan {
        mac: candidate.mac,
        address: candidate.address,
        masquerade: masquerade(candidate.address),
        own: None,
    });
    own.chain(theirs).collect()
}

/// The gateway for a pod with this address.
pub fn gateway_for(plans: &[GatewayPlan], pod: IpNet) -> Option<&GatewayPlan> {
    plans.iter().find(|plan| plan.address.trunc() == pod.trunc() && plan.address.addr() != pod.addr())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::clock::BootTime;
    use crate::cloud::{Carrier, NicAttachment};
    use crate::ledger::{AddressRecord, AddressState, NicRecord, SubnetRange, Write};

    pub(super) fn mac(n: u8) -> MacAddr {
        MacAddr::new([0x52, 0x54, 0, 0, 0, n]).unwrap()
    }

    pub(super) fn address(n: u8) -> IpNet {
        IpNet::new([192, 168, 1, n].into(), 24).unwrap()
    }

    pub(super) fn range() -> SubnetRange {
        SubnetRange {
            id: "vxnet-1".parse().unwrap(),
            prefix: address(0),
            gateway: address(1).addr(),
            carrier: Carrier::default(),
        }
    }

    fn nic(n: u8, attachment: NicAttachment) -> Nic {
        Nic {
            id: format!("nic-{n}").parse().unwrap(),
            mac: mac(n),
            name: "theirs".to_owned(),
            subnet: range().id,
            addresses: vec![address(n).addr()],
            attachment,
        }
    }

    fn here() -> NicAttachment {
        NicAttachment::Attached { instance: "i-1".parse().unwrap(), primary: false }
    }

    fn evidence(nics: Vec<Nic>) -> Evidence {
        Evidence { instance: "i-1".parse().unwrap(), nics, subnets: [(range().id, range())].into() }
    }

    fn link(n: u8) -> HostLink {
        HostLink { in_use: true, addresses: vec![address(n)], ..HostLink::unused(mac(n), format!("eth{n}")) }
    }

    pub(super) fn record(n: u8, role: NicRole, state: NicState) -> NicRecord {
        NicRecord {
            id: format!("nic-{n}").parse().unwrap(),
            mac: mac(n),
            subnet: range(),
            token: None,
            role,
            state,
            since: BootTime::default(),
            addresses: vec![AddressRecord { address: address(n).addr(), state: AddressState::Claimed }],
        }
    }

    #[test]
    fn the_number_is_read_back_from_the_alias_and_from_no_other() {
        assert_eq!(GatewayNumber::from_alias(&GatewayNumber(7).alias()), Some(GatewayNumber(7)));
        for other in ["", "hostnic-gateway:", "hostnic-gateway:x", "hostnic-gateway:-1", "hostnic:7", "7"] {
            assert_eq!(GatewayNumber::from_alias(other), None, "{other}");
        }
    }

    #[test]
    fn settings_that_make_no_sense_are_refused_by_name() {
        GatewayConfig::new().validate().unwrap();
        let named = |name: &str| GatewayConfig { name: name.to_owned(), ..GatewayConfig::new() };
        named("thirteenbytes").validate().unwrap();
        for wrong in ["", "fourteen_bytes", "a/b", "a b"] {
            assert!(named(wrong).validate().is_err(), "{wrong:?}");
        }
        for wrong in [0, 254, 255, u32::MAX] {
            let config = GatewayConfig { first_table: wrong, ..GatewayConfig::new() };
            assert!(config.validate().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_candidate_is_up_attached_here_and_has_the_address_that_the_cloud_gave_it() {
        let found = |link: HostLink, nic: Nic, state: &State| {
            let kernel = KernelView { host: vec![link], ..KernelView::default() };
            candidates(state, &kernel, &evidence(vec![nic])).remove(&range().id)
        };
        let empty = State::default();
        let candidate = Candidate { mac: mac(5), address: address(5) };
        assert_eq!(found(link(5), nic(5, here()), &empty), Some(candidate));
        let elsewhere = NicAttachment::Attached { instance: "i-2".parse().unwrap(), primary: false };
        assert_eq!(found(link(5), nic(5, elsewhere), &empty), None);
        assert_eq!(found(HostLink { addresses: vec![address(9)], ..link(5) }, nic(5, here()), &empty), None);
        assert_eq!(found(HostLink { in_use: false, ..link(5) }, nic(5, here()), &empty), None);
        assert_eq!(
            found(HostLink { gateway: Some(GatewayNumber(0)), ..link(5) }, nic(5, here()), &empty),
            None
        );
        assert_eq!(
            found(link(5), Nic { subnet: "vxnet-2".parse().unwrap(), ..nic(5, here()) }, &empty),
            None
        );
        let mut ours = State::default();
        ours.apply(&[Write::PutNic(record(5, NicRole::Pods, NicState::Ready))]);
        assert_eq!(found(link(5), nic(5, here()), &ours), None);
    }

    #[test]
    fn of_several_candidates_in_a_subnet_the_kernels_first_serves() {
        let kernel = KernelView { host: vec![link(6), link(5)], ..KernelView::default() };
        let found = candidates(&State::default(), &kernel, &evidence(vec![nic(5, here()), nic(6, here())]));
        assert_eq!(found[&range().id].mac, mac(6));
    }

    #[test]
    fn ours_come_before_theirs_and_only_what_is_ready_is_planned() {
        let mut state = State::default();
        let gateway = |n, state| record(n, NicRole::Gateway(GatewayNumber(n.into())), state);
        state.apply(&[
            Write::PutNic(record(2, NicRole::Pods, NicState::Ready)),
            Write::PutNic(gateway(3, NicState::Ready)),
            Write::PutNic(gateway(4, NicState::Attaching { job: None, failures: 0 })),
            Write::PutNic(gateway(5, NicState::Detaching { job: None })),
        ]);
        let theirs = Candidates::from([(range().id, Candidate { mac: mac(9), address: address(9) })]);
        let planned = plans(&GatewayConfig::new(), &state, &theirs);
        assert_eq!(planned.iter().map(|plan| plan.address).collect::<Vec<_>>(), [address(3), address(9)]);
        assert_eq!(gateway_for(&planned, address(77)).unwrap().address, address(3));
        assert_eq!(gateway_for(&planned, "192.168.2.7/24".parse().unwrap()), None);
        let own = planned[0].own.as_ref().unwrap();
        assert_eq!((own.ifname.as_str(), own.table), ("hostnic3", 25603));
        assert_eq!(state.next_gateway(), GatewayNumber(0));
    }
}
