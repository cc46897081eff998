//! Says what is going on, one line a step, while it goes on.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use tokio::time::Instant;

/// Tells steps as they begin and end, or nothing when a program is listening.
#[derive(Debug, Clone, Copy)]
pub struct Teller {
    silent: bool,
}

impl Teller {
    /// One that speaks, unless `silent`.
    pub fn new(silent: bool) -> Self {
        Self { silent }
    }

    /// Says a line.
    #[expect(clippy::print_stdout, reason = "telling a person is what this is for")]
    pub fn say(&self, line: impl std::fmt::Display) {
        if !self.silent {
            println!("{line}");
        }
    }

    /// Does a step: says its name, a dot for each half second that it lasts, and how it ended.
    pub async fn step<T, E>(
        &self,
        name: &str,
        work: impl Future<Output = Result<(T, String), E>>,
    ) -> Result<T, E> {
        let begun = Instant::now();
        self.print(format!("  {name} "));
        tokio::pin!(work);
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                () = tokio::time::sleep(Duration::from_millis(500)) => self.print(".".to_owned()),
            }
        };
        let took = begun.elapsed().as_millis();
        match &done {
            Ok((_, outcome)) => self.say(format!(" {outcome} ({took} ms)")),
            Err(_) => self.say(format!(" failed ({took} ms)")),
        }
        done.map(|(value, _)| value)
    }

    #[expect(clippy::print_stdout, reason = "telling a person is what this is for")]
    fn print(&self, text: String) {
        // Without a terminal nobody watches the dots, and half lines only confuse logs.
        if !self.silent && (text != "." || std::io::stdout().is_terminal()) {
            print!("{text}");
            let _ = std::io::stdout().flush();
        }
    }
}
