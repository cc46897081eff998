//! `hostnic-daemon install`: puts the plugin where the container runtime finds it.
//!
//! A DaemonSet's init container runs it, in an image that has no shell and no `cp`.

use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use hostnic_core::Chain;
use tempfile::NamedTempFile;

/// What the plugin's program is called where this one is.
const PLUGIN: &str = "hostnic";

/// The flags of `hostnic-daemon install`.
#[derive(Debug, clap::Args)]
pub(super) struct Install {
    /// Where the container runtime finds plugins.
    #[arg(long, value_name = "PATH", default_value = "/opt/cni/bin")]
    cni_bin_dir: PathBuf,
    /// The plugin's program; beside this one unless told.
    #[arg(long, value_name = "PATH")]
    plugin: Option<PathBuf>,
    /// What configurations call it (`type`); may be repeated.
    #[arg(long = "as", value_name = "NAME", value_enum, default_value = "hostnic")]
    names: Vec<Name>,
}

/// The names that the plugin answers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Of all that is called hostnic-cni.
    Hostnic,
    /// Of qingcloud-cni.
    Qingcni,
}

impl Name {
    fn file(self) -> &'static str {
        match self {
            Self::Hostnic => "hostnic",
            Self::Qingcni => "qingcni",
        }
    }
}

/// What became of one name.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Installed(PathBuf),
    AlreadyThere(PathBuf),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installed(path) => write!(f, "installed {}", path.display()),
            Self::AlreadyThere(path) => write!(f, "{} is the same already", path.display()),
        }
    }
}

/// Why the plugin is not where it should be.
#[derive(Debug, thiserror::Error)]
enum InstallError {
    #[error("read {}: the plugin cannot be read; name its program with --plugin", path.display())]
    Plugin { path: PathBuf, source: io::Error },
    #[error(
        "write {}: the plugin cannot be put there; see that the folder is there and can be written to, or name \
         the container runtime's with --cni-bin-dir",
        path.display()
    )]
    Write { path: PathBuf, source: io::Error },
}

impl Install {
    #[expect(clippy::print_stdout, reason = "what a person asked for goes to standard output")]
    pub(super) fn run(&self) -> Result<(), String> {
        let told = |error: InstallError| Chain(&error).to_string();
        let program = self.program().map_err(told)?;
        for name in &self.names {
            println!("{}", install(&program, &self.cni_bin_dir, *name).map_err(told)?);
        }
        Ok(())
    }

    fn program(&self) -> Result<Vec<u8>, InstallError> {
        let beside = || Ok(std::env::current_exe()?.with_file_name(PLUGIN));
        let path = self.plugin.clone().map_or_else(beside, Ok);
        let path = path.map_err(|source| InstallError::Plugin { path: PLUGIN.into(), source })?;
        fs::read(&path).map_err(|source| InstallError::Plugin { path, source })
    }
}

/// Whatever else is there under that name is replaced, newer or older: the plugin belongs to its daemon. A runtime that
/// starts it meanwhile gets the old one or the new one, whole; one that runs goes on.
fn install(program: &[u8], folder: &Path, name: Name) -> Result<Outcome, InstallError> {
    let path = folder.join(name.file());
    if is_there(program, &path) {
        return Ok(Outcome::AlreadyThere(path));
    }
    match replace(program, folder, &path) {
        Ok(()) => Ok(Outcome::Installed(path)),
        Err(source) => Err(InstallError::Write { path, source }),
    }
}

fn is_there(program: &[u8], path: &Path) -> bool {
    let executable =
        |path: &Path| Ok::<_, io::Error>(fs::metadata(path)?.permissions().mode() & 0o111 == 0o111);
    executable(path).is_ok_and(|it_is| it_is) && fs::read(path).is_ok_and(|there| there == program)
}

fn replace(program: &[u8], folder: &Path, path: &Path) -> io::Result<()> {
    let mut draft = NamedTempFile::with_prefix_in(".hostnic-", folder)?;
    draft.write_all(program)?;
    draft.as_file().set_permissions(Permissions::from_mode(0o755))?;
    // What is renamed before it is on the disk can be empty after a power cut.
    draft.as_file().sync_all()?;
    draft.persist(path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> Vec<String> {
        let names =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn what_differs_is_replaced_and_what_is_the_same_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hostnic");
        let install = |program: &[u8]| install(program, folder.path(), Name::Hostnic).unwrap();
        assert_eq!(install(b"one"), Outcome::Installed(path.clone()));
        let first = fs::metadata(&path).unwrap().modified().unwrap();
        assert_eq!(install(b"one"), Outcome::AlreadyThere(path.clone()));
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), first);
        assert_eq!(install(b"two"), Outcome::Installed(path.clone()));
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(files(folder.path()), ["hostnic"]);
    }

    #[test]
    fn one_that_cannot_be_executed_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qingcni");
        fs::write(&path, "one").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(install(b"one", folder.path(), Name::Qingcni).unwrap(), Outcome::Installed(path));
    }

    /// The Go versions' plugin may have been a link, and what it leads to is not ours.
    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (link, target) = (folder.path().join("hostnic"), folder.path().join("theirs"));
        fs::write(&target, "theirs").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        install(b"ours", folder.path(), Name::Hostnic).unwrap();
        assert_eq!(
            (fs::read(&link).unwrap(), fs::read(&target).unwrap()),
            (b"ours".to_vec(), b"theirs".to_vec())
        );
    }

    #[test]
    fn a_file_that_is_open_stays_what_it_was() {
        use std::io::Read;

        let folder = tempfile::tempdir().unwrap();
        install(b"one", folder.path(), Name::Hostnic).unwrap();
        let mut open = File::open(folder.path().join("hostnic")).unwrap();
        install(b"two", folder.path(), Name::Hostnic).unwrap();
        let mut read = String::new();
        open.read_to_string(&mut read).unwrap();
        assert_eq!(read, "one");
    }

    #[test]
    fn a_failure_names_the_file_and_the_flag_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let error = install(b"one", &missing, Name::Hostnic).unwrap_err().to_string();
        assert!(error.contains("missing/hostnic") && error.contains("--cni-bin-dir"), "{error}");
        fs::create_dir(folder.path().join("hostnic")).unwrap();
        install(b"one", folder.path(), Name::Hostnic).unwrap_err();
        assert_eq!(files(folder.path()), ["hostnic"]);
    }
}
