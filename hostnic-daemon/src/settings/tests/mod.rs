//! The settings as a whole: everything that was said in, what is in force or wrong out.

mod documents;
mod files;
mod guide;
mod listeners;
mod personalities;
mod pool;
mod precedence;
mod reference;

use std::collections::BTreeMap;
use std::path::PathBuf;

use hostnic_core::Chain;

use super::*;

/// What a test says, piece by piece.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    line: String,
    environment: BTreeMap<String, String>,
    files: Files,
}

/// Begins with a command line.
pub(super) fn line(line: &str) -> Said {
    Said { line: line.to_owned(), ..Said::default() }
}

impl Said {
    pub(super) fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(super) fn file(mut self, path: &str, text: &str) -> Self {
        let file = ConfigFile { path: PathBuf::from(path), text: text.to_owned(), beside: Vec::new() };
        self.files.settings = Some(file);
        self
    }

    pub(super) fn network(mut self, text: &str) -> Self {
        let path = PathBuf::from("/etc/hostnic/hostnic-cni.json");
        self.files.network = Some(ConfigFile { path, text: text.to_owned(), beside: Vec::new() });
        self
    }

    pub(super) fn invocation(&self) -> Invocation {
        let words: Vec<&str> = self.line.split_whitespace().collect();
        let flags = crate::cli::flags_of(&words).unwrap_or_else(|error| panic!("{}: {error}", self.line));
        let program = words.first().and_then(|name| Personality::of_program(name.as_ref()));
        Invocation { program, flags, environment: self.environment.clone() }
    }

    fn resolve(&self) -> Result<(Settings, Vec<Notice>), Refused> {
        resolve(&self.invocation(), &self.files)
    }

    /// The settings, which are fine.
    pub(super) fn settings(&self) -> Settings {
        self.resolve().unwrap_or_else(|refused| panic!("{self:?}: {refused:?}")).0
    }

    /// The value of one setting and its source, as a person sees them.
    pub(super) fn shown(&self, key: &str) -> (String, String) {
        let rows = self.settings().rows();
        let row = rows.iter().find(|row| row.key == key).unwrap_or_else(|| panic!("no {key}"));
        (row.text(), row.source.to_string())
    }

    /// What is told of settings that are fine.
    pub(super) fn notices(&self) -> Vec<String> {
        let (_, notices) = self.resolve().unwrap_or_else(|refused| panic!("{self:?}: {refused:?}"));
        notices.iter().map(ToString::to_string).collect()
    }

    /// What is wrong.
    pub(super) fn errors(&self) -> Vec<String> {
        match self.resolve() {
            Ok((settings, _)) => panic!("{self:?} gives {settings:?}"),
            Err(refused) => refused.errors.iter().map(|error| Chain(error).to_string()).collect(),
        }
    }
}
