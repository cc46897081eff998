//! What a node knows of the cluster's addresses, for metrics.

use std::fmt::Debug;

use hostnic_kube::ipam::{AddressFailures, AddressFigures, AddressUsage};

/// Who knows how many addresses are whose where NICs are shared. Asked at each scrape, and answers from memory.
pub trait AddressBook: Send + Sync + Debug {
    /// How many addresses are whose; `None` while that is not known.
    fn usage(&self) -> Option<AddressUsage>;

    /// How often a pod of this node got none.
    fn failures(&self) -> AddressFailures;
}

impl AddressBook for AddressFigures {
    fn usage(&self) -> Option<AddressUsage> {
        Self::usage(self)
    }

    fn failures(&self) -> AddressFailures {
        Self::failures(self)
    }
}
