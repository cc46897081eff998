//! A layer that tells an operator when the cloud is out of reach, and when it is back: once each.

use std::sync::atomic::{AtomicBool, Ordering};

use hostnic_core::layer::{Answer, Around, Call};
use hostnic_core::{ErrorKind, Result};

/// Whether the cloud answers.
#[derive(Debug)]
pub(super) struct Reach {
    endpoint: String,
    lost: AtomicBool,
}

impl Reach {
    pub(super) fn new(endpoint: String) -> Self {
        Self { endpoint, lost: AtomicBool::new(false) }
    }
}

impl Around for Reach {
    async fn around<T, F>(&self, _: Call<'_>, work: F) -> Result<T>
    where
        T: Answer,
        F: Future<Output = Result<T>> + Send,
    {
        let result = work.await;
        match &result {
            Err(error) if error.kind() == ErrorKind::Transient => {
                if !self.lost.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        api = %self.endpoint,
                        error = %error.chain(),
                        "the cloud cannot be reached, or fails to answer; pods keep what they have, DEL works, and it is tried again"
                    );
                }
            }
            // A refusal is an answer, too.
            _ => {
                if self.lost.swap(false, Ordering::Relaxed) {
                    tracing::info!(api = %self.endpoint, "the cloud is reached again");
                }
            }
        }
        result
    }
}
