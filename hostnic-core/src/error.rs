//! The one error of the traits: a kind to act on, the operation, its subject and the cause.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use crate::id::InvalidValue;
use crate::refusal::Refusal;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What was asked about does not exist.
    NotFound,
    /// A limit on the number of things is reached: trying the same again does not help until something is given back.
    Quota(QuotaScope),
    /// Too many calls: the same call works later, not before `retry_after` where the other side said.
    Throttled {
        /// How long to wait, where that is known.
        retry_after: Option<Duration>,
    },
    /// The credentials are wrong or do not allow this.
    Unauthorised,
    /// The thing is in a state that forbids the operation, or exists already.
    Conflict,
    /// It may work when tried again: the network, an overloaded server, a lost answer.
    Transient,
    /// The request itself is wrong and will be wrong next time.
    Invalid,
    /// This implementation does not offer the operation.
    Unsupported,
    /// Nothing is free at this moment; something will be, or a person must act.
    Exhausted,
    /// The caller, or a later request for the same thing, called it off.
    Cancelled,
    /// Stored data cannot be trusted.
    Damaged,
    /// A defect of ours, or an answer that cannot be true.
    Internal,
}

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QuotaScope {
    /// The subnet has no free address, or holds as many NICs as it may: another subnet may do.
    Subnet,
    /// The instance carries as many NICs as it may: only giving one back helps.
    Instance,
    /// The account may own no more of them.
    Account,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "not found",
            Self::Quota(QuotaScope::Subnet) => "the subnet is full",
            Self::Quota(QuotaScope::Instance) => "the instance carries all the NICs it may",
            Self::Quota(QuotaScope::Account) => "the account's quota is used up",
            Self::Throttled { .. } => "too many requests",
            Self::Unauthorised => "not authorised",
            Self::Conflict => "in conflict with the present state",
            Self::Transient => "failed for the moment",
            Self::Invalid => "not valid",
            Self::Unsupported => "not supported",
            Self::Exhausted => "nothing is free",
            Self::Cancelled => "called off",
            Self::Damaged => "stored data is damaged",
            Self::Internal => "internal error",
        })
    }
}

/// Whether a failed operation can have had an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Nothing was changed.
    None,
    /// Nobody knows: the request may have been carried out. A create must be looked up, never repeated blindly.
    Unknown,
}

/// What failed, on what, why, and what a caller can do about it.
///
/// `Display` names the operation, its subject, and the detail; it never repeats the source. To print the whole
/// chain use [`Error::chain`].
#[derive(Debug, thiserror::Error)]
#[error("{operation} {subject}: {detail}")]
pub struct Error {
    kind: ErrorKind,
    effect: Effect,
    operation: &'static str,
    subject: Box<str>,
    detail: Box<str>,
    refusal: Option<Box<Refusal>>,
    #[source]
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` in `operation` (a verb phrase such as "attach NICs") on `subject`. It had no effect.
    pub fn new(kind: ErrorKind, operation: &'static str, subject: impl fmt::Display) -> Self {
        Self {
            kind,
            effect: Effect::None,
            operation,
            subject: subject.to_string().into(),
            detail: kind.to_string().into(),
            refusal: None,
            source: None,
        }
    }

    /// Says more than the kind does, and what to do.
    #[must_use]
    pub fn detail(mut self, detail: impl fmt::Display) -> Self {
        self.detail = detail.to_string().into();
        self
    }

    /// Says exactly why a pod cannot have a NIC.
    #[must_use]
    pub(crate) fn refusal_of(mut self, refusal: Refusal) -> Self {
        self.refusal = Some(Box::new(refusal));
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Says that the operation may have been carried out all the same.
    #[must_use]
    pub fn effect_unknown(mut self) -> Self {
        self.effect = Effect::Unknown;
        self
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the operation can have had an effect.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// Why a pod cannot have the NIC that it asks for, where that is known more exactly than by the kind.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_deref()
    }

    /// The operation that failed.
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// What the operation was about.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Prints this error and all its causes in one line, for logs and for people.
    pub fn chain(&self) -> Chain<'_> {
        Chain(self)
    }
}

impl From<InvalidValue> for Error {
    fn from(value: InvalidValue) -> Self {
        Self::new(ErrorKind::Invalid, "read", value.what).detail(&value)
    }
}

/// Displays an error followed by its causes, parted by ": ".
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn StdError + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(error) = next {
            write!(f, ": {error}")?;
            next = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_operation_subject_and_detail_and_leaves_the_source_to_the_chain() {
        let error = Error::new(ErrorKind::Transient, "attach NICs", "nic-1")
            .detail("the cloud did not answer; it is tried again")
            .source(std::io::Error::other("connection reset"));
        assert_eq!(error.to_string(), "attach NICs nic-1: the cloud did not answer; it is tried again");
        assert_eq!(
            error.chain().to_string(),
            "attach NICs nic-1: the cloud did not answer; it is tried again: connection reset"
        );
    }
}
