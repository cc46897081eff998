//! What the tests need of the machine, and the one cluster that runs on it at a time.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use nix::fcntl::{Flock, FlockArg};

use crate::{build, enclosure, image};

/// Debian's packages, beside which Kubernetes' own programs are needed.
const PACKAGES: [&str; 19] = [
    "busybox-static",
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "etcd-server",
    "gcc",
    "ipset",
    "iproute2",
    "iptables",
    "iputils-ping",
    "jq",
    "libc6-dev",
    "nftables",
    "openssl",
    "python3",
    "runc",
    "socat",
    "tcpdump",
    "xz-utils",
];

/// Whoever else runs this Kubernetes on the machine waits at the same file.
const LOCK: &str = "/run/lock/hostnic-k8s.lock";

/// Runs this program again in its enclosure, where that is possible.
pub(crate) fn run_inside() -> ExitCode {
    // It needs the user's own cargo and its files.
    if let Err(reason) = build::plugin() {
        eprintln!("\n*** FAILED: the tests on Kubernetes did not run: {reason} ***\n");
        return ExitCode::FAILURE;
    }
    if let Err(reason) = ready() {
        // A skipped test must not look like a passed one where nobody reads the output.
        let in_ci = std::env::var_os("CI").is_some();
        let verdict = if in_ci { "FAILED" } else { "SKIPPED" };
        eprintln!("\n*** {verdict}: the tests on Kubernetes did not run: {reason} ***\n");
        return ExitCode::from(u8::from(in_ci));
    }
    let ended = image::build(&scratch()).and_then(|image| {
        let _lock = lock()?;
        enclosure::run_again(&scratch().join("last"), build::path(), &image)
    });
    match ended {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => {
            eprintln!("    {status}; what was logged is in {}", scratch().join("last").display());
            ExitCode::FAILURE
        }
        Err(reason) => {
            eprintln!("\n*** FAILED: the tests on Kubernetes did not run: {reason} ***\n");
            ExitCode::FAILURE
        }
    }
}

/// The folder with the programs of Kubernetes and the script that starts them.
pub(crate) fn kubernetes() -> PathBuf {
    std::env::var_os("HOSTNIC_K8S").map_or_else(beside_the_repository, PathBuf::from)
}

/// A worktree's repository is the one that it belongs to.
fn beside_the_repository() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let here = package.ancestors().map(|folder| folder.join("shared/k8s")).find(|folder| folder.is_dir());
    here.unwrap_or_else(|| package.join("../../shared/k8s"))
}

/// Where this test binary keeps files between runs.
pub(crate) fn scratch() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("kubernetes")
}

fn ready() -> Result<(), String> {
    let up = kubernetes().join("up");
    if !up.exists() {
        return Err(format!(
            "there is no {}; HOSTNIC_K8S says in which folder the programs of Kubernetes and the script `up` are",
            up.display()
        ));
    }
    if !nix::unistd::geteuid().is_root() {
        return Err("containers need root".to_owned());
    }
    if !Path::new("/sys/fs/cgroup/memory/tasks").exists() {
        return Err("control groups of version 1 are needed at /sys/fs/cgroup".to_owned());
    }
    if Command::new("kubectl").args(["version", "--client"]).output().is_err() {
        return Err("there is no kubectl; install the package kubernetes-client".to_owned());
    }
    let missing: Vec<&str> = PACKAGES.into_iter().filter(|package| !installed(package)).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("run: apt-get install {}", missing.join(" "))) }
}

fn installed(package: &str) -> bool {
    let asked =
        Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Status}", package]).output();
    asked.is_ok_and(|told| told.stdout == b"installed")
}

fn lock() -> Result<Flock<File>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{LOCK} cannot be locked: {error}");
    let file = File::create(LOCK).map_err(|error| failed(&error))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| failed(&errno))
}
