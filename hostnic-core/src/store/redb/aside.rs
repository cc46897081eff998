//! Files that are no longer used and may still be of use to a person.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How many are kept for each reason; the oldest go first.
const KEPT: usize = 3;

/// Renames `path` to `<path>.<reason>-<n>` with the next number, and removes the oldest of that reason beyond a few.
pub(super) fn keep_aside(path: &Path, reason: &str) -> io::Result<PathBuf> {
    let mut earlier = numbered(path, reason)?;
    let next = earlier.last().map_or(1, |(n, _)| n.saturating_add(1));
    let to = with_suffix(path, &format!(".{reason}-{next}"));
    fs::rename(path, &to)?;
    while earlier.len() >= KEPT {
        fs::remove_file(earlier.remove(0).1)?;
    }
    Ok(to)
}

/// `path` with something after its name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Those that are there, by their numbers.
fn numbered(path: &Path, reason: &str) -> io::Result<Vec<(u64, PathBuf)>> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path does not end in a file's name"));
    };
    let prefix = format!("{name}.{reason}-");
    let mut found = Vec::new();
    for entry in fs::read_dir(parent(path))? {
        let entry = entry?;
        let number = entry.file_name().to_str().and_then(|n| n.strip_prefix(&prefix)?.parse().ok());
        found.extend(number.map(|n| (n, entry.path())));
    }
    found.sort();
    Ok(found)
}

/// The directory that a path is in.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_few_are_kept_and_others_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.redb");
        fs::write(dir.path().join("node.redb.damaged-by-hand"), "").unwrap();
        for n in 1..=12 {
            fs::write(&path, n.to_string()).unwrap();
            let kept = keep_aside(&path, "damaged").unwrap();
            assert_eq!(kept, dir.path().join(format!("node.redb.damaged-{n}")));
            assert_eq!(fs::read_to_string(kept).unwrap(), n.to_string());
        }
        let mut names: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "node.redb.damaged-10",
                "node.redb.damaged-11",
                "node.redb.damaged-12",
                "node.redb.damaged-by-hand"
            ]
        );
    }
}
