//! What the pool knows and does not write down: calls under way, who waits, what was promised, how subnets fare.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::attachment::AttachmentMark;
use crate::clock::BootTime;
use crate::cloud::{Instance, Nic, Subnet};
use crate::error::{Error, ErrorKind, QuotaScope};
use crate::id::{CreateToken, NicId, SubnetId};
use crate::ipam::Lease;
use crate::ledger::{AddressRecord, AddressState, CreateIntent, NicRecord, NicState, State};
use crate::policy::{PolicyState, SubnetView};

use super::config::PoolConfig;
use super::plan::{Action, Plan, Supply, Unserved, capacity, supply_of};
use super::share::{self, Sharing};
use super::view::{CreateView, Hold, NicView, PoolView, Purpose, SubnetRoom};
use super::wish::Wishes;

/// Everything here may be lost with the process: it is rebuilt from the records, or by asking again.
#[derive(Debug)]
pub(super) struct Inflight {
    /// Creates whose answer this process awaits.
    pub(super) creates: BTreeMap<CreateToken, CreateIntent>,
    /// NICs that a call is about.
    pub(super) busy: BTreeSet<NicId>,
    /// NICs that the cloud says are plugged in, and when it said so; their link is awaited.
    pub(super) plugged: BTreeMap<NicId, BootTime>,
    /// NICs that are left alone for a while after an error.
    setbacks: BTreeMap<NicId, Setback>,
    /// Attachments that wait, by ticket: who came first is served first.
    pub(super) waiting: BTreeSet<u64>,
    next_ticket: u64,
    /// Since when addresses are short for which nothing was planned.
    pub(super) unmet_since: Option<BootTime>,
    /// Attachments that wait for a particular NIC.
    pub(super) wishes: Wishes,
    /// Pods that wait for a NIC to share.
    pub(super) sharing: Sharing,
    /// Addresses promised to attachments whose lease is not recorded yet.
    pub(super) reserved: BTreeMap<AttachmentMark, Lease>,
    /// Subnets in trouble.
    troubles: BTreeMap<SubnetId, Trouble>,
    /// Subnets in which the node is to have a gateway.
    pub(super) gateways: BTreeSet<SubnetId>,
    /// Whether NICs may be made.
    pub(super) hold: Hold,
    /// How many NICs we had when the account was refused more, until more are made.
    quota: Option<u32>,
    /// Whether everything that nobody holds is to be given back.
    pub(super) draining: bool,
    /// How many ask at this moment that what is free be given back.
    pub(super) cleaning: u32,
    /// Why they may not, or the last error of a subnet: told to those who wait in vain.
    pub(super) reason: Option<(ErrorKind, String)>,
    /// Why NICs that exist did not come in lately: told to those who waited for them in vain.
    pub(super) attach_trouble: Option<(ErrorKind, String)>,
    pub(super) policy: PolicyState,
    /// For how many NICs the policy has chosen each subnet.
    pub(super) choices: BTreeMap<SubnetId, u64>,
    pub(super) unserved: Option<Unserved>,
    /// Whether the cloud is being asked about this node and its subnets.
    pub(super) surveying: bool,
    pub(super) instance: Option<Instance>,
    /// The NICs of this instance, as the cloud told when it first described it, and when that was.
    pub(super) attached: Option<(BootTime, Vec<Nic>)>,
    /// The subnets that the pool draws from, in the order of preference.
    pub(super) sources: Vec<SubnetId>,
    /// What the cloud told of these and of others; their room counts what we made and gave back since.
    pub(super) subnets: BTreeMap<SubnetId, Subnet>,
    /// Those that it was asked about, whether it knows them or not.
    asked: BTreeSet<SubnetId>,
    /// When it last told how much room each has.
    room_told: BTreeMap<SubnetId, BootTime>,
}

/// That something could not be done with a NIC.
#[derive(Debug)]
struct Setback {
    until: BootTime,
    pause: Duration,
}

/// How often the time is doubled for which a NIC is left alone.
const SETBACK_DOUBLINGS: u32 = 7;

/// How a subnet fares that failed.
#[derive(Debug)]
struct Trouble {
    until: BootTime,
    failures: u32,
    /// Whether waiting a little may help.
    passing: bool,
}

