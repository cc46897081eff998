//! What the end-to-end tests' modules ask of their host.

use std::time::Duration;

/// How long anything here may take on a busy machine; what succeeds takes a small part of it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
