//! The program `hostnic-sim`.

use std::process::ExitCode;

fn main() -> ExitCode {
    hostnic_daemon::sim_server::run()
}
