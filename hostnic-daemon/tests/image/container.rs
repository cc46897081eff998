//! Containers, as runc runs them.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::Signal;
use tokio::process::Command;

use crate::machine::{Machine, Running};

/// A container. It ends with this value, whatever happens.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) running: Running,
    name: Name,
}

#[derive(Debug)]
struct Name {
    state: PathBuf,
    id: String,
}

impl Name {
    fn runc(&self) -> Command {
        let mut command = Command::new("runc");
        command.arg("--root").arg(&self.state).stdin(Stdio::null());
        command
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        // Killing `runc run` would leave the container.
        let mut delete = std::process::Command::new("runc");
        let _ = delete.arg("--root").arg(&self.state).args(["delete", "--force", &self.id]).output();
    }
}

impl Container {
    /// Starts the container of a bundle.
    pub(crate) fn start(machine: &Machine, bundle: &Path) -> Self {
        let called = bundle.file_name().unwrap().to_str().unwrap();
        let id = format!("hostnic-{}-{}-{called}", std::process::id(), machine.number());
        let name = Name { state: machine.folder().join("runc"), id };
        let mut command = name.runc();
        command.args(["run", "--bundle"]).arg(bundle).arg(&name.id);
        Self { running: machine.spawn(command, &format!("log-{called}")), name }
    }

    /// What a program in the container prints, as by `kubectl exec`.
    pub(crate) async fn exec(&self, words: &[&str]) -> String {
        let output = self.name.runc().args(["exec", &self.name.id]).args(words).output().await.unwrap();
        let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert!(output.status.success(), "{words:?}: {out}{err}");
        out
    }

    /// Waits for the end; answers whether it was a success, and what was said.
    pub(crate) async fn ended(self) -> (bool, String) {
        let Self { running, name } = self;
        let ended = running.ended().await;
        drop(name);
        ended
    }

    /// Ends it as kubelet does.
    pub(crate) async fn ends(self) -> (bool, String) {
        let Self { running, name } = self;
        let ended = running.ends_by(Signal::SIGTERM).await;
        drop(name);
        ended
    }
}
