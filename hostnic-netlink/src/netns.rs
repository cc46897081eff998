//! Network namespaces: opening, entering, making and removing them.

use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hostnic_core::attachment::Sandbox;
use hostnic_core::{Error, ErrorKind, Result};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use tokio::sync::oneshot;

use crate::error;

const OWN: &str = "/proc/thread-self/ns/net";

/// An open network namespace.
///
/// The namespace lives at least as long as this does: hold one of a pod for a single operation.
#[derive(Debug)]
pub struct Netns {
    file: OwnedFd,
    sandbox: Sandbox,
}

impl Netns {
    /// Opens the namespace that `path` names.
    ///
    /// A path that leads to something else is never opened for reading, so that no device or pipe is touched.
    ///
    /// # Errors
    /// `NotFound` when nothing is there, `Invalid` when it is no namespace. A namespace of another kind than network
    /// is told apart when it is entered, or by [`Netns::verify`].
    pub fn open(path: &Path) -> Result<Self> {
        let subject = path.display();
        let failed = |e: io::Error| {
            let error = error::io(e, "open network namespace", &subject);
            match error.kind() {
                ErrorKind::Unauthorised if path.starts_with("/proc") => error.detail(
                    "the kernel shows the namespace of a process with other capabilities only to who may trace it; give the \
                     daemon the capability SYS_PTRACE as well, on Kubernetes by deploy/kubernetes/proc-netns",
                ),
                ErrorKind::NotFound if path.starts_with("/proc") => error.detail(
                    "the process has ended, or the daemon is in a container that does not see the processes of its host; on \
                     Kubernetes deploy/kubernetes/proc-netns shows it them",
                ),
                _ => error,
            }
        };
        let handle =
            OpenOptions::new().read(true).custom_flags(OFlag::O_PATH.bits()).open(path).map_err(failed)?;
        let filesystem = fstatfs(&handle).map_err(|e| failed(e.into()))?;
        if filesystem.filesystem_type() != NSFS_MAGIC {
            return Err(not_a_network_namespace(&subject));
        }
        // What was looked at is what is opened, whatever the path names by now.
        let file = File::open(format!("/proc/self/fd/{}", handle.as_raw_fd())).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        Ok(Self { file: file.into(), sandbox: Sandbox { device: metadata.dev(), inode: metadata.ino() } })
    }

    /// The namespace that the calling thread is in.
    ///
    /// # Errors
    /// `NotFound` where /proc is not mounted.
    pub fn current() -> Result<Self> {
        Self::open(Path::new(OWN))
    }

    /// The identity of the namespace.
    pub fn sandbox(&self) -> Sandbox {
        self.sandbox
    }

    /// Makes sure that this is a network namespace and may be entered.
    ///
    /// # Errors
    /// `Invalid` when it is a namespace of another kind, `Unauthorised` without the capability SYS_ADMIN.
    pub async fn verify(&self) -> Result<()> {
        self.run(|| ()).await
    }

    /// Runs `work` inside the namespace, on a thread of its own that ends with it.
    ///
    /// Dropping the future does not stop the work.
    ///
    /// # Errors
    /// As [`Netns::verify`]; `Internal` when the work panics.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let inside = self.try_clone()?;
        on_a_thread("enter network namespace", move || {
            inside.enter()?;
            Ok(work())
        })
        .await
    }

    /// Starts a program inside the namespace; what becomes of it is up to the command, as with
    /// [`Command::spawn`](tokio::process::Command::spawn).
    ///
    /// The program is started by a thread that ends at once. One that is to die with its parent (`PR_SET_PDEATHSIG`)
    /// dies with that thread; it has to enter the namespace by itself (see `isolation::enter_namespace`).
    ///
    /// # Errors
    /// As [`Netns::verify`]; `NotFound` without the program. A future that is dropped may leave it running, unless
    /// the command is `kill_on_drop`.
    pub async fn spawn(&self, mut command: tokio::process::Command) -> Result<tokio::process::Child> {
        let runtime = tokio::runtime::Handle::current();
        let program = PathBuf::from(command.as_std().get_program());
        let spawned = self.run(move || {
            let _runtime = runtime.enter();
            command.spawn()
        });
        spawned.await?.map_err(|e| error::io(e, "start", program.display()))
    }

    /// Another descriptor of the same namespace.
    ///
    /// # Errors
    /// `Transient` when the process has no descriptor left.
    pub fn try_clone(&self) -> Result<Self> {
        let file = self.file.try_clone().map_err(|e| error::io(e, "keep network namespace", self.sandbox))?;
        Ok(Self { file, sandbox: self.sandbox })
    }

    /// Moves the calling thread into the namespace. Only for threads of our own that nobody else runs on.
    pub(crate) fn enter(&self) -> Result<()> {
        setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(|errno| match errno {
            Errno::EINVAL => not_a_network_namespace(self.sandbox),
            errno => error::system(errno, "enter network namespace", self.sandbox),
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn not_a_network_namespace(subject: impl Display) -> Error {
    Error::new(ErrorKind::Invalid, "open network namespace", subject).detail(
        "this is no network namespace; give the path of one, such as /run/netns/NAME or /proc/PID/ns/net",
    )
}

/// Runs `work`, which may block or change the thread's namespaces, on a thread that nobody uses afterwards.
async fn on_a_thread<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (done, result) = oneshot::channel();
    std::thread::Builder::new()
        .name("hostnic-netns".into())
        .spawn(move || {
            // Nobody listens any more when the caller was dropped.
            let _ = done.send(work());
        })
        .map_err(|e| error::io(e, operation, "a new thread"))?;
    result.await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Internal, operation, "a new thread")
            .detail("the thread ended without a result"))
    })
}

