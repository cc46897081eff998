//! Every input that the fuzz targets start from, replayed.

#![allow(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 30, "{} has {} files only", directory.display(), files.len());
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let outcome = std::panic::catch_unwind(|| run(&bytes));
        assert!(outcome.is_ok(), "{} breaks a promise", file.display());
    }
}

#[test]
fn the_corpus_of_the_cni_plugin_breaks_no_promise() {
    replay("cni_input", hostnic_fuzz::cni_input);
}

#[test]
fn the_corpus_of_the_daemons_settings_breaks_no_promise() {
    replay("settings_file", hostnic_fuzz::settings_file);
}
