//! Which cluster the node is in: records of another one are history.

use hostnic_core::{Error, ErrorKind};
use hostnic_kube::Cluster;
use tokio::time::sleep;

use super::ASK_AGAIN;
use super::memory::Memory;
use crate::Waiting;

/// What keeps the first daemon of a boot from serving.
const UNKNOWN: &str =
    "the API server does not say which cluster this is, and nobody remembers; it is asked until it does";

/// Which cluster this is, as the API server says or, where it is away, as it said in this boot. Else it is waited for, and
/// said by `waiting` why.
pub(super) async fn of_cluster(cluster: &Cluster, memory: &mut Memory, waiting: &Waiting) -> String {
    let mut told = false;
    loop {
        let error = match cluster.uid().await {
            Ok(uid) => {
                memory.set_cluster(uid.as_str());
                return uid.to_string();
            }
            Err(error) => error,
        };
        if let Some(remembered) = memory.cluster() {
            tracing::warn!(error = %error.chain(), "the API server does not say which cluster this is; the one of the last start is taken");
            return remembered.to_owned();
        }
        waiting.waits_for(format!("{UNKNOWN}: {}", error.chain()));
        if !told {
            tracing::error!(error = %error.chain(), "{UNKNOWN}");
            told = true;
        }
        sleep(ASK_AGAIN).await;
    }
}

/// Waits until the API server says that this is another cluster than the one of the records; for ever where it is that one.
pub(super) async fn contradicted(cluster: &Cluster, recorded: Option<String>) -> Error {
    loop {
        match cluster.uid().await {
            Ok(uid) if recorded.as_deref().is_some_and(|recorded| recorded != uid.as_str()) => {
                return Error::new(ErrorKind::Conflict, "stay in cluster", uid).detail(
                    "the records are of another cluster, as was remembered; the daemon has to start again",
                );
            }
            Ok(_) => return std::future::pending().await,
            Err(_) => sleep(ASK_AGAIN).await,
        }
    }
}
