//! The command line of `hostnic-daemon`.

pub(crate) mod access;
mod ask;
mod config;
mod control;
mod doctor;
mod in_force;
mod install;
mod ipam;
mod list;
mod nic;
mod start;
mod status;
mod store;
mod table;
mod vxnet;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use hostnic_cni::contract::DEFAULT_SOCKET;

use crate::settings::anywhere;

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
    /// Show how this node is: pool, pods, readiness, calls to the cloud, last errors.
    Status(Ask),
    /// List the NICs of this node.
    Nics(Ask),
    /// List the pods of this node and what they have.
    Pods(Ask),
    /// Find what keeps pods of this machine from their NICs, and what to do about each; takes the flags of start.
    Doctor(Box<doctor::Doctor>),
    /// Look for NICs in the whole account; takes the flags of start.
    #[command(subcommand)]
    Nic(nic::Nic),
    /// Show, check and repair the addresses that a cluster's vxnets have for pods.
    #[command(subcommand)]
    Ipam(ipam::Ipam),
    /// Look after the vxnets of pods that share NICs.
    #[command(subcommand)]
    Vxnet(vxnet::Vxnet),
    /// Look into a store.
    #[command(subcommand)]
    Store(store::Store),
    /// Put the plugin where the container runtime finds it.
    Install(install::Install),
    /// Give the NICs that no pod has back to the cloud now, and have new ones made.
    Clean(control::Clean),
    /// Stop the daemon in good order, as SIGTERM does; pods keep their interfaces.
    Shutdown(control::Shutdown),
    /// Show every setting in force and where it comes from; takes the flags of start.
    Config(Box<config::Config>),
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

/// The command line, with the earlier programs' flags where they took them.
fn command() -> clap::Command {
    anywhere(Cli::command())
}

/// Runs the program. Failures are printed as one line that says what failed, on what, and what to do.
pub fn run() -> ExitCode {
    print_no_caught_panics();
    let argv0 = std::env::args_os().next().unwrap_or_default();
    let cli = match Cli::from_arg_matches(&command().get_matches()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let done = match cli.command {
        Command::Start(start) => start.run(&argv0),
        Command::Config(config) => config.run(&argv0),
        Command::Install(install) => install.run(),
        Command::Clean(clean) => clean.run(),
        Command::Shutdown(shutdown) => shutdown.run(),
        Command::Status(ask) => status::status(&ask),
        Command::Nics(ask) => list::nics(&ask),
        Command::Pods(ask) => list::pods(&ask),
        Command::Doctor(doctor) => doctor.run(&argv0),
        Command::Nic(nic) => nic.run(&argv0),
        Command::Ipam(ipam) => ipam.run(),
        Command::Vxnet(vxnet) => vxnet.run(&argv0),
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

/// What redb says of a damaged file by panicking is told as damage, once, in the form of the log.
fn print_no_caught_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !hostnic_core::store::catches_panics() {
            print(panic);
        }
    }));
}

#[cfg(test)]
#[test]
fn no_command_has_a_flag_twice() {
    command().debug_assert();
}

/// The settings' flags of a command line, of which the first word is the program.
#[cfg(test)]
pub(crate) fn flags_of(words: &[&str]) -> Result<crate::settings::Flags, clap::Error> {
    match Cli::from_arg_matches(&command().try_get_matches_from(words)?)?.command {
        Command::Start(start) => Ok(start.settings),
        Command::Config(config) => Ok(config.flags),
        _ => Err(clap::Error::new(clap::error::ErrorKind::InvalidSubcommand)),
    }
}
