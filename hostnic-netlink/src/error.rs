//! What the kernel answers when it refuses, and what a caller can do about it.

use std::fmt::Display;
use std::time::Duration;

use hostnic_core::{Error, ErrorKind};
use netlink_packet_core::{ErrorMessage, NlasIterator};
use nix::errno::Errno;

/// The attribute of an acknowledgement that holds the kernel's own words (NLMSGERR_ATTR_MSG).
const ATTR_MESSAGE: u16 = 1;
/// The length of the header of the refused request, which comes before the attributes.
const NETLINK_HEADER: usize = 16;

/// Why a request to the kernel failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KernelError {
    #[error("{errno}{}", reason.as_deref().map(|r| format!(" ({r})")).unwrap_or_default())]
    Refused { errno: Errno, reason: Option<String> },
    #[error("no answer within {0:?}")]
    Deadline(Duration),
    #[error("the list changed while it was read, {0} times")]
    Interrupted(u32),
    #[error("the netlink socket was closed")]
    Closed,
    #[error("an answer of another kind than was asked for")]
    Unexpected,
}

impl KernelError {
    /// Reads a refusal, with the kernel's own words where it gave some.
    pub(crate) fn refused(message: &ErrorMessage) -> Self {
        Self::Refused {
            errno: Errno::from_raw(message.raw_code().saturating_neg()),
            reason: reason(&message.header),
        }
    }

    /// A refusal that came at the end of a dump.
    pub(crate) fn refused_code(code: i32) -> Self {
        Self::Refused { errno: Errno::from_raw(code.saturating_neg()), reason: None }
    }

    pub(crate) fn is(&self, wanted: Errno) -> bool {
        matches!(self, Self::Refused { errno, .. } if *errno == wanted)
    }

    /// This as the cause of a failed `operation` on `subject`.
    pub(crate) fn during(self, operation: &'static str, subject: impl Display) -> Error {
        let (kind, detail) = match &self {
            Self::Refused { errno, .. } => of_errno(*errno),
            Self::Deadline(_) => (ErrorKind::Transient, "the kernel is too busy; it is tried again"),
            Self::Interrupted(_) => {
                (ErrorKind::Transient, "the kernel's state changes too fast; it is tried again")
            }
            Self::Closed => (ErrorKind::Transient, "the kernel's side went away"),
            Self::Unexpected => (ErrorKind::Internal, "the kernel's answer makes no sense"),
        };
        let unknown = matches!(self, Self::Deadline(_) | Self::Closed);
        let error = Error::new(kind, operation, subject).detail(detail).source(self);
        if unknown { error.effect_unknown() } else { error }
    }
}

/// A failed system call as the cause of a failed `operation` on `subject`.
pub(crate) fn system(errno: Errno, operation: &'static str, subject: impl Display) -> Error {
    let (kind, detail) = of_errno(errno);
    Error::new(kind, operation, subject).detail(detail).source(std::io::Error::from(errno))
}

/// As [`system`], from what the standard library returns.
pub(crate) fn io(error: std::io::Error, operation: &'static str, subject: impl Display) -> Error {
    let (kind, detail) = error
        .raw_os_error()
        .map_or((ErrorKind::Internal, "the call failed"), |raw| of_errno(Errno::from_raw(raw)));
    Error::new(kind, operation, subject).detail(detail).source(error)
}

fn of_errno(errno: Errno) -> (ErrorKind, &'static str) {
    match errno {
        Errno::ENODEV
        | Errno::ENOENT
        | Errno::ESRCH
        | Errno::ENXIO
        | Errno::EADDRNOTAVAIL
        | Errno::ENOTDIR => (ErrorKind::NotFound, "it is not there"),
        Errno::EEXIST | Errno::EADDRINUSE | Errno::ENOTUNIQ => (ErrorKind::Conflict, "it exists already"),
        Errno::EBUSY | Errno::ENETDOWN => (ErrorKind::Conflict, "its present state forbids it"),
        Errno::EPERM | Errno::EACCES => (
            ErrorKind::Unauthorised,
            "the kernel does not allow it; run as root, or with the capabilities NET_ADMIN and SYS_ADMIN",
        ),
        Errno::EOPNOTSUPP
        | Errno::EPROTONOSUPPORT
        | Errno::ENOPROTOOPT
        | Errno::EAFNOSUPPORT
        | Errno::ENOSYS => (ErrorKind::Unsupported, "this kernel does not offer it"),
        Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE => {
            (ErrorKind::Transient, "the kernel is short of something; it is tried again")
        }
        Errno::EINVAL
        | Errno::ERANGE
        | Errno::ENETUNREACH
        | Errno::EHOSTUNREACH
        | Errno::EMSGSIZE
        | Errno::ENAMETOOLONG => (ErrorKind::Invalid, "the kernel does not accept the values"),
        _ => (ErrorKind::Internal, "the kernel refused"),
    }
}

fn reason(payload: &[u8]) -> Option<String> {
    let attributes = payload.get(NETLINK_HEADER..)?;
    let message = NlasIterator::new(attributes).flatten().find(|nla| nla.kind() == ATTR_MESSAGE)?;
    let text = String::from_utf8_lossy(message.value()).trim_end_matches('\0').to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_kernels_reason_once_and_tells_what_to_do() {
        let cause = KernelError::Refused { errno: Errno::EPERM, reason: Some("no right".into()) };
        let error = cause.during("add address", "10.0.0.1/24 on link 3");
        assert_eq!(error.kind(), ErrorKind::Unauthorised);
        assert_eq!(
            error.chain().to_string(),
            "add address 10.0.0.1/24 on link 3: the kernel does not allow it; run as root, or with the capabilities \
             NET_ADMIN and SYS_ADMIN: EPERM: Operation not permitted (no right)"
        );
    }

    #[test]
    fn a_request_without_an_answer_may_have_had_an_effect() {
        let error = KernelError::Deadline(Duration::from_secs(2)).during("delete link", "eth0");
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Transient, hostnic_core::Effect::Unknown));
    }
}
