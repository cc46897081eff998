//! Looking at a network namespace from outside, before anybody is asked to enter it.

use std::fs::metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;

use hostnic_core::attachment::NetnsPath;

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    /// Nothing that is there.
    Nothing,
    /// The namespace that this process is in.
    Own,
    /// Something else. Whether it is a network namespace at all is told by who enters it.
    Other,
}

/// What `path` names now.
pub(crate) fn look(path: &NetnsPath) -> Named {
    let there = match metadata(path.as_path()) {
        Ok(there) => there,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Named::Nothing;
        }
        // Whether it can be entered is for the daemon to say, which has the right to.
        Err(_) => return Named::Other,
    };
    match metadata("/proc/self/ns/net") {
        Ok(own) if (own.dev(), own.ino()) == (there.dev(), there.ino()) => Named::Own,
        _ => Named::Other,
    }
}
