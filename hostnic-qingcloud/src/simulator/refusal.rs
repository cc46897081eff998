//! Answers of the API that say no.

use hostnic_core::{Error, ErrorKind};
use serde_json::{Map, Value};

/// An error of the API: HTTP 200, and a `ret_code` that is not 0.
///
/// Of the words that begin a message only `PermissionDenied` and `ResourceNotFound` are known from the real API; the
/// others are this simulator's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    code: u32,
    word: &'static str,
    detail: String,
}

impl Refusal {
    /// A parameter is missing, unknown or has the wrong form.
    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::coded(1100, detail)
    }

    /// A value is not one of those that are allowed.
    pub(super) fn wrong_value(detail: impl Into<String>) -> Self {
        Self::coded(1101, detail)
    }

    pub(super) fn unauthorised(detail: impl Into<String>) -> Self {
        Self::coded(1200, detail)
    }

    pub(super) fn expired(detail: impl Into<String>) -> Self {
        Self::coded(1300, detail)
    }

    /// The state of a resource forbids it.
    pub(super) fn denied(detail: impl Into<String>) -> Self {
        Self::coded(1400, detail)
    }

    pub(super) fn not_found(kind: &str, id: &str) -> Self {
        Self::coded(2100, format!("resource [{id}] of type {kind} not found"))
    }

    pub(super) fn quota(detail: impl Into<String>) -> Self {
        Self::coded(2500, detail)
    }

    /// Any code, for faults.
    pub(super) fn coded(code: u32, detail: impl Into<String>) -> Self {
        let word = match code {
            1100 => "InvalidRequestFormat",
            1101 => "InvalidRequestValue",
            1200 => "AuthFailure",
            1300 => "RequestHasExpired",
            1400 => "PermissionDenied",
            2100 => "ResourceNotFound",
            2110 => "ResourceAlreadyExisted",
            2400 => "BalanceInsufficient",
            2500 => "QuotasExceeded",
            5000 => "InternalError",
            5100 => "ServerBusy",
            5200 => "ResourceInsufficient",
            5300 => "ServiceUpdating",
            5400 => "DependencyExists",
            _ => "Error",
        };
        Self { code, word, detail: detail.into() }
    }

    pub(super) fn code(&self) -> u32 {
        self.code
    }

    pub(super) fn body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("ret_code".into(), self.code.into());
        body.insert("message".into(), format!("{}, {}", self.word, self.detail).into());
        body
    }
}

/// What the cloud's refusals are in this API.
impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            ErrorKind::NotFound => 2100,
            ErrorKind::Quota(_) | ErrorKind::Throttled { .. } => 2500,
            ErrorKind::Unauthorised => 1200,
            ErrorKind::Conflict => 1400,
            ErrorKind::Invalid | ErrorKind::Unsupported => 1101,
            ErrorKind::Transient => 5100,
            ErrorKind::Exhausted => 5200,
            _ => 5000,
        };
        Self::coded(code, error.to_string())
    }
}
