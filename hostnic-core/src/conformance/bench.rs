//! What a case works with: the world, NICs of its own, patience, and a broom.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cloud::{JobState, Nic, NicAttachment, NicFilter, NicName, Submitted};
use crate::conformance::contract::Clause;
use crate::conformance::report::{Outcome, Stop};
use crate::conformance::world::{Harness, World};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{CreateToken, InstanceId, JobId, NicId, SubnetId};
use crate::provider::{CreateNics, NicAddresses, NicProvider};
use crate::random::split_mix;

/// A world, and the names of all that one case made in it.
pub(super) struct Bench<'a> {
    harness: &'a dyn Harness,
    pub(super) world: World,
    /// The instance that the provider is of.
    pub(super) here: InstanceId,
    names: Mutex<Names>,
}

struct Names {
    draw: u64,
    used: Vec<NicName>,
}

/// Where NICs should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Here,
    Nowhere,
    Gone,
}

impl<'a> Bench<'a> {
    /// `case` makes names that no other case of the run has.
    pub(super) async fn new(harness: &'a dyn Harness, world: World, case: &str) -> Outcome<Self> {
        if world.subnets.is_empty() {
            return Err(Stop::SetUp("the world has no subnet".to_owned()));
        }
        let here = ready("describing the instance", world.provider.instance().await)?.id;
        let draw = case.bytes().fold(world.seed, |draw, byte| split_mix(draw ^ u64::from(byte)).0);
        Ok(Self { harness, world, here, names: Mutex::new(Names { draw, used: Vec::new() }) })
    }

    pub(super) fn provider(&self) -> &dyn NicProvider {
        &*self.world.provider
    }

