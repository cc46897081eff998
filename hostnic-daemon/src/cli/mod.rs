//! The command line of `hostnic-daemon`.

mod list;
mod start;
mod store;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use hostnic_cni::contract::DEFAULT_SOCKET;

/// Gives each pod a network interface of the cloud itself.
#[derive(Debug, Parser)]
#[command(name = "hostnic-daemon", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the CNI plugin of this node until SIGTERM.
    Start(Box<start::Start>),
    /// List the NICs of this node.
    Nics(Ask),
    /// List the pods of this node and what they have.
    Pods(Ask),
    /// Look into a store.
    #[command(subcommand)]
    Store(store::Store),
    /// Tell the versions of this program and of the daemon that runs.
    Version(Ask),
}

/// What every command that asks a running daemon takes.
#[derive(Debug, clap::Args)]
struct Ask {
    /// Where the daemon listens.
    #[arg(long, default_value = DEFAULT_SOCKET, value_name = "PATH")]
    socket: PathBuf,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Runs the program. Failures are printed as one line that says what failed, on what, and what to do.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Start(start) => start.run(),
        Command::Nics(ask) => list::nics(&ask),
        Command::Pods(ask) => list::pods(&ask),
        Command::Store(store) => store.run(),
        Command::Version(ask) => list::version(&ask),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("hostnic-daemon: {message}");
            ExitCode::FAILURE
        }
    }
}
