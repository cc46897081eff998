//! The conformance suite catches providers that are broken in one way each, by the case that is about it.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hostnic_core::cloud::{
    Instance, Job, JobState, Nic, NicAttachment, NicFilter, NicName, Submitted, Subnet,
};
use hostnic_core::conformance::{Harness, Report, World, run};
use hostnic_core::id::{JobId, NicId, SubnetId};
use hostnic_core::provider::{Capabilities, CreateNics};
use hostnic_core::sim::{Cloud, Durations, Operation, SimProvider};
use hostnic_core::{Error, ErrorKind, NicProvider, Result};

/// The one thing that is wrong with a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    None,
    CreateAnswersOneIdTwice,
    CreateIgnoresCount,
    AttachAgainSucceeds,
    DetachOfUnknownFails,
    ListDropsAllBeyondAHundred,
    ListMissesAFilter,
    UnknownJobIsDone,
    DeleteOfAttachedSucceeds,
    DroppedCreateLeavesNoToken,
    QuotaIsTransient,
}

/// The simulated cloud with a defect.
#[derive(Debug, Clone)]
struct Broken {
    sim: SimProvider,
    defect: Defect,
}

impl Broken {
    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    /// Where the NICs are that exist.
    async fn places(&self, nics: &[NicId]) -> Result<Vec<NicAttachment>> {
        let filter = NicFilter { ids: Some(nics.to_vec()), ..NicFilter::default() };
        Ok(self.sim.list_nics(&filter).await?.into_iter().map(|nic| nic.attachment).collect())
    }
}

#[async_trait]
impl NicProvider for Broken {
    fn capabilities(&self) -> Capabilities {
        self.sim.capabilities()
    }

    async fn instance(&self) -> Result<Instance> {
        self.sim.instance().await
    }

    async fn subnets(&self, ids: &[SubnetId]) -> Result<Vec<Subnet>> {
        self.sim.subnets(ids).await
    }

    async fn create_nics(&self, request: &CreateNics) -> Result<Vec<Nic>> {
        let mut request = request.clone();
        if self.is(Defect::CreateIgnoresCount) {
            request.count = request.count.min(1);
        }
        if self.is(Defect::DroppedCreateLeavesNoToken) {
            // It names what it made in a second step, which a dropped call never comes to.
            let unnamed =
                CreateNics { name: NicName { token: None, ..request.name.clone() }, ..request.clone() };
            let nics = self.sim.create_nics(&unnamed).await?;
            let ids: Vec<_> = nics.into_iter().map(|nic| nic.id).collect();
            for ids in ids.chunks(100) {
                self.sim.delete_nics(ids).await?;
            }
        }
        let mut nics = self.sim.create_nics(&request).await.map_err(|error| match error.kind() {
            ErrorKind::Quota(_) if self.is(Defect::QuotaIsTransient) => {
                Error::new(ErrorKind::Transient, "create NICs", &request.subnet).source(error)
            }
            _ => error,
        })?;
        if let [first, .., last] = &mut nics[..]
            && self.is(Defect::CreateAnswersOneIdTwice)
        {
            last.id = first.id.clone();
        }
        Ok(nics)
    }

    async fn attach_nics(&self, nics: &[NicId]) -> Result<Submitted> {
        if self.is(Defect::AttachAgainSucceeds) {
            let here = self.sim.instance().await?.id;
            let places = self.places(nics).await?;
            if !places.is_empty() && places.iter().all(|place| place.instance() == Some(&here)) {
                return Ok(Submitted::Complete);
            }
        }
        self.sim.attach_nics(nics).await
    }

    async fn detach_nics(&self, nics: &[NicId]) -> Result<Submitted> {
        if self.is(Defect::DetachOfUnknownFails) && self.places(nics).await?.len() < nics.len() {
            return Err(Error::new(ErrorKind::NotFound, "detach NICs", "one of them"));
        }
        self.sim.detach_nics(nics).await
    }

    async fn delete_nics(&self, nics: &[NicId]) -> Result<()> {
        if self.is(Defect::DeleteOfAttachedSucceeds) {
            let attached = |place: &NicAttachment| *place != NicAttachment::Available;
            if self.places(nics).await?.iter().any(attached) {
                return Ok(());
            }
        }
        self.sim.delete_nics(nics).await
    }

    async fn list_nics(&self, filter: &NicFilter) -> Result<Vec<Nic>> {
        let mut filter = filter.clone();
        if self.is(Defect::ListMissesAFilter) && filter.subnets.is_some() {
            filter.available = false;
        }
        let mut nics = self.sim.list_nics(&filter).await?;
        if self.is(Defect::ListDropsAllBeyondAHundred) {
            nics.truncate(100);
        }
        Ok(nics)
    }

    async fn jobs(&self, jobs: &[JobId]) -> Result<Vec<Job>> {
        let mut jobs = self.sim.jobs(jobs).await?;
        for job in &mut jobs {
            if self.is(Defect::UnknownJobIsDone) && job.state == JobState::Unknown {
                job.state = JobState::Succeeded;
            }
        }
        Ok(jobs)
    }
}

