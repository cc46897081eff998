//! Settings from the two files of the Kubernetes guide's ConfigMap: `hostnic.json`, which has sections, and
//! `hostnic-cni.json`, which is a CNI configuration as well.

use std::path::Path;

use super::document::{self, Format};
use super::error::SettingsError;
use super::file::ConfigFile;
use super::key::{Guide, Key, OBSOLETE_GUIDE, nearest_in_guide};
use super::layer::Layer;
use super::notice::Notice;
use super::raw::Raw;
use super::source::Source;

const SECTIONS: [&str; 2] = ["pool", "server"];

/// What a CNI configuration has for the plugin and for runtimes, which is no setting of the daemon's.
const OF_PLUGIN: [&str; 14] = [
    "cniVersion",
    "cniVersions",
    "name",
    "type",
    "args",
    "bindaddr",
    "timeout",
    "ipam",
    "isGateway",
    "ipMasq",
    "dns",
    "capabilities",
    "runtimeConfig",
    "disableCheck",
];

/// Takes one key of `hostnic.json`, a whole section perhaps.
pub(super) fn take(
    layer: &mut Layer,
    path: &Path,
    (text, raw): (String, Raw),
    errors: &mut Vec<SettingsError>,
    notices: &mut Vec<Notice>,
) {
    let Some(section) = SECTIONS.into_iter().find(|section| section.eq_ignore_ascii_case(&text)) else {
        return take_key(layer, path, None, (text, raw), errors, notices);
    };
    match raw {
        Raw::Nothing => {}
        Raw::Keys(entries) => {
            for entry in entries {
                take_key(layer, path, Some(section), entry, errors, notices);
            }
        }
        Raw::Text(_) | Raw::List(_) | Raw::Nested => {
            errors
                .push(SettingsError::NoSection { origin: Source::File { path: path.to_owned(), key: text } });
        }
    }
}

/// Takes one key of a section, or of none, where our own spellings are understood as well.
fn take_key(
    layer: &mut Layer,
    path: &Path,
    section: Option<&str>,
    (text, raw): (String, Raw),
    errors: &mut Vec<SettingsError>,
    notices: &mut Vec<Notice>,
) {
    let key = Key::of_guide(section, &text).or_else(|| Key::of_earlier(&text));
    let written = section.map_or_else(|| text.clone(), |section| format!("{section}.{text}"));
    let (path, obsolete) = (path.to_owned(), OBSOLETE_GUIDE.iter().any(|guide| guide.is(section, &text)));
    match key {
        Some(_) if raw == Raw::Nothing => {}
        Some(key) => errors.extend(layer.add(key, raw, Source::File { path, key: written }).err()),
        None if obsolete => notices.push(Notice::Obsolete(Source::File { path, key: written })),
        None => {
            let nearest = nearest_in_guide(section, &text);
            notices.push(Notice::UnknownKey { path, nearest, key: written });
        }
    }
}

/// What the CNI configuration says.
pub(super) fn read_network(
    file: &ConfigFile,
    errors: &mut Vec<SettingsError>,
    notices: &mut Vec<Notice>,
) -> Layer {
    let (mut layer, path) = (Layer::default(), &file.path);
    // Whatever its name ends in: runtimes read nothing else.
    match document::read(Format::Json, &file.text) {
        Ok(entries) => {
            for (text, raw) in entries {
                let path = path.clone();
                match Key::of_guide(None, &text) {
                    Some(_) if raw == Raw::Nothing => {}
                    Some(key) => errors.extend(layer.add(key, raw, Source::File { path, key: text }).err()),
                    None if OF_PLUGIN.iter().any(|known| known.eq_ignore_ascii_case(&text)) => {}
                    None if text.eq_ignore_ascii_case("plugins") => {
                        errors.push(SettingsError::PluginList { path });
                    }
                    None => {
                        let nearest = nearest_in_guide(None, &text);
                        notices.push(Notice::UnknownKey { path, nearest, key: text });
                    }
                }
            }
        }
        Err(bad) => {
            let (path, format) = (path.clone(), Format::Json);
            errors.push(SettingsError::Syntax { path, format, line: bad.line, column: bad.column });
        }
    }
    layer
}

impl Guide {
    /// Where the ConfigMap has it, for a person.
    #[cfg(test)]
    pub(super) fn place(self) -> String {
        match self.section() {
            Some(section) => format!("{section}.{}", self.key()),
            None => format!("hostnic-cni: {}", self.key()),
        }
    }
}
