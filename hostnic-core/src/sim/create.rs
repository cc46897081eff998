//! Creating NICs: what may be asked for, and which addresses they get.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::history::Operation;
use super::state::{State, SubnetState};
use crate::cloud::{Nic, NicAttachment};
use crate::error::{Error, ErrorKind, QuotaScope, Result};
use crate::id::{NicId, SubnetId};
use crate::provider::{Capabilities, NicAddresses};

/// What to create; unlike [`CreateNics`](crate::provider::CreateNics) also with names that are not ours.
#[derive(Debug)]
pub(super) struct NewNics<'a> {
    pub(super) subnet: &'a SubnetId,
    pub(super) count: u32,
    pub(super) name: &'a str,
    pub(super) addresses: &'a NicAddresses,
}

impl State {
    pub(super) fn create(&mut self, request: &NewNics<'_>, now: Duration) -> Result<Vec<Nic>> {
        let refuse = |kind| Error::new(kind, Operation::CreateNics.verb(), request.subnet);
        check_create(&self.capabilities, request)?;
        let owned = self.owned();
        let subnet = self.subnets.get_mut(request.subnet).ok_or_else(|| refuse(ErrorKind::NotFound))?;
        if subnet.nics.saturating_add(request.count) > self.quotas.nics_per_subnet {
            return Err(refuse(ErrorKind::Quota(QuotaScope::Subnet)));
        }
        if self.quotas.nics_per_account.is_some_and(|limit| owned.saturating_add(request.count) > limit) {
            return Err(refuse(ErrorKind::Quota(QuotaScope::Account)));
        }
        let mut made = Vec::new();
        for addresses in subnet.addresses_for(request)? {
            let mac = self.names.mac();
            made.push(Nic {
                id: NicId::new(mac.to_string())?,
                mac,
                name: request.name.to_owned(),
                subnet: request.subnet.clone(),
                addresses,
                attachment: NicAttachment::Available,
            });
        }
        for nic in &made {
            self.put(nic.clone(), now);
        }
        Ok(made)
    }

    /// The NICs that the account's quota counts.
    pub(super) fn owned(&self) -> u32 {
        let primaries = self.instances.values().filter(|i| i.primary.is_some()).count();
        u32::try_from(self.nics.len().saturating_sub(primaries)).unwrap_or(u32::MAX)
    }
}

impl SubnetState {
    /// Takes the addresses of every NIC of the request, or none.
    fn addresses_for(&mut self, request: &NewNics<'_>) -> Result<Vec<Vec<IpAddr>>> {
        let refuse =
            |kind, subject: &dyn std::fmt::Display| Error::new(kind, Operation::CreateNics.verb(), subject);
        match request.addresses {
            NicAddresses::None => Ok((0..request.count).map(|_| Vec::new()).collect()),
            NicAddresses::Assigned(_) if !self.spec.dhcp => Err(refuse(ErrorKind::Invalid, request.subnet)
                .detail("the cloud hands out no addresses in this subnet")),
            NicAddresses::Assigned(each) => {
                let all = request.count.checked_mul(*each).and_then(|all| self.range.take_next(all));
                let all = all.ok_or_else(|| refuse(ErrorKind::Quota(QuotaScope::Subnet), request.subnet))?;
                let each = usize::try_from(*each).unwrap_or(usize::MAX).max(1);
                Ok(all.chunks(each).map(<[IpAddr]>::to_vec).collect())
            }
            NicAddresses::Fixed(chosen) => {
                let distinct: BTreeSet<_> = chosen.iter().collect();
                if distinct.len() != chosen.len() {
                    return Err(
                        refuse(ErrorKind::Invalid, request.subnet).detail("an address is asked for twice")
                    );
                }
                if let Some(outside) = chosen.iter().find(|a| !self.spec.prefix.contains(*a)) {
                    return Err(refuse(ErrorKind::Invalid, outside).detail("it is outside the subnet"));
                }
                if let Some(taken) = chosen.iter().find(|a| self.range.is_taken(**a)) {
                    return Err(refuse(ErrorKind::Conflict, taken).detail("the address is taken"));
                }
                Ok(chosen.iter().inspect(|a| _ = self.range.take(**a)).map(|a| vec![*a]).collect())
            }
        }
    }
}

/// What can be refused without looking at the subnet.
fn check_create(can: &Capabilities, request: &NewNics<'_>) -> Result<()> {
    let refuse = |kind| Error::new(kind, Operation::CreateNics.verb(), request.subnet);
    if !(1..=can.create_batch).contains(&request.count) {
        let detail = format!("{} NICs: one call makes 1 to {}", request.count, can.create_batch);
        return Err(refuse(ErrorKind::Invalid).detail(detail));
    }
    match request.addresses {
        NicAddresses::Assigned(each) if !(1..=can.addresses_per_nic).contains(each) => {
            let detail = format!("{each} addresses: one NIC carries 1 to {}", can.addresses_per_nic);
            Err(refuse(ErrorKind::Invalid).detail(detail))
        }
        NicAddresses::Fixed(_) if !can.fixed_addresses => {
            Err(refuse(ErrorKind::Unsupported).detail("this cloud chooses the addresses itself"))
        }
        NicAddresses::Fixed(chosen) if usize::try_from(request.count) != Ok(chosen.len()) => {
            let detail = format!("{} addresses for {} NICs", chosen.len(), request.count);
            Err(refuse(ErrorKind::Invalid).detail(detail))
        }
        NicAddresses::None if !can.bare_nics => {
            Err(refuse(ErrorKind::Unsupported).detail("every NIC of this cloud has an address"))
        }
        _ => Ok(()),
    }
}
