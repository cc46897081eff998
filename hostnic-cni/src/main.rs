//! The CNI plugin `hostnic`, also installed as `qingcni`.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use hostnic_cni::plugin::{Invocation, run};
use hostnic_core::clock::{Clock, SystemClock};

fn main() -> ExitCode {
    // First of all: an ADD that began before a DEL is recognised by it.
    let started_at = SystemClock.now();
    let mut stdin = std::io::stdin().lock();
    let at_terminal = stdin.is_terminal();
    let environment = |name: &str| std::env::var_os(name);
    let outcome = run(Invocation { started_at, environment: &environment, stdin: &mut stdin, at_terminal });
    let written = std::io::stdout()
        .write_all(outcome.stdout.as_bytes())
        .and_then(|()| std::io::stderr().write_all(outcome.stderr.as_bytes()));
    // A runtime that cannot be told must not take it for success; it sends a DEL then.
    if outcome.success && written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
