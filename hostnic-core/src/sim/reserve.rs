//! The abilities that not every cloud has: reserved addresses, firewall rules and tags.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::control::Selection;
use super::fault::Fate;
use super::history::Operation;
use super::job::{Task, Work};
use super::range::between;
use super::state::{Port, State};
use crate::capability::ReservedAddress;
use crate::cloud::{Nic, NicAttachment, Submitted};
use crate::error::{Error, ErrorKind, QuotaScope, Result};
use crate::id::{NicId, SubnetId};

/// One reserved address.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Reservation {
    pub(super) address: ReservedAddress,
    pub(super) name: String,
    pub(super) made: Duration,
    /// Whether its job has ended. Before that the address is taken, but not shown.
    pub(super) shown: bool,
}

impl State {
    /// The addresses that may be sent from a NIC.
    pub(super) fn sources(&self, nic: &Nic) -> Vec<IpAddr> {
        let port = self.nics.get(&nic.id);
        if port.is_some_and(|port| port.forwards) {
            return nic.addresses.iter().copied().chain([IpAddr::V4(Ipv4Addr::UNSPECIFIED)]).collect();
        }
        if !nic.addresses.is_empty() {
            return nic.addresses.clone();
        }
        let shown = self.reservations.values().filter(|r| r.shown && r.address.subnet == nic.subnet);
        let mut sources: Vec<_> = shown.map(|r| r.address.address).collect();
        sources.extend(port.and_then(|port| port.leased));
        sources.sort_unstable();
        sources
    }

    pub(super) fn reserve(
        &mut self,
        subnet: &SubnetId,
        name: &str,
        (first, last): (IpAddr, IpAddr),
        fate: Fate,
        now: Duration,
    ) -> Result<Submitted> {
        let addresses = self.select(subnet, &Selection::Range(first, last))?;
        let reservations = self.hold(subnet, name, addresses, now);
        Ok(self.submit(Task::Reserve { reservations }, fate, self.durations.reserve, now))
    }

    /// Takes the selected addresses of a subnet, or none.
    pub(super) fn select(&mut self, subnet: &SubnetId, selection: &Selection) -> Result<Vec<IpAddr>> {
        let refuse = |kind| Error::new(kind, Operation::Reserve.verb(), subnet);
        let range = &mut self.subnets.get_mut(subnet).ok_or_else(|| refuse(ErrorKind::NotFound))?.range;
        let chosen = match selection {
            Selection::Next(count) => {
                return range.take_next(*count).ok_or_else(|| refuse(ErrorKind::Quota(QuotaScope::Subnet)));
            }
            Selection::Range(first, last) => {
                // Both ends are checked before the addresses between are counted, which could be 2^128.
                if !range.holds(*first) || !range.holds(*last) || first > last {
                    return Err(refuse(ErrorKind::Invalid).detail(format_args!(
                        "{first} to {last} is empty, or not all within what the subnet gives out"
                    )));
                }
                between(*first, *last).collect()
            }
            Selection::Chosen(addresses) => addresses.clone(),
        };
        if let Some(outside) = chosen.iter().find(|a| !range.holds(**a)) {
            return Err(refuse(ErrorKind::Invalid).detail(format_args!("{outside} is not given out there")));
        }
        if let Some(taken) = chosen.iter().find(|a| range.is_taken(**a)) {
            return Err(refuse(ErrorKind::Conflict).detail(format_args!("{taken} is taken")));
        }
        for address in &chosen {
            if !range.take(*address) {
                // Only one that was named twice can be taken by now.
                chosen.iter().for_each(|a| range.give_back(*a));
                return Err(refuse(ErrorKind::Invalid).detail(format_args!("{address} is named twice")));
            }
        }
        Ok(chosen)
    }

    /// Writes down reservations of addresses that were just taken.
    pub(super) fn hold(
        &mut self,
        subnet: &SubnetId,
        name: &str,
        addresses: Vec<IpAddr>,
        now: Duration,
    ) -> Vec<String> {
        let mut ids = Vec::new();
        for address in addresses {
            let id = self.names.reservation();
            let address = ReservedAddress { id: id.clone(), address, subnet: subnet.clone() };
            let reservation = Reservation { address, name: name.to_owned(), made: now, shown: false };
            self.reservations.insert(id.clone(), reservation);
            ids.push(id);
        }
        ids
    }

    pub(super) fn reserved(&self, subnet: &SubnetId, name: &str) -> Vec<ReservedAddress> {
        let shown =
            self.reservations.values().filter(|r| r.shown && r.name == name && r.address.subnet == *subnet);
        let mut reserved: Vec<_> = shown.map(|r| r.address.clone()).collect();
        reserved.sort_by_key(|r| r.address);
        reserved
    }

