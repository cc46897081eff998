//! What a hosted node is to be, in a file of its folder.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// The tag of NICs that may be lent, and of all that the node makes where it is to put on any.
pub(super) const TAG: &str = "of-pods";

const FILE: &str = "orders.json";

/// The settings that scenes change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Orders {
    /// The subnet of its pods.
    pub(super) subnet: String,
    /// Whether its pods are behind veths.
    pub(super) behind_veths: bool,
    /// Whether these reach each other by their NICs.
    pub(super) hairpin: bool,
    /// Whether it tags what it makes.
    pub(super) tag: bool,
}

impl Orders {
    pub(super) fn read(folder: &Path) -> Self {
        serde_json::from_slice(&std::fs::read(folder.join(FILE)).unwrap()).unwrap()
    }

    pub(super) fn write(&self, folder: &Path) {
        std::fs::write(folder.join(FILE), serde_json::to_vec(self).unwrap()).unwrap();
    }
}
