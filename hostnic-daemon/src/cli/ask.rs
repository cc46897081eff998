//! One question to a running daemon.

use std::path::Path;
use std::time::Duration;

use hostnic_cni::contract::{CallError, Client};
use hostnic_core::Chain;

/// How long a person waits for what the daemon knows.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("no runtime could be started")]
    Runtime(#[source] std::io::Error),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("the daemon did not answer within {0:?}; look at its log")]
    Silent(Duration),
}

/// Asks the daemon what it knows.
pub(super) fn ask<T>(
    socket: &Path,
    question: impl AsyncFnOnce(&mut Client) -> Result<T, CallError>,
) -> Result<T, AskError> {
    ask_within(socket, PATIENCE, question)
}

/// Asks the daemon for something that takes up to `patience`.
pub(super) fn ask_within<T>(
    socket: &Path,
    patience: Duration,
    question: impl AsyncFnOnce(&mut Client) -> Result<T, CallError>,
) -> Result<T, AskError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AskError::Runtime)?;
    runtime.block_on(async {
        let answer = async { question(&mut Client::connect(socket).await?).await };
        Ok(tokio::time::timeout(patience, answer).await.map_err(|_| AskError::Silent(patience))??)
    })
}

/// What a person is told about an error.
pub(super) fn told(error: &AskError) -> String {
    Chain(error).to_string()
}
