//! Asking the daemon, within one deadline for the whole of the plugin's life.

use std::time::Duration;

use hostnic_core::Chain;
use hostnic_core::clock::{BootTime, Clock, SystemClock};

use crate::config::NetworkConfig;
use crate::contract::{Call, CallError, Client, Endpoint};
use crate::environment::Command;
use crate::error::{CniError, Code};

/// The daemon, as one command asks it.
#[derive(Debug)]
pub(crate) struct Daemon {
    command: Command,
    started_at: BootTime,
    limit: Duration,
    endpoints: Vec<Endpoint>,
    unusable: Option<String>,
}

/// How long a command may take, from the plugin's start to its answer; `in_turn` is an ADD of a pod that an orchestrator has
/// placed here.
///
/// Such a pod cannot go elsewhere and may have to wait until others are gone. Kubernetes gives a sandbox four minutes in all, and
/// containerd sets its plugins no limit. Any other ADD may have to wait for a NIC to be attached, which takes tens of seconds;
/// after a minute a fresh try, with a fresh look, is better. A DEL is promised within seconds; STATUS is asked every five and
/// must not pile up.
fn limit(command: Command, in_turn: bool) -> Duration {
    Duration::from_secs(match command {
        Command::Add if in_turn => 230,
        Command::Add | Command::Gc => 60,
        Command::Del => 30,
        Command::Check => 10,
        Command::Status | Command::Version => 1,
    })
}

impl Daemon {
    /// The daemon that the configuration names. `in_turn` is an ADD of a pod that an orchestrator has placed here.
    pub(crate) fn new(command: Command, started_at: BootTime, config: &NetworkConfig, in_turn: bool) -> Self {
        // Patience that was configured for attaching must not make the node's health slow to tell.
        let configured = config.timeout().filter(|_| command != Command::Status);
        Self {
            command,
            started_at,
            limit: configured.unwrap_or_else(|| limit(command, in_turn)),
            endpoints: config.endpoints().to_vec(),
            unusable: config.unusable_address().map(str::to_owned),
        }
    }

    /// Connects and asks. The call that `ask` is told ends a little before the plugin's own deadline, so that the reason
    /// why the daemon gave up still arrives.
    pub(crate) fn ask<T>(
        &self,
        ask: impl AsyncFnOnce(&mut Client, Call) -> Result<T, CallError>,
    ) -> Result<T, CniError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
                CniError::new(Code::TryAgainLater, "the node has no room for another process's event loop")
                    .details(error)
            })?;
        let left = self.limit.saturating_sub(SystemClock.now().since(self.started_at));
        let margin = (left / 4).min(Duration::from_secs(1));
        let call = Call { started_at: self.started_at, remaining: left - margin };
        let exchange = async {
            let mut client = self.connect().await?;
            ask(&mut client, call).await.map_err(|error| self.failed(error))
        };
        // The timer belongs to the runtime, so it is made within it.
        let answer = runtime.block_on(async { tokio::time::timeout(left, exchange).await });
        // A name that is still being looked up must not hold the plugin up.
        runtime.shutdown_background();
        match answer {
            Ok(answer) => answer,
            Err(_) => Err(CniError::new(
                self.unserved(),
                format_args!(
                    "the hostnic daemon at {} did not answer {} within {} s",
                    self.endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "),
                    self.command,
                    self.limit.as_secs()
                ),
            )
            .details("`hostnic-daemon doctor` on the node tells what it waits for")),
        }
    }

    /// Connects where somebody is there. Nothing is asked twice: the next place is tried only where nobody accepted.
    async fn connect(&self) -> Result<Client, CniError> {
        let mut failures = Vec::new();
        for endpoint in &self.endpoints {
            match Client::connect_to(endpoint).await {
                Ok(client) => return Ok(client),
                Err(error) => failures.push((endpoint, error)),
            }
        }
        Err(self.nobody(failures))
    }

    /// Nobody is at any of the places: the first one is what a person should look at.
    fn nobody(&self, failures: Vec<(&Endpoint, CallError)>) -> CniError {
        let mut failures = failures.into_iter();
        let Some((_, first)) = failures.next() else {
            return CniError::new(Code::Internal, "the configuration names no place to ask the daemon at");
        };
        let mut error = self.failed(first);
        for (endpoint, other) in failures {
            let cause = std::error::Error::source(&other).map(|source| Chain(source).to_string());
            error.details.push_str(&format!("; nor at {endpoint}: {}", cause.unwrap_or_default()));
        }
        if let Some(text) = &self.unusable {
            error.details.push_str(&format!(
                "; the configuration's bindaddr {text:?} is left aside, as it is no host and port such as \
                 127.0.0.1:31080"
            ));
        }
        error
    }

    /// The code for "no answer": STATUS has one of its own.
    fn unserved(&self) -> Code {
        if self.command == Command::Status { Code::NotAvailable } else { Code::TryAgainLater }
    }

    fn failed(&self, error: CallError) -> CniError {
        let causes = std::error::Error::source(&error).map(|source| Chain(source).to_string());
        let code = match error {
            CallError::Refused(reason) => return reason,
            CallError::Malformed(_) => Code::Internal,
            CallError::Unreachable { .. } | CallError::UnknownCall | CallError::Interrupted(_) => {
                self.unserved()
            }
        };
        CniError::new(code, error).details(causes.unwrap_or_default())
    }
}
