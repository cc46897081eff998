//! Settings from a file.

use std::path::{Path, PathBuf};

use super::document::{self, Format};
use super::error::SettingsError;
use super::key::{Key, OBSOLETE, nearest};
use super::layer::Layer;
use super::notice::Notice;
use super::personality::Personality;
use super::raw::Raw;
use super::source::Source;

/// A configuration file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFile {
    /// Where it is; its name says what it is written in, and whose it is.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
    /// Files of the same name with other endings, which are not read.
    pub beside: Vec<PathBuf>,
}

/// How strictly a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// Ours: keys as they are, and none that is not known.
    Strict,
    /// That of the earlier programs: any case, unknown keys without effect.
    Lenient,
}

impl Dialect {
    /// A file is read as its name says, and one with a name of its own as the program it is for would read it.
    fn of(path: &Path, personality: Personality) -> Self {
        let ours = path.file_stem().is_some_and(|stem| stem == Personality::Own.stem());
        if Personality::of_file(path).is_some() || (personality != Personality::Own && !ours) {
            Self::Lenient
        } else {
            Self::Strict
        }
    }
}

/// What a file says, for a daemon that behaves as `personality`.
pub(super) fn read(
    file: &ConfigFile,
    personality: Personality,
    errors: &mut Vec<SettingsError>,
    notices: &mut Vec<Notice>,
) -> Layer {
    let path = &file.path;
    notices.extend(
        file.beside.iter().map(|other| Notice::OtherFile { read: path.clone(), ignored: other.clone() }),
    );
    let mut layer = Layer::default();
    match entries(file) {
        Ok(entries) => {
            let dialect = Dialect::of(path, personality);
            for (key, raw) in entries {
                take(&mut layer, path, dialect, (key, raw), errors, notices);
            }
        }
        Err(error) => errors.push(error),
    }
    layer
}

fn entries(file: &ConfigFile) -> Result<Vec<(String, Raw)>, SettingsError> {
    let path = file.path.clone();
    let Some(format) = Format::of(&path) else { return Err(SettingsError::UnknownFormat { path }) };
    document::read(format, &file.text).map_err(|bad| SettingsError::Syntax {
        path,
        format,
        line: bad.line,
        column: bad.column,
    })
}

/// Takes one key of a file; one without value says nothing.
fn take(
    layer: &mut Layer,
    path: &Path,
    dialect: Dialect,
    (text, raw): (String, Raw),
    errors: &mut Vec<SettingsError>,
    notices: &mut Vec<Notice>,
) {
    let path = path.to_owned();
    let key = match dialect {
        Dialect::Strict => Key::of_ours(&text),
        Dialect::Lenient => Key::of_earlier(&text),
    };
    match (key, dialect) {
        (Some(_), _) if raw == Raw::Nothing => {}
        (Some(key), _) => errors.extend(layer.add(key, raw, Source::File { path, key: text }).err()),
        (None, Dialect::Strict) => {
            errors.push(SettingsError::UnknownKey { path, nearest: nearest(&text), key: text });
        }
        (None, Dialect::Lenient) if OBSOLETE.iter().any(|known| known.eq_ignore_ascii_case(&text)) => {
            notices.push(Notice::Obsolete(Source::File { path, key: text }));
        }
        (None, Dialect::Lenient) => {
            notices.push(Notice::UnknownKey { path, nearest: nearest(&text), key: text });
        }
    }
}
