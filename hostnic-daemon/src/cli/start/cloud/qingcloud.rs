//! QingCloud, as the access file and the settings describe it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use hostnic_core::capability::{NicForwarding, Tagging};
use hostnic_core::id::{InstanceId, SubnetId};
use hostnic_core::layer::{Concurrency, Deadline, Layered, Rate, RateLimit, Recorder, RetryConfig, Stack};
use hostnic_core::{NicProvider, Result};
use hostnic_qingcloud::Credentials;

use super::super::flags::vxnets;
use super::blame::Blame;
use super::reach::Reach;
use crate::cli::access::Access;
use crate::settings::Settings;
use crate::{Observer, seed};

/// How many calls a second a node makes when it has much to do, and how many of them at once after a quiet time. What
/// the account may make in an hour is for all nodes, and only the API knows what is left of it.
const CALLS_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);
const BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);
/// How many calls run at a time.
const AT_A_TIME: NonZeroU32 = NonZeroU32::MIN.saturating_add(7);
/// How long a call is tried again before the pool hears of it, which tells pods the cause. That must be sooner than a pod's runtime
/// gives up: it would be told nothing but that no NIC came in time.
const TRIED_AGAIN: Duration = Duration::from_secs(20);

/// What was read and checked.
#[derive(Debug)]
pub(in super::super) struct QingCloudPlan {
    access: Access,
    pub(super) vxnets: Vec<SubnetId>,
}

impl QingCloudPlan {
    pub(super) fn new(settings: &Settings) -> std::result::Result<Self, super::PlanError> {
        let vxnets = vxnets(settings)?;
        let access = Access::read(settings)?;
        for warning in &access.warnings {
            tracing::warn!(file = %access.file.display(), "{warning}");
        }
        Ok(Self { access, vxnets })
    }

    /// Learns who this instance is, where no flag says it, and puts the layers around the provider.
    pub(super) async fn start(self, observer: &Observer) -> Result<QingCloudNode> {
        let Access { config, file, .. } = &self.access;
        let blame = Blame {
            file: file.clone(),
            endpoint: config.endpoint.to_string(),
            zone: config.zone.clone(),
            key: match &config.credentials {
                Credentials::Key { access_key_id, .. } => Some(access_key_id.clone()),
                Credentials::InstanceRole(_) => None,
            },
        };
        let reach = Reach::new(config.endpoint.to_string());
        let provider = Arc::new(self.access.recorded(observer.requests()).connect().await?);
        let instance = provider.instance_id().clone();
        tracing::info!(
            %instance,
            zone = %blame.zone,
            api = %blame.endpoint,
            access_file = %blame.file.display(),
            "the cloud is QingCloud"
        );
        let (forwarding, tagging) = (provider.clone(), provider.clone());
        Ok(QingCloudNode {
            provider: layers(provider, blame, reach, observer.recorder())?,
            forwarding,
            tagging,
            instance,
        })
    }
}

/// A node in QingCloud.
#[derive(Debug)]
pub(in super::super) struct QingCloudNode {
    pub(super) provider: Arc<dyn NicProvider>,
    pub(super) forwarding: Arc<dyn NicForwarding>,
    pub(super) tagging: Arc<dyn Tagging>,
    pub(super) instance: InstanceId,
}

/// The two layers that speak to people are around each attempt, so that they hear of the first that fails.
fn layers(
    cloud: Arc<dyn NicProvider>,
    blame: Blame,
    reach: Reach,
    recorder: Arc<dyn Recorder>,
) -> Result<Arc<dyn NicProvider>> {
    let cloud = Stack::new().deadline(Deadline::default()).around(cloud);
    let cloud = Arc::new(Layered::new(Layered::new(cloud, blame), reach));
    let rate = Rate::new(CALLS_PER_SECOND, Duration::from_secs(1), BURST)?;
    Ok(Stack::new()
        .trace()
        .retry(RetryConfig::default().within(TRIED_AGAIN).with_seed(seed()?))
        .concurrency(Concurrency::new(AT_A_TIME))
        .rate_limit(RateLimit::new(rate))
        .metrics(recorder)
        .around(cloud))
}