/// The shortest time that a subnet is left alone after an error that may pass.
const SHORT_ASIDE: Duration = Duration::from_secs(5);

impl Inflight {
    pub(super) fn new(seed: u64, sources: Vec<SubnetId>) -> Self {
        Self {
            creates: BTreeMap::new(),
            busy: BTreeSet::new(),
            plugged: BTreeMap::new(),
            setbacks: BTreeMap::new(),
            waiting: BTreeSet::new(),
            next_ticket: 0,
            unmet_since: None,
            wishes: Wishes::default(),
            sharing: Sharing::default(),
            reserved: BTreeMap::new(),
            troubles: BTreeMap::new(),
            gateways: BTreeSet::new(),
            hold: Hold::Unsettled,
            quota: None,
            draining: false,
            cleaning: 0,
            reason: None,
            attach_trouble: None,
            policy: PolicyState { last: None, draw: seed },
            choices: BTreeMap::new(),
            unserved: None,
            surveying: false,
            instance: None,
            attached: None,
            sources,
            subnets: BTreeMap::new(),
            asked: BTreeSet::new(),
            room_told: BTreeMap::new(),
        }
    }

    pub(super) fn take_ticket(&mut self) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting.insert(ticket);
        ticket
    }

    /// Leaves NICs alone for a while, at first for `pause`; for longer and longer when nothing comes of it. Short pauses
    /// before it make it no longer than their own doubling.
    pub(super) fn set_back(&mut self, nics: &[NicId], now: BootTime, pause: Duration) {
        for nic in nics {
            let doubled = self.setbacks.get(nic).map_or(Duration::ZERO, |setback| setback.pause * 2);
            let pause = doubled.min(pause.saturating_mul(1 << SETBACK_DOUBLINGS)).max(pause);
            self.setbacks.insert(nic.clone(), Setback { until: now.after(pause), pause });
        }
    }

    /// Forgets what went wrong with NICs: something went right.
    pub(super) fn went_well(&mut self, nics: &[NicId]) {
        self.setbacks.retain(|nic, _| !nics.contains(nic));
    }

    /// Whether the subnet exists and is not known to be full.
    pub(super) fn takes_nics(&self, subnet: &SubnetId) -> bool {
        self.subnets.get(subnet).is_some_and(|subnet| subnet.room != Some(0))
    }

    /// What the pool draws from, as far as the cloud has described it.
    pub(super) fn described(&self) -> impl Iterator<Item = &Subnet> {
        self.sources.iter().filter_map(|id| self.subnets.get(id))
    }

    /// Whether the cloud has yet to be asked about a subnet that the pool draws from.
    pub(super) fn has_new_source(&self) -> bool {
        self.sources.iter().any(|id| !self.asked.contains(id))
    }

    /// Draws from other subnets from now on; each counts once.
    pub(super) fn draw_from(&mut self, subnets: Vec<SubnetId>) {
        self.sources.clear();
        for id in subnets {
            if !self.sources.contains(&id) {
                self.sources.push(id);
            }
        }
        // What was found hopeless, or wrong, before may be neither now.
        self.unserved = None;
        if matches!(self.reason, Some((ErrorKind::NotFound, _))) {
            self.reason = None;
        }
    }

    /// Takes note of how the subnets are now that were asked about.
    pub(super) fn learn(&mut self, asked: &[SubnetId], subnets: Vec<Subnet>, now: BootTime) {
        for id in asked {
            self.asked.insert(id.clone());
            self.subnets.remove(id);
            self.room_told.remove(id);
        }
        for subnet in subnets {
            if subnet.room.is_some() {
                self.room_told.insert(subnet.id.clone(), now);
            }
            self.subnets.insert(subnet.id.clone(), subnet);
        }
    }

    /// The cloud refused so many NICs because the subnet is full.
    pub(super) fn room_is_below(&mut self, subnet: &SubnetId, nics: u32, now: BootTime) {
        if let Some(room) = self.subnets.get_mut(subnet).and_then(|s| s.room.as_mut()) {
            *room = (*room).min(nics.saturating_sub(1));
            self.room_told.insert(subnet.clone(), now);
        }
    }

    /// The room of each subnet of the pool whose room is known, and how long ago the cloud told it.
    pub(super) fn rooms(&self, now: BootTime) -> Vec<SubnetRoom> {
        let room = |subnet: &Subnet| {
            let told = self.room_told.get(&subnet.id)?;
            Some(SubnetRoom { subnet: subnet.id.clone(), nics: subnet.room?, age: now.since(*told) })
        };
        self.described().filter_map(room).collect()
    }

    /// A subnet can take so many NICs more than was thought.
    pub(super) fn room_came(&mut self, subnet: &SubnetId, nics: u32) {
        if let Some(room) = self.subnets.get_mut(subnet).and_then(|s| s.room.as_mut()) {
            *room = room.saturating_add(nics);
        }
    }

    /// Takes note of what is begun now, before any of it can end.
    pub(super) fn begin(&mut self, plan: &Plan, now: BootTime) {
        self.policy = plan.policy.clone();
        self.unserved = plan.unserved.clone();
        self.wishes.planned(&plan.refused);
        self.sharing.planned(&plan.unshared);
        let creates = plan.actions.iter().any(|action| matches!(action, Action::Create { .. }));
        // What comes after a create is gathered anew, as is what comes after a time of plenty.
        self.unmet_since = if creates { None } else { self.unmet_since };
        self.unmet_since = plan.short.then(|| self.unmet_since.unwrap_or(now));
        for action in &plan.actions {
            match action {
                Action::Attach(nics) | Action::Detach(nics) | Action::Delete(nics) => {
                    self.busy.extend(nics.iter().cloned());
                }
                Action::Create { subnet, count } => {
                    *self.choices.entry(subnet.clone()).or_default() += u64::from(*count);
                }
                Action::CreateOwn { mark, subnet } => {
                    *self.choices.entry(subnet.clone()).or_default() += u64::from(self.wishes.is_free(mark));
                }
                Action::CreateShared(subnet) => self.sharing.trying(subnet),
                Action::Lend { mark, .. } => self.wishes.looking(mark, true),
                Action::Entrust { nic, .. } => drop(self.busy.insert(nic.clone())),
                Action::CreateGateway(_) | Action::LookUp(_) | Action::Thaw(..) => {}
            }
        }
    }

    /// Draws the consequences of a create that failed in `subnet`.
    pub(super) fn create_failed(
        &mut self,
        subnet: &SubnetId,
        error: &Error,
        now: BootTime,
        config: &PoolConfig,
    ) {
        self.reason = Some((error.kind(), error.chain().to_string()));
        match error.kind() {
            ErrorKind::Quota(QuotaScope::Instance | QuotaScope::Account) | ErrorKind::Unauthorised => {
                self.hold = Hold::Until(now.after(config.set_aside));
            }
            ErrorKind::Throttled { retry_after } => {
                self.hold = Hold::Until(now.after(retry_after.unwrap_or(SHORT_ASIDE)));
            }
            kind => {
                let passing = matches!(kind, ErrorKind::Transient | ErrorKind::Internal);
                let failures = self.troubles.get(subnet).map_or(0, |t| t.failures);
                let aside = if passing {
                    (SHORT_ASIDE * 2u32.pow(failures.min(4))).min(config.set_aside)
                } else {
                    config.set_aside
                };
                let trouble = Trouble { until: now.after(aside), failures: failures + 1, passing };
                self.troubles.insert(subnet.clone(), trouble);
            }
        }
    }

    pub(super) fn create_succeeded(&mut self, subnet: &SubnetId) {
        self.troubles.remove(subnet);
        self.reason = None;
        self.quota = None;
    }

    /// The account was refused more NICs while we had so many.
    pub(super) fn quota_reached(&mut self, nics: usize) {
        self.quota = Some(u32::try_from(nics).unwrap_or(u32::MAX));
    }

    /// Whether nothing is made in the subnet at present, because of what went wrong.
    pub(super) fn is_aside(&self, subnet: &SubnetId, now: BootTime) -> bool {
        // One that is over ends with the next plan.
        matches!(self.hold, Hold::Until(at) if at > now)
            || self.troubles.get(subnet).is_some_and(|trouble| trouble.until > now)
    }

    /// When the next subnet in trouble may be tried again.
    pub(super) fn next_relief(&self, now: BootTime) -> Option<BootTime> {
        self.troubles.values().map(|t| t.until).filter(|until| *until > now).min()
    }

    /// Whether what keeps NICs from being made may pass by itself within the patience of somebody who waits.
    pub(super) fn may_pass(&self) -> bool {
        match self.hold {
            // New NICs are made as soon as the old ones are on their way out.
            _ if self.cleaning > 0 => true,
            // There may be room by now.
            _ if self.surveying || self.has_new_source() => true,
            Hold::Unsettled => true,
            Hold::Until(_) => {
                !matches!(self.reason, Some((ErrorKind::Quota(_) | ErrorKind::Unauthorised, _)))
            }
            Hold::No => self.instance.is_none() || self.troubles.values().any(|t| t.passing),
        }
    }

    /// What is left for pods to come; `before` where it cannot be told at this moment.
    pub(super) fn supply(&self, view: &PoolView, config: &PoolConfig, before: Supply) -> Supply {
        let unknown = self.instance.is_none() || self.has_new_source() || view.hold == Hold::Unsettled;
        let now = supply_of(view, config, self.may_pass());
        if unknown || view.draining || (self.surveying && now.free == 0) { before } else { now }
    }

    /// The most NICs that pods can ever have here, as far as is known.
    pub(super) fn capacity(&self, state: &State, config: &PoolConfig) -> u32 {
        let of_pods = |nic: &&NicRecord| !nic.role.is_gateway() && !nic.role.is_shared();
        let there = state.nics.values().filter(of_pods).count();
        let there = u32::try_from(there).unwrap_or(u32::MAX);
        let limit = self.instance.as_ref().map(|instance| instance.nic_limit);
        capacity(config, limit, self.quota, there, self.described().map(|subnet| subnet.room))
    }

    /// This moment, for the planner.
    pub(super) fn view(&self, state: &State, now: BootTime) -> PoolView {
        let view = |intent: &CreateIntent, running| CreateView {
            token: intent.token.clone(),
            count: intent.count,
            purpose: Purpose::from(&intent.role),
            running,
            since: intent.since,
        };
        let running = self.creates.values().map(|intent| view(intent, true));
        let lost =
            state.intents.values().filter(|i| !self.creates.contains_key(&i.token)).map(|i| view(i, false));
        PoolView {
            now,
            nics: state.nics.values().map(|nic| self.nic_view(state, nic)).collect(),
            creates: running.chain(lost).collect(),
            waiting: u32::try_from(self.waiting.len()).unwrap_or(u32::MAX),
            wishes: self.wishes.lacking(state, self),
            lending: self.wishes.looked_for(),
            unmet_since: self.unmet_since,
            subnets: self.sources.iter().map(|id| self.subnet_view(id, now)).collect(),
            gateways: self.gateways.iter().filter(|id| self.wants_gateway(state, id, now)).cloned().collect(),
            unshared: self.unshared(state, now),
            nic_limit: self.instance.as_ref().map(|i| i.nic_limit),
            hold: self.hold,
            draining: self.draining || self.cleaning > 0,
            policy: self.policy.clone(),
        }
    }

    fn subnet_view(&self, id: &SubnetId, now: BootTime) -> SubnetView {
        SubnetView {
            id: id.clone(),
            room: self.subnets.get(id).and_then(|s| s.room),
            set_aside: self.troubles.get(id).is_some_and(|t| t.until > now)
                || (self.instance.is_some() && !self.subnets.contains_key(id)),
        }
    }

    /// Whether a gateway is to be made. Subnets that the pool draws from no longer, or that one pod asked for, have one for as
    /// long as pods are there.
    fn wants_gateway(&self, state: &State, subnet: &SubnetId, now: BootTime) -> bool {
        let of_use = self.sources.contains(subnet) || self.pods_in(state, subnet) > 0;
        let aside = self.troubles.get(subnet).is_some_and(|trouble| trouble.until > now);
        of_use && !aside && self.lacks_gateway(state, subnet)
    }

    /// The subnets in which a NIC for pods to share is to be made. What keeps all from being made is the planner's to say.
    fn unshared(&self, state: &State, now: BootTime) -> Vec<SubnetId> {
        let aside = |id: &SubnetId| self.troubles.get(id).is_some_and(|trouble| trouble.until > now);
        let wanted = self.sharing.subnets(state).into_iter();
        wanted.filter(|id| !aside(id) && share::is_lacking(state, self, id)).collect()
    }

    /// Whether a subnet has no gateway, nor one on its way.
    fn lacks_gateway(&self, state: &State, subnet: &SubnetId) -> bool {
        let serves = |nic: &&NicRecord| matches!(nic.state, NicState::Attaching { .. } | NicState::Ready);
        let there = state.nics.values().filter(serves).filter(|nic| nic.role.is_gateway());
        let intended = state.intents.values().chain(self.creates.values()).filter(|i| i.role.is_gateway());
        let mut subnets = there.map(|nic| &nic.subnet.id).chain(intended.map(|intent| &intent.subnet));
        !subnets.any(|id| id == subnet)
    }

    /// Forgets the gateways that no pod has any use for.
    pub(super) fn forget_unused_gateways(&mut self, state: &State) {
        let used = |subnet: &SubnetId| self.pods_in(state, subnet) > 0;
        self.gateways = self.gateways.iter().filter(|subnet| used(subnet)).cloned().collect();
    }

    /// How many pods are, or will be, in a subnet.
    fn pods_in(&self, state: &State, subnet: &SubnetId) -> u32 {
        let recorded = state.leases.values().map(|lease| &lease.lease).chain(self.reserved.values());
        u32::try_from(recorded.filter(|lease| lease.subnet == *subnet).count()).unwrap_or(u32::MAX)
    }

    fn nic_view(&self, state: &State, nic: &NicRecord) -> NicView {
        let mut view = NicView {
            id: nic.id.clone(),
            subnet: nic.subnet.id.clone(),
            purpose: Purpose::from(&nic.role),
            state: nic.state.clone(),
            since: nic.since,
            busy: self.busy.contains(&nic.id) || self.plugged.contains_key(&nic.id),
            not_before: self.setbacks.get(&nic.id).map(|setback| setback.until),
            free: 0,
            free_since: BootTime::default(),
            held: match nic.role.pod() {
                Some(_) => u32::from(self.wishes.awaits(nic)),
                None if nic.role.is_gateway() => self.pods_in(state, &nic.subnet.id),
                None if nic.role.is_shared() => {
                    let leases = u32::try_from(state.leases_on(&nic.id).count()).unwrap_or(u32::MAX);
                    leases.saturating_add(self.sharing.pods(&nic.subnet.id))
                }
                None => 0,
            },
            addresses: u32::try_from(nic.addresses.len()).unwrap_or(u32::MAX),
            cooling: Vec::new(),
        };
        let promised = |address: &AddressRecord| {
            self.reserved.values().any(|lease| lease.nic == nic.id && lease.address.addr() == address.address)
        };
        for address in &nic.addresses {
            match &address.state {
                AddressState::Leased { .. } => view.held += 1,
                _ if promised(address) => view.held += 1,
                AddressState::Free { since } => {
                    view.free += 1;
                    view.free_since = view.free_since.max(*since);
                }
                AddressState::Cooling { since } => view.cooling.push((address.address, *since)),
                AddressState::Claimed => {}
            }
        }
        if matches!(nic.state, NicState::Ready) { view } else { NicView { free: 0, ..view } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_from_the_one_before_and_not_by_how_many_there_were() {
        let (short, long) = (Duration::from_millis(500), Duration::from_secs(5));
        let nics: [NicId; 1] = ["nic-1".parse().unwrap()];
        let mut inflight = Inflight::new(0, Vec::new());
        let mut after = |pause| {
            inflight.set_back(&nics, BootTime::default(), pause);
            inflight.setbacks[&nics[0]].until.since_boot()
        };
        // While a job may still be ending, and then for as long as lists may lag.
        let waits = [short, short, short, short, long, long, long].map(&mut after);
        assert_eq!(waits.map(|wait| wait.as_millis()), [500, 1000, 2000, 4000, 8000, 16000, 32000]);
        (0..20).for_each(|_| _ = after(long));
        assert_eq!(after(long), Duration::from_secs(640));
        assert_eq!(after(short), Duration::from_secs(64));
    }
}
