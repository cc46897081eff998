//! What the Go version left on this machine.

use std::path::{Path, PathBuf};

/// Where it kept its records.
const FOLDER: &str = "/var/lib/hostnic";
/// A file that each of its databases has.
const DATABASE: &str = "CURRENT";

/// Says that its records are there, where they are. They are left alone: whoever goes back needs them.
pub(super) fn tell() {
    if let Some(folder) = database(Path::new(FOLDER)) {
        tracing::info!(folder = %folder.display(), "the Go version's records are here; they are not read, and left alone");
    }
}

/// Its database in a folder, or in one of the folders there.
fn database(folder: &Path) -> Option<PathBuf> {
    let within = std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    std::iter::once(folder.to_owned()).chain(within).find(|folder| folder.join(DATABASE).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_database_is_found_wherever_it_lies() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("hostnic");
        assert_eq!(database(&folder), None);
        std::fs::create_dir_all(folder.join("db")).unwrap();
        assert_eq!(database(&folder), None);
        std::fs::write(folder.join("db").join(DATABASE), "").unwrap();
        assert_eq!(database(&folder), Some(folder.join("db")));
        std::fs::write(folder.join(DATABASE), "").unwrap();
        assert_eq!(database(&folder), Some(folder));
    }
}
