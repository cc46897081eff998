//! The cloud from its own side, its time, and what is saved of it.

use std::time::Duration;

use hostnic_core::ErrorKind;
use hostnic_core::cloud::{JobState, NicAttachment, Submitted};
use hostnic_core::id::{InstanceId, JobId, NicId};
use hostnic_core::provider::NicAddresses;
use hostnic_core::sim::{Cloud, CloudBuilder, Durations, Fate, SavedCloud, Selection};

const JOB: Duration = Duration::from_secs(3600);

fn described() -> CloudBuilder {
    let durations = Durations { attach: JOB, detach: JOB, reserve: JOB };
    Cloud::builder().seed(3).subnet("vxnet-1", "10.0.0.0/24").instance("i-1").durations(durations)
}

fn job(submitted: Submitted) -> JobId {
    match submitted {
        Submitted::Job(id) => id,
        Submitted::Complete => panic!("no job was begun"),
    }
}

fn attaching(cloud: &Cloud) -> (NicId, JobId) {
    let control = cloud.control();
    let subnet = "vxnet-1".parse().unwrap();
    let nic = control.create_nics(&subnet, "any name", 1, &NicAddresses::Assigned(1)).unwrap().remove(0);
    let instance: InstanceId = "i-1".parse().unwrap();
    let begun = control.attach_nics(&instance, std::slice::from_ref(&nic.id), Fate::Succeed).unwrap();
    (nic.id, job(begun))
}

#[tokio::test(start_paused = true)]
async fn a_job_ends_when_the_time_that_it_takes_is_skipped() {
    let cloud = described().build().unwrap();
    let (nic, job) = attaching(&cloud);
    assert_eq!(cloud.control().job(&job).unwrap().state, JobState::Running);
    cloud.advance(JOB);
    assert_eq!(cloud.control().job(&job).unwrap().state, JobState::Succeeded);
    let record = cloud.control().nics().remove(0);
    assert_eq!((record.nic.id, record.sequence, record.changed), (nic, 1, JOB));
}

#[tokio::test(start_paused = true)]
async fn what_was_saved_goes_on_where_it_was_left() {
    let cloud = described().build().unwrap();
    let (nic, job) = attaching(&cloud);
    let written = serde_json::to_string(&cloud.save()).unwrap();
    let saved: SavedCloud = serde_json::from_str(&written).unwrap();

    let early = described().resume(saved.clone(), JOB / 2).build().unwrap();
    assert_eq!(early.control().job(&job).unwrap().state, JobState::Running);
    let resumed = described().resume(saved, JOB).build().unwrap();
    assert_eq!(resumed.control().job(&job).unwrap().state, JobState::Succeeded);
    let instance = "i-1".parse().unwrap();
    assert_eq!(
        resumed.control().nics()[0].nic.attachment,
        NicAttachment::Attached { instance, primary: false }
    );
    // Names and addresses are not given a second time.
    assert_ne!(attaching(&resumed).0, nic);
    assert_ne!(resumed.control().nics()[0].nic.addresses, resumed.control().nics()[1].nic.addresses);
}

#[tokio::test(start_paused = true)]
async fn reserving_is_all_or_nothing_however_addresses_are_selected() {
    let cloud = described().build().unwrap();
    let (control, subnet) = (cloud.control(), "vxnet-1".parse().unwrap());
    let room = || control.subnets()[0].room;
    let before = room();
    let address = |last: u8| format!("10.0.0.{last}").parse().unwrap();
    let refused = |selection| control.reserve(&subnet, "n", &selection, Fate::Succeed).unwrap_err().kind();
    assert_eq!(refused(Selection::Chosen(vec![address(7), address(7)])), ErrorKind::Invalid);
    assert_eq!(refused(Selection::Range(address(9), address(7))), ErrorKind::Invalid);
    assert!(matches!(refused(Selection::Next(300)), ErrorKind::Quota(_)));
    assert_eq!(room(), before);

    let (ids, _) = control.reserve(&subnet, "n", &Selection::Next(2), Fate::Succeed).unwrap();
    assert_eq!(control.reservations(), []);
    cloud.advance(JOB);
    assert_eq!(control.reservations().len(), ids.len());
    assert_eq!(refused(Selection::Chosen(vec![address(20), address(2)])), ErrorKind::Conflict);
}
