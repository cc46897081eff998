//! The image as the manifests confine it: started by runc from a configuration that is made of the manifest itself, so that
//! the two cannot differ, on a machine in a simulated cloud whose NICs are real links.
//!
//! It needs root, runc, and the programs that deploy/image/build needs.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should panic")]
#![allow(clippy::print_stdout, reason = "what each capability is for is worth reading")]

#[path = "../end_to_end/api.rs"]
#[allow(dead_code, reason = "the end-to-end tests' own, of which a part is used here")]
mod api;
mod archive;
mod build;
mod bundle;
mod confined;
#[path = "../end_to_end/contained.rs"]
mod contained;
mod container;
mod host;
#[path = "../end_to_end/machine.rs"]
#[allow(dead_code, reason = "the end-to-end tests' own, of which a part is used here")]
mod machine;
mod manifest;
mod names;
mod node;
#[path = "../end_to_end/plugin.rs"]
#[allow(dead_code, reason = "the end-to-end tests' own, of which a part is used here")]
mod plugin;
#[path = "../end_to_end/pod.rs"]
#[allow(dead_code, reason = "the end-to-end tests' own, of which a part is used here")]
mod pod;
#[path = "../end_to_end/starting.rs"]
mod starting;
#[path = "../end_to_end/witness.rs"]
#[allow(dead_code, reason = "the end-to-end tests' own, of which a part is used here")]
mod witness;

use std::process::{Command, ExitCode};

use hostnic_netlink::isolation::enter_private_world;
use libtest_mimic::Arguments;
use tempfile::TempDir;

use starting::trial;

fn main() -> ExitCode {
    starting::run("the tests of the image", &Arguments::from_args(), ready, [confined::trials()])
}

/// The image's root file system, in a world where containers can be started.
fn ready() -> Result<TempDir, String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("containers as Kubernetes makes them need root".to_owned());
    }
    let missing = |e| format!("`runc` is needed to start the image (package runc): {e}");
    Command::new("runc").arg("--version").output().map_err(missing)?;
    // It needs the user's own cargo and its files, so it comes before all else.
    let image = build::image()?;
    enter_private_world().map_err(|e| e.chain().to_string())?;
    let mapped = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    if mapped.split_whitespace().last() != Some("4294967295") {
        return Err("root here may not make network namespaces but in a user namespace".to_owned());
    }
    Ok(image)
}
