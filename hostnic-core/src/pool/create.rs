//! New NICs: asked for under a token, so that a lost answer makes no second ones.

use std::time::Duration;

use crate::clock::BootTime;
use crate::cloud::{Nic, NicFilter, NicName, Subnet, Survey};
use crate::error::{Effect, Error, ErrorKind, QuotaScope, Result};
use crate::gateway::GatewayNumber;
use crate::id::{CreateToken, InstanceId, SubnetId};
use crate::ledger::{
    AddressRecord, AddressState, CreateIntent, NicRecord, NicRole, NicState, State, SubnetRange, Write,
};
use crate::point::Point;
use crate::provider::{CreateNics, NicAddresses};
use crate::random::split_mix;

use super::Shared;
use super::config::PoolConfig;
use super::driver::Done;
use super::inflight::Inflight;

/// The pause after a survey that failed; doubled from then on.
const SURVEY_PAUSE: Duration = Duration::from_secs(5);

/// The longest pause while the cloud may come back by itself: pods wait for it.
const SURVEY_PAUSE_PASSING: Duration = Duration::from_secs(30);

/// The longest pause when somebody must correct something: asking does not help, and uses up the account's calls.
const SURVEY_PAUSE_REFUSED: Duration = Duration::from_secs(300);

/// How often the pause between two surveys is doubled that are made because NICs are short and subnets are full.
const SURVEY_DOUBLINGS: u32 = 4;

/// When the instance and the subnets are described: until that succeeds, and anew when others may have given room back,
/// of which the cloud says nothing.
#[derive(Debug, Default)]
pub(super) struct Surveys {
    last: BootTime,
    in_vain: u32,
    failures: u32,
    refused: bool,
}

impl Surveys {
    /// When the next one is due; `None` where none will be.
    pub(super) fn next(&self, inflight: &Inflight, short: bool, config: &PoolConfig) -> Option<BootTime> {
        if inflight.instance.is_none() || inflight.has_new_source() {
            return Some(if self.failures == 0 {
                BootTime::default()
            } else {
                self.last.after(self.pause())
            });
        }
        let full = inflight.sources.iter().any(|id| !inflight.takes_nics(id));
        (short && full).then(|| self.last.after(config.set_aside.saturating_mul(1 << self.in_vain)))
    }

    fn pause(&self) -> Duration {
        let longest = if self.refused { SURVEY_PAUSE_REFUSED } else { SURVEY_PAUSE_PASSING };
        SURVEY_PAUSE.saturating_mul(1 << (self.failures.saturating_sub(1)).min(8)).min(longest)
    }

    /// Takes note of one that has ended.
    pub(super) fn ended(&mut self, failed: Option<ErrorKind>, inflight: &Inflight, now: BootTime) {
        let full = !inflight.sources.iter().any(|id| inflight.takes_nics(id));
        self.in_vain = if full { (self.in_vain + 1).min(SURVEY_DOUBLINGS) } else { 0 };
        self.failures = if failed.is_some() { self.failures.saturating_add(1) } else { 0 };
        self.refused =
            failed.is_some_and(|kind| !matches!(kind, ErrorKind::Transient | ErrorKind::Throttled { .. }));
        self.last = now;
    }
}

/// Learns about the instance, its NICs and the subnets; of the subnets alone once the instance is known.
pub(super) async fn survey(shared: &Shared) -> Done {
    let provider = &shared.parts.provider;
    let (known, ids) = {
        let inflight = shared.inflight();
        (inflight.instance.is_some(), inflight.sources.clone())
    };
    let answer = if known {
        let subnets = provider.at(Point::SurveySubnets, |cloud| cloud.subnets(&ids)).await;
        subnets.map(|subnets| learn(shared, &ids, subnets))
    } else {
        let survey = provider.at(Point::Survey, |cloud| cloud.survey(&ids)).await;
        survey.map(|survey| begin(shared, &ids, survey))
    };
    let failed = answer.err().map(|error| {
        tracing::warn!(error = %error.chain(), "the cloud does not describe this instance and its subnets; trying again");
        if !known {
            shared.inflight().reason = Some((error.kind(), error.chain().to_string()));
        }
        error.kind()
    });
    Done::Survey { failed }
}

/// Takes note of the first description.
fn begin(shared: &Shared, asked: &[SubnetId], survey: Survey) {
    learn(shared, asked, survey.subnets);
    let mut inflight = shared.inflight();
    inflight.attached = Some((shared.now(), survey.attached));
    inflight.instance = Some(survey.instance);
}