    pub(super) fn release(&mut self, ids: &[String], fate: Fate, now: Duration) -> Submitted {
        let reservations: Vec<_> =
            ids.iter().filter(|id| self.reservations.contains_key(*id)).cloned().collect();
        if reservations.is_empty() {
            return Submitted::Complete;
        }
        self.submit(Task::Release { reservations }, fate, self.durations.reserve, now)
    }

    /// Ends a reservation job: the addresses are ours, or were never.
    pub(super) fn reserved_now(&mut self, ids: &[String], succeeded: bool) {
        if !succeeded {
            return self.released_now(ids, true);
        }
        for id in ids {
            if let Some(reservation) = self.reservations.get_mut(id) {
                reservation.shown = true;
            }
        }
        self.sources_changed();
    }

    /// Ends a release job.
    pub(super) fn released_now(&mut self, ids: &[String], succeeded: bool) {
        if !succeeded {
            return;
        }
        for id in ids {
            let Some(Reservation { address, .. }) = self.reservations.remove(id) else { continue };
            if let Some(subnet) = self.subnets.get_mut(&address.subnet) {
                subnet.range.give_back(address.address);
            }
        }
        self.sources_changed();
    }

    /// Has the sources of every attached NIC set that has no address of its own.
    fn sources_changed(&mut self) {
        if !self.has_plug {
            return;
        }
        let bare = self.nics.values().map(|port| &port.nic);
        let bare = bare.filter(|n| n.addresses.is_empty() && n.attachment != NicAttachment::Available);
        let work: Vec<_> =
            bare.map(|nic| Work::Sources { nic: nic.id.clone(), sources: self.sources(nic) }).collect();
        self.work.extend(work);
    }

    pub(super) fn allow_from(&mut self, group: &str, source: IpNet) -> Result<()> {
        let rules = self.rules.get_mut(group);
        let rules =
            rules.ok_or_else(|| Error::new(ErrorKind::NotFound, Operation::AllowFrom.verb(), group))?;
        rules.insert(source);
        Ok(())
    }

    /// Lets NICs send from any address, or forbids it again.
    pub(super) fn set_forwarding(&mut self, id: &NicId, forwards: bool) -> Result<()> {
        self.change_sources(Operation::AllowForwarding.verb(), id, |port| port.forwards = forwards)
    }

    /// A NIC may send from what its subnet's DHCP server has given it.
    pub(super) fn set_leased(&mut self, id: &NicId, address: Option<IpAddr>) -> Result<()> {
        self.change_sources("lease address to", id, |port| port.leased = address)
    }

    fn change_sources(
        &mut self,
        verb: &'static str,
        id: &NicId,
        change: impl FnOnce(&mut Port),
    ) -> Result<()> {
        let port = self.nics.get_mut(id).ok_or_else(|| Error::new(ErrorKind::NotFound, verb, id))?;
        change(port);
        // A link can be seen before the job ends that plugs it in.
        let plugged = port.nic.attachment != NicAttachment::Available || port.job.is_some();
        let nic = port.nic.clone();
        if self.has_plug && plugged {
            let sources = self.sources(&nic);
            self.work.push(Work::Sources { nic: nic.id, sources });
        }
        Ok(())
    }

    pub(super) fn allow_forwarding(&mut self, nics: &[NicId]) -> Result<()> {
        self.check_batch(Operation::AllowForwarding, nics.len())?;
        nics.iter().try_for_each(|nic| self.set_forwarding(nic, true))
    }

    pub(super) fn tagged(&self, tags: &[String], nics: &[NicId]) -> Result<BTreeSet<NicId>> {
        self.check_batch(Operation::Tagged, nics.len())?;
        let carries = |id: &&NicId| {
            self.nics.get(*id).is_some_and(|port| tags.iter().any(|tag| port.tags.contains(tag)))
        };
        Ok(nics.iter().filter(carries).cloned().collect())
    }

    pub(super) fn tag(&mut self, tag: &str, nics: &[NicId]) -> Result<()> {
        self.check_batch(Operation::TagNics, nics.len())?;
        if let Some(unknown) = nics.iter().find(|nic| !self.nics.contains_key(*nic)) {
            return Err(Error::new(ErrorKind::NotFound, Operation::TagNics.verb(), unknown));
        }
        for nic in nics {
            if let Some(port) = self.nics.get_mut(nic) {
                port.tags.insert(tag.to_owned());
            }
        }
        Ok(())
    }
}
