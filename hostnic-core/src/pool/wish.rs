//! Attachments that wait for a particular NIC: what they wait for, and what stands in their way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::attachment::AttachmentMark;
use crate::clock::BootTime;
use crate::cloud::Nic;
use crate::error::{Error, ErrorKind};
use crate::id::NicId;
use crate::ledger::{NicRecord, NicRole, NicState, State};
use crate::pods::NicWish;
use crate::refusal::Refusal;

use super::inflight::Inflight;
use super::plan::Shortage;
use super::view::{Want, WishView};

/// The first pause after something that may pass, such as an address that is just being freed; doubled from then on.
const PAUSE: Duration = Duration::from_millis(500);

/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// Why an attachment was refused.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    kind: ErrorKind,
    detail: String,
    refusal: Option<Refusal>,
    /// Whether trying again within the attachment's patience cannot help.
    last: bool,
}

impl Refused {
    /// For good, as far as this ADD goes.
    pub(super) fn at_last(refusal: Refusal) -> Self {
        Self { kind: refusal.kind(), detail: refusal.to_string(), refusal: Some(refusal), last: true }
    }

    /// For now.
    pub(super) fn for_now(refusal: Refusal) -> Self {
        Self { last: false, ..Self::at_last(refusal) }
    }

    /// As the cloud says it. What the cloud does not find is never the pod's namespace.
    pub(super) fn by_cloud(error: &Error) -> Self {
        let (kind, last) = match error.kind() {
            kind @ (ErrorKind::Unauthorised
            | ErrorKind::Unsupported
            | ErrorKind::Invalid
            | ErrorKind::Quota(_)) => (kind, true),
            kind @ ErrorKind::Throttled { .. } => (kind, false),
            ErrorKind::NotFound => (ErrorKind::Invalid, true),
            _ => (ErrorKind::Transient, false),
        };
        let refusal = match kind {
            ErrorKind::Throttled { .. } => Some(Refusal::Throttled),
            ErrorKind::Quota(crate::error::QuotaScope::Account) => Some(Refusal::AccountFull),
            _ => None,
        };
        Self { kind, detail: error.chain().to_string(), refusal, last }
    }

    /// Whether trying again within somebody's patience cannot help.
    pub(super) fn is_last(&self) -> bool {
        self.last
    }

    /// The NIC that has the address.
    pub(super) fn holder(&self) -> Option<&NicId> {
        match &self.refusal {
            Some(Refusal::AddressTaken { by: Some(by), .. }) => Some(&by.nic),
            _ => None,
        }
    }

    /// The error for whoever waits.
    pub(super) fn error(&self, operation: &'static str, subject: impl std::fmt::Display) -> Error {
        let error = Error::new(self.kind, operation, subject).detail(&self.detail);
        match &self.refusal {
            Some(refusal) => error.refusal_of(refusal.clone()),
            None => error,
        }
    }
}

/// One attachment's.
#[derive(Debug)]
pub(super) struct Wish {
    nic: NicWish,
    /// How many wait for it: the same request may be made twice.
    waiting: u32,
    tries: u32,
    not_before: Option<BootTime>,
    /// Whether its NIC is being looked at.
    looking: bool,
    refused: Option<Refused>,
    shortage: Option<Shortage>,
}

impl Wish {
    /// Whether it cannot be fulfilled, however long somebody waits.
    pub(super) fn refused_at_last(&self) -> Option<&Refused> {
        self.refused.as_ref().filter(|refused| refused.last)
    }

    /// Why nothing has come of it yet.
    pub(super) fn refused(&self) -> Option<&Refused> {
        self.refused.as_ref()
    }

    /// Why nothing can be tried.
    pub(super) fn shortage(&self) -> Option<Shortage> {
        self.shortage
    }

    /// How often it was refused.
    pub(super) fn tries(&self) -> u32 {
        self.tries
    }

