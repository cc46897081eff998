//! What one source says, before it is known what it means.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::error::SettingsError;
use super::key::Key;
use super::raw::Raw;
use super::source::Source;

/// A value as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) raw: Raw,
    pub(super) source: Source,
}

/// What a source says, or several of them where later ones have won.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Layer(BTreeMap<Key, Given>);

impl Layer {
    /// Takes a value that a source gives.
    ///
    /// # Errors
    /// When the same source gave another one under another spelling.
    pub(super) fn add(&mut self, key: Key, raw: Raw, source: Source) -> Result<(), SettingsError> {
        match self.0.entry(key) {
            Entry::Vacant(place) => {
                place.insert(Given { raw, source });
                Ok(())
            }
            Entry::Occupied(place) if place.get().raw == raw => Ok(()),
            Entry::Occupied(place) => {
                Err(SettingsError::Twice { first: place.get().source.clone(), second: source })
            }
        }
    }

    /// Lets `later` win wherever it says something.
    pub(super) fn overlay(&mut self, later: Self) {
        self.0.extend(later.0);
    }

    /// Takes what a source of the same rank says. Gives back where the two say different things.
    pub(super) fn join(&mut self, other: Self) -> Vec<SettingsError> {
        other.0.into_iter().filter_map(|(key, given)| self.add(key, given.raw, given.source).err()).collect()
    }

    /// What is said about a setting.
    pub(super) fn get(&self, key: Key) -> Option<&Given> {
        self.0.get(&key)
    }

    /// All that is said.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Given)> {
        self.0.iter().map(|(key, given)| (*key, given))
    }
}
