//! The program `hostnic-controller`.

use std::process::ExitCode;

fn main() -> ExitCode {
    hostnic_daemon::controller::run()
}
