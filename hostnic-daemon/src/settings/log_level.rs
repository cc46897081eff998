//! What is logged.

use std::fmt;
use std::str::FromStr;

use hostnic_core::id::InvalidValue;
use tracing_subscriber::EnvFilter;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// A level, or directives such as `warn,hostnic_core::pool=debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLevel(String);

impl LogLevel {
    /// What is logged unless told.
    pub(super) fn info() -> Self {
        Self("info".to_owned())
    }

    /// The level in small letters, or the directives.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LogLevel {
    type Err = InvalidValue;

    /// Levels without regard to case, and those that only the earlier programs had as the nearest one.
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let level = match text.to_ascii_lowercase().as_str() {
            "warning" => "warn".to_owned(),
            "fatal" | "panic" => "error".to_owned(),
            // By their numbers in logrus.
            "0" | "1" | "2" => "error".to_owned(),
            "3" => "warn".to_owned(),
            "4" => "info".to_owned(),
            "5" => "debug".to_owned(),
            "6" => "trace".to_owned(),
            level if LEVELS.contains(&level) => level.to_owned(),
            _ if text.contains(['=', ',']) && EnvFilter::try_new(text).is_ok() => text.to_owned(),
            _ => {
                let rule = "error, warn, info, debug or trace, a number from 0 to 6 as in logrus, or directives such as \
                     warn,hostnic_core::pool=debug";
                return Err(InvalidValue::new("log level", text, rule));
            }
        };
        Ok(Self(level))
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_told_from_mistakes() {
        let read = |text: &str| text.parse::<LogLevel>().map(|level| level.0).ok();
        assert_eq!(read("DEBUG").as_deref(), Some("debug"));
        assert_eq!(read("warning").as_deref(), Some("warn"));
        assert_eq!(read("warn,hostnic_core::pool=debug").as_deref(), Some("warn,hostnic_core::pool=debug"));
        for (number, level) in [("0", "error"), ("3", "warn"), ("4", "info"), ("5", "debug"), ("6", "trace")]
        {
            assert_eq!(read(number).as_deref(), Some(level));
        }
        for wrong in ["", "7", "-1", "loud", "debgu", "hostnic_core::pool=loud"] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
