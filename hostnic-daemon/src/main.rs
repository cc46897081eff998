//! The program `hostnic-daemon`.

use std::process::ExitCode;

fn main() -> ExitCode {
    hostnic_daemon::cli::run()
}
