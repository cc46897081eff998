//! The store's disk is full, at each write of an ADD.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use nix::mount::{MsFlags, mount, umount};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::Node;
use crate::lifecycle::gateway;

/// What a file system in memory gives out at a time.
const PAGE: usize = 4096;

/// Large enough for the records of all pods, and soon full.
const DISK: &str = "size=4m";

fn fill(filler: &Path) {
    let mut file = File::create(filler).unwrap();
    while file.write(&[1; PAGE]).is_ok_and(|written| written > 0) {}
}

fn free_a_page(filler: &Path) {
    let file = OpenOptions::new().write(true).open(filler).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length.saturating_sub(PAGE as u64)).unwrap();
}

/// What a call printed, which is to be an error as CNI has it.
fn refused(stdout: &str) -> String {
    let error: Value = serde_json::from_str(stdout).unwrap();
    assert_eq!((&error["cniVersion"], &error["code"]), (&"1.1.0".into(), &11.into()), "{error:#}");
    format!("{} {}", error["msg"].as_str().unwrap(), error["details"].as_str().unwrap_or_default())
}

pub(crate) async fn full() {
    let mut node = Node::new().await;
    let disk = node.machine.folder().join("disk");
    fs::create_dir(&disk).unwrap();
    mount(Some("tmpfs"), &disk, Some("tmpfs"), MsFlags::empty(), Some(DISK)).unwrap();
    node.store_in(&disk);
    node.start().await;
    node.add_pods().await;
    node.all_run().await;

    let filler = disk.join("filler");
    fill(&filler);
    let pod = node.machine.pod("new").await;
    // What a DEL of the unknown leaves takes room, too.
    let mut unknown = 0;
    loop {
        let call = node
            .machine
            .call("DEL", &pod)
            .unset("CNI_NETNS")
            .set("CNI_CONTAINERID", format!("unknown{unknown}"));
        let outcome = call.run().await;
        if !outcome.success {
            assert!(refused(&outcome.stdout).contains("full"), "{}", outcome.stdout);
            break;
        }
        unknown += 1;
        assert!(unknown < 3000, "the disk is never full");
    }
    let add = node.machine.call("ADD", &pod);
    let mut refusals = Vec::new();
    let result = loop {
        let outcome = add.run().await;
        if outcome.success {
            break serde_json::from_str(&outcome.stdout).unwrap();
        }
        refusals.push(refused(&outcome.stdout));
        pod.is_empty();
        node.lists_all().await;
        assert!(refusals.len() < 200, "it is never served: {refusals:#?}");
        free_a_page(&filler);
    };
    assert!(refusals.iter().any(|said| said.contains("full")), "{refusals:#?}");
    println!(
        "    {unknown} DELs until the disk was full; an ADD was refused {} times, a page of room more each time",
        refusals.len()
    );
    pod.ping(gateway(pod.agrees_with(&result).address)).await;
    fs::remove_file(&filler).unwrap();
    node.machine.call("DEL", &pod).succeeds().await;
    node.until_alone().await;
    pod.is_empty();
    node.all_run().await;
    // What was refused left nothing behind that a start would find.
    node.end(Signal::SIGKILL).await;
    node.start().await;
    node.all_run().await;
    node.a_newcomer_is_served("newer").await;
    node.finish().await;
    umount(&disk).unwrap();
}
