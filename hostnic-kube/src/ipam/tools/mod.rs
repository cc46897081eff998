//! What a person wants to know of a cluster's addresses, and to put right.

mod check;
mod gone_nodes;
mod inventory;
mod repair;
mod utilisation;
mod vxnet_use;

use std::time::Duration;

use crate::client::{Asker, connect};
use crate::config::Access;
use crate::error::ConnectError;

pub use check::Finding;
pub use gone_nodes::{GONE_FOR, GivenBack, GoneNodes};
pub use inventory::Inventory;
pub use utilisation::{Numbers, Part, Utilisation};
pub use vxnet_use::VxnetUse;

/// How long the answer to one request may take.
const REQUEST: Duration = Duration::from_secs(20);

/// Reads and repairs what a cluster has of addresses.
#[derive(Debug, Clone)]
pub struct IpamTools {
    asker: Asker,
}

impl IpamTools {
    /// Reads how to reach the API server. Waits for no answer of it.
    ///
    /// # Errors
    /// [`ConnectError`] where there is nothing to connect with.
    pub async fn connect(access: &Access) -> Result<Self, ConnectError> {
        let (asker, _) = connect(access, REQUEST).await?;
        Ok(Self { asker })
    }
}