/// Takes note of how the subnets are now that were asked about.
pub(super) fn learn(shared: &Shared, asked: &[SubnetId], subnets: Vec<Subnet>) {
    let missing = |id: &&SubnetId| !subnets.iter().any(|s| s.id == **id);
    let missing: Vec<&SubnetId> = asked.iter().filter(missing).collect();
    for subnet in &missing {
        tracing::error!(%subnet, "the cloud knows no such subnet; correct the configuration");
    }
    let now = shared.now();
    let mut inflight = shared.inflight();
    let nowhere = inflight.described().next().is_none();
    if subnets.is_empty() && !missing.is_empty() {
        let ids = missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let why = format!("the cloud knows no such subnet: {ids}; correct the configuration");
        inflight.reason = Some((ErrorKind::NotFound, why));
    } else if nowhere {
        // Whatever kept the cloud from being reached, or the subnets from being found, is over.
        inflight.reason = None;
    }
    inflight.learn(asked, subnets, now);
}

/// Decides on a create: from here on it counts.
pub(super) fn intend(shared: &Shared, subnet: SubnetId, count: u32, role: NicRole) -> CreateIntent {
    let intent = CreateIntent { token: next_token(shared), subnet, count, since: shared.now(), role };
    let mut inflight = shared.inflight();
    if let Some(room) = inflight.subnets.get_mut(&intent.subnet).and_then(|s| s.room.as_mut()) {
        *room = room.saturating_sub(count);
    }
    inflight.creates.insert(intent.token.clone(), intent.clone());
    intent
}

/// The number of the next gateway.
pub(super) fn next_gateway(shared: &Shared) -> GatewayNumber {
    let inflight = shared.inflight();
    shared.parts.ledger.read(|state| {
        // Those whose intent is not recorded yet are taken as well.
        let mut state =
            State { intents: state.intents.clone(), nics: state.nics.clone(), ..State::default() };
        state.intents.extend(inflight.creates.clone());
        state.next_gateway()
    })
}

fn next_token(shared: &Shared) -> CreateToken {
    let mut state = shared.tokens.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (high, next) = split_mix(*state);
    let (low, next) = split_mix(next);
    *state = next;
    let mut bits = [0; 10];
    bits[..8].copy_from_slice(&high.to_be_bytes());
    bits[8..].copy_from_slice(&low.to_be_bytes()[..2]);
    CreateToken::from_bits(bits)
}

/// Carries the create out.
pub(super) async fn create(shared: &Shared, intent: &CreateIntent) -> Result<()> {
    let result = ask(shared, intent).await;
    shared.inflight().creates.remove(&intent.token);
    result
}

async fn ask(shared: &Shared, intent: &CreateIntent) -> Result<()> {
    // The planner makes nothing before it is known.
    let Some(instance) = shared.inflight().instance.clone() else { return Ok(()) };
    // A subnet that only one pod asked for may have been described to an earlier life.
    let subnet = match describe(shared, &intent.subnet).await {
        Ok(Some(subnet)) => subnet,
        Ok(None) => {
            let unknown = Error::new(ErrorKind::NotFound, "describe", &intent.subnet);
            return never_sent(shared, intent, &unknown);
        }
        Err(error) => return never_sent(shared, intent, &error),
    };
    let addresses = NicAddresses::Assigned(shared.config.addresses_per_nic);
    match order(shared, intent, instance.id, addresses).await? {
        Ok(nics) => {
            shared.inflight().create_succeeded(&intent.subnet);
            record(shared, intent, &subnet, &nics).await
        }
        Err(error) => refused(shared, intent, &error).await,
    }
}

/// Writes the intent down, then asks the cloud. The outer error is the ledger's, the inner one the cloud's.
pub(super) async fn order(
    shared: &Shared,
    intent: &CreateIntent,
    instance: InstanceId,
    addresses: NicAddresses,
) -> Result<Result<Vec<Nic>>> {
    let intended = vec![Write::PutIntent(intent.clone())];
    shared.parts.ledger.transact(Point::RecordIntent, |_| Ok((intended, ()))).await?;
    let request = CreateNics {
        subnet: intent.subnet.clone(),
        count: intent.count,
        name: NicName { instance, token: Some(intent.token.clone()) },
        addresses,
    };
    Ok(shared.parts.provider.at(Point::CreateNics, |cloud| cloud.create_nics(&request)).await)
}

/// What was not written down needs no looking up.
pub(super) fn never_sent(shared: &Shared, intent: &CreateIntent, error: &Error) -> Result<()> {
    tracing::warn!(error = %error.chain(), subnet = %intent.subnet, "no NICs can be created");
    unintended(shared, intent);
    shared.inflight().create_failed(&intent.subnet, error, shared.now(), &shared.config);
    Ok(())
}

/// Takes an intent back of which nothing has come.
pub(super) fn unintended(shared: &Shared, intent: &CreateIntent) {
    shared.inflight().room_came(&intent.subnet, intent.count);
}

/// A subnet, from what is known or from the cloud; `None` where the cloud knows no such subnet.
pub(super) async fn describe(shared: &Shared, id: &SubnetId) -> Result<Option<Subnet>> {
    if let Some(known) = shared.inflight().subnets.get(id).cloned() {
        return Ok(Some(known));
    }
    let asked = [id.clone()];
    let subnets = shared.parts.provider.at(Point::DescribeWished, |cloud| cloud.subnets(&asked)).await?;
    let now = shared.now();
    let mut inflight = shared.inflight();
    inflight.learn(&asked, subnets, now);
    Ok(inflight.subnets.get(id).cloned())
}

