//! One run of the plugin, with everything it takes from the process passed in.

use std::io::{self, Read};

use hostnic_core::clock::BootTime;

use crate::command::{Job, versions};
use crate::config::{self, NetworkConfig};
use crate::daemon::Daemon;
use crate::environment::{Command, Environment, Lookup};
use crate::error::{CniError, Code};
use crate::version::Version;

/// The longest configuration that is read. The longest that makes sense, a GC on a node with thousands of containers,
/// is well below one mebibyte.
const LONGEST_CONFIG: u64 = 4 << 20;

const ABOUT: &str = concat!(
    "hostnic ",
    env!("CARGO_PKG_VERSION"),
    ": a CNI plugin that gives each pod a network interface of the cloud.\n",
    "Container runtimes start it, with CNI_COMMAND set and a network configuration on standard input;\n",
    "it asks the daemon of this node, which `hostnic-daemon start` starts.\n",
    "It speaks CNI 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0 and 1.1.0.\n",
);

/// What a process takes from its surroundings.
pub struct Invocation<'a> {
    /// When the process began.
    pub started_at: BootTime,
    /// Its environment.
    pub environment: Lookup<'a>,
    /// Its standard input.
    pub stdin: &'a mut dyn Read,
    /// Whether a person sits at its standard input.
    pub at_terminal: bool,
}

impl std::fmt::Debug for Invocation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invocation").field("started_at", &self.started_at).finish_non_exhaustive()
    }
}

/// What a process leaves behind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// For the runtime: a result or an error in JSON, or nothing.
    pub stdout: String,
    /// For people.
    pub stderr: String,
    /// Whether the exit status is 0.
    pub success: bool,
}

/// Does what the environment and the configuration say. Blocks until it is done, at most until the command's deadline.
///
/// Not to be called from within an asynchronous runtime: it starts one of its own where the daemon has to be asked.
pub fn run(invocation: Invocation<'_>) -> Outcome {
    outcome(invocation, |job, daemon| job.run(daemon))
}

/// Reads the environment and the configuration as [`run`] does and tells what is wrong with them, but does nothing:
/// neither the node nor the daemon is looked at. Where nothing is wrong it prints nothing (but for a VERSION, its answer).
pub fn dry_run(invocation: Invocation<'_>) -> Outcome {
    outcome(invocation, |_, _| Ok(String::new()))
}

fn outcome(
    invocation: Invocation<'_>,
    act: impl FnOnce(Job, &Daemon) -> Result<String, CniError>,
) -> Outcome {
    let environment = Environment::new(invocation.environment);
    if invocation.at_terminal && !environment.has_command() {
        return Outcome { stderr: ABOUT.to_owned(), success: true, ..Outcome::default() };
    }
    let mut version = Version::NEWEST;
    match answer(&environment, invocation, act, &mut version) {
        Ok(stdout) => Outcome { stdout, success: true, ..Outcome::default() },
        Err(error) => Outcome { stdout: error.to_json(version), ..Outcome::default() },
    }
}

/// `version` becomes that of the configuration as soon as it is known, so that errors are told in it.
fn answer(
    environment: &Environment<'_>,
    invocation: Invocation<'_>,
    act: impl FnOnce(Job, &Daemon) -> Result<String, CniError>,
    version: &mut Version,
) -> Result<String, CniError> {
    let command = environment.command()?;
    if command == Command::Version {
        let stdin = if invocation.at_terminal { Vec::new() } else { read(invocation.stdin)? };
        // Asked without a version, or in one that is unknown, the newest is what there is to say.
        let asked = config::decode(&stdin).and_then(|object| config::stated_version(&object));
        return versions(asked.ok().flatten().unwrap_or(*version));
    }
    let object = read(invocation.stdin).and_then(|stdin| config::decode(&stdin));
    if let Ok(known) = object.as_ref().map_err(Clone::clone).and_then(config::version) {
        *version = known;
    }
    environment.require(command)?;
    let object = object?;
    refuse_unknown_command(command, config::version(&object)?)?;
    let config = NetworkConfig::new(object)?;
    let job = Job::read(command, environment, &config)?;
    let in_turn = job.is_of_placed_pod();
    act(job, &Daemon::new(command, invocation.started_at, &config, in_turn))
}

/// A command that the configuration's version does not have yet.
fn refuse_unknown_command(command: Command, version: Version) -> Result<(), CniError> {
    let since = match command {
        Command::Add | Command::Del | Command::Version => return Ok(()),
        Command::Check => Version::V0_4_0,
        Command::Gc | Command::Status => Version::V1_1_0,
    };
    if version >= since {
        return Ok(());
    }
    let message = format!(
        "{command} is not a command of CNI {version}, the configuration's cniVersion; it came with {since}"
    );
    Err(CniError::new(Code::IncompatibleVersion, message))
}

fn read(stdin: &mut dyn Read) -> Result<Vec<u8>, CniError> {
    let failed = |error: io::Error| {
        CniError::new(Code::Io, "read the network configuration from standard input").details(error)
    };
    let mut bytes = Vec::new();
    stdin.take(LONGEST_CONFIG + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LONGEST_CONFIG {
        let message = "the network configuration on standard input is longer than 4 MiB";
        return Err(CniError::new(Code::Decode, message));
    }
    Ok(bytes)
}
