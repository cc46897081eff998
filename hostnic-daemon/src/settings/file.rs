//! Settings from a file.

use std::path::{Path, PathBuf};

use super::document::{self, Format};
use super::error::SettingsError;
use super::guide;
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

/// The files that settings come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Files {
    /// The file of settings.
    pub settings: Option<ConfigFile>,
    /// The CNI configuration that has settings, too.
    pub network: Option<ConfigFile>,
}

/// How strictly a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// Ours: keys as they are, and none that is not known.
    Strict,
    /// That of the earlier programs: any case, unknown keys without effect.
    Lenient,
    /// The same with sections, as the Kubernetes guide has it.
    Sections,
}

impl Dialect {
    /// A file is read as its name says, and one with a name of its own as the program it is for would read it.
    fn of(path: &Path, personality: Personality) -> Self {
        let ours = path.file_stem().is_some_and(|stem| stem == Personality::Own.stem());
        match Personality::of_file(path).unwrap_or(personality) {
            _ if ours => Self::Strict,
            Personality::Own => Self::Strict,
            Personality::Daemon | Personality::QingAgent => Self::Lenient,
            Personality::Node => Self::Sections,
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
            for entry in entries {
                match dialect {
                    Dialect::Sections => guide::take(&mut layer, path, entry, errors, notices),
                    _ => take(&mut layer, path, dialect, entry, errors, notices),
                }
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
        Dialect::Lenient | Dialect::Sections => Key::of_earlier(&text),
    };
    match (key, dialect) {
        (Some(_), _) if raw == Raw::Nothing => {}
        (Some(key), _) => errors.extend(layer.add(key, raw, Source::File { path, key: text }).err()),
        (None, Dialect::Strict) => {
            errors.push(SettingsError::UnknownKey { path, nearest: nearest(&text), key: text });
        }
        (None, _) if OBSOLETE.iter().any(|known| known.eq_ignore_ascii_case(&text)) => {
            notices.push(Notice::Obsolete(Source::File { path, key: text }));
        }
        (None, _) => {
            notices.push(Notice::UnknownKey { path, nearest: nearest(&text), key: text });
        }
    }
}
