//! This node's own object: what it says, and what it is made to say.

mod plan;
mod view;
mod writer;

pub(crate) use plan::{Capacity, Wanted};
pub(crate) use view::{NodeView, follow};
pub(crate) use writer::keep;

/// Whether this node can give pods their interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// It cannot, for this reason. The scheduler places no more pods here.
    NotReady(String),
}
