//! Finding and reading the configuration files.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::error::SettingsError;
use super::file::{ConfigFile, Files};
use super::invocation::{NetworkPlace, Places, SettingsPlace};
use super::personality::Personality;

/// No configuration comes near this, in bytes.
const LARGEST: u64 = 1 << 20;

/// Reads the first file of settings that is there, and the CNI configuration that has settings, too.
///
/// # Errors
/// When a file that was named, or one that is there, cannot be read.
pub fn locate(places: &Places) -> Result<Files, SettingsError> {
    let settings = match &places.settings {
        SettingsPlace::Named(path) => Some(read(path, Vec::new())?),
        SettingsPlace::Search(places) => {
            let present = |place: &Vec<PathBuf>| {
                let mut there = place.iter().filter(|path| path.exists()).cloned();
                Some((there.next()?, there.collect()))
            };
            places.iter().find_map(present).map(|(path, beside)| read(&path, beside)).transpose()?
        }
    };
    let usual = |personality: Personality| personality.network().filter(|path| path.exists());
    let network = match &places.network {
        NetworkPlace::Named(path) => Some(path.as_path()),
        NetworkPlace::Of(personality) => usual(*personality),
        NetworkPlace::OfFile => {
            settings.as_ref().and_then(|file| Personality::of_file(&file.path)).and_then(usual)
        }
    };
    Ok(Files { network: network.map(|path| read(path, Vec::new())).transpose()?, settings })
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