/// A network namespace that lives at a path, as `ip netns add` makes them. Dropping this removes it.
#[derive(Debug)]
pub struct NamedNetns {
    path: PathBuf,
}

impl NamedNetns {
    /// Makes a new, empty namespace at `path`, with its folder where that is missing.
    ///
    /// # Errors
    /// `Conflict` when something is at `path`, `Unauthorised` without the capability SYS_ADMIN. A future that is
    /// dropped may leave the namespace; removing the path's mount and file takes it away.
    pub async fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        on_a_thread("make network namespace", move || {
            let failed = |e: io::Error| error::io(e, "make network namespace", path.display());
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).map_err(failed)?;
            }
            OpenOptions::new().write(true).create_new(true).mode(0o444).open(&path).map_err(failed)?;
            let made = unshare(CloneFlags::CLONE_NEWNET)
                .and_then(|()| mount(Some(OWN), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>));
            if let Err(errno) = made {
                // The file is empty and ours; the error that counts is the first one.
                let _ = fs::remove_file(&path);
                return Err(failed(errno.into()));
            }
            Ok(Self { path })
        })
        .await
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it.
    ///
    /// # Errors
    /// As [`Netns::open`].
    pub fn open(&self) -> Result<Netns> {
        Netns::open(&self.path)
    }

    /// Removes the name. The namespace itself ends with its last process and descriptor.
    ///
    /// # Errors
    /// `Unauthorised` without the capability SYS_ADMIN. That it is gone already is success.
    pub fn remove(mut self) -> Result<()> {
        remove(&std::mem::take(&mut self.path))
    }
}

impl Drop for NamedNetns {
    fn drop(&mut self) {
        // An empty path: removed already.
        if self.path.as_os_str().is_empty() {
            return;
        }
        if let Err(error) = remove(&self.path) {
            tracing::warn!(path = %self.path.display(), error = %error.chain(), "a network namespace was left behind");
        }
    }
}

fn remove(path: &Path) -> Result<()> {
    let failed = |errno: Errno| error::system(errno, "remove network namespace", path.display());
    match umount2(path, MntFlags::MNT_DETACH) {
        // Not mounted, or not even there: what is left to do is the file.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(errno) => return Err(failed(errno)),
    }
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(error::io(e, "remove network namespace", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_namespace_is_told_apart_from_what_is_not_there() {
        let kind = |path: &str| Netns::open(Path::new(path)).unwrap_err().kind();
        assert_eq!(kind("/proc/self/status"), ErrorKind::Invalid);
        assert_eq!(kind("/dev/null"), ErrorKind::Invalid);
        assert_eq!(kind("/proc/self/ns/nothing"), ErrorKind::NotFound);
        assert_eq!(kind("/proc/self/status/ns"), ErrorKind::NotFound);
    }

    #[test]
    fn the_same_namespace_has_the_same_identity_on_every_path() {
        let current = Netns::current().unwrap();
        let again = Netns::open(Path::new("/proc/self/ns/net")).unwrap();
        assert_eq!(current.sandbox(), again.sandbox());
    }

    #[tokio::test]
    async fn a_namespace_of_another_kind_is_refused_when_entered() {
        let mount = Netns::open(Path::new("/proc/self/ns/mnt")).unwrap();
        let error = mount.verify().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Unauthorised), "{error}");
    }
}
