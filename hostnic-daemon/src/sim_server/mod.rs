//! The program `hostnic-sim`: QingCloud's API without QingCloud, and with `--fabric` its links and packets too.

mod client_yaml;
mod fabric;
mod flags;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Speaks QingCloud's API back, for tests and trials without an account.
#[derive(Debug, Parser)]
#[command(name = "hostnic-sim", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM. What a client needs for its client.yaml is printed first.
    Serve(Box<serve::Serve>),
}

/// Runs the program. Failures are printed as one line that says what failed, on what, and what to do.
pub fn run() -> ExitCode {
    let Command::Serve(serve) = Cli::parse().command;
    match serve.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("hostnic-sim: {message}");
            ExitCode::FAILURE
        }
    }
}
