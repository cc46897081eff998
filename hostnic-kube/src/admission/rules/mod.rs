//! What may be done to the resources and to the mapping. All of it is decided from what is passed in.

pub(super) mod block;
pub(super) mod config_map;
pub(super) mod handle;
pub(super) mod ip_pool;
pub(super) mod vxnet_pool;

use super::account::Who;
use super::review::Operation;

/// A change to an object.
#[derive(Debug, Clone)]
pub(super) enum Change<T> {
    Made(T),
    Changed { old: T, new: T },
    Removed(T),
}

impl<T> Change<T> {
    /// `None` where what an operation is about is missing: nothing can be said of it.
    pub(super) fn new(operation: Operation, old: Option<T>, new: Option<T>) -> Option<Self> {
        match (operation, old, new) {
            (Operation::Create, _, Some(new)) => Some(Self::Made(new)),
            (Operation::Update, Some(old), Some(new)) => Some(Self::Changed { old, new }),
            (Operation::Delete, Some(old), _) => Some(Self::Removed(old)),
            _ => None,
        }
    }
}

/// What is said of a change. It is allowed unless there is something against it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    about: String,
    against: Vec<String>,
    pub(super) warnings: Vec<String>,
}

impl Verdict {
    /// Nothing against a change of `about`, which is a kind and a name.
    pub(super) fn about(about: impl Into<String>) -> Self {
        Self { about: about.into(), ..Self::default() }
    }

    /// Refuses the change: what is wrong, and what to do instead. All reasons are told together.
    pub(super) fn deny(&mut self, reason: impl Into<String>) {
        self.against.push(reason.into());
    }

    /// Lets the change be, and has whoever makes it told something.
    pub(super) fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    pub(super) fn is_allowed(&self) -> bool {
        self.against.is_empty()
    }

    /// Everything that is wrong, for whoever wants the change.
    pub(super) fn message(&self) -> String {
        format!("{}: {}", self.about, self.against.join("; "))
    }
}

/// Whether rules about objects that programs write hold for them.
fn is_bound(who: Who) -> bool {
    who == Who::Other
}
