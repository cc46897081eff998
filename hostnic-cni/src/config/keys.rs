//! Looking up keys of a JSON object, with errors that say where.

use serde_json::{Map, Value};

use crate::error::{CniError, Code};

/// An object within the network configuration, and the way to it.
///
/// Keys are found without regard to case, as the Go programs found them; a key that is written exactly wins. Null is
/// the same as absent.
#[derive(Debug, Clone)]
pub(super) struct Keys<'a> {
    path: String,
    object: &'a Map<String, Value>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(object: &'a Map<String, Value>) -> Self {
        Self { path: String::new(), object }
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        let ignoring_case = || self.object.iter().find(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, v)| v);
        self.object.get(key).or_else(ignoring_case).filter(|value| !value.is_null())
    }

    /// An error about the value of `key`.
    pub(super) fn wrong(&self, key: &str, value: impl std::fmt::Display, rule: &str) -> CniError {
        CniError::new(
            Code::InvalidConfig,
            format_args!("{}{key} in the network configuration is {value}; it must be {rule}", self.path),
        )
    }

    /// An error about a key that must be there.
    pub(super) fn missing(&self, key: &str) -> CniError {
        CniError::new(
            Code::InvalidConfig,
            format_args!("{}{key} is missing in the network configuration", self.path),
        )
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, CniError> {
        let read = |value: &'a Value| value.as_str().ok_or_else(|| self.wrong(key, value, "a string"));
        self.get(key).map(read).transpose()
    }

    /// A string that is read as a `T`; an empty one is none.
    pub(super) fn parsed<T: std::str::FromStr>(&self, key: &str, rule: &str) -> Result<Option<T>, CniError> {
        let read = |text: &str| text.parse().map_err(|_| self.wrong(key, format_args!("{text:?}"), rule));
        self.text(key)?.filter(|text| !text.is_empty()).map(read).transpose()
    }

    pub(super) fn flag(&self, key: &str) -> Result<bool, CniError> {
        let read = |value: &Value| value.as_bool().ok_or_else(|| self.wrong(key, value, "true or false"));
        self.get(key).map_or(Ok(false), read)
    }

    pub(super) fn number(&self, key: &str, rule: &str) -> Result<Option<u32>, CniError> {
        let read = |value: &Value| {
            let number = value.as_u64().and_then(|n| u32::try_from(n).ok());
            number.ok_or_else(|| self.wrong(key, value, rule))
        };
        self.get(key).map(read).transpose()
    }

    /// The object under `key`.
    pub(super) fn object(&self, key: &str) -> Result<Option<Keys<'a>>, CniError> {
        let read = |value: &'a Value| match value {
            Value::Object(object) => Ok(Keys { path: format!("{}{key}.", self.path), object }),
            _ => Err(self.wrong(key, value, "an object")),
        };
        self.get(key).map(read).transpose()
    }

    /// The objects in the list under `key`.
    pub(super) fn list(&self, key: &str) -> Result<Option<Vec<Keys<'a>>>, CniError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let Value::Array(items) = value else { return Err(self.wrong(key, value, "a list")) };
        let read = |(index, item): (usize, &'a Value)| match item {
            Value::Object(object) => Ok(Keys { path: format!("{}{key}[{index}].", self.path), object }),
            _ => Err(self.wrong(&format!("{key}[{index}]"), item, "an object")),
        };
        items.iter().enumerate().map(read).collect::<Result<_, _>>().map(Some)
    }
}
