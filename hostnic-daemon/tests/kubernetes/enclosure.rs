//! A machine within this one, for processes, mounts, network and control groups, which ends with the tests whatever
//! fails.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use crate::image;

/// Set for the tests inside: the folder that is theirs.
const INSIDE: &str = "HOSTNIC_ENCLOSURE";

/// What its control groups are called; there is one at a time.
const NAME: &str = "hostnic-kubernetes";

/// Where the plugin is that was built for the tests.
const PLUGIN: &str = "HOSTNIC_PLUGIN";

/// The script that makes a machine of the namespaces that it is started in.
const SCRIPT: &str = include_str!("enclosure.sh");

/// The folder of the tests that run inside; `None` outside.
pub(crate) fn folder() -> Option<PathBuf> {
    std::env::var_os(INSIDE).map(PathBuf::from)
}

/// The plugin's program.
pub(crate) fn plugin() -> PathBuf {
    PathBuf::from(std::env::var_os(PLUGIN).unwrap())
}

/// A command that starts an enclosure in new namespaces of these kinds (as in `--net`) and of processes and mounts. Both
/// end together.
pub(crate) fn command(name: &str, folder: &Path, namespaces: &[&str]) -> Command {
    // Whoever starts it may be killed as well.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "unshare", "--mount", "--pid", "--fork", "--kill-child"]);
    command.arg("--mount-proc").args(namespaces).args(["--", "bash", "-c", SCRIPT, "enclosure", name]);
    command.arg(folder);
    command
}

/// Runs this program again with the same arguments, inside. What it left in `folder` stays for a look until the next
/// time.
pub(crate) fn run_again(folder: &Path, plugin: &Path, image: &Path) -> Result<ExitStatus, String> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(|error| format!("{} is in the way: {error}", folder.display()))?;
    }
    fs::create_dir_all(folder).map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
    // Whoever was killed could not remove its own.
    remove_groups(OsStr::new(NAME));
    let own = std::env::current_exe().map_err(|error| format!("this program cannot be found: {error}"))?;
    let mut inside = command(NAME, folder, &["--net"]);
    inside.arg(own).args(std::env::args_os().skip(1)).env(INSIDE, folder).env(PLUGIN, plugin);
    image::tell(&mut inside, image);
    let ended = inside.status();
    remove_groups(OsStr::new(NAME));
    ended.map_err(|error| format!("`setpriv` and `unshare` are needed (package util-linux): {error}"))
}

/// Removes the control groups of this name, whose processes have ended.
fn remove_groups(name: &OsStr) {
    let Ok(hierarchies) = fs::read_to_string("/proc/self/cgroup") else { return };
    for line in hierarchies.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        if let (Some(controllers), Some(path)) = (parts.next().filter(|c| !c.is_empty()), parts.next()) {
            let controllers = controllers.trim_start_matches("name=");
            let above = Path::new("/sys/fs/cgroup").join(controllers).join(path.trim_start_matches('/'));
            remove_group(&above.join(name));
        }
    }
}

fn remove_group(group: &Path) {
    let Ok(below) = fs::read_dir(group) else { return };
    for entry in below.flatten().filter(|entry| entry.path().is_dir()) {
        remove_group(&entry.path());
    }
    // The kernel gives a group up a moment after its last process.
    for _ in 0..100 {
        if fs::remove_dir(group).is_ok() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    eprintln!("*** the control group {} is left ***", group.display());
}
