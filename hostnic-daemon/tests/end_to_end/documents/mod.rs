//! The earlier systems' documents, followed to the letter: each command line and each file of theirs as it is printed, but
//! for its placeholders.
//!
//! 000 is the document of hostnic-cni 0.x, 001 that of qingcloud-cni, and 003 the same as 001 with its line breaks lost.

mod any_runtime;
mod desk;
mod hostnic_cni;
mod life;
mod qingcloud_cni;
mod swap;
mod table;

use std::path::Path;

use libtest_mimic::Trial;

use crate::trial;
use desk::LOOPBACK;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("document_000_is_followed_line_by_line", hostnic_cni::followed),
        trial("document_001_is_followed_line_by_line", qingcloud_cni::followed),
        trial("document_003_is_followed_line_by_line", qingcloud_cni::followed_without_line_breaks),
        trial("a_runtime_that_is_not_kubernetes_is_served", any_runtime::served),
        trial("pods_of_the_go_version_go_on_when_its_daemon_is_swapped", swap::pods_go_on),
    ]
}

/// Puts a value in the place of a placeholder.
fn fill(text: &str, placeholder: &str, value: &str) -> String {
    assert!(text.contains(placeholder), "{placeholder} is not in {text}");
    text.replacen(placeholder, value, 1)
}

/// Whether Debian's plugin is there; where nobody insists, its absence is told instead.
fn loopback_is_there() -> bool {
    let there = Path::new(LOOPBACK).exists();
    assert!(
        there || std::env::var_os("CI").is_none(),
        "{LOOPBACK} is missing: install containernetworking-plugins"
    );
    if !there {
        eprintln!(
            "\n*** SKIPPED: document 000: {LOOPBACK} is missing; install containernetworking-plugins ***\n"
        );
    }
    there
}
