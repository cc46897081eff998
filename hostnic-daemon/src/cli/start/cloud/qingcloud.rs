//! QingCloud, as the access file and the settings describe it.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hostnic_core::capability::NicForwarding;
use hostnic_core::id::{InstanceId, SubnetId};
use hostnic_core::layer::{Concurrency, Deadline, Layered, Rate, RateLimit, Recorder, RetryConfig, Stack};
use hostnic_core::store::{BootId, RedbStore};
use hostnic_core::{Chain, Error, ErrorKind, NicProvider, Result};
use hostnic_qingcloud::{
    Config, ConfigError, ConnectError, Credentials, InstanceSource, Loaded, QingCloud, QingCloudProvider,
};

use super::super::flags::vxnets;
use super::blame::Blame;
use super::reach::Reach;
use crate::seed;
use crate::settings::{Setting, Settings};

/// How many calls a second a node makes when it has much to do, and how many of them at once after a quiet time. What
/// the account may make in an hour is for all nodes, and only the API knows what is left of it.
const CALLS_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);
const BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);
/// How many calls run at a time.
const AT_A_TIME: NonZeroU32 = NonZeroU32::MIN.saturating_add(7);

/// What was read and checked.
#[derive(Debug)]
pub(in super::super) struct QingCloudPlan {
    config: Config,
    file: PathBuf,
    pub(super) vxnets: Vec<SubnetId>,
    instance: Option<InstanceId>,
    store: PathBuf,
}

/// An access file that is of no use.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum AccessError {
    #[error("{line}: the file cannot be used; name one with an access key, in the form of QingCloud's SDKs")]
    Given { line: String, source: ConfigError },
    #[error("the access file cannot be used; correct it, or name another with --access-file")]
    Found(#[source] ConfigError),
    #[error("no zone is given; name it with --zone, such as --zone pek3a, or as `zone` in {}", file.display())]
    NoZone { file: PathBuf },
}

impl QingCloudPlan {
    pub(super) fn new(settings: &Settings) -> std::result::Result<Self, super::PlanError> {
        let vxnets = vxnets(settings)?;
        let Loaded { mut config, file, warnings, .. } = load(&settings.access_file)?;
        let file = file.unwrap_or_default();
        for warning in warnings {
            tracing::warn!(file = %file.display(), "{warning}");
        }
        let Some(zone) = settings.zone.value.choose(Some(&config.zone)).map(str::to_owned) else {
            return Err(AccessError::NoZone { file }.into());
        };
        config.zone = zone;
        let (instance, store) = (settings.instance.value.clone(), settings.store.value.clone());
        Ok(Self { config, file, vxnets, instance, store })
    }

    /// Learns who this instance is, where no flag says it, and puts the layers around the provider.
    pub(super) async fn start(self, recorder: Arc<dyn Recorder>) -> Result<QingCloudNode> {
        let blame = Blame {
            file: self.file.clone(),
            endpoint: self.config.endpoint.to_string(),
            zone: self.config.zone.clone(),
            key: match &self.config.credentials {
                Credentials::Key { access_key_id, .. } => Some(access_key_id.clone()),
                Credentials::InstanceRole(_) => None,
            },
        };
        let reach = Reach::new(self.config.endpoint.to_string());
        let provider = Arc::new(self.connect().await?);
        let instance = provider.instance_id().clone();
        tracing::info!(
            %instance,
            zone = %blame.zone,
            api = %blame.endpoint,
            access_file = %blame.file.display(),
            "the cloud is QingCloud"
        );
        let forwarding = provider.clone();
        Ok(QingCloudNode { provider: layers(provider, blame, reach, recorder)?, forwarding, instance })
    }

    async fn connect(self) -> Result<QingCloudProvider> {
        let cloud = QingCloud::from_config(self.config).instance(instance_source(self.instance));
        let error = match cloud.clone().connect().await {
            Ok(provider) => return Ok(provider),
            Err(error) => error,
        };
        let known = match &error {
            ConnectError::Instance(_) => recorded(&self.store).await?,
            _ => None,
        };
        let failed = |error| {
            Error::new(ErrorKind::Invalid, "connect to", "QingCloud")
                .detail(format_args!("correct {}, or name this machine with --instance", self.file.display()))
                .source(error)
        };
        let Some(instance) = known else { return Err(failed(error)) };
        tracing::warn!(error = %Chain(&error), %instance, "the records tell which instance this is, as nobody else does");
        cloud.instance(InstanceSource::Given(instance)).connect().await.map_err(failed)
    }
}

/// A node in QingCloud.
#[derive(Debug)]
pub(in super::super) struct QingCloudNode {
    pub(super) provider: Arc<dyn NicProvider>,
    pub(super) forwarding: Arc<dyn NicForwarding>,
    pub(super) instance: InstanceId,
}

fn load(given: &Setting<Option<PathBuf>>) -> std::result::Result<Loaded, AccessError> {
    let home = std::env::home_dir();
    match &given.value {
        Some(path) => Config::load(path, home.as_deref()).map_err(|source| AccessError::Given {
            line: given.source.line(&path.display().to_string()),
            source,
        }),
        None => Config::load_default(home.as_deref()).map_err(AccessError::Found),
    }
}

/// The flag, the file that the cloud puts into its instances, or the metadata service.
fn instance_source(given: Option<InstanceId>) -> InstanceSource {
    if let Some(id) = given {
        return InstanceSource::Given(id);
    }
    match InstanceSource::system_file() {
        InstanceSource::File(path) if !path.exists() => InstanceSource::metadata(),
        file => file,
    }
}

/// Who this machine was when the records of this boot were begun: its pods must not wait for the metadata service.
async fn recorded(store: &Path) -> Result<Option<InstanceId>> {
    let host = RedbStore::host(store, BootId::of_this_boot()?).await?;
    Ok(host.map(|host| InstanceId::new(host.as_str())).transpose()?)
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
        .retry(RetryConfig::default().with_seed(seed()?))
        .concurrency(Concurrency::new(AT_A_TIME))
        .rate_limit(RateLimit::new(rate))
        .metrics(recorder)
        .around(cloud))
}
