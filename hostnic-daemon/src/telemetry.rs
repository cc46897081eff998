//! Structured logs on standard error, and in a file where one is named, as text or JSON.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::fmt::writer::{BoxMakeWriter, MakeWriterExt};
use tracing_subscriber::{EnvFilter, reload};

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// What is logged, to be changed while the daemon runs.
pub(crate) struct Logs {
    set: Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>,
}

impl std::fmt::Debug for Logs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logs").finish_non_exhaustive()
    }
}

impl Logs {
    /// Logs from now on what `level` says, as in [`begin`].
    ///
    /// # Errors
    /// As [`begin`].
    pub(crate) fn set_level(&self, level: &str) -> Result<(), String> {
        (self.set)(filter(level)?).map_err(|error| format!("the log level cannot be changed: {error}"))
    }
}

/// Begins to log. `level` is a level (`info`) or a list of directives (`warn,hostnic_core::pool=debug`). A `file` that
/// cannot be written is told and gone without: pods matter more.
///
/// # Errors
/// When `level` is neither; the text says so.
pub(crate) fn begin(level: &str, format: LogFormat, file: Option<&Path>) -> Result<Logs, String> {
    let opened = file.map(|path| (path, open(path)));
    let (writer, plain) = match &opened {
        Some((_, Ok(file))) => (BoxMakeWriter::new(io::stderr.and(file.clone())), true),
        Some((_, Err(_))) | None => (BoxMakeWriter::new(io::stderr), false),
    };
    let logs = subscribe(level, format, writer, plain)?;
    if let Some((path, Err(error))) = opened {
        tracing::warn!(log_file = %path.display(), %error, "the log cannot be written there; it is on standard error alone");
    }
    Ok(logs)
}

/// The file to add lines to, whoever else empties it.
fn open(path: &Path) -> io::Result<Arc<File>> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path).map(Arc::new)
}

/// `plain` leaves colours out.
fn subscribe(level: &str, format: LogFormat, writer: BoxMakeWriter, plain: bool) -> Result<Logs, String> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(level)?)
        .with_writer(writer)
        // A call to the cloud is told when it has ended, with its outcome.
        .with_span_events(FmtSpan::CLOSE)
        .with_ansi(!plain && io::stderr().is_terminal());
    let failed = |error| format!("logging cannot begin: {error}");
    match format {
        LogFormat::Text => {
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            builder.try_init().map_err(failed)?;
            Ok(Logs { set: Box::new(move |filter| handle.reload(filter)) })
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.try_init().map_err(failed)?;
            Ok(Logs { set: Box::new(move |filter| handle.reload(filter)) })
        }
    }
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(directives(level))
        .map_err(|error| format!("--log-level {level:?} is no level and no list of directives: {error}"))
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
