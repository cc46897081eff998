//! The configuration file, as the vendor's SDK writes and reads it.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use hostnic_qingcloud::sign::Digest;
use hostnic_qingcloud::{Config, ConfigError, Credentials, LogLevel, Warning};
use secrecy::ExposeSecret;

const WHOLE: &str = "\
# QingCloud services configuration
qy_access_key_id: 'KEYID'
qy_secret_access_key: \"TOP-SECRET-1\"
host: 'api.private.example'
port: 8443
protocol: 'https'
uri: '//iaas///'
connection_retries: 5
connection_timeout: 7
log_level: 'debug'
zone: 'pek3a'
ca_file: /etc/qingcloud/ca.pem
credential_proxy_protocol: 'http'
credential_proxy_host: '169.254.169.254'
credential_proxy_port: 80
credential_proxy_uri: '/latest/meta-data/security-credentials'
";

fn parse(text: &str) -> Config {
    let loaded = Config::parse(text).unwrap();
    assert_eq!(loaded.warnings, [], "{text}");
    loaded.config
}

#[test]
fn every_key_of_the_sdk_is_read() {
    let config = parse(WHOLE);
    let Credentials::Key { access_key_id, secret } = &config.credentials else { panic!("{config:?}") };
    assert_eq!((access_key_id.as_str(), secret.expose_secret()), ("KEYID", "TOP-SECRET-1"));
    assert_eq!(config.endpoint.to_string(), "https://api.private.example:8443/iaas/");
    assert_eq!((config.connection_retries, config.connection_timeout), (5, Duration::from_secs(7)));
    assert_eq!((config.log_level, config.zone.as_str()), (LogLevel::Debug, "pek3a"));
    assert_eq!(config.ca_file.as_deref(), Some(Path::new("/etc/qingcloud/ca.pem")));
    assert_eq!(config.digest, Digest::Sha256);
}

#[test]
fn what_is_not_said_is_as_in_the_sdk() {
    for text in ["", "# nothing\n\n", "qy_access_key_id:\nqy_secret_access_key: ''\nport: 0\n", "---\n{}\n"] {
        let config = parse(text);
        assert_eq!(config.endpoint.to_string(), "https://api.qingcloud.com:443/iaas");
        assert_eq!((config.connection_retries, config.connection_timeout), (3, Duration::from_secs(30)));
        assert_eq!(config.log_level, LogLevel::Warn);
        let Credentials::InstanceRole(proxy) = config.credentials else { panic!("{text}") };
        assert_eq!(proxy.to_string(), "http://169.254.169.254:80/latest/meta-data/security-credentials");
    }
}

#[test]
fn a_key_of_digits_keeps_its_zeros() {
    let config = parse("qy_access_key_id: 0012\nqy_secret_access_key: 007e3\n");
    let Credentials::Key { access_key_id, secret } = &config.credentials else { panic!("{config:?}") };
    assert_eq!((access_key_id.as_str(), secret.expose_secret()), ("0012", "007e3"));
}

#[test]
fn another_protocol_has_its_own_port() {
    assert_eq!(parse("protocol: http\nhost: sim\n").endpoint.to_string(), "http://sim:80/iaas");
    assert_eq!(parse("protocol: http\nport: 7777\n").endpoint.port(), 7777);
}

#[test]
fn unknown_keys_are_warned_of_whatever_they_hold() {
    let loaded = Config::parse("zone: sh1a\nadditional: {a: [1, 2]}\nZone: x\n").unwrap();
    assert_eq!(loaded.config.zone, "sh1a");
    let unknown = ["additional", "Zone"].map(|key| Warning::UnknownKey(key.to_owned()));
    assert_eq!(loaded.warnings, unknown);
}

#[test]
fn half_a_key_is_an_error_that_says_which_half_is_missing() {
    let error = Config::parse("qy_access_key_id: K\n").unwrap_err().to_string();
    assert!(error.contains("qy_secret_access_key is not"), "{error}");
    let error = Config::parse("qy_secret_access_key: S\n").unwrap_err().to_string();
    assert!(error.contains("qy_access_key_id is not"), "{error}");
}

#[test]
fn a_placeholder_of_the_documents_is_refused_by_its_key() {
    let document =
        "qy_access_key_id: \"Your access key id\"\nqy_secret_access_key: \"Your secret access key\"\n";
    let error = Config::parse(document).unwrap_err().to_string();
    assert!(error.contains("qy_access_key_id is a placeholder"), "{error}");
    let filled = document.replace("Your access key id", "K");
    let error = Config::parse(&filled).unwrap_err().to_string();
    assert!(error.contains("qy_secret_access_key is a placeholder"), "{error}");
}

#[test]
fn no_error_and_no_debug_shows_the_secret() {
    let secret = "TOP-SECRET-1";
    let whole = Config::parse(WHOLE).unwrap();
    assert!(!format!("{whole:?}{:#?}", whole.config).contains(secret));
    for broken in [
        "qy_secret_access_key: [TOP-SECRET-1]\n",
        "qy_secret_access_key: {TOP-SECRET-1: 1}\n",
        "qy_secret_access_key: 'TOP-SECRET-1\n",
        "qy_secret_access_key: \"TOP-SECRET-1\n  : [\n",
        "TOP-SECRET-1",
        "- TOP-SECRET-1",
        "qy_secret_access_key: TOP-SECRET-1\n\tzone: x\n",
        "qy_access_key_id: K\nqy_secret_access_key: TOP-SECRET-1\nport: TOP-SECRET-1\n",
        "qy_access_key_id: K\nqy_secret_access_key: TOP-SECRET-1\nhost: 'TOP-SECRET-1 x'\n",
    ] {
        let error = Config::parse(broken).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("TOP-SECRET"), "{broken:?} gives {shown}");
    }
}

#[test]
fn a_file_that_others_can_read_is_warned_of_and_none_is_ever_made() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let path = home.join(".qingcloud/config.yaml");
    assert!(matches!(Config::load(&path, None), Err(ConfigError::Unreadable { .. })));
    assert!(std::fs::read_dir(home).unwrap().next().is_none(), "something was made");

    std::fs::create_dir(home.join(".qingcloud")).unwrap();
    std::fs::write(&path, WHOLE).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let loaded = Config::load(Path::new("~/.qingcloud/config.yaml"), Some(home)).unwrap();
    assert_eq!(loaded.warnings, [Warning::Exposed { path: path.clone(), mode: 0o640 }]);
    assert!(loaded.warnings[0].to_string().contains("chmod 600"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(Config::load(&path, None).unwrap().warnings, []);
}