pub(super) async fn refused(shared: &Shared, intent: &CreateIntent, error: &Error) -> Result<()> {
    tracing::warn!(error = %error.chain(), subnet = %intent.subnet, count = intent.count, "NICs could not be created");
    {
        let (now, mut inflight) = (shared.now(), shared.inflight());
        inflight.create_failed(&intent.subnet, error, now, &shared.config);
        inflight.room_came(&intent.subnet, intent.count);
        quota(shared, &mut inflight, error);
        if error.kind() == ErrorKind::Quota(QuotaScope::Subnet) {
            inflight.room_is_below(&intent.subnet, intent.count, now);
        }
    }
    match error.effect() {
        // The NICs may exist: the intent stays until they were looked up.
        Effect::Unknown => Ok(()),
        Effect::None => forget(shared, &intent.token).await,
    }
}

/// Takes note of how many NICs the account may have, where that is why it was refused more.
pub(super) fn quota(shared: &Shared, inflight: &mut Inflight, error: &Error) {
    if error.kind() == ErrorKind::Quota(QuotaScope::Account) {
        let of_pods = |nic: &&NicRecord| !nic.role.is_gateway() && !nic.role.is_shared();
        let there = |state: &State| state.nics.values().filter(of_pods).count();
        inflight.quota_reached(shared.parts.ledger.read(there));
    }
}

pub(super) async fn forget(shared: &Shared, token: &CreateToken) -> Result<()> {
    let dropped = vec![Write::DropIntent(token.clone())];
    shared.parts.ledger.transact(Point::DropIntent, |_| Ok((dropped, ()))).await
}

/// In one step: the intent is fulfilled, and the NICs are on their way in.
pub(super) async fn record(
    shared: &Shared,
    intent: &CreateIntent,
    subnet: &Subnet,
    nics: &[Nic],
) -> Result<()> {
    let now = shared.now();
    let range = SubnetRange::from(subnet);
    let mut writes = vec![Write::DropIntent(intent.token.clone())];
    writes.extend(nics.iter().map(|nic| {
        let claimed =
            |address: &std::net::IpAddr| AddressRecord { address: *address, state: AddressState::Claimed };
        let own = nic.addresses.iter().filter(|_| !intent.role.is_shared());
        Write::PutNic(NicRecord {
            id: nic.id.clone(),
            mac: nic.mac,
            subnet: range.clone(),
            token: Some(intent.token.clone()),
            role: intent.role.clone(),
            state: NicState::Attaching { job: None, failures: 0 },
            since: now,
            // What pods share has none of its own, whatever the cloud may have given it since.
            addresses: own.map(claimed).collect(),
        })
    }));
    shared.parts.ledger.transact(Point::RecordNics, |_| Ok((writes, ()))).await
}

/// Counts the look-up as under way, so that it is not planned again.
pub(super) fn looking_up(shared: &Shared, token: &CreateToken) {
    let intent = shared.parts.ledger.read(|state| state.intents.get(token).cloned());
    shared.inflight().creates.extend(intent.map(|intent| (token.clone(), intent)));
}

/// Finds out what became of a create whose answer was lost.
pub(super) async fn look_up(shared: &Shared, token: &CreateToken) -> Result<()> {
    let result = find(shared, token).await;
    shared.inflight().creates.remove(token);
    result
}

async fn find(shared: &Shared, token: &CreateToken) -> Result<()> {
    let Some(intent) = shared.parts.ledger.read(|state| state.intents.get(token).cloned()) else {
        return Ok(());
    };
    let instance = shared.inflight().instance.clone();
    let Some(instance) = instance else { return wait(shared, intent).await };
    let name = NicName { instance: instance.id, token: Some(token.clone()) };
    let filter = NicFilter { name: Some(name), ..NicFilter::default() };
    let provider = &shared.parts.provider;
    match provider.at(Point::LookUpCreated, |cloud| cloud.list_nics(&filter)).await {
        Ok(nics) if nics.is_empty() => forget(shared, token).await,
        Ok(nics) => match describe(shared, &intent.subnet).await {
            Ok(Some(subnet)) => record(shared, &intent, &subnet, &nics).await,
            // The comparison finds the NICs and gives them back.
            Ok(None) => forget(shared, token).await,
            Err(_) => wait(shared, intent).await,
        },
        Err(error) if error.kind() == ErrorKind::NotFound => forget(shared, token).await,
        Err(error) => {
            tracing::warn!(error = %error.chain(), %token, "a create could not be looked up; it is looked up again");
            wait(shared, intent).await
        }
    }
}

/// Lets the planner look again after the visibility delay.
async fn wait(shared: &Shared, mut intent: CreateIntent) -> Result<()> {
    intent.since = shared.now();
    let later = vec![Write::PutIntent(intent)];
    shared.parts.ledger.transact(Point::PostponeIntent, |_| Ok((later, ()))).await
}
