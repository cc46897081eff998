//! Which zone of the cloud this node is in.

use std::fmt;
use std::str::FromStr;

use hostnic_core::id::InvalidValue;

/// A zone's id, such as `pek3a`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Zone(String);

impl Zone {
    /// The id itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Zone {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let valid = (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidValue::new("zone", text, "1 to 64 letters, digits, '-' or '_', as in pek3a"))
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How the zone is chosen: one that was given wins over the access file's, which wins over that of last resort.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ZoneChoice {
    /// This one.
    Given(Zone),
    /// That of the access file, and where it names none, this one.
    OfAccessFile {
        /// The zone of last resort.
        otherwise: Option<Zone>,
    },
}

impl ZoneChoice {
    /// The zone, where the access file names `in_file`; an empty one counts as none.
    pub fn choose<'a>(&'a self, in_file: Option<&'a str>) -> Option<&'a str> {
        match self {
            Self::Given(zone) => Some(zone.as_str()),
            Self::OfAccessFile { otherwise } => {
                in_file.filter(|zone| !zone.is_empty()).or(otherwise.as_ref().map(Zone::as_str))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zone_that_was_given_wins_and_that_of_last_resort_loses() {
        let given = ZoneChoice::Given("gd1".parse().unwrap());
        let last = ZoneChoice::OfAccessFile { otherwise: Some("pek3a".parse().unwrap()) };
        let none = ZoneChoice::OfAccessFile { otherwise: None };
        assert_eq!(given.choose(Some("sha1")), Some("gd1"));
        assert_eq!(last.choose(Some("sha1")), Some("sha1"));
        assert_eq!(last.choose(Some("")), Some("pek3a"));
        assert_eq!(last.choose(None), Some("pek3a"));
        assert_eq!(none.choose(None), None);
    }

    #[test]
    fn zones_are_checked() {
        assert!("pek3a".parse::<Zone>().is_ok());
        for wrong in ["", "a b", "a&b", "a/b", "a=b", "é"] {
            assert!(wrong.parse::<Zone>().is_err(), "{wrong:?}");
        }
    }
}
