//! Calls the real CNI plugin as a container runtime does: its own process, environment, standard input and output.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::Instant;

use crate::sandbox::Sandbox;

/// The interface that pods get.
pub const IFNAME: &str = "eth0";

/// A plugin and the network configuration that it is called with.
#[derive(Debug, Clone)]
pub struct Plugin {
    program: PathBuf,
    config: String,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// It could not be run.
    #[error("the plugin {} cannot be run", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It failed and said why.
    #[error("{command} of {id} failed: {said}")]
    Failed {
        /// The CNI command.
        command: &'static str,
        /// The container.
        id: String,
        /// What it printed.
        said: String,
    },
    /// Its answer is no JSON.
    #[error("the plugin's answer is no JSON")]
    Answer(#[from] serde_json::Error),
}

/// What an ADD gave.
#[derive(Debug, Clone)]
pub struct Added {
    /// The whole result.
    pub result: Value,
    /// How long the process took.
    pub took: Duration,
}

impl Added {
    /// The first address, without its prefix length.
    pub fn address(&self) -> Option<std::net::Ipv4Addr> {
        self.result["ips"][0]["address"].as_str()?.split('/').next()?.parse().ok()
    }

    /// The MAC of the pod's interface.
    pub fn mac(&self) -> &str {
        self.result["interfaces"][0]["mac"].as_str().unwrap_or("-")
    }
}

impl Plugin {
    /// The plugin `program`, which asks the daemon on `socket`.
    pub fn new(program: &Path, socket: &Path) -> Self {
        let config = serde_json::json!({
            "cniVersion": "1.1.0", "name": "hostnic", "type": "hostnic", "socket": socket,
        });
        Self { program: program.to_owned(), config: config.to_string() }
    }

    /// Gives the sandbox its interface.
    ///
    /// # Errors
    /// What the plugin said.
    pub async fn add(&self, sandbox: &Sandbox) -> Result<Added, PluginError> {
        let begun = Instant::now();
        let output = self.call("ADD", sandbox).await?;
        Ok(Added { result: serde_json::from_str(&output)?, took: begun.elapsed() })
    }

    /// Takes it away.
    ///
    /// # Errors
    /// What the plugin said.
    pub async fn del(&self, sandbox: &Sandbox) -> Result<(), PluginError> {
        self.call("DEL", sandbox).await.map(drop)
    }

    async fn call(&self, command: &'static str, sandbox: &Sandbox) -> Result<String, PluginError> {
        let (status, output) = self
            .run(command, sandbox)
            .await
            .map_err(|source| PluginError::Run { program: self.program.clone(), source })?;
        if status.success() {
            return Ok(output);
        }
        Err(PluginError::Failed { command, id: sandbox.id.clone(), said: output.trim().to_owned() })
    }

    async fn run(&self, command: &str, sandbox: &Sandbox) -> std::io::Result<(ExitStatus, String)> {
        let folder = self.program.parent().unwrap_or(Path::new("/"));
        let mut child = Command::new(&self.program)
            .env_clear()
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", &sandbox.id)
            .env("CNI_NETNS", sandbox.path())
            .env("CNI_IFNAME", IFNAME)
            .env("CNI_PATH", folder)
            .env("CNI_ARGS", format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=demo;K8S_POD_NAME={}", sandbox.id))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(self.config.as_bytes()).await?;
        }
        let output = child.wait_with_output().await?;
        Ok((output.status, String::from_utf8_lossy(&output.stdout).into_owned()))
    }
}