/// A world of a new cloud.
fn world(defect: Defect) -> Result<(Cloud, World)> {
    let second = Duration::from_secs(1);
    let cloud = Cloud::builder()
        .durations(Durations { attach: second, detach: second, reserve: second })
        .latency(Operation::CreateNics, Duration::from_millis(20))
        .subnet("vxnet-1", "10.1.0.0/16")
        .subnet("vxnet-2", "10.2.0.0/24")
        // Its one address is that of the second instance.
        .subnet("vxnet-full", "10.3.0.0/30")
        .instance("i-1")
        .instance("i-2")
        .primary_nic("i-2", "vxnet-full")
        .build()?;
    let sim = cloud.node(&"i-1".parse()?);
    let subnets = vec!["vxnet-1".parse()?, "vxnet-2".parse()?];
    let mut world = World::new(Arc::new(Broken { sim, defect }), subnets, 1);
    world.room = 240;
    world.full_subnet = Some("vxnet-full".parse()?);
    world.second_instance = Some(Arc::new(cloud.node(&"i-2".parse()?)));
    Ok((cloud, world))
}

/// A new cloud for each case.
struct Workshop(Defect);

#[async_trait]
impl Harness for Workshop {
    async fn world(&self) -> Result<World> {
        Ok(world(self.0)?.1)
    }
}

/// The same cloud for all cases, as with a real one.
struct Shared(World);

#[async_trait]
impl Harness for Shared {
    async fn world(&self) -> Result<World> {
        Ok(self.0.clone())
    }
}

fn report(defect: Defect) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(run(&Workshop(defect)))
}

/// The suite fails for the provider with `defect`, first of all by the case that is about it; `also` are the others
/// that it cannot pass.
fn is_caught(defect: Defect, by: &'static str, also: &[&'static str]) {
    let report = report(defect);
    assert!(!report.conforms());
    let failed: Vec<_> = report.failed().map(|(name, _)| name).collect();
    assert_eq!(failed, [&[by], also].concat(), "{report}");
}

#[test]
fn the_provider_without_a_defect_conforms() {
    let report = report(Defect::None);
    assert!(report.conforms(), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_cloud_is_left_as_it_was_also_after_cases_that_fail() {
    for defect in [Defect::None, Defect::ListDropsAllBeyondAHundred] {
        let (cloud, world) = world(defect).unwrap();
        let before = cloud.snapshot();
        let report = run(&Shared(world)).await;
        assert_eq!(report.conforms(), defect == Defect::None, "{report}");
        assert_eq!(cloud.snapshot(), before, "{defect:?}");
    }
}

#[test]
fn a_create_that_answers_one_id_twice_is_caught() {
    is_caught(
        Defect::CreateAnswersOneIdTwice,
        "lifecycle::created_nics_have_ids_macs_and_addresses_of_their_own",
        &["jobs::calls_at_the_same_time_do_not_disturb_each_other"],
    );
}

#[test]
fn a_create_that_ignores_the_count_is_caught() {
    is_caught(
        Defect::CreateIgnoresCount,
        "lifecycle::create_makes_exactly_count_nics",
        &[
            "errors::creating_more_than_a_batch_is_never_cut",
            "jobs::calls_at_the_same_time_do_not_disturb_each_other",
            "batches::a_full_batch_is_created_and_deleted",
        ],
    );
}

#[test]
fn an_attach_that_succeeds_again_is_caught() {
    is_caught(Defect::AttachAgainSucceeds, "errors::attaching_an_attached_nic_is_a_conflict", &[]);
}

#[test]
fn a_detach_that_fails_for_the_unknown_is_caught() {
    is_caught(Defect::DetachOfUnknownFails, "idempotency::detaching_what_is_unknown_counts_as_done", &[]);
}

#[test]
fn a_list_that_ends_after_a_hundred_is_caught() {
    is_caught(Defect::ListDropsAllBeyondAHundred, "listing::more_than_a_hundred_nics_are_all_listed", &[]);
}

#[test]
fn a_list_that_misses_one_filter_where_another_is_set_is_caught() {
    is_caught(Defect::ListMissesAFilter, "listing::each_filter_and_each_combination_lists_what_matches", &[]);
}

#[test]
fn an_unknown_job_that_is_told_as_done_is_caught() {
    is_caught(Defect::UnknownJobIsDone, "jobs::an_unknown_job_is_unknown", &[]);
}

#[test]
fn a_delete_that_succeeds_for_the_attached_is_caught() {
    is_caught(Defect::DeleteOfAttachedSucceeds, "errors::deleting_an_attached_nic_is_a_conflict", &[]);
}

#[test]
fn a_dropped_create_that_leaves_nics_without_their_token_is_caught() {
    is_caught(
        Defect::DroppedCreateLeavesNoToken,
        "cancellation::a_dropped_create_leaves_only_nics_with_its_name",
        &[],
    );
}

#[test]
fn a_quota_that_is_reported_as_transient_is_caught() {
    is_caught(Defect::QuotaIsTransient, "quota::a_full_subnet_is_told_as_such", &[]);
}
