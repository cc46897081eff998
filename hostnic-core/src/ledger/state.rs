//! All records of a node, and the writes that change them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::attachment::AttachmentMark;
use crate::clock::BootTime;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{CreateToken, NicId};

use crate::gateway::GatewayNumber;

use super::record::{AddressState, CreateIntent, LeaseRecord, LeaseState, NicRecord, NicRole, NicState};

/// Everything that a node remembers. What the store holds, and what is in memory, in one type.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// Create calls whose answer is not recorded yet.
    pub intents: BTreeMap<CreateToken, CreateIntent>,
    /// Our NICs.
    pub nics: BTreeMap<NicId, NicRecord>,
    /// What attachments hold.
    pub leases: BTreeMap<AttachmentMark, LeaseRecord>,
    /// When the last DEL of an attachment was started by its runtime: an ADD that started earlier is refused.
    pub tombstones: BTreeMap<AttachmentMark, BootTime>,
}

/// One change of one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Write {
    /// Adds or replaces a create intent.
    PutIntent(CreateIntent),
    /// Forgets a create intent.
    DropIntent(CreateToken),
    /// Adds or replaces a NIC.
    PutNic(NicRecord),
    /// Forgets a NIC.
    DropNic(NicId),
    /// Adds or replaces a lease.
    PutLease(Box<LeaseRecord>),
    /// Forgets a lease.
    DropLease(AttachmentMark),
    /// Remembers when a DEL started.
    PutTombstone(AttachmentMark, BootTime),
    /// Forgets it.
    DropTombstone(AttachmentMark),
}

impl State {
    /// Applies writes that were [checked](Self::check), or that a store kept.
    pub fn apply(&mut self, writes: &[Write]) {
        for write in writes {
            match write.clone() {
                Write::PutIntent(intent) => drop(self.intents.insert(intent.token.clone(), intent)),
                Write::DropIntent(token) => drop(self.intents.remove(&token)),
                Write::PutNic(nic) => drop(self.nics.insert(nic.id.clone(), nic)),
                Write::DropNic(id) => drop(self.nics.remove(&id)),
                Write::PutLease(lease) => drop(self.leases.insert(lease.mark.clone(), *lease)),
                Write::DropLease(mark) => drop(self.leases.remove(&mark)),
                Write::PutTombstone(mark, at) => drop(self.tombstones.insert(mark, at)),
                Write::DropTombstone(mark) => drop(self.tombstones.remove(&mark)),
            }
        }
    }

    /// The writes that make this state from an empty one.
    pub fn to_writes(&self) -> Vec<Write> {
        let intents = self.intents.values().cloned().map(Write::PutIntent);
        let nics = self.nics.values().cloned().map(Write::PutNic);
        let leases = self.leases.values().cloned().map(|lease| Write::PutLease(Box::new(lease)));
        let tombstones = self.tombstones.iter().map(|(mark, at)| Write::PutTombstone(mark.clone(), *at));
        intents.chain(nics).chain(leases).chain(tombstones).collect()
    }

