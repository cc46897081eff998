//! A process as a runtime contains it, for namespaces that have no name but by it.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A process with other capabilities than the daemon, in a network of its own, and the path of that.
pub(crate) async fn contained() -> (Child, String) {
    let mut child = Command::new("unshare")
        .args(["--net", "setpriv", "--bounding-set=-all,+chown,+kill", "sh", "-c", "echo in; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("in"));
    let netns = format!("/proc/{}/ns/net", child.id().unwrap());
    (child, netns)
}
