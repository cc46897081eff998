//! How the daemon was started.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::document::Format;
use super::environment::CONFIG;
use super::error::SettingsError;
use super::flags::Flags;
use super::key::{Key, variable};
use super::personality::Personality;

/// How the daemon was started: all that says where its settings are, and all of them but those of a file.
#[derive(Debug, Clone, Default)]
pub struct Invocation {
    /// The personality that the program's name chooses.
    pub program: Option<Personality>,
    /// Its flags.
    pub flags: Flags,
    /// Its environment; variables that are not UTF-8 are none of ours.
    pub environment: BTreeMap<String, String>,
}

/// Where configuration files are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The file of settings.
    pub settings: SettingsPlace,
    /// The CNI configuration, which has settings, too.
    pub network: NetworkPlace,
}

/// Where the file of settings is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingsPlace {
    /// One was named, and must be there.
    Named(PathBuf),
    /// The first place of these that has any of its files counts; of those the first.
    Search(Vec<Vec<PathBuf>>),
}

/// Where the CNI configuration is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkPlace {
    /// One was named, and must be there.
    Named(PathBuf),
    /// That of this personality, if it is there.
    Of(Personality),
    /// That of the personality that the file of settings tells.
    OfFile,
}

impl Invocation {
    /// This process's own, where it was started as `argv0` with `flags`.
    pub fn of_this_process(argv0: &OsStr, flags: Flags) -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let environment = std::env::vars_os().filter_map(text).collect();
        Self { program: Personality::of_program(argv0), flags, environment }
    }

    /// The personality that was chosen without looking at any file, and by what where it was not by the program's name.
    pub(super) fn personality(&self) -> Result<Option<(Personality, Option<String>)>, SettingsError> {
        if let Some(stated) = self.stated()? {
            return Ok(Some((stated, None)));
        }
        if let Some(program) = self.program {
            return Ok(Some((program, None)));
        }
        let mut telling = self.flags.telling();
        let Some((first, program)) = telling.next() else { return Ok(None) };
        match telling.find(|(_, other)| *other != program) {
            Some((second, other)) => {
                Err(SettingsError::TwoPrograms { first, second, programs: (program, other) })
            }
            None => Ok(Some((program, Some(format!("--{first}"))))),
        }
    }

    /// What `--compat` says, or `HOSTNIC_COMPAT`.
    fn stated(&self) -> Result<Option<Personality>, SettingsError> {
        let variable = variable(Key::Compat.name());
        let text = match self.flags.compat() {
            Some(text) => Some((text, super::Source::Flag { flag: Key::Compat.name() })),
            None => {
                let text = self.environment.get(&variable).map(|text| text.trim());
                text.filter(|text| !text.is_empty())
                    .map(|text| (text, super::Source::Environment { variable }))
            }
        };
        let Some((text, origin)) = text else { return Ok(None) };
        text.parse().map(Some).map_err(|source| SettingsError::Invalid { origin, source })
    }

    /// Where to look for files, for a user whose home is `home`.
    pub fn places(&self, home: Option<&Path>) -> Places {
        Places { settings: self.settings_place(home), network: self.network_place() }
    }

    /// The value of a variable that names a file.
    fn named(&self, variable: &str) -> Option<PathBuf> {
        self.environment.get(variable).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    fn settings_place(&self, home: Option<&Path>) -> SettingsPlace {
        if let Some(path) = self.flags.config.clone().or_else(|| self.named(CONFIG)) {
            return SettingsPlace::Named(path);
        }
        let place = |personality: Personality| {
            let folder = match personality {
                Personality::Own | Personality::Node => Some(Path::new("/etc/hostnic")),
                Personality::Daemon => home,
                Personality::QingAgent => Some(Path::new("")),
            }?;
            let file = |(ending, _)| folder.join(format!("{}.{ending}", personality.stem()));
            Some(Format::ENDINGS.map(file).to_vec())
        };
        let places = match self.personality() {
            // An error is told by whoever resolves the settings.
            Ok(None) | Err(_) => Personality::ALL.map(place).into_iter().flatten().collect(),
            Ok(Some((personality, _))) => place(personality).into_iter().collect(),
        };
        SettingsPlace::Search(places)
    }

    fn network_place(&self) -> NetworkPlace {
        if let Some(path) = self.flags.network().or_else(|| self.named(&variable(Key::CniConfig.name()))) {
            return NetworkPlace::Named(path);
        }
        match self.personality() {
            Ok(Some((personality, _))) => NetworkPlace::Of(personality),
            Ok(None) | Err(_) => NetworkPlace::OfFile,
        }
    }
}
