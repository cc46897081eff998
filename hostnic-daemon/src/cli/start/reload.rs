//! SIGHUP, and a CNI configuration that was changed: what is read anew, what takes effect, and what waits for a restart.

use std::ffi::OsString;
use std::path::PathBuf;

use hostnic_core::route::Hairpin;

use crate::cli::in_force::in_force;
use crate::settings::{Flags, Row, Settings};
use crate::telemetry::Logs;

/// The settings that take effect while the daemon runs.
const RELOADABLE: [&str; 2] = ["log-level", "hairpin"];

/// What came of a reload.
#[derive(Debug)]
pub(super) struct Reloaded {
    /// The same as was logged.
    pub(super) said: String,
    /// Hairpin, where it has changed.
    pub(super) hairpin: Option<Hairpin>,
}

/// The CNI configuration, whose changes are noticed: a cluster tells new settings by changing the file.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    text: String,
}

/// The settings in force, and how they came to be.
#[derive(Debug)]
pub(super) struct Reloading {
    argv0: OsString,
    flags: Flags,
    in_force: Vec<Row>,
    logs: Logs,
    watched: Option<Watched>,
}

impl Reloading {
    pub(super) fn new(argv0: OsString, flags: Flags, settings: &Settings, logs: Logs) -> Self {
        let file = settings.cni.file.clone();
        let read = |path: PathBuf| Some(Watched { text: std::fs::read_to_string(&path).ok()?, path });
        Self { argv0, flags, in_force: settings.rows(), logs, watched: file.and_then(read) }
    }

    /// Whether the CNI configuration is another one than when it was last looked at. One that is not there, as while it is
    /// replaced, is no other one. Blocks while the file is read.
    pub(super) fn has_news(&mut self) -> bool {
        let Some(watched) = &mut self.watched else { return false };
        match std::fs::read_to_string(&watched.path) {
            Ok(text) if text != watched.text => {
                watched.text = text;
                true
            }
            _ => false,
        }
    }

    /// Reads the settings anew and puts into force what can be. Logs what came of it, and gives back the same words.
    /// Blocks while the file is read.
    pub(super) fn reload(&mut self) -> Reloaded {
        match self.read() {
            Ok(reloaded) => {
                tracing::info!("{}", reloaded.said);
                reloaded
            }
            Err(error) => {
                tracing::error!(%error, "the settings could not be reloaded; those in force stay");
                let said = format!("the settings could not be reloaded; those in force stay: {error}");
                Reloaded { said, hairpin: None }
            }
        }
    }

    fn read(&mut self) -> Result<Reloaded, String> {
        let (settings, _) = in_force(&self.argv0, self.flags.clone())?;
        let wanted = settings.rows();
        let changes = changes(&self.in_force, &wanted);
        if changes.iter().any(|row| row.key == "log-level") {
            self.logs.set_level(settings.log_level.value.as_str())?;
        }
        let hairpin = changes.iter().any(|row| row.key == "hairpin");
        let hairpin = hairpin.then(|| settings.veth.config(None).hairpin);
        let said = in_words(&changes);
        // What waits for a restart is told again at the next reload.
        for row in self.in_force.iter_mut().filter(|row| RELOADABLE.contains(&row.key)) {
            if let Some(now) = changes.iter().find(|change| change.key == row.key) {
                *row = (*now).clone();
            }
        }
        Ok(Reloaded { said, hairpin })
    }
}

/// The settings that have another value now.
fn changes<'a>(in_force: &[Row], wanted: &'a [Row]) -> Vec<&'a Row> {
    let differs = |row: &&Row| in_force.iter().any(|old| old.key == row.key && old.text() != row.text());
    wanted.iter().filter(differs).collect()
}

fn in_words(changes: &[&Row]) -> String {
    let (now, later): (Vec<&Row>, Vec<&Row>) = changes.iter().partition(|row| RELOADABLE.contains(&row.key));
    let list = |rows: Vec<&Row>| {
        let each = rows.iter().map(|row| format!("{} {}", row.key, row.text()));
        each.collect::<Vec<_>>().join(", ")
    };
    match (now.is_empty(), later.is_empty()) {
        (true, true) => {
            format!(
                "reloaded: no setting has changed; only {} take effect without a restart",
                RELOADABLE.join(" and ")
            )
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
