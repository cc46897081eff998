//! `hostnic-daemon vxnet clear-vips`.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use hostnic_core::capability::{AddressReservation, ReservedAddress};
use hostnic_core::cloud::{JobState, Submitted};
use hostnic_core::id::{InstanceId, JobId, SubnetId};
use hostnic_core::layer::{Deadline, Stack};
use hostnic_core::{Chain, Error, ErrorKind, NicProvider, Result};
use hostnic_kube::Access as Cluster;
use hostnic_kube::ipam::{IpamTools, VxnetUse};
use serde::Serialize;
use tokio::time::sleep;

use crate::cli::Output;
use crate::cli::access::Access;
use crate::cli::in_force::{in_force, say};
use crate::cli::list::print;
use crate::settings::{Flags, Provider, Settings};

/// How often the cloud's job is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// For whom it is asked, where this machine is no instance: none of the calls is about one.
const NO_INSTANCE: &str = "i-none";

/// The flags of `hostnic-daemon vxnet clear-vips`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ClearVips {
    /// The vxnet.
    #[arg(value_name = "VXNET")]
    subnet: SubnetId,
    /// Give them back; otherwise they are only told.
    #[arg(long)]
    yes: bool,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    flags: Flags,
}

/// A claimed address, in JSON.
#[derive(Debug, Serialize)]
struct Row {
    vip: String,
    address: String,
}

impl ClearVips {
    pub(super) fn run(self, argv0: &OsStr) -> std::result::Result<(), String> {
        let Self { subnet, yes, output, flags } = self;
        let (settings, notices) = in_force(argv0, flags)?;
        for notice in notices.iter().filter(|notice| notice.is_warning()) {
            say(notice);
        }
        if settings.provider.value == Provider::Sim {
            return Err("a simulated cloud ends with its daemon; there is nothing to give back".to_owned());
        }
        let access = Access::read(&settings).map_err(|error| Chain(&error).to_string())?;
        let nobody = InstanceId::new(NO_INSTANCE).map_err(|error| error.to_string())?;
        let access = access.for_instance(nobody);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("no runtime could be started: {error}"))?;
        runtime.block_on(async {
            let told = |error: Error| error.chain().to_string();
            in_nobodys_use(&settings, &subnet).await?;
            let cloud = Arc::new(access.connect().await.map_err(told)?);
            let provider = Stack::new().deadline(Deadline::default()).around(cloud.clone());
            let claimed = cloud.reserved(&subnet, &mark(&subnet)).await.map_err(told)?;
            print(output, &rows(&claimed), |rows| as_text(rows, &subnet))?;
            if claimed.is_empty() {
                return Ok(());
            }
            if !yes {
                eprintln!("nothing was given back; add --yes to do it");
                return Ok(());
            }
            // Whoever began to use it meanwhile has told so in the cluster.
            in_nobodys_use(&settings, &subnet).await?;
            give_back(&*cloud, &*provider, &claimed).await.map_err(told)?;
            eprintln!("{} addresses of {subnet} are given back", claimed.len());
            Ok(())
        })
    }
}

/// Under which name a vxnet's addresses are claimed for pods, by us and the Go version. No others are touched.
fn mark(subnet: &SubnetId) -> String {
    format!("hostnic_{subnet}")
}

/// Refuses what pods of the cluster need.
async fn in_nobodys_use(settings: &Settings, subnet: &SubnetId) -> std::result::Result<(), String> {
    let kubeconfig = settings.kubernetes.kubeconfig.value.clone();
    let cluster = kubeconfig.map_or(Cluster::InCluster, Cluster::Kubeconfig);
    let tools = IpamTools::connect(&cluster).await;
    let tools = tools.map_err(|error| format!("{}; see --kubeconfig", Chain(&error)))?;
    let found = tools.vxnet_use(subnet).await.map_err(|error| error.chain().to_string())?;
    refused(&found, subnet).map_or(Ok(()), Err)
}

fn refused(found: &VxnetUse, subnet: &SubnetId) -> Option<String> {
    match found {
        VxnetUse::Nobodys => None,
        VxnetUse::VPool => Some(format!(
            "the addresses of {subnet} are in use: it is one of v-pool's vxnets; take it out of there, and the controller gives them back"
        )),
        VxnetUse::Pods(count) => Some(format!(
            "the addresses of {subnet} are in use: {count} of its blocks' addresses are pods' or nodes'; `hostnic-daemon ipam show` says of which blocks, `ipam check` whether they are left over"
        )),
        VxnetUse::Unreadable(block) => Some(format!(
            "it is not known whether the addresses of {subnet} are in use: block {block} tells of no addresses; delete it when no pod uses it"
        )),
    }
}

/// Gives them back, and waits until the cloud has done it.
async fn give_back(
    cloud: &dyn AddressReservation,
    provider: &dyn NicProvider,
    claimed: &[ReservedAddress],
) -> Result<()> {
    let ids: Vec<String> = claimed.iter().map(|claimed| claimed.id.clone()).collect();
    match cloud.release(&ids).await? {
        Submitted::Complete => Ok(()),
        Submitted::Job(job) => ended(provider, job).await,
    }
}

async fn ended(provider: &dyn NicProvider, job: JobId) -> Result<()> {
    loop {
        let told = provider.jobs(std::slice::from_ref(&job)).await?;
        let failed =
            |why: &str| Error::new(ErrorKind::Transient, "give back", "claimed addresses").detail(why);
        match told.into_iter().next().map(|job| job.state) {
            Some(JobState::Running) => sleep(LOOK).await,
            Some(JobState::Succeeded) => return Ok(()),
            Some(JobState::Failed { reason, .. }) => return Err(failed(&reason)),
            Some(JobState::Unknown) | None => {
                return Err(failed("the cloud no longer knows the job; look again which are left"));
            }
        }
    }
}

fn rows(claimed: &[ReservedAddress]) -> Vec<Row> {
    let mut claimed: Vec<&ReservedAddress> = claimed.iter().collect();
    claimed.sort_by_key(|claimed| claimed.address);
    let row =
        |claimed: &ReservedAddress| Row { vip: claimed.id.clone(), address: claimed.address.to_string() };
    claimed.into_iter().map(row).collect()
}

fn as_text(rows: &[Row], subnet: &SubnetId) -> String {
    match rows {
        [] => format!("no address of {subnet} is claimed for pods"),
        [one] => format!("1 address of {subnet} is claimed for pods: {}", one.address),
        [first, .., last] => {
            format!(
                "{} addresses of {subnet} are claimed for pods, from {} to {}",
                rows.len(),
                first.address,
                last.address
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pods_need_is_refused_with_what_to_do() {
        let subnet: SubnetId = "vxnet-a".parse().unwrap();
        assert_eq!(refused(&VxnetUse::Nobodys, &subnet), None);
        let said = |found| refused(&found, &subnet).unwrap();
        assert!(said(VxnetUse::VPool).contains("take it out"));
        assert!(said(VxnetUse::Pods(3)).contains("3 of its blocks' addresses"));
        assert!(said(VxnetUse::Unreadable("4100-x".to_owned())).contains("4100-x"));
    }
}
