//! QingCloud's API, as the access file and the settings describe it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hostnic_core::id::InstanceId;
use hostnic_core::store::{BootId, RedbStore};
use hostnic_core::{Chain, Error, ErrorKind, Result};
use hostnic_qingcloud::{
    Config, ConfigError, ConnectError, InstanceSource, Loaded, QingCloud, QingCloudProvider, RequestRecorder,
    Warning,
};

use crate::settings::{Setting, Settings, ZoneChoice};

/// Where deploy/kubernetes shows the ConfigMap that later Go versions had the access key in, beside the Secret's file.
const OF_CONFIG_MAP: &str = ".qingcloud/hostnic-qingcloud.yaml";

/// An access file that was read and checked, and who this machine is said to be.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) config: Config,
    pub(crate) file: PathBuf,
    /// What is odd about it.
    pub(crate) warnings: Vec<AccessWarning>,
    instance: Option<InstanceId>,
    store: Option<PathBuf>,
    recorder: Option<Arc<dyn RequestRecorder>>,
}

/// What is odd about an access file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccessWarning {
    #[error(transparent)]
    Text(#[from] Warning),
    #[error(
        "the access key is in the ConfigMap hostnic-qingcloud, and whoever may read ConfigMaps can read it; put it into the \
         Secret qcsecret, as config.yaml, and delete that ConfigMap"
    )]
    InConfigMap,
}

/// An access file that is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccessError {
    #[error("{line}: the file cannot be used; name one with an access key, in the form of QingCloud's SDKs")]
    Given { line: String, source: ConfigError },
    #[error("the access file cannot be used; correct it, or name another with --access-file")]
    Found(#[source] ConfigError),
    #[error("no zone is given; name it with --zone, such as --zone pek3a, or as `zone` in {}", file.display())]
    NoZone { file: PathBuf },
}

impl Access {
    /// Reads the access file that the settings name; asks nobody.
    pub(super) fn read(settings: &Settings) -> std::result::Result<Self, AccessError> {
        let read = Self::of(&settings.access_file, &settings.zone.value)?;
        let (instance, store) = (settings.instance.value.clone(), Some(settings.store.value.clone()));
        Ok(Self { instance, store, ..read })
    }

    /// Reads the access file; asks nobody.
    pub(crate) fn of(
        access_file: &Setting<Option<PathBuf>>,
        zone: &ZoneChoice,
    ) -> std::result::Result<Self, AccessError> {
        let (Loaded { mut config, file, warnings, .. }, place) = load(access_file)?;
        let warnings = warnings.into_iter().map(AccessWarning::from).chain(place).collect();
        let file = file.unwrap_or_default();
        let Some(zone) = zone.choose(Some(&config.zone)).map(str::to_owned) else {
            return Err(AccessError::NoZone { file });
        };
        config.zone = zone;
        Ok(Self { config, file, warnings, instance: None, store: None, recorder: None })
    }

    /// Acts for an instance of this name, which need not exist: for what is about no instance.
    pub(crate) fn for_instance(self, instance: InstanceId) -> Self {
        Self { instance: Some(instance), ..self }
    }

    /// Tells `recorder` of each request to the API.
    pub(crate) fn recorded(self, recorder: Arc<dyn RequestRecorder>) -> Self {
        Self { recorder: Some(recorder), ..self }
    }

    /// Learns who this instance is, where no flag says it. The API itself is not asked.
    ///
    /// # Errors
    /// `Invalid` where nobody tells, and where the API cannot be reached as configured.
    pub(crate) async fn connect(self) -> Result<QingCloudProvider> {
        let mut cloud = QingCloud::from_config(self.config).instance(instance_source(self.instance));
        if let Some(recorder) = self.recorder {
            cloud = cloud.recorder(recorder);
        }
        let error = match cloud.clone().connect().await {
            Ok(provider) => return Ok(provider),
            Err(error) => error,
        };
        let known = match (&error, &self.store) {
            (ConnectError::Instance(_), Some(store)) => recorded(store).await?,
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

/// The file that was named, or the first that is there, and what is odd about its place.
fn load(
    given: &Setting<Option<PathBuf>>,
) -> std::result::Result<(Loaded, Option<AccessWarning>), AccessError> {
    let home = std::env::home_dir();
    let Some(path) = &given.value else { return load_default(home.as_deref()).map_err(AccessError::Found) };
    let loaded = Config::load(path, home.as_deref()).map_err(|source| AccessError::Given {
        line: given.source.line(&path.display().to_string()),
        source,
    })?;
    Ok((loaded, None))
}

fn load_default(home: Option<&Path>) -> std::result::Result<(Loaded, Option<AccessWarning>), ConfigError> {
    let missing = match Config::load_default(home) {
        Err(missing @ ConfigError::NotFound(_)) => missing,
        loaded => return Ok((loaded?, None)),
    };
    match home.map(|home| home.join(OF_CONFIG_MAP)) {
        Some(path) if path.exists() => Ok((Config::load(&path, home)?, Some(AccessWarning::InConfigMap))),
        _ => Err(missing),
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
