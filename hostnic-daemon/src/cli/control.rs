//! What a person commands a running daemon to do.

use std::path::PathBuf;
use std::time::Duration;

use hostnic_cni::contract::{Cleaned, DEFAULT_SOCKET};
use serde::Serialize;

use super::Ask;
use super::ask::{ask, ask_within, told};
use super::list::print;

/// How much longer than the daemon a person waits.
const MARGIN: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(super) struct Clean {
    #[command(flatten)]
    ask: Ask,
    /// How many seconds to wait for the NICs to be gone.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3600))]
    wait: u64,
}

#[derive(Debug, clap::Args)]
pub(super) struct Shutdown {
    /// Where the daemon listens.
    #[arg(long, default_value = DEFAULT_SOCKET, value_name = "PATH")]
    socket: PathBuf,
}

/// What a cleaning came to, in JSON.
#[derive(Debug, Serialize)]
struct Outcome {
    given_back: u32,
    left: u32,
    held: u32,
}

impl Clean {
    pub(super) fn run(&self) -> Result<(), String> {
        let patience = Duration::from_secs(self.wait);
        // The daemon's answer comes when its own patience ends.
        let cleaned =
            ask_within(&self.ask.socket, patience + MARGIN, async |client| client.clean(patience).await)
                .map_err(|error| told(&error))?;
        let Cleaned { given_back, left, held } = cleaned;
        print(self.ask.output, &Outcome { given_back, left, held }, |outcome| in_words(outcome, self.wait))
    }
}

fn in_words(outcome: &Outcome, waited: u64) -> String {
    let Outcome { given_back, left, held } = outcome;
    let held = format!("{held} {} of pods stay", nics(*held));
    let gone = format!("{given_back} {} given back", nics(*given_back));
    match left {
        0 => format!("{gone}; {held}; new ones are made where they are needed"),
        left => format!(
            "{gone}; {left} {} not gone after {waited} s, and the daemon goes on with that; {held}; \
             `hostnic-daemon nics` shows them",
            nics(*left)
        ),
    }
}

fn nics(count: u32) -> &'static str {
    if count == 1 { "NIC" } else { "NICs" }
}

impl Shutdown {
    #[expect(clippy::print_stdout, reason = "what a person asked for goes to standard output")]
    pub(super) fn run(&self) -> Result<(), String> {
        ask(&self.socket, async |client| client.shutdown().await).map_err(|error| told(&error))?;
        println!("the daemon at {} is stopping", self.socket.display());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_told_what_became_of_the_nics() {
        let done = Outcome { given_back: 3, left: 0, held: 1 };
        assert_eq!(
            in_words(&done, 120),
            "3 NICs given back; 1 NIC of pods stay; new ones are made where they are needed"
        );
        let stuck = Outcome { given_back: 0, left: 1, held: 2 };
        assert!(in_words(&stuck, 5).starts_with("0 NICs given back; 1 NIC not gone after 5 s"));
    }
}
