//! The settings as a person asks for them.

use serde::Serialize;

use super::key::Key;
use super::source::{Setting, Source};
use super::zone::ZoneChoice;
use super::{LogFormat, Settings};

/// One setting in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Our spelling.
    pub key: &'static str,
    /// The value as one would write it into our file; `None` where it is left open.
    pub value: Option<String>,
    /// What a value that is left open will be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<String>,
    /// Where it comes from.
    pub source: Source,
}

impl Row {
    /// The value, or what stands for it, for a person.
    pub fn text(&self) -> String {
        let open = || self.otherwise.as_ref().map(|text| format!("({text})"));
        self.value.clone().or_else(open).unwrap_or_default()
    }
}

fn row<T>(key: Key, setting: &Setting<T>, value: Option<String>, otherwise: &str) -> Row {
    let otherwise = value.is_none().then(|| otherwise.to_owned());
    Row { key: key.name(), value, otherwise, source: setting.source.clone() }
}

fn plain<T: ToString>(key: Key, setting: &Setting<T>) -> Row {
    row(key, setting, Some(setting.value.to_string()), "")
}

fn open<T: ToString>(key: Key, setting: &Setting<Option<T>>, otherwise: &str) -> Row {
    row(key, setting, setting.value.as_ref().map(ToString::to_string), otherwise)
}

impl Settings {
    /// Every setting, in the order of the help. There are no secrets among them: of the access key only the file's path is
    /// known here.
    pub fn rows(&self) -> Vec<Row> {
        let path = |path: &std::path::PathBuf| path.display().to_string();
        let zone = match &self.zone.value {
            ZoneChoice::Given(zone) => (Some(zone.to_string()), String::new()),
            ZoneChoice::OfAccessFile { otherwise: None } => (None, "the access file's".to_owned()),
            ZoneChoice::OfAccessFile { otherwise: Some(zone) } => {
                (None, format!("the access file's, else {zone}"))
            }
        };
        let vxnets: Vec<&str> = self.vxnets.value.iter().map(|id| id.as_str()).collect();
        let vxnets = (!vxnets.is_empty()).then(|| vxnets.join(","));
        let access_file = self.access_file.value.as_ref().map(path);
        let usual = "/etc/qingcloud/client.yaml, then ~/.qingcloud/config.yaml";
        let format = match self.log_format.value {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        vec![
            row(Key::Vxnet, &self.vxnets, vxnets, "none"),
            plain(Key::Policy, &self.policy),
            plain(Key::PoolLow, &self.pool_low),
            plain(Key::PoolHigh, &self.pool_high),
            plain(Key::MaxNics, &self.max_nics),
            row(Key::Cooling, &self.cooling, Some(self.cooling.value.as_secs().to_string()), ""),
            plain(Key::CleanupCacheOnExit, &self.cleanup_cache_on_exit),
            open(Key::Iface, &self.iface, "that of the default route"),
            plain(Key::GatewayName, &self.gateway_name),
            plain(Key::Provider, &self.provider),
            row(Key::AccessFile, &self.access_file, access_file, usual),
            row(Key::Zone, &self.zone, zone.0, &zone.1),
            open(Key::Instance, &self.instance, "found out at the start"),
            row(Key::Socket, &self.socket, Some(path(&self.socket.value)), ""),
            row(Key::Store, &self.store, Some(path(&self.store.value)), ""),
            row(Key::BindAddr, &self.bind_addr, Some(address(&self.bind_addr)), ""),
            row(Key::ManageAddr, &self.manage_addr, Some(address(&self.manage_addr)), ""),
            plain(Key::AllowRemote, &self.allow_remote),
            plain(Key::LogLevel, &self.log_level),
            row(Key::LogFormat, &self.log_format, Some(format.to_owned()), ""),
        ]
    }
}

fn address(setting: &Setting<Option<super::ListenAddress>>) -> String {
    setting.value.as_ref().map_or_else(|| "off".to_owned(), ToString::to_string)
}
