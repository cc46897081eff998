//! The CNI file: it tells runtimes that pods can be served here, so it is written when they can and not before.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hostnic_core::store::BootId;
use serde_json::Value;

use crate::facts::Facts;
use crate::settings::{BOOT_KEY, CniTemplate};

/// The Go version's name for it, so that an upgrade replaces that one.
const NAME: &str = "10-hostnic.conf";
/// Runtimes read no file that ends so.
const UNFINISHED: &str = ".10-hostnic.conf.new";
/// How often is looked whether the node can serve, and whether the file is still there.
const LOOK: Duration = Duration::from_secs(1);

/// The CNI file in a folder of runtimes.
#[derive(Debug, Clone)]
pub(crate) struct CniFile {
    folder: PathBuf,
    boot: BootId,
    text: String,
}

impl CniFile {
    pub(crate) fn new(folder: &Path, template: &CniTemplate, boot: BootId) -> Self {
        Self { folder: folder.to_owned(), text: template.text(boot.as_str()), boot }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    /// Removes the file where it is of another boot, or of the Go version: until this node can serve, nothing else may tell
    /// runtimes that it can. Says whether there was one. One of this boot stays, as pods may be served by then.
    ///
    /// # Errors
    /// When it is there and cannot be read or removed.
    pub(crate) fn clear(&self) -> io::Result<bool> {
        let present = match fs::read(self.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            present => present?,
        };
        if is_of_boot(&present, &self.boot) {
            return Ok(false);
        }
        fs::remove_file(self.path())?;
        Ok(true)
    }

    /// Writes the file whole or not at all. Says whether it was another before.
    ///
    /// # Errors
    /// When the folder cannot be made or written.
    fn write(&self) -> io::Result<bool> {
        if fs::read(self.path()).is_ok_and(|present| present == self.text.as_bytes()) {
            return Ok(false);
        }
        fs::create_dir_all(&self.folder)?;
        let unfinished = self.folder.join(UNFINISHED);
        let mut file = File::create(&unfinished)?;
        file.write_all(self.text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, self.path())?;
        File::open(&self.folder)?.sync_all()?;
        Ok(true)
    }

    /// Writes the file when the node can serve, and again when it is gone or changed, until this is dropped.
    pub(crate) async fn keep(&self, facts: &Facts) -> Infallible {
        let mut trouble = None;
        loop {
            if facts.unready().is_empty() {
                match tokio::task::block_in_place(|| self.write()) {
                    Ok(true) => {
                        tracing::info!(file = %self.path().display(), "runtimes are told to bring pods")
                    }
                    Ok(false) => trouble = None,
                    Err(error) => {
                        let told = error.to_string();
                        if trouble.as_ref() != Some(&told) {
                            tracing::error!(file = %self.path().display(), %error, "the CNI file cannot be written, so runtimes bring no pods; mount the folder, or name another one with --cni-conf-dir");
                        }
                        trouble = Some(told);
                    }
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Whether a daemon of ours wrote it in this boot.
fn is_of_boot(text: &[u8], boot: &BootId) -> bool {
    let written = serde_json::from_slice::<Value>(text).ok();
    written.is_some_and(|file| file.get(BOOT_KEY).and_then(Value::as_str) == Some(boot.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Files, Invocation, resolve};

    fn file(folder: &Path, boot: &str) -> CniFile {
        let settings = resolve(&Invocation::default(), &Files::default()).unwrap().0;
        CniFile::new(folder, &settings.cni, boot.parse().unwrap())
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_of_this_boot_stays_and_any_other_of_its_name_goes() {
        let folder = tempfile::tempdir().unwrap();
        let (now, before) = (file(folder.path(), "boot-2"), file(folder.path(), "boot-1"));
        assert!(!now.clear().unwrap());
        assert!(now.write().unwrap());
        assert!(!now.clear().unwrap());
        assert!(!now.write().unwrap(), "it is the same");
        assert!(before.write().unwrap());
        assert!(now.clear().unwrap());
        for foreign in [r#"{"cniVersion":"0.3.0","name":"hostnic","type":"hostnic"}"#, "rubbish", ""] {
            fs::write(folder.path().join(NAME), foreign).unwrap();
            assert!(now.clear().unwrap(), "{foreign}");
        }
        fs::write(folder.path().join("05-other.conf"), "{}").unwrap();
        assert!(!now.clear().unwrap());
        assert_eq!(names(folder.path()), ["05-other.conf"]);
    }

    #[test]
    fn it_is_written_whole_into_a_folder_that_is_made_and_names_its_boot() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("cni/net.d");
        file(&folder, "boot-1").write().unwrap();
        assert_eq!(names(&folder), [NAME]);
        let written: Value = serde_json::from_slice(&fs::read(folder.join(NAME)).unwrap()).unwrap();
        assert_eq!((&written["type"], &written[BOOT_KEY]), (&"hostnic".into(), &"boot-1".into()));
        assert_eq!(written["socket"], hostnic_cni::contract::DEFAULT_SOCKET);
    }
}
