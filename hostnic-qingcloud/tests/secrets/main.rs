//! Neither a secret nor a role's token is told anywhere: not in logs, whatever their level and form, not in errors with
//! all their causes, not in any `Debug`, not by the simulator.
//!
//! The same holds for signatures. One is good for its own request only, and for a minute, but within that minute
//! whoever reads it may send that request again. An access key's id is no secret: errors name it, as it says which key to
//! look after.
#![expect(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

mod life;
mod listener;
mod needles;

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use hostnic_qingcloud::simulator::{RoleCredentials, Simulator, SimulatorConfig};
use hostnic_qingcloud::transport::{HttpRequest, HttpResponse};
use hostnic_qingcloud::{Action, Config, Endpoint, Key, QingCloud, Request, Signer};

use hostnic_qingcloud::sign::{Digest, Method};
use listener::Logs;
use needles::Needles;

/// With characters that each encoding changes.
const SECRET: &str = "acc0unt's/S3cr3t+\"key\"=\u{4e2d}";
const WRONG: &str = "an0ther/S3cr3t+\"key\"";
const ROLE_SECRET: &str = "r0le's/S3cr3t+\"key\"=";
const ROLE_TOKEN: &str = "eyJh/r0le's+\"token\".x=";

/// All that was shown, and by what.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown(Arc<Mutex<Vec<(String, String)>>>);

impl Shown {
    pub(crate) fn take_down(&self, what: impl Into<String>, text: String) {
        self.0.lock().unwrap().push((what.into(), text));
    }

    /// What `Debug` shows, on one line and on many.
    pub(crate) fn debug(&self, what: &str, value: &impl std::fmt::Debug) {
        self.take_down(format!("Debug of {what}"), format!("{value:?}\n{value:#?}"));
    }
}

fn simulated() -> SimulatorConfig {
    let mut config = SimulatorConfig::new("sim1", "KEY", SECRET.into());
    config.vxnets.push("vxnet-a=192.168.1.0/24".parse().unwrap());
    config.instances.push("i-1".parse().unwrap());
    config.role = Some(RoleCredentials {
        access_key: "ROLE".into(),
        secret_key: ROLE_SECRET.into(),
        token: ROLE_TOKEN.into(),
        expires: SystemTime::now() + Duration::from_secs(3600),
    });
    config
}

/// The values that carry secrets before anything is sent.
fn plain_values(shown: &Shown) {
    let config = Config::with_key("KEY", SECRET, "sim1");
    shown.debug("Config", &config);
    shown.debug("Credentials", &config.credentials);
    shown.debug("QingCloud", &QingCloud::from_config(config.clone()));
    shown.debug("Client", &QingCloud::from_config(config).client().unwrap());
    let simulated = simulated();
    shown.debug("RoleCredentials", &simulated.role);
    shown.debug("SimulatorConfig", &simulated);
    let key = Key { id: "KEY".into(), secret: SECRET.into(), token: Some(ROLE_TOKEN.into()) };
    shown.debug("Key", &key);
    let endpoint = Endpoint::default();
    for method in [Method::Get, Method::Post] {
        let signer = Signer { key: &key, endpoint: &endpoint, zone: "sim1", method, digest: Digest::Sha256 };
        shown.debug("Signer", &signer);
        let request: HttpRequest = Request::new(Action::DescribeNics).sign(&signer, SystemTime::now());
        assert!(request.parameters.contains("token="), "there is something to be told");
        shown.debug("HttpRequest", &request);
    }
    let body = serde_json::json!({"secret_key": ROLE_SECRET, "id_token": ROLE_TOKEN}).to_string();
    shown.debug("HttpResponse", &HttpResponse { body: body.into_bytes(), ..HttpResponse::default() });
}

/// Files of the SDK that are right, odd or wrong.
fn files(shown: &Shown) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("client.yaml");
    let secret = serde_json::to_string(SECRET).unwrap();
    for text in [
        format!("qy_access_key_id: KEY\nqy_secret_access_key: {secret}\nzone: sim1\nmore: 1\n"),
        format!("qy_secret_access_key: {secret}\n"),
        format!("qy_access_key_id: KEY\nqy_secret_access_key: [{secret}\n"),
        format!("qy_access_key_id: KEY\nqy_secret_access_key: [{secret}]\n"),
        format!("qy_access_key_id: KEY\nqy_secret_access_key: {{a: {secret}}}\n"),
        format!("qy_access_key_id: KEY\nqy_secret_access_key: {secret}\nport: {secret}\n"),
        format!("qy_access_key_id: KEY\nqy_secret_access_key: {secret}\nqy_secret_access_key: {secret}\n"),
    ] {
        std::fs::write(&path, text).unwrap();
        match Config::load(&path, None) {
            Ok(loaded) => {
                loaded.warnings.iter().for_each(|w| shown.take_down("a warning", w.to_string()));
                shown.debug("Loaded", &loaded);
            }
            Err(error) => {
                shown.take_down("ConfigError", hostnic_core::Chain(&error).to_string());
                shown.debug("ConfigError", &error);
            }
        }
    }
}

/// What the simulator tells of what it was asked; that it hands a role its credentials is its work.
fn simulator(shown: &Shown, simulator: &Simulator) {
    shown.debug("Simulator", simulator);
    shown.debug("the simulator's history", &simulator.history());
    shown.take_down("the history as JSON", serde_json::to_string(&simulator.history()).unwrap());
    for path in ["/history", "/counts", "/faults", "/state", "/nothing"] {
        shown.take_down(format!("the admin API's {path}"), listener::get(simulator, path));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_no_token_and_no_signature_is_told() {
    let (logs, shown) = (Logs::begin(), Shown::default());
    plain_values(&shown);
    files(&shown);
    let simulated = Simulator::start(simulated()).await.unwrap();
    let signatures = life::all(&simulated, &shown).await;
    simulator(&shown, &simulated);
    for (form, text) in logs.end() {
        assert!(text.contains("hyper") && text.contains("hostnic_core"), "the {form} is of everybody");
        shown.take_down(form, text);
    }

    let mut secrets = vec![
        Needles::new("the account's secret", SECRET),
        Needles::new("a wrong secret", WRONG),
        Needles::new("the role's secret", ROLE_SECRET),
        Needles::new("the role's token", ROLE_TOKEN),
        Needles::new("the start of a signature", "signature="),
    ];
    assert!(signatures.len() > 30, "{} requests were signed", signatures.len());
    secrets.extend(signatures.iter().map(|signature| Needles::new("a signature", signature)));
    let shown = shown.0.lock().unwrap();
    for (what, text) in shown.iter() {
        assert!(!text.is_empty(), "{what} shows nothing at all");
        let told = secrets.iter().find_map(|secret| secret.told_by(text));
        assert!(told.is_none(), "{what} tells {}", told.unwrap_or_default());
    }
}
