//! The unix socket that the plugin asks on: one daemon at a time, and for its own user only.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hostnic_core::{Error, ErrorKind, Result};
use nix::fcntl::{Flock, FlockArg};
use tokio::net::UnixListener;

/// A socket that is ours alone; its file goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Socket {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Socket {
    /// Listens on `path`, mode 0600. What a dead daemon left there is replaced.
    ///
    /// # Errors
    /// `Conflict` with the pid of the daemon that listens there already.
    pub(crate) fn listen(path: &Path) -> Result<(Self, UnixListener)> {
        let failed = |error: std::io::Error| {
            Error::new(ErrorKind::Transient, "listen on", path.display())
                .detail("the socket cannot be made; see that its folder can be written to, or choose another with --socket")
                .source(error)
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let lock = lock(path)?;
        // Made under another name and renamed when its mode is right: nobody can open it in between.
        let draft = path.with_extension("new");
        let _ = fs::remove_file(&draft);
        let listener = UnixListener::bind(&draft).map_err(failed)?;
        fs::set_permissions(&draft, Permissions::from_mode(0o600)).map_err(failed)?;
        fs::rename(&draft, path).map_err(failed)?;
        Ok((Self { path: path.to_owned(), _lock: lock }, listener))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The lock lasts as long as the process, however it ends, so a left-over file means nothing.
fn lock(socket: &Path) -> Result<Flock<File>> {
    let path = socket.with_extension("lock");
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::Transient, "lock", path.display())
            .detail("the lock file cannot be written")
            .source(error)
    };
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    match Flock::lock(file.map_err(failed)?, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            lock.set_len(0).and_then(|()| write!(lock, "{}", std::process::id())).map_err(failed)?;
            Ok(lock)
        }
        Err((mut file, _)) => {
            let mut pid = String::new();
            let _ = file.rewind().and_then(|()| file.read_to_string(&mut pid));
            let pid = pid.trim();
            let name = program(pid).unwrap_or_else(|| "another hostnic-daemon".to_owned());
            Err(Error::new(ErrorKind::Conflict, "listen on", socket.display()).detail(format!(
                "{name} (pid {pid}) listens there; stop it first, or choose another with --socket"
            )))
        }
    }
}

/// The name under which the process runs, as `ps` shows it.
fn program(pid: &str) -> Option<String> {
    let pid: u32 = pid.parse().ok()?;
    fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_daemon_is_refused_by_pid_and_a_dead_ones_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hostnic.sock");
        fs::write(&path, "left over").unwrap();
        let (first, _listener) = Socket::listen(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = Socket::listen(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        let own = fs::read_to_string("/proc/self/comm").unwrap();
        let named = format!("{} (pid {})", own.trim(), std::process::id());
        assert!(error.to_string().contains(&named), "{error}");
        drop(first);
        assert!(!path.exists());
        Socket::listen(&path).unwrap();
    }
}
