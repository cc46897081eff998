//! A private world for tests and demonstrations: a network and a /run that nobody else sees, also without root.

use std::fs;
use std::path::Path;

use hostnic_core::{Error, ErrorKind, Result};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use crate::connection::Connection;
use crate::error;
use crate::link::{LinkChange, LinkIndex};
use crate::netns::Netns;

const OPERATION: &str = "enter";
const WORLD: &str = "a private network";

/// Switches of the kernel that forbid what is needed, the value that forbids it, and how to allow it.
const SWITCHES: [(&str, &str, &str); 3] = [
    ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
    ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
];

/// Puts the process into namespaces of its own: network, mounts, and as an ordinary user also users, where it then
/// is root. /run is empty and private, loopback is up, and nothing that the process does there is seen outside.
///
/// Call it first in `main`, before any thread is started: only then do all threads share the new namespaces.
///
/// # Errors
/// `Unauthorised` when the kernel forbids it; the detail names the setting and how to change it. `Invalid` when the
/// process has more than one thread. The process is then of no further use, as part of this may have been done.
pub fn enter_private_world() -> Result<()> {
    alone(WORLD)?;
    let network = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    let direct = if geteuid().is_root() { unshare(network) } else { Err(Errno::EPERM) };
    match direct {
        // Root in a container may lack the capability, and still be allowed what an ordinary user is.
        Err(Errno::EPERM) => unshare_as_user(network)?,
        result => result.map_err(|e| error::system(e, OPERATION, WORLD))?,
    }
    private_mounts()?;
    loopback_up()
}

/// Puts the process into a network namespace for the rest of its life. Call it first in `main`, as
/// [`enter_private_world`]; a program that is to run in a namespace can be executed after it.
///
/// # Errors
/// `Invalid` when it is a namespace of another kind, or the process has more than one thread; `Unauthorised` without
/// the capability SYS_ADMIN.
pub fn enter_namespace(netns: Netns) -> Result<()> {
    alone("a network namespace")?;
    netns.enter()
}

/// Only a process of one thread changes its namespaces as a whole.
fn alone(subject: &str) -> Result<()> {
    let threads = fs::read_dir("/proc/self/task").map_err(|e| error::io(e, OPERATION, subject))?;
    if threads.count() > 1 {
        return Err(Error::new(ErrorKind::Invalid, OPERATION, subject)
            .detail("other threads would stay outside; call this first in main"));
    }
    Ok(())
}

fn unshare_as_user(network: CloneFlags) -> Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | network).map_err(forbidden)?;
    // A user may map its own group only after giving up the right to drop groups.
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {uid} 1")),
        ("gid_map", format!("0 {gid} 1")),
    ] {
        fs::write(format!("/proc/self/{file}"), text)
            .map_err(|e| forbidden(Errno::from_raw(e.raw_os_error().unwrap_or_default())))?;
    }
    Ok(())
}

fn forbidden(errno: Errno) -> Error {
    let value = |name: &str| fs::read_to_string(Path::new("/proc/sys").join(name)).ok();
    let remedy = remedy(&value);
    Error::new(ErrorKind::Unauthorised, OPERATION, WORLD).detail(remedy).source(std::io::Error::from(errno))
}

/// What to do, judged by the kernel's switches.
fn remedy(value: &dyn Fn(&str) -> Option<String>) -> String {
    let set = SWITCHES.iter().find(|(name, forbids, _)| value(name).is_some_and(|v| v.trim() == *forbids));
    match set {
        Some((name, forbids, command)) => format!(
            "the kernel forbids it to ordinary users ({} is {forbids}); run as root, or allow it with `{command}`",
            name.replace('/', ".")
        ),
        None => {
            "the kernel or the container's seccomp profile forbids it; run as root, and in a container with \
                 --privileged"
                .to_owned()
        }
    }
}

fn private_mounts() -> Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .and_then(|()| {
            mount(
                Some("tmpfs"),
                "/run",
                Some("tmpfs"),
                MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
                Some("mode=755"),
            )
        })
        .map_err(|errno| {
            if errno == Errno::EPERM { forbidden(errno) } else { error::system(errno, OPERATION, WORLD) }
        })
}

fn loopback_up() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| error::io(e, OPERATION, WORLD))?;
    runtime.block_on(async {
        let connection = Connection::open(&Netns::current()?).await?;
        connection.change_link(LinkIndex::LOOPBACK, LinkChange::new().up()).await?;
        connection.close().await;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_names_the_switch_that_forbids() {
        let ubuntu = remedy(&|name| match name {
            "user/max_user_namespaces" => Some("96365\n".into()),
            "kernel/apparmor_restrict_unprivileged_userns" => Some("1\n".into()),
            _ => None,
        });
        assert!(ubuntu.contains("kernel.apparmor_restrict_unprivileged_userns is 1"), "{ubuntu}");
        assert!(ubuntu.contains("sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"), "{ubuntu}");
        let none_known = remedy(&|_| None);
        assert!(none_known.contains("seccomp"), "{none_known}");
    }
}
