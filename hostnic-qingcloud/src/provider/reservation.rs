//! Addresses that nobody else gets.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use async_trait::async_trait;
use hostnic_core::capability::{AddressReservation, ReservedAddress};
use hostnic_core::cloud::{JobState, Submitted};
use hostnic_core::id::{JobId, SubnetId};
use hostnic_core::{Error, ErrorKind, Result};

use super::{QingCloudProvider, jobs};
use crate::api::{VipQuery, VipRow};
use crate::client::Operation;
use crate::failure::CallError;
use crate::paging::PAGE;

const RESERVE: &str = "reserve addresses";
const LIST: &str = "list reserved addresses";
const RELEASE: &str = "release addresses";

/// Between looks at a job that we wait for ourselves.
const LOOK: Duration = Duration::from_secs(2);

/// The most addresses that one `AllocateVips` takes, as documented.
const VIPS_AT_ONCE: u32 = 252;

#[async_trait]
impl AddressReservation for QingCloudProvider {
    fn at_once(&self) -> u32 {
        VIPS_AT_ONCE
    }

    async fn reserve(&self, subnet: &SubnetId, name: &str, first: IpAddr, last: IpAddr) -> Result<Submitted> {
        let subject = format!("{first} to {last} in {subnet}");
        let invalid = |detail| Error::new(ErrorKind::Invalid, RESERVE, &subject).detail(detail);
        let (IpAddr::V4(first), IpAddr::V4(last)) = (first, last) else {
            return Err(invalid("this cloud reserves IPv4 addresses only"));
        };
        let count = size(first, last).ok_or_else(|| invalid("the range ends before it begins"))?;
        let begun = self.client.operation().allocate_vips(subnet, name, (first, last), count).await;
        match begun {
            Ok(job) => submitted(RESERVE, &subject, job),
            // Denied is an address, as the vxnet would be not found.
            Err(error) if error.code() == Some(1400) => {
                Err(error.into_error_of(ErrorKind::Conflict, RESERVE, &subject))
            }
            Err(error) => Err(error.into_error(RESERVE, &subject)),
        }
    }

    async fn reserved(&self, subnet: &SubnetId, name: &str) -> Result<Vec<ReservedAddress>> {
        let query =
            VipQuery { vxnet: Some(subnet.to_string()), name: Some(name.to_owned()), ..VipQuery::default() };
        let rows = self.client.operation().describe_vips(&query).await;
        let rows = rows.map_err(|error| error.into_error(LIST, format_args!("{name} in {subnet}")))?;
        let ours = rows.into_iter().filter(|row| row.vip_name == name && row.vxnet_id == subnet.as_str());
        Ok(ours.filter_map(|row| reserved_address(row, subnet)).collect())
    }

    /// More than a hundred are given back one hundred after the other, each when the job before has ended;
    /// what is answered is the last one's job.
    async fn release(&self, ids: &[String]) -> Result<Submitted> {
        let operation = self.client.operation();
        let mut last = Submitted::Complete;
        for (part, ids) in ids.chunks(PAGE).enumerate() {
            let subject = Few(ids);
            let released = async {
                wait(&operation, &last, &subject).await?;
                release_some(&operation, ids, &subject).await
            };
            let released = released.await;
            last = released.map_err(|error| if part == 0 { error } else { error.effect_unknown() })?;
        }
        Ok(last)
    }
}

/// How many addresses there are from `first` to `last`; `None` for a range that ends before it begins, or
/// that is all of them.
fn size(first: Ipv4Addr, last: Ipv4Addr) -> Option<u32> {
    last.to_bits().checked_sub(first.to_bits())?.checked_add(1)
}

fn reserved_address(row: VipRow, subnet: &SubnetId) -> Option<ReservedAddress> {
    match row.vip_addr.parse() {
        Ok(address) => Some(ReservedAddress { id: row.vip_id, address, subnet: subnet.clone() }),
        Err(_) => {
            tracing::warn!(vip = row.vip_id, "a reserved address is left out, as it cannot be read");
            None
        }
    }
}

/// Gives back up to a hundred, leaving out what is unknown.
async fn release_some(operation: &Operation<'_>, ids: &[String], subject: &Few<'_>) -> Result<Submitted> {
    let fail = |error: CallError| error.into_error(RELEASE, subject);
    let mut left = ids.to_vec();
    while !left.is_empty() {
        let error = match operation.release_vips(&left).await {
            Ok(job) => return submitted(RELEASE, subject, job),
            Err(error) if error.code() == Some(2100) => error,
            Err(error) => return Err(fail(error)),
        };
        if left.len() == 1 {
            break;
        }
        let known: Vec<String> = if left.iter().any(|id| error.names(id)) {
            left.iter().filter(|id| !error.names(id)).cloned().collect()
        } else {
            let query = VipQuery { vips: left.clone(), ..VipQuery::default() };
            let rows = operation.describe_vips(&query).await.map_err(fail)?;
            left.iter().filter(|id| rows.iter().any(|row| row.vip_id == **id)).cloned().collect()
        };
        if known.len() == left.len() {
            return Err(error.into_error_of(ErrorKind::Transient, RELEASE, subject));
        }
        left = known;
    }
    Ok(Submitted::Complete)
}

/// Waits until a job has ended well.
async fn wait(operation: &Operation<'_>, begun: &Submitted, subject: &impl Display) -> Result<()> {
    let Submitted::Job(job) = begun else { return Ok(()) };
    loop {
        let states = jobs::states(operation, std::slice::from_ref(job)).await;
        let mut states = states.map_err(|error| error.into_error(RELEASE, subject))?;
        match states.remove(job.as_str()).unwrap_or(JobState::Unknown) {
            JobState::Succeeded | JobState::Unknown => return Ok(()),
            JobState::Failed { reason, .. } => {
                return Err(Error::new(ErrorKind::Transient, RELEASE, subject).detail(reason));
            }
            JobState::Running => {}
        }
        if !operation.pause(LOOK).await {
            let detail = format!("{job} did not end in time; it goes on in the cloud");
            return Err(Error::new(ErrorKind::Transient, RELEASE, subject).detail(detail));
        }
    }
}

fn submitted(operation: &'static str, subject: impl Display, job: String) -> Result<Submitted> {
    if job.is_empty() {
        return Ok(Submitted::Complete);
    }
    let strange = Error::new(ErrorKind::Internal, operation, subject).detail("the job's id is strange");
    JobId::new(job).map(Submitted::Job).map_err(|error| strange.effect_unknown().source(error))
}

/// The first of many, and how many more there are.
struct Few<'a>(&'a [String]);

impl Display for Few<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            [] => f.write_str("(none)"),
            [only] => f.write_str(only),
            [first, others @ ..] => write!(f, "{first} and {} more", others.len()),
        }
    }
}