    /// What it asks for.
    pub(super) fn nic(&self) -> &NicWish {
        &self.nic
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Wishes(BTreeMap<AttachmentMark, Wish>);

impl Wishes {
    /// Somebody waits.
    pub(super) fn begin(&mut self, mark: &AttachmentMark, nic: &NicWish) {
        let new = Wish {
            nic: nic.clone(),
            waiting: 0,
            tries: 0,
            not_before: None,
            looking: false,
            refused: None,
            shortage: None,
        };
        let wish = self.0.entry(mark.clone()).or_insert(new);
        wish.waiting += 1;
    }

    /// Somebody waits no longer.
    pub(super) fn end(&mut self, mark: &AttachmentMark) {
        if let Some(wish) = self.0.get_mut(mark) {
            wish.waiting -= 1;
            if wish.waiting == 0 {
                self.0.remove(mark);
            }
        }
    }

    pub(super) fn get(&self, mark: &AttachmentMark) -> Option<&Wish> {
        self.0.get(mark)
    }

    /// Whether it leaves the subnet to the pool.
    pub(super) fn is_free(&self, mark: &AttachmentMark) -> bool {
        let wish = self.0.get(mark).map(|wish| &wish.nic);
        matches!(wish, Some(NicWish::Made { subnet: None, .. }))
    }

    /// Takes note of those for which the plan can do nothing.
    pub(super) fn planned(&mut self, refused: &[(AttachmentMark, Shortage)]) {
        for (mark, wish) in &mut self.0 {
            wish.shortage = refused.iter().find(|(other, _)| other == mark).map(|(_, why)| *why);
        }
    }

    /// Its NIC is being looked at, or no longer.
    pub(super) fn looking(&mut self, mark: &AttachmentMark, looking: bool) {
        if let Some(wish) = self.0.get_mut(mark) {
            wish.looking = looking;
        }
    }

    /// How many NICs are being looked at.
    pub(super) fn looked_for(&self) -> u32 {
        u32::try_from(self.0.values().filter(|wish| wish.looking).count()).unwrap_or(u32::MAX)
    }

    /// It was refused; it is tried again after a pause, unless that is the last word.
    pub(super) fn refuse(&mut self, mark: &AttachmentMark, refused: Refused, now: BootTime) {
        if let Some(wish) = self.0.get_mut(mark) {
            wish.not_before =
                Some(now.after(PAUSE.saturating_mul(1 << wish.tries.min(8)).min(LONGEST_PAUSE)));
            wish.tries += 1;
            wish.refused = Some(refused);
        }
    }

    /// Whether somebody waits for just this NIC.
    pub(super) fn awaits(&self, nic: &NicRecord) -> bool {
        let wish = nic.role.pod().and_then(|mark| self.0.get(mark));
        wish.is_some_and(|wish| fits(&wish.nic, nic))
    }

    /// Those for which nothing is under way.
    pub(super) fn lacking(&self, state: &State, inflight: &Inflight) -> Vec<WishView> {
        let intents = state.intents.values().chain(inflight.creates.values());
        let coming: BTreeSet<_> = intents.filter_map(|intent| intent.role.pod()).collect();
        let open = self.0.iter().filter(|(mark, wish)| {
            let there = state.nics.values().any(|nic| nic.role.pod() == Some(mark) && may_serve(wish, nic));
            let open = !there && !wish.looking && wish.refused_at_last().is_none();
            open && !coming.contains(mark) && !state.leases.contains_key(*mark)
        });
        open.map(|(mark, wish)| self.view(mark, wish, state, inflight)).collect()
    }

    fn view(&self, mark: &AttachmentMark, wish: &Wish, state: &State, inflight: &Inflight) -> WishView {
        let nobodys = |nic: &&NicRecord| {
            !nic.has_holder()
                && !self.awaits(nic)
                && inflight.reserved.values().all(|lease| lease.nic != nic.id)
                && nic.role.pod().is_some_and(|other| other != mark)
        };
        let left = state.nics.values().filter(nobodys).filter(|nic| may_be_left_to(wish, nic));
        WishView {
            mark: mark.clone(),
            want: match &wish.nic {
                NicWish::Existing(nic) => Want::Existing(nic.clone()),
                NicWish::Made { subnet, address } => {
                    let around = |address| inflight.described().find(|s| s.prefix.contains(&address));
                    let holds = address.and_then(around).map(|subnet| subnet.id.clone());
                    Want::Made(subnet.clone().or(holds))
                }
                NicWish::Any => Want::Made(None),
            },
            left: left.map(|nic| nic.id.clone()).collect(),
            in_the_way: wish.refused.as_ref().and_then(Refused::holder).cloned(),
            not_before: wish.not_before,
        }
    }
}

/// Whether the NIC is what is wished for.
pub(super) fn fits(wish: &NicWish, nic: &NicRecord) -> bool {
    match (wish, &nic.role) {
        (NicWish::Made { subnet, address }, NicRole::Own(_)) => {
            subnet.as_ref().is_none_or(|id| nic.subnet.id == *id)
                && address.is_none_or(|wanted| nic.addresses.iter().any(|own| own.address == wanted))
        }
        (NicWish::Existing(id), NicRole::Lent(_)) => nic.id == *id,
        _ => false,
    }
}

fn may_serve(wish: &Wish, nic: &NicRecord) -> bool {
    matches!(nic.state, NicState::Attaching { .. } | NicState::Ready) && fits(&wish.nic, nic)
}

/// Only what no other NIC would do as well for: else the next try of the pod that it was made for would find its address
/// gone.
fn may_be_left_to(wish: &Wish, nic: &NicRecord) -> bool {
    let particular = !matches!(&wish.nic, NicWish::Any | NicWish::Made { address: None, .. });
    particular && may_serve(wish, nic)
}

/// Who has an address, of the NICs that a cloud listed.
pub(super) fn holder(nics: &[Nic], address: std::net::IpAddr) -> Option<&Nic> {
    nics.iter().find(|nic| nic.addresses.contains(&address))
}
