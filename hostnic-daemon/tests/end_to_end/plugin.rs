//! One call of the plugin's program, as a container runtime makes it, to be changed by a trial before it is made.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::build;

/// The network's name in the configurations.
pub(crate) const NETWORK: &str = "net";

/// A call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    environment: BTreeMap<String, OsString>,
    config: Value,
    stdin: Option<Vec<u8>>,
}

/// What a call left behind.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) took: Duration,
}

impl Call {
    /// A call for the container `id` in `netns`, to the daemon on `socket`.
    pub(crate) fn new(command: &str, socket: &Path, id: &str, netns: &Path) -> Self {
        let environment = [
            ("CNI_COMMAND", command.into()),
            ("CNI_CONTAINERID", id.into()),
            ("CNI_NETNS", netns.as_os_str().to_owned()),
            ("CNI_IFNAME", "eth0".into()),
            ("CNI_PATH", "/opt/cni/bin".into()),
            ("CNI_ARGS", format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={id}").into()),
        ];
        let config = json!({"cniVersion": "1.1.0", "name": NETWORK, "type": "hostnic", "socket": socket});
        Self {
            environment: environment.map(|(name, value)| (name.to_owned(), value)).into(),
            config,
            stdin: None,
        }
    }

    pub(crate) fn set(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn unset(mut self, name: &str) -> Self {
        self.environment.remove(name);
        self
    }

    /// Sets a key of the configuration.
    pub(crate) fn with(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    /// Takes a key out of the configuration.
    pub(crate) fn without(mut self, key: &str) -> Self {
        self.config.as_object_mut().unwrap().remove(key);
        self
    }

    /// Standard input instead of the configuration.
    pub(crate) fn stdin(mut self, text: &str) -> Self {
        self.stdin = Some(text.as_bytes().to_vec());
        self
    }

    /// Starts the process and hands it its input.
    pub(crate) async fn start(&self) -> Child {
        let mut child = Command::new(build::path())
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = self.stdin.clone().unwrap_or_else(|| self.config.to_string().into_bytes());
        // One that answers without reading has closed its end.
        let _ = child.stdin.take().unwrap().write_all(&input).await;
        child
    }

    pub(crate) async fn run(&self) -> Outcome {
        let begun = Instant::now();
        let output = self.start().await.wait_with_output().await.unwrap();
        Outcome {
            success: output.status.success(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            took: begun.elapsed(),
        }
    }

    /// Makes the call, which is to succeed, and gives back what it printed; null for nothing.
    pub(crate) async fn succeeds(&self) -> Value {
        let outcome = self.run().await;
        assert!(outcome.success, "{self:?}: {}", outcome.stdout);
        if outcome.stdout.is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&outcome.stdout).unwrap()
    }

    /// Makes the call, which is to fail with this code, and gives back message and details.
    pub(crate) async fn fails(&self, code: u64) -> String {
        let outcome = self.run().await;
        assert!(!outcome.success, "{self:?} succeeded: {}", outcome.stdout);
        let error: Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(error["code"], code, "{self:?}: {error:#}");
        let [message, details] = ["msg", "details"].map(|key| error[key].as_str().unwrap_or_default());
        format!("{message}\n{details}")
    }
}
