//! Structured logs on standard error, as text or JSON.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// Begins to log. `level` is a level (`info`) or a list of directives (`warn,hostnic_core::pool=debug`).
///
/// # Errors
/// When `level` is neither; the text says so.
pub(crate) fn begin(level: &str, format: LogFormat) -> Result<(), String> {
    let filter = EnvFilter::try_new(directives(level))
        .map_err(|error| format!("--log-level {level:?} is no level and no list of directives: {error}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let begun = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    begun.map_err(|error| format!("logging cannot begin: {error}"))
}

/// A plain level is about us; the libraries below speak up only when something is wrong.
fn directives(level: &str) -> String {
    if level.chars().all(char::is_alphabetic) {
        ["hostnic_core", "hostnic_netlink", "hostnic_qingcloud", "hostnic_cni", "hostnic_daemon"]
            .iter()
            .fold("warn".to_owned(), |list, part| format!("{list},{part}={level}"))
    } else {
        level.to_owned()
    }
}