    /// Whether a write is a legal step from the present state.
    ///
    /// # Errors
    /// `Internal` for a step that the state machines do not have: a defect of ours, found before it does harm.
    pub fn check(&self, write: &Write) -> Result<()> {
        match write {
            Write::PutNic(next) => self.check_nic(next),
            Write::DropNic(id) => match self.nics.get(id) {
                Some(nic) if self.is_leased(nic) => Err(illegal("forget NIC", id, "a lease needs it")),
                _ => Ok(()),
            },
            Write::PutLease(next) => match self.leases.get(&next.mark) {
                Some(now) if !now.state.may_become(next.state) => Err(illegal(
                    "change lease",
                    &next.mark,
                    &format!("{} cannot become {}", now.state.word(), next.state.word()),
                )),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn check_nic(&self, next: &NicRecord) -> Result<()> {
        if !matches!(
            next.state,
            NicState::Ready | NicState::Quarantined | NicState::Lost | NicState::Attaching { .. }
        ) && next
            .addresses
            .iter()
            .any(|a| matches!(a.state, AddressState::Leased { .. } | AddressState::Cooling { .. }))
        {
            return Err(illegal("change NIC", &next.id, "an address is still leased or cooling"));
        }
        if matches!(next.state, NicState::Detaching { .. } | NicState::Deleting)
            && next.role.is_shared()
            && self.leases_on(&next.id).next().is_some()
        {
            return Err(illegal("change NIC", &next.id, "pods still share it"));
        }
        check_role(next)?;
        let Some(now) = self.nics.get(&next.id) else { return Ok(()) };
        if !now.role.may_become(&next.role) || now.role != next.role && now.has_holder() {
            return Err(illegal("change NIC", &next.id, "what it is for cannot change"));
        }
        if !now.state.may_become(&next.state) {
            let step = format!("{} cannot become {}", now.state.word(), next.state.word());
            return Err(illegal("change NIC", &next.id, &step));
        }
        for before in now.addresses.iter().filter(|a| matches!(a.state, AddressState::Leased { .. })) {
            if !next.addresses.iter().any(|a| a.address == before.address) {
                let step = format!("address {} is leased and cannot be left out", before.address);
                return Err(illegal("change NIC", &next.id, &step));
            }
        }
        for address in &next.addresses {
            let before = now.addresses.iter().find(|a| a.address == address.address);
            if before.is_some_and(|b| !may_follow(&next.role, &b.state, &address.state)) {
                let step = format!("address {} cannot become {}", address.address, address.state.word());
                return Err(illegal("change NIC", &next.id, &step));
            }
        }
        Ok(())
    }

    /// The leases that name the NIC.
    pub fn leases_on(&self, nic: &NicId) -> impl Iterator<Item = &LeaseRecord> {
        let nic = nic.clone();
        self.leases.values().filter(move |lease| lease.lease.nic == nic)
    }

    /// Whether a lease has one of the NIC's addresses or, of a shared one, names it.
    pub fn is_leased(&self, nic: &NicRecord) -> bool {
        nic.has_holder() || nic.role.is_shared() && self.leases_on(&nic.id).next().is_some()
    }

    /// Whether anybody needs the NIC: it is leased or, for a gateway, pods are in its subnet.
    pub fn is_held(&self, nic: &NicRecord) -> bool {
        self.is_leased(nic)
            || nic.role.is_gateway() && self.leases.values().any(|lease| lease.lease.subnet == nic.subnet.id)
    }

    /// Whether anybody will go on needing the NIC: leases that are being released do not count.
    pub fn is_kept(&self, nic: &NicRecord) -> bool {
        let stays = |lease: &LeaseRecord| lease.state != LeaseState::Releasing;
        let leased = nic.addresses.iter().any(|address| match &address.state {
            AddressState::Leased { mark } => self.leases.get(mark).is_none_or(stays),
            _ => false,
        });
        let mut here = self.leases.values().filter(|lease| lease.lease.subnet == nic.subnet.id);
        leased
            || nic.role.is_gateway() && here.any(stays)
            || nic.role.is_shared() && self.leases_on(&nic.id).any(stays)
    }

    /// The lowest number that no gateway has, nor one that is being made.
    pub fn next_gateway(&self) -> GatewayNumber {
        let roles = self.nics.values().map(|nic| &nic.role).chain(self.intents.values().map(|i| &i.role));
        let taken: BTreeSet<u32> = roles
            .filter_map(|role| match role {
                NicRole::Gateway(number) => Some(number.0),
                NicRole::Pods | NicRole::Own(_) | NicRole::Lent(_) | NicRole::Shared(_) => None,
            })
            .collect();
        GatewayNumber((0..).find(|n| !taken.contains(n)).unwrap_or_default())
    }

    /// The NIC whose link address is `mac`.
    pub fn nic_by_mac(&self, mac: crate::id::MacAddr) -> Option<&NicRecord> {
        self.nics.values().find(|nic| nic.mac == mac)
    }
}

impl NicRecord {
    /// Whether a lease has one of its addresses. What shares a NIC has none of that NIC's own: see [`State::is_leased`].
    pub fn has_holder(&self) -> bool {
        self.addresses.iter().any(|a| matches!(a.state, AddressState::Leased { .. }))
    }

    /// Whether nobody has, or had until just now, any of its addresses.
    pub fn is_idle(&self) -> bool {
        self.addresses.iter().all(|a| matches!(a.state, AddressState::Claimed | AddressState::Free { .. }))
    }

    /// Whether one of its addresses was given back at `moment` or later.
    pub fn freed_since(&self, moment: BootTime) -> bool {
        self.addresses.iter().any(|own| match own.state {
            AddressState::Free { since } | AddressState::Cooling { since } => since >= moment,
            AddressState::Claimed | AddressState::Leased { .. } => false,
        })
    }

    /// The record in another state.
    #[must_use]
    pub fn in_state(mut self, state: NicState, since: BootTime) -> Self {
        self.state = state;
        self.since = since;
        self
    }

    /// The record with one address in another state.
    #[must_use]
    pub fn with_address(mut self, address: IpAddr, state: AddressState) -> Self {
        for record in &mut self.addresses {
            if record.address == address {
                record.state = state.clone();
            }
        }
        self
    }
}

/// What is for one attachment is leased to that one or to nobody, and what is for none to nobody; what is somebody else's is
/// not deleted.
fn check_role(nic: &NicRecord) -> Result<()> {
    if nic.role.is_lent() && nic.state == NicState::Deleting {
        return Err(illegal("change NIC", &nic.id, "it is lent, and never deleted"));
    }
    if nic.role.is_shared() && !nic.addresses.is_empty() {
        return Err(illegal("change NIC", &nic.id, "pods share it, and it has addresses of its own"));
    }
    let fits = |state: &AddressState| match state {
        AddressState::Claimed => true,
        AddressState::Leased { mark } => nic.role.serves(mark),
        AddressState::Cooling { .. } => nic.role == NicRole::Pods,
        AddressState::Free { .. } => nic.role.pod().is_none(),
    };
    if nic.addresses.iter().all(|address| fits(&address.state)) {
        return Ok(());
    }
    Err(illegal("change NIC", &nic.id, "an address is not for whom the NIC is for"))
}

/// Whether `next` may follow on a NIC of that role. What one attachment alone could have is nobody's when it is over.
fn may_follow(role: &NicRole, now: &AddressState, next: &AddressState) -> bool {
    let over = matches!((now, next), (AddressState::Leased { .. }, AddressState::Claimed));
    now.may_become(next) || role.pod().is_some() && over
}

fn illegal(operation: &'static str, subject: &dyn std::fmt::Display, why: &str) -> Error {
    Error::new(ErrorKind::Internal, operation, subject)
        .detail(format!("{why}; this is a defect, please report it"))
}
