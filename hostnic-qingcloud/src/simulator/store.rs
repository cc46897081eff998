//! The simulator's state in a file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hostnic_core::sim::SavedCloud;
use hostnic_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::account::Account;

/// All that survives a restart.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Saved {
    /// When, since 1970.
    pub(super) at: Duration,
    pub(super) cloud: SavedCloud,
    pub(super) account: Account,
}

/// Writes states to a file, one after the other.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    /// Whoever writes takes the state after this is his, so that the last one written is the latest.
    turn: tokio::sync::Mutex<()>,
}

impl Store {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, turn: tokio::sync::Mutex::new(()) }
    }

    /// What was saved; `None` where nothing was.
    pub(super) fn load(&self) -> Result<Option<Saved>> {
        let failed = |kind| Error::new(kind, "read simulator state", self.path.display());
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(ErrorKind::Internal).source(error)),
        };
        let saved = serde_json::from_slice(&text).map_err(|error| {
            failed(ErrorKind::Damaged).detail("it is no state of this version; move it away").source(error)
        })?;
        Ok(Some(saved))
    }

    /// Saves what `state` makes when it is this write's turn.
    pub(super) async fn save(&self, state: impl FnOnce() -> Saved) -> Result<()> {
        let _turn = self.turn.lock().await;
        let failed = || Error::new(ErrorKind::Internal, "write simulator state", self.path.display());
        let text = serde_json::to_vec(&state()).map_err(|error| failed().source(error))?;
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || replace(&path, &text)).await;
        written.map_err(|error| failed().source(error))?.map_err(|error| failed().source(error))
    }
}

/// The file holds the old text or the new one, whenever the process ends.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut file = File::create(&new)?;
    file.write_all(text)?;
    file.sync_data()?;
    fs::rename(&new, path)
}
