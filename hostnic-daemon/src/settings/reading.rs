//! From values as they were given to what they mean.

use std::collections::BTreeSet;
use std::str::FromStr;

use hostnic_core::id::InvalidValue;

use super::error::SettingsError;
use super::key::Key;
use super::layer::{Given, Layer};
use super::notice::Notice;
use super::personality::Personality;
use super::placeholder;
use super::raw::Raw;
use super::source::{Setting, Source};

/// Reads value after value, and goes on after a mistake, so that all of them are told together.
pub(super) struct Reading<'a> {
    given: &'a Layer,
    pub(super) personality: Personality,
    pub(super) errors: Vec<SettingsError>,
    pub(super) notices: Vec<Notice>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(given: &'a Layer, personality: Personality) -> Self {
        Self { given, personality, errors: Vec::new(), notices: Vec::new() }
    }

    /// What nobody gave.
    pub(super) fn unset<T>(&self, value: T) -> Setting<T> {
        Setting { value, source: Source::Default { of: self.personality } }
    }

    /// A setting that is one value; `default` where nobody gave it, or not rightly.
    pub(super) fn one<T>(
        &mut self,
        key: Key,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, InvalidValue>,
    ) -> Setting<T> {
        let Some(given) = self.usable(key) else { return self.unset(default) };
        let text = match &given.raw {
            Raw::Text(text) => text.as_str(),
            Raw::Nothing => "",
            Raw::List(list) if list.len() == 1 => list.first().map_or("", String::as_str),
            Raw::List(_) | Raw::Keys(_) | Raw::Nested => {
                self.errors.push(SettingsError::Shape { origin: given.source.clone(), list: false });
                return self.unset(default);
            }
        };
        match parse(text) {
            Ok(value) => Setting { value, source: given.source.clone() },
            Err(source) => {
                self.errors.push(SettingsError::Invalid { origin: given.source.clone(), source });
                self.unset(default)
            }
        }
    }

    /// As [`Self::one`], for a type that knows how to read itself.
    pub(super) fn parsed<T: FromStr<Err = InvalidValue>>(&mut self, key: Key, default: T) -> Setting<T> {
        self.one(key, default, str::parse)
    }

    /// As [`Self::parsed`], for what may be left open.
    pub(super) fn open<T: FromStr<Err = InvalidValue>>(&mut self, key: Key) -> Setting<Option<T>> {
        self.one(key, None, |text| text.parse().map(Some))
    }

    /// A setting that is a list, of which each item counts once.
    pub(super) fn list<T: Clone + Ord + ToString>(
        &mut self,
        key: Key,
        parse: impl Fn(&str) -> Result<T, InvalidValue>,
    ) -> Setting<Vec<T>> {
        let Some(given) = self.usable(key) else { return self.unset(Vec::new()) };
        let origin = || given.source.clone();
        if matches!(given.raw, Raw::Keys(_) | Raw::Nested) {
            self.errors.push(SettingsError::Shape { origin: origin(), list: true });
        }
        let (mut list, mut seen) = (Vec::new(), BTreeSet::new());
        for item in given.raw.items() {
            match parse(item) {
                Ok(item) if seen.insert(item.clone()) => list.push(item),
                Ok(item) => self.notices.push(Notice::Repeated { origin: origin(), item: item.to_string() }),
                Err(source) => self.errors.push(SettingsError::Invalid { origin: origin(), source }),
            }
        }
        Setting { value: list, source: origin() }
    }

    /// What was given, unless it is a placeholder.
    fn usable(&mut self, key: Key) -> Option<&'a Given> {
        let given = self.given.get(key)?;
        let Some(value) = placeholder::within(&given.raw) else { return Some(given) };
        let (origin, value) = (given.source.clone(), value.to_owned());
        self.errors.push(SettingsError::Placeholder { origin, value });
        None
    }

    /// Where a setting comes from, if anybody gave it.
    pub(super) fn source(&self, key: Key) -> Option<&'a Source> {
        self.given.get(key).map(|given| &given.source)
    }
}