    pub(super) fn subnet(&self) -> &SubnetId {
        // Bench::new has seen that there is one.
        &self.world.subnets[0]
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name that nothing has yet, remembered for the broom.
    pub(super) fn name(&self) -> NicName {
        let mut names = self.names();
        let mut bits = [0; 10];
        for chunk in bits.chunks_mut(8) {
            let (number, draw) = split_mix(names.draw);
            names.draw = draw;
            chunk.copy_from_slice(&number.to_le_bytes()[..chunk.len()]);
        }
        let name = NicName { instance: self.here.clone(), token: Some(CreateToken::from_bits(bits)) };
        names.used.push(name.clone());
        name
    }

    /// NICs as plain as the cloud makes them, in the first subnet, under a new name.
    pub(super) fn request(&self, count: u32) -> CreateNics {
        self.request_in(self.subnet(), count)
    }

    pub(super) fn request_in(&self, subnet: &SubnetId, count: u32) -> CreateNics {
        let addresses = match self.provider().capabilities().addresses_per_nic {
            0 => NicAddresses::None,
            _ => NicAddresses::Assigned(1),
        };
        CreateNics { subnet: subnet.clone(), count, name: self.name(), addresses }
    }

    pub(super) async fn wait(&self, time: Duration) {
        self.harness.wait(time).await;
    }

    /// Creates NICs to work with, as many as asked for.
    pub(super) async fn create(&self, request: &CreateNics) -> Outcome<Vec<Nic>> {
        let nics = ready("creating NICs", self.provider().create_nics(request).await)?;
        let made = nics.iter().map(|nic| &nic.id).collect::<BTreeSet<_>>().len();
        if made == usize_of(request.count) && nics.len() == made {
            return Ok(nics);
        }
        Err(Stop::SetUp(format!("{} NICs were to be created; the answer has {made} ids", request.count)))
    }

    /// NICs to work with, attached nowhere and listed, in as many calls as it takes.
    pub(super) async fn made(&self, count: u32) -> Outcome<Vec<NicId>> {
        self.made_in(self.subnet(), count).await
    }

    pub(super) async fn made_in(&self, subnet: &SubnetId, count: u32) -> Outcome<Vec<NicId>> {
        let batch = self.provider().capabilities().create_batch.max(1);
        let mut made = Vec::new();
        while made.len() < usize_of(count) {
            let next = batch.min(count.saturating_sub(u32_of(made.len())));
            let nics = self.create(&self.request_in(subnet, next)).await?;
            made.extend(nics.into_iter().map(|nic| nic.id));
        }
        if self.reach(&made, Place::Nowhere, self.world.lag).await?.is_some() {
            return Err(Stop::SetUp("what was created is not listed by id".to_owned()));
        }
        Ok(made)
    }

    /// NICs to work with, attached here.
    pub(super) async fn attached(&self, count: u32) -> Outcome<Vec<NicId>> {
        let nics = self.made(count).await?;
        self.attach(&nics).await?;
        Ok(nics)
    }

    /// Attaches NICs, in as many calls as it takes, and waits until they are.
    pub(super) async fn attach(&self, nics: &[NicId]) -> Outcome {
        for nics in nics.chunks(self.batch()) {
            let submitted = ready("attaching NICs", self.provider().attach_nics(nics).await)?;
            match self.arrive(self.provider(), submitted, nics, Place::Here).await? {
                None => {}
                Some(seen) => return Err(Stop::SetUp(format!("NICs could not be attached: {seen}"))),
            }
        }
        Ok(())
    }

    /// The most things that one call takes.
    pub(super) fn batch(&self) -> usize {
        usize_of(self.provider().capabilities().batch.max(1))
    }

    /// Waits until a job has ended, which `provider` began.
    pub(super) async fn end(&self, provider: &dyn NicProvider, job: &JobId) -> Outcome<JobState> {
        let mut waited = Duration::ZERO;
        loop {
            let jobs = ready("asking about a job", provider.jobs(std::slice::from_ref(job)).await)?;
            match jobs.into_iter().find(|answer| answer.id == *job).map(|answer| answer.state) {
                None => return Err(Stop::SetUp(format!("asked about {job}, the cloud says nothing of it"))),
                Some(JobState::Running) if waited < self.world.patience => {}
                Some(state) => return Ok(state),
            }
            self.wait(self.world.poll).await;
            waited += self.world.poll;
        }
    }

    /// Waits until what was submitted is done, and `nics` are listed where they should be. What is wrong otherwise.
    pub(super) async fn arrive(
        &self,
        provider: &dyn NicProvider,
        submitted: Submitted,
        nics: &[NicId],
        place: Place,
    ) -> Outcome<Option<String>> {
        let allowance = match submitted {
            Submitted::Complete => self.world.lag,
            Submitted::Job(job) => match self.end(provider, &job).await? {
                JobState::Succeeded => self.world.lag,
                // A forgotten job tells nothing: the NICs themselves do, in their own time.
                JobState::Unknown => self.world.lag + self.world.patience,
                JobState::Running => {
                    return Ok(Some(format!("{job} runs for more than {:?}", self.world.patience)));
                }
                JobState::Failed { reason, .. } => return Ok(Some(format!("{job} failed: {reason}"))),
            },
        };
        self.reach(nics, place, allowance).await
    }

    /// Waits at most so long until `nics` are listed where they should be. What is wrong otherwise.
    pub(super) async fn reach(
        &self,
        nics: &[NicId],
        place: Place,
        within: Duration,
    ) -> Outcome<Option<String>> {
        let mut waited = Duration::ZERO;
        loop {
            let listed = self.by_id(nics).await?;
            let wrong = nics.iter().find(|id| !self.is_at(listed.get(id), place));
            let Some(wrong) = wrong else { return Ok(None) };
            if waited >= within {
                let seen = listed.get(wrong).map(|nic| &nic.attachment);
                return Ok(Some(format!("{wrong} is listed as {seen:?}, not {place:?}")));
            }
            self.wait(self.world.poll).await;
            waited += self.world.poll;
        }
    }

    /// Checks, after the lists' lag, that NICs are still where they were.
    pub(super) async fn unmoved(&self, clause: Clause, nics: &[NicId], place: Place) -> Outcome {
        self.wait(self.world.lag).await;
        match self.reach(nics, place, Duration::ZERO).await? {
            None => Ok(()),
            Some(seen) => Err(clause.broken(seen)),
        }
    }

    /// Checks, after the lists' lag, that nothing was made under a name.
    pub(super) async fn nothing_named(&self, clause: Clause, name: &NicName) -> Outcome {
        self.wait(self.world.lag).await;
        let made = ready("listing NICs by name", self.named(name).await)?;
        clause.check(made.is_empty(), || format!("{} NICs were made all the same", made.len()))
    }

    fn is_at(&self, nic: Option<&Nic>, place: Place) -> bool {
        match place {
            Place::Gone => nic.is_none(),
            Place::Nowhere => nic.is_some_and(|nic| nic.attachment == NicAttachment::Available),
            Place::Here => nic.is_some_and(|nic| nic.attachment.instance() == Some(&self.here)),
        }
    }

    async fn by_id(&self, ids: &[NicId]) -> Outcome<BTreeMap<NicId, Nic>> {
        let mut listed = BTreeMap::new();
        for ids in ids.chunks(self.batch()) {
            let filter = NicFilter { ids: Some(ids.to_vec()), ..NicFilter::default() };
            let nics = ready("listing NICs by id", self.provider().list_nics(&filter).await)?;
            listed.extend(nics.into_iter().map(|nic| (nic.id.clone(), nic)));
        }
        Ok(listed)
    }

    async fn named(&self, name: &NicName) -> Result<Vec<Nic>> {
        let filter = NicFilter { name: Some(name.clone()), ..NicFilter::default() };
        let mut nics = self.provider().list_nics(&filter).await?;
        // A provider that overlooks the filter must not have us delete what is not ours.
        nics.retain(|nic| nic.name == name.to_string());
        Ok(nics)
    }

    /// Removes all that carries a name of this case. What is left, where something is.
    pub(super) async fn sweep(&self) -> Result<(), String> {
        let names = std::mem::take(&mut self.names().used);
        let mut waited = Duration::ZERO;
        for name in names {
            loop {
                // First what is under way must show, or it would be overlooked.
                self.wait(self.world.lag).await;
                let swept = self.sweep_named(&name).await;
                match swept {
                    Ok(0) => break,
                    Ok(_) | Err(_) if waited < self.world.patience => {}
                    Ok(left) => return Err(format!("{left} NICs named {name} are left")),
                    Err(error) => return Err(format!("NICs named {name} are left: {}", error.chain())),
                }
                self.wait(self.world.poll).await;
                waited += self.world.lag + self.world.poll;
            }
        }
        Ok(())
    }

    /// Takes one step towards removing the NICs of a name, and tells how many there were.
    async fn sweep_named(&self, name: &NicName) -> Result<usize> {
        let nics = self.named(name).await?;
        for nics in nics.chunks(self.batch()) {
            let ids = |attached_to: Option<&InstanceId>| -> Vec<NicId> {
                let there = nics.iter().filter(|nic| nic.attachment.instance() == attached_to);
                there.map(|nic| nic.id.clone()).collect()
            };
            let available = ids(None);
            if !available.is_empty() {
                self.provider().delete_nics(&available).await?;
            }
            let here = ids(Some(&self.here));
            if !here.is_empty() {
                // Its end shows in the next list.
                let _begun = self.provider().detach_nics(&here).await?;
            }
            if let Some(second) = &self.world.second_instance {
                let there = ids(Some(&second.instance().await?.id));
                if !there.is_empty() {
                    let _begun = second.detach_nics(&there).await?;
                }
            }
        }
        Ok(nics.len())
    }
}

/// What a case needs before it comes to its point.
pub(super) fn ready<T>(step: &str, result: Result<T>) -> Outcome<T> {
    result.map_err(|error| Stop::SetUp(format!("{step} failed: {}", error.chain())))
}

/// What a case is about works, or the clause is broken.
pub(super) fn works<T>(clause: Clause, result: Result<T>) -> Outcome<T> {
    result.map_err(|error| clause.broken(format!("the call failed: {} ({:?})", error.chain(), error.kind())))
}

/// What a case is about is refused with an error of this kind, or the clause is broken.
pub(super) fn refused<T: std::fmt::Debug>(
    clause: Clause,
    result: Result<T>,
    kind: ErrorKind,
) -> Outcome<Error> {
    match result {
        Err(error) if error.kind() == kind => Ok(error),
        Err(error) => {
            let seen = error.kind();
            Err(clause.broken(format!("the error is {seen:?}, not {kind:?}: {}", error.chain())))
        }
        Ok(answer) => Err(clause.broken(format!("the call succeeded with {answer:?}"))),
    }
}

/// The number as `usize`; numbers of NICs fit.
pub(super) fn usize_of(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// The number as `u32`; numbers of NICs fit.
pub(super) fn u32_of(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
