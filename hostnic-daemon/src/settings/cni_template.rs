//! The CNI configuration that is given to runtimes.

use std::path::{Path, PathBuf};

use hostnic_cni::config::NetworkConfig;
use serde_json::{Map, Value};

use super::error::SettingsError;
use super::file::ConfigFile;

/// What a configuration has that names nothing else: what most runtimes speak, and what the Go version's had.
const USUAL: [(&str, &str); 3] = [("cniVersion", "0.3.1"), ("name", "hostnic"), ("type", "hostnic")];

/// The key of the CNI file that says in which boot it was written. Plugins and runtimes leave it aside.
pub const BOOT_KEY: &str = "hostnicBoot";

/// A CNI configuration for runtimes, made of the operator's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CniTemplate {
    /// The operator's; `None` where there is none.
    pub file: Option<PathBuf>,
    object: Map<String, Value>,
}

impl CniTemplate {
    /// Reads the operator's configuration for a daemon that listens on `socket`. What cannot be read is told elsewhere.
    pub(super) fn read(file: Option<&ConfigFile>, socket: &Path, errors: &mut Vec<SettingsError>) -> Self {
        let given = file.and_then(|file| serde_json::from_str(&file.text).ok());
        let object = filled(given.unwrap_or_default(), socket);
        let plugin = NetworkConfig::new(object.clone());
        // What it takes from values that are settings, too, is of interest once they are right.
        let refused =
            if errors.is_empty() { plugin.and_then(|config| config.wishes()).err() } else { plugin.err() };
        if let (Some(file), Some(source)) = (file, refused) {
            errors.push(SettingsError::Network { path: file.path.clone(), source });
        }
        Self { file: file.map(|file| file.path.clone()), object }
    }

    /// The text of the CNI file in a boot.
    pub fn text(&self, boot: &str) -> String {
        let mut object = self.object.clone();
        object.insert(BOOT_KEY.to_owned(), boot.into());
        format!("{:#}\n", Value::Object(object))
    }
}

/// The configuration with all that the plugin needs to find the daemon.
fn filled(mut object: Map<String, Value>, socket: &Path) -> Map<String, Value> {
    let has = |object: &Map<String, Value>, key: &str| {
        object.iter().any(|(known, value)| known.eq_ignore_ascii_case(key) && !value.is_null())
    };
    for (key, value) in USUAL {
        if !has(&object, key) {
            object.insert(key.to_owned(), value.into());
        }
    }
    object.retain(|key, _| !key.eq_ignore_ascii_case("socket"));
    object.insert("socket".to_owned(), socket.to_string_lossy().into());
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> (Value, Vec<SettingsError>) {
        let file = ConfigFile { path: "/c.json".into(), text: text.to_owned(), beside: Vec::new() };
        let mut errors = Vec::new();
        let template = CniTemplate::read(Some(&file), Path::new("/run/s"), &mut errors);
        (Value::Object(template.object), errors)
    }

    #[test]
    fn what_the_operator_wrote_stays_and_what_the_plugin_needs_is_added() {
        let (value, errors) = template(r#"{"CNIVersion":"1.1.0","mtu":1400,"Socket":"/old","x":{"y":[1]}}"#);
        let want = r#"{"CNIVersion":"1.1.0","mtu":1400,"x":{"y":[1]},"name":"hostnic","type":"hostnic","socket":"/run/s"}"#;
        assert_eq!(value, serde_json::from_str::<Value>(want).unwrap());
        assert!(errors.is_empty(), "{errors:?}");
    }

    #[test]
    fn without_a_file_there_is_a_whole_configuration() {
        let template = CniTemplate::read(None, Path::new("/run/s"), &mut Vec::new());
        NetworkConfig::new(serde_json::from_str(&template.text("boot")).unwrap()).unwrap();
    }

    #[test]
    fn what_the_plugin_would_refuse_is_refused_here() {
        let (_, errors) = template(r#"{"cniVersion":"9.0.0"}"#);
        assert!(matches!(errors.as_slice(), [SettingsError::Network { .. }]), "{errors:?}");
        let (_, errors) = template(r#"{"mtu":"1400"}"#);
        assert!(matches!(errors.as_slice(), [SettingsError::Network { .. }]), "{errors:?}");
    }
}
