//! SIGHUP: what is read anew, what takes effect, and what waits for a restart.

use std::ffi::OsString;

use crate::cli::in_force::in_force;
use crate::settings::{Flags, Row};
use crate::telemetry::Logs;

/// The one setting that takes effect while the daemon runs.
const RELOADABLE: &str = "log-level";

/// The settings in force, and how they came to be.
#[derive(Debug)]
pub(super) struct Reloading {
    argv0: OsString,
    flags: Flags,
    in_force: Vec<Row>,
    logs: Logs,
}

impl Reloading {
    pub(super) fn new(argv0: OsString, flags: Flags, in_force: Vec<Row>, logs: Logs) -> Self {
        Self { argv0, flags, in_force, logs }
    }

    /// Reads the settings anew and puts into force what can be. Logs what came of it, and gives back the same words.
    /// Blocks while the file is read.
    pub(super) fn reload(&mut self) -> String {
        match self.read() {
            Ok(said) => {
                tracing::info!("{said}");
                said
            }
            Err(error) => {
                tracing::error!(%error, "the settings could not be reloaded; those in force stay");
                format!("the settings could not be reloaded; those in force stay: {error}")
            }
        }
    }

    fn read(&mut self) -> Result<String, String> {
        let (settings, _) = in_force(&self.argv0, self.flags.clone())?;
        let wanted = settings.rows();
        let changes = changes(&self.in_force, &wanted);
        if changes.iter().any(|row| row.key == RELOADABLE) {
            self.logs.set_level(settings.log_level.value.as_str())?;
        }
        let said = in_words(&changes);
        // What waits for a restart is told again at the next reload.
        for row in self.in_force.iter_mut().filter(|row| row.key == RELOADABLE) {
            if let Some(now) = changes.iter().find(|change| change.key == row.key) {
                *row = (*now).clone();
            }
        }
        Ok(said)
    }
}

/// The settings that have another value now.
fn changes<'a>(in_force: &[Row], wanted: &'a [Row]) -> Vec<&'a Row> {
    let differs = |row: &&Row| in_force.iter().any(|old| old.key == row.key && old.text() != row.text());
    wanted.iter().filter(differs).collect()
}

fn in_words(changes: &[&Row]) -> String {
    let (now, later): (Vec<&Row>, Vec<&Row>) = changes.iter().partition(|row| row.key == RELOADABLE);
    let list = |rows: Vec<&Row>| {
        let each = rows.iter().map(|row| format!("{} {}", row.key, row.text()));
        each.collect::<Vec<_>>().join(", ")
    };
    match (now.is_empty(), later.is_empty()) {
        (true, true) => {
            format!("reloaded: no setting has changed; only {RELOADABLE} takes effect without a restart")
        }
        (false, true) => format!("reloaded: {}", list(now)),
        (true, false) => {
            format!("reloaded: nothing takes effect yet; these wait for a restart: {}", list(later))
        }
        (false, false) => format!("reloaded: {}; these wait for a restart: {}", list(now), list(later)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Personality, Source};

    fn row(key: &'static str, value: &str) -> Row {
        let source = Source::Default { of: Personality::Own };
        Row { key, value: Some(value.to_owned()), otherwise: None, source }
    }

    #[test]
    fn a_reload_says_what_took_effect_and_what_did_not() {
        let old = [row("log-level", "info"), row("pool-low", "3"), row("policy", "Random")];
        let said = |new: &[Row]| in_words(&changes(&old, new));
        assert!(said(&old).starts_with("reloaded: no setting has changed"));
        assert_eq!(said(&[row("log-level", "debug"), row("pool-low", "3")]), "reloaded: log-level debug");
        assert_eq!(
            said(&[row("log-level", "debug"), row("pool-low", "4"), row("policy", "Random")]),
            "reloaded: log-level debug; these wait for a restart: pool-low 4"
        );
        assert!(
            said(&[row("pool-low", "4")])
                .ends_with("nothing takes effect yet; these wait for a restart: pool-low 4")
        );
    }
}
