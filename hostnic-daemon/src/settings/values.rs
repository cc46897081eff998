//! What values mean that have no type of their own.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use hostnic_core::gateway::GatewayConfig;
use hostnic_core::id::InvalidValue;
use hostnic_core::pool::PoolConfig;

use super::LogFormat;

/// The longest that an address may be told to rest, in seconds.
const LONGEST_COOLING: u64 = 24 * 60 * 60;

pub(super) fn boolean(text: &str) -> Result<bool, InvalidValue> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" | "yes" | "y" | "on" => Ok(true),
        "false" | "f" | "0" | "no" | "n" | "off" => Ok(false),
        _ => Err(InvalidValue::new("switch", text, "true or false")),
    }
}

pub(super) fn count(text: &str) -> Result<u32, InvalidValue> {
    let valid = text.parse().ok().filter(|count| *count <= 1000);
    valid.ok_or_else(|| InvalidValue::new("number of NICs", text, "a whole number from 0 to 1000"))
}

pub(super) fn nics(text: &str) -> Result<u32, InvalidValue> {
    let valid = text.parse().ok().filter(|count| (1..=PoolConfig::NIC_LIMIT).contains(count));
    valid.ok_or_else(|| InvalidValue::new("largest number of NICs", text, "a whole number from 1 to 63"))
}

pub(super) fn cooling(text: &str) -> Result<Duration, InvalidValue> {
    let rule = "a whole number of seconds from 0 to 86400";
    duration("cooling time", text, 0..=LONGEST_COOLING, Duration::from_secs, rule)
}

/// The longest time between two looks at jobs.
pub(super) fn job_poll(text: &str) -> Result<Duration, InvalidValue> {
    let rule = "a whole number of seconds from 1 to 3600";
    duration("time between two looks at jobs", text, 1..=3600, Duration::from_secs, rule)
}

/// The time between two comparisons with the kernel.
pub(super) fn node_sync(text: &str) -> Result<Duration, InvalidValue> {
    let rule = "a whole number of seconds from 1 to 86400";
    duration("time between two comparisons", text, 1..=86_400, Duration::from_secs, rule)
}

/// How long a NIC without pods is kept.
pub(super) fn free_period(text: &str) -> Result<Duration, InvalidValue> {
    let rule = "a whole number of minutes from 1 to 525600";
    let minutes = |minutes| Duration::from_secs(minutes * 60);
    duration("time that a NIC is kept", text, 1..=525_600, minutes, rule)
}

fn duration(
    what: &'static str,
    text: &str,
    range: RangeInclusive<u64>,
    unit: impl FnOnce(u64) -> Duration,
    rule: &'static str,
) -> Result<Duration, InvalidValue> {
    let valid = text.parse().ok().filter(|number| range.contains(number));
    valid.map(unit).ok_or_else(|| InvalidValue::new(what, text, rule))
}

/// A tag of NICs.
pub(super) fn tag(text: &str) -> Result<String, InvalidValue> {
    if text.is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
        return Err(InvalidValue::new("tag", text, "a tag's id or name, of 1 to 255 bytes"));
    }
    Ok(text.to_owned())
}

pub(super) fn path(text: &str) -> Result<PathBuf, InvalidValue> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(InvalidValue::new("path", text, "the path of a file"));
    }
    Ok(PathBuf::from(text))
}

pub(super) fn gateway_name(text: &str) -> Result<String, InvalidValue> {
    let config = GatewayConfig { name: text.to_owned(), ..GatewayConfig::new() };
    config.validate()?;
    Ok(config.name)
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, InvalidValue> {
    LogFormat::from_str(text, false).map_err(|_| InvalidValue::new("log format", text, "text or json"))
}
