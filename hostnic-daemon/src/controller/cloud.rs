//! The account that the cluster's machines are in.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hostnic_core::capability::{HostMachines, InstanceDirectory};
use hostnic_core::id::{InstanceId, InvalidValue};
use hostnic_core::layer::{Deadline, Rate, RateLimit, RetryConfig, Stack};
use hostnic_core::{NicProvider, Result};
use hostnic_kube::ipam::{ClusterGroup, PoolCloud};
use hostnic_kube::{Notice, Severity};
use hostnic_qingcloud::QingCloudProvider;

use super::cluster_config::ClusterConfig;
use super::flags::Controller;
use crate::cli::access::{Access, AccessError};
use crate::seed;
use crate::settings::{Personality, Setting, Source, ZoneChoice};

/// How many calls a second are made at most, and how many at once after a quiet time. The account's calls are for all nodes.
const CALLS_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);
const BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);
/// How long a call is tried again before it has failed.
const TRIED_AGAIN: Duration = Duration::from_secs(20);
/// Whom it acts for: none of the calls that it makes is about an instance.
const NO_INSTANCE: &str = "i-none";

/// An account that is known and was asked nothing.
#[derive(Debug)]
pub(super) struct CloudPlan {
    access: Access,
    config: ClusterConfig,
}

/// What is wrong with the access file.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlanError {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Value(#[from] InvalidValue),
}

/// The account.
#[derive(Debug, Clone)]
pub(super) struct Account {
    /// With retries and a rate limit around it.
    pub(super) provider: Arc<dyn NicProvider>,
    directory: QingCloudProvider,
    config: ClusterConfig,
    /// What somebody should hear of how it is configured.
    pub(super) notices: Vec<Notice>,
}

impl CloudPlan {
    /// Reads the access file; asks nobody.
    pub(super) fn new(
        controller: &Controller,
        config: ClusterConfig,
    ) -> std::result::Result<Self, PlanError> {
        let source = match &controller.access_file {
            Some(_) => Source::Flag { flag: "access-file" },
            None => Source::Default { of: Personality::Own },
        };
        let file = Setting { value: controller.access_file.clone(), source };
        let zone = match &controller.zone {
            Some(zone) => ZoneChoice::Given(zone.clone()),
            None => ZoneChoice::OfAccessFile { otherwise: None },
        };
        let access = Access::of(&file, &zone)?.for_instance(InstanceId::new(NO_INSTANCE)?);
        for warning in &access.warnings {
            tracing::warn!(file = %access.file.display(), "{warning}");
        }
        Ok(Self { access, config })
    }

    /// Makes ready to call; calls nothing yet.
    pub(super) async fn connect(self) -> Result<Account> {
        let (zone, file) = (self.access.config.zone.clone(), self.access.file.clone());
        let notices = other_zone(&self.config, &zone, &file.display().to_string()).into_iter().collect();
        let directory = self.access.connect().await?;
        tracing::info!(%zone, access_file = %file.display(), "the cloud is QingCloud");
        let rate = Rate::new(CALLS_PER_SECOND, Duration::from_secs(1), BURST)?;
        let provider = Stack::new()
            .retry(RetryConfig::default().within(TRIED_AGAIN).with_seed(seed()?))
            .rate_limit(RateLimit::new(rate))
            .deadline(Deadline::default())
            .around(Arc::new(directory.clone()));
        Ok(Account { provider, directory, config: self.config, notices })
    }
}

/// The other one counts for the cloud's other components, and may be right.
fn other_zone(config: &ClusterConfig, zone: &str, file: &str) -> Option<Notice> {
    let other = config.zone.as_deref().filter(|other| *other != zone)?;
    let message = format!(
        "the zone is {zone} by {file}, and {other} by the ConfigMap clusterconfig; vxnets are looked for in {zone}: correct one of them"
    );
    tracing::warn!("{message}");
    Some(Notice { severity: Severity::Warning, reason: "ZonesDiffer", message })
}

impl Account {
    /// Which instances there are.
    pub(super) fn directory(&self) -> &dyn InstanceDirectory {
        &self.directory
    }

    /// Who tells the machines that the cluster's nodes run on, and the cluster; `None` where nobody said which cluster it is.
    pub(super) fn host_machines(&self) -> Option<(Arc<dyn HostMachines>, String)> {
        let cluster = self.config.cluster.clone()?;
        Some((Arc::new(self.directory.clone()), cluster))
    }

    /// What makes pools of vxnets. Asks nobody.
    pub(super) fn pools(&self) -> PoolCloud {
        let directory = Arc::new(self.directory.clone());
        let group: Option<Arc<dyn ClusterGroup>> = match (&self.config.cluster, &self.config.security_group) {
            (Some(cluster), group) => Some(Arc::new(GroupOfCluster {
                directory: self.directory.clone(),
                cluster: cluster.clone(),
                otherwise: group.clone(),
            })),
            (None, Some(group)) => Some(Arc::new(group.clone())),
            (None, None) => None,
        };
        PoolCloud {
            provider: self.provider.clone(),
            addresses: directory.clone(),
            security: group.map(|group| (directory as _, group)),
        }
    }
}

/// The group that the cloud says a cluster has, or the one that is written down where it says none.
#[derive(Debug)]
struct GroupOfCluster {
    directory: QingCloudProvider,
    cluster: String,
    otherwise: Option<String>,
}

#[async_trait]
impl ClusterGroup for GroupOfCluster {
    async fn group(&self) -> Result<Option<String>> {
        let asked = self.directory.group_of_cluster(&self.cluster).await?;
        if asked.is_none() {
            let cluster = &self.cluster;
            tracing::warn!(%cluster, "the cloud knows no such cluster, or it has no security group");
        }
        Ok(asked.or_else(|| self.otherwise.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_that_differs_is_told() {
        let config =
            |zone: Option<&str>| ClusterConfig { zone: zone.map(str::to_owned), ..ClusterConfig::default() };
        assert_eq!(other_zone(&config(None), "pek3a", "f"), None);
        assert_eq!(other_zone(&config(Some("pek3a")), "pek3a", "f"), None);
        let notice = other_zone(&config(Some("gd1")), "pek3a", "config.yaml").unwrap();
        assert!(
            notice.message.contains("pek3a by config.yaml") && notice.message.contains("gd1"),
            "{}",
            notice.message
        );
    }
}
