//! Each point is the name of one place in the sources.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hostnic_core::point::Point;

/// Where points are called, and where they are declared.
const SOURCES: [&str; 3] = ["../hostnic-core/src", "src", "../hostnic-netlink/src"];
const DECLARED: &str = "point.rs";

/// How often each point is called by the sources.
fn calls() -> BTreeMap<&'static str, usize> {
    let mut calls: BTreeMap<&str, usize> = Point::ALL.iter().map(|point| (point.name(), 0)).collect();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> = SOURCES.iter().map(|folder| here.join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name != DECLARED) {
                count(&std::fs::read_to_string(path).unwrap(), &mut calls);
            }
        }
    }
    calls
}

fn count(source: &str, calls: &mut BTreeMap<&'static str, usize>) {
    for after in source.split("Point::").skip(1) {
        let end = after.find(|c: char| !c.is_alphanumeric()).unwrap_or(after.len());
        if let Some(count) = calls.get_mut(&after[..end]) {
            *count += 1;
        }
    }
}

pub(super) async fn once_each() {
    let others: Vec<_> = calls().into_iter().filter(|(_, count)| *count != 1).collect();
    assert!(others.is_empty(), "each point is to be called at one place: {others:?}");
}
