//! A small file system that nobody else sees, and its being full.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// What a file system in memory gives out at a time.
pub(crate) const PAGE: u64 = 4096;

/// Runs `test` with a file system of `bytes` at the folder that it is told.
pub(crate) fn with_small_disk<F: Future<Output = ()>>(bytes: usize, test: impl FnOnce(PathBuf) -> F + Send) {
    if !nix::unistd::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "this test mounts a small file system and needs root");
        eprintln!("*** SKIPPED: this test mounts a small file system and needs root ***");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        // The mount belongs to the thread, and to the blocking threads that its runtime starts.
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
            let size = format!("size={bytes}");
            mount(Some("tmpfs"), directory.path(), Some("tmpfs"), MsFlags::empty(), Some(size.as_str()))
                .unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(test(directory.path().to_owned()));
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Takes all the space that is left.
pub(crate) fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    while file.write(&[1; PAGE as usize]).is_ok_and(|n| n > 0) {}
}
