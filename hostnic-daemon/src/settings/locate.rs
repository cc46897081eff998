//! Finding and reading the configuration file.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::error::SettingsError;
use super::file::ConfigFile;
use super::invocation::Places;

/// No configuration comes near this, in bytes.
const LARGEST: u64 = 1 << 20;

/// Reads the first file that is there; `None` where none is and none has to be.
///
/// # Errors
/// When the file that was named, or one that is there, cannot be read.
pub fn locate(places: &Places) -> Result<Option<ConfigFile>, SettingsError> {
    match places {
        Places::Named(path) => read(path, Vec::new()).map(Some),
        Places::Search(places) => {
            let present = |place: &Vec<PathBuf>| {
                let mut there = place.iter().filter(|path| path.exists()).cloned();
                Some((there.next()?, there.collect()))
            };
            places.iter().find_map(present).map(|(path, beside)| read(&path, beside)).transpose()
        }
    }
}

fn read(path: &Path, beside: Vec<PathBuf>) -> Result<ConfigFile, SettingsError> {
    let text = text(path).map_err(|source| SettingsError::Unreadable { path: path.to_owned(), source })?;
    Ok(ConfigFile { path: path.to_owned(), text, beside })
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    Ok(text)
}
