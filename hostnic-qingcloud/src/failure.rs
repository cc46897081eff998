//! What can go wrong between a request and a good answer, and what that means for whoever asked.

use std::fmt;
use std::time::Duration;

use hostnic_core::{Effect, Error, ErrorKind, QuotaScope};

use crate::action::{Action, Nature};
use crate::credentials::CredentialsError;
use crate::transport::TransportError;

/// How long to stay away after the request rate was exceeded. The API says nothing; its window is an hour or
/// a day.
const RATE_PAUSE: Duration = Duration::from_secs(60);

/// How long to stay away from a server that is busy and does not say how long.
const BUSY_PAUSE: Duration = Duration::from_secs(5);

/// Why an action failed. [`CallError::into_error`] makes it an error of the traits.
#[derive(Debug, thiserror::Error)]
#[error("{action}")]
pub struct CallError {
    action: Action,
    #[source]
    failure: Box<Failure>,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// There is no key to sign with.
    #[error("there are no credentials to sign with")]
    Credentials(#[source] CredentialsError),
    /// There was no answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// There was no answer in time.
    #[error("there was no answer within {0:.1?}")]
    Late(Duration),
    /// The time of the operation was over before the request was sent.
    #[error("the time for the operation was over before this request")]
    OutOfTime,
    /// The answer has another status than 200.
    #[error("the answer has the HTTP status {status}")]
    Status {
        /// The status.
        status: u16,
        /// How long the server wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// The answer has the status 200, but is not what the API answers.
    #[error("the answer is not the API's: {0}")]
    Garbled(String),
    /// The API said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The API says that the request is too old, or from the future, although it was just signed.
    #[error("{refusal}; this machine's clock is {} the cloud's: set it, or run an NTP client", apart(.ahead))]
    Expired {
        /// What the API said.
        refusal: Refusal,
        /// How many seconds the cloud's clock is ahead of this machine's; `None` where it does not tell its
        /// time.
        ahead: Option<i64>,
    },
}

/// The API's own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the API says: {message} (ret_code {code})")]
pub struct Refusal {
    /// The `ret_code`.
    pub code: i64,
    /// The `message`, shortened, without control characters.
    pub message: String,
}

impl Refusal {
    /// Whether the message names this id, whole.
    pub(crate) fn names(&self, id: &str) -> bool {
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
        let words = self.message.split(|c| !part(c)).map(|word| word.trim_matches(['.', ':']));
        words.into_iter().any(|word| word.eq_ignore_ascii_case(id))
    }
}

fn apart(ahead: &Option<i64>) -> String {
    match ahead {
        None => "perhaps far from".to_owned(),
        Some(seconds) if *seconds >= 0 => format!("{seconds} s behind"),
        Some(seconds) => format!("{} s ahead of", seconds.unsigned_abs()),
    }
}

impl CallError {
    pub(crate) fn new(action: Action, failure: impl Into<Failure>) -> Self {
        Self { action, failure: Box::new(failure.into()) }
    }

    /// The action that failed.
    pub fn action(&self) -> Action {
        self.action
    }

    /// What went wrong.
    pub fn failure(&self) -> &Failure {
        &self.failure
    }

    /// The `ret_code`, where the API said no.
    pub fn code(&self) -> Option<i64> {
        self.refusal().map(|refusal| refusal.code)
    }

    /// Whether the API named this id when it said no.
    pub(crate) fn names(&self, id: &str) -> bool {
        self.refusal().is_some_and(|refusal| refusal.names(id))
    }

    fn refusal(&self) -> Option<&Refusal> {
        match &*self.failure {
            Failure::Refused(refusal) | Failure::Expired { refusal, .. } => Some(refusal),
            _ => None,
        }
    }

    /// What a caller can do about it, as far as action and answer tell. The provider finds out more where a
    /// code has several meanings.
    pub fn kind(&self) -> ErrorKind {
        match &*self.failure {
            Failure::Credentials(error) => error.kind(),
            Failure::Transport(_) | Failure::Late(_) | Failure::OutOfTime | Failure::Garbled(_) => {
                ErrorKind::Transient
            }
            Failure::Expired { .. } => ErrorKind::Unauthorised,
            Failure::Status { status, retry_after } => of_status(*status, *retry_after),
            Failure::Refused(refusal) => of_code(self.action, refusal),
        }
    }

    /// Whether the action can have been carried out. A read has no effect; a write none where the API said no
    /// before it began, or cannot have got the request.
    pub fn effect(&self) -> Effect {
        if !self.action.is_write() {
            return Effect::None;
        }
        match &*self.failure {
            Failure::Credentials(_) | Failure::OutOfTime | Failure::Expired { .. } => Effect::None,
            Failure::Transport(TransportError::NotSent(_)) => Effect::None,
            Failure::Transport(TransportError::Lost(_)) | Failure::Late(_) | Failure::Garbled(_) => {
                Effect::Unknown
            }
            // Answers of the web server in front of the API: below 500 it kept the request to itself.
            Failure::Status { status, .. } if *status < 500 => Effect::None,
            Failure::Status { .. } => Effect::Unknown,
            Failure::Refused(refusal) if is_refused_unheard(refusal.code) => Effect::None,
            Failure::Refused(_) => Effect::Unknown,
        }
    }

    /// The error of the traits for it: `operation` as a verb phrase, `subject` what it was about.
    pub fn into_error(self, operation: &'static str, subject: impl fmt::Display) -> Error {
        let kind = self.kind();
        self.into_error_of(kind, operation, subject)
    }

    /// The same, where the caller found out more about the kind.
    pub(crate) fn into_error_of(
        self,
        kind: ErrorKind,
        operation: &'static str,
        subject: impl fmt::Display,
    ) -> Error {
        let error = Error::new(kind, operation, subject).detail(format_args!("{kind}{}", advice(kind)));
        let error = match self.effect() {
            Effect::None => error,
            Effect::Unknown => error.effect_unknown(),
        };
        error.source(self)
    }
}

/// What to do, where a person can do something.
fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Unauthorised => "; check the access key, its permissions, and this machine's clock",
        ErrorKind::Quota(QuotaScope::Account) => {
            "; delete what is unused, or ask the cloud for a larger quota"
        }
        ErrorKind::Invalid => "; check the configuration: zone, vxnets, host and uri",
        _ => "",
    }
}

/// Whether a code is given before an action begins. Internal and timeout errors come at any time, as may
/// unknown ones.
fn is_refused_unheard(code: i64) -> bool {
    !matches!(code, 5000 | 5100 | 5300) && is_known(code)
}

fn is_known(code: i64) -> bool {
    matches!(code, 1100 | 1101 | 1200 | 1300 | 1400 | 1500..=1662)
        || matches!(code, 2000 | 2100 | 2110 | 2200 | 2300 | 2400 | 2500)
        || matches!(code, 3300 | 4000..=4005 | 5000 | 5100 | 5200 | 5300 | 5400 | 5500 | 5600 | 8000..=8004)
}

fn of_status(status: u16, retry_after: Option<Duration>) -> ErrorKind {
    match status {
        429 | 503 => ErrorKind::Throttled { retry_after: retry_after.or(Some(BUSY_PAUSE)) },
        401 | 403 | 407 => ErrorKind::Unauthorised,
        408 | 500.. => ErrorKind::Transient,
        // What is at this address is not the API.
        _ => ErrorKind::Invalid,
    }
}

fn of_code(action: Action, refusal: &Refusal) -> ErrorKind {
    match refusal.code {
        1100 | 1101 | 3300 | 8000..=8004 => ErrorKind::Invalid,
        1400 => of_denial(action),
        1200 | 1300 | 1500..=1662 | 2000 | 4000..=4005 => ErrorKind::Unauthorised,
        2100 => ErrorKind::NotFound,
        2110 | 2200 | 2300 | 5400 => ErrorKind::Conflict,
        2400 => ErrorKind::Quota(QuotaScope::Account),
        2500 => of_quota(action, &refusal.message),
        // A subnet's addresses, or the machines behind a zone, are used up: another subnet may do.
        5200 if action.nature() == Nature::Create => ErrorKind::Quota(QuotaScope::Subnet),
        5000 | 5200 | 5300 => ErrorKind::Transient,
        5100 => ErrorKind::Throttled { retry_after: Some(BUSY_PAUSE) },
        5500 | 5600 => ErrorKind::Unsupported,
        _ => ErrorKind::Internal,
    }
}

/// The code 1400 stands for lacking permissions, and for a state that forbids the change.
///
/// What changes, plugs or removes something was allowed to be seen before, so for those it is the state.
fn of_denial(action: Action) -> ErrorKind {
    match action.nature() {
        Nature::Read | Nature::Create => ErrorKind::Unauthorised,
        Nature::Plug | Nature::Change | Nature::Remove => ErrorKind::Conflict,
    }
}

/// The code 2500 stands for a quota of things, and for too many requests.
///
/// An action that makes nothing meets no quota of things. For the others only the message can tell, and its
/// wording is not documented: one that speaks of requests or of their rate is taken as the latter.
fn of_quota(action: Action, message: &str) -> ErrorKind {
    let message = message.to_ascii_lowercase();
    let of_requests = ["requests", "api request", "request rate", "request quota", "rate limit", "frequen"];
    if !action.meets_quotas() || of_requests.iter().any(|word| message.contains(word)) {
        return ErrorKind::Throttled { retry_after: Some(RATE_PAUSE) };
    }
    match action {
        Action::AttachNics => ErrorKind::Quota(QuotaScope::Instance),
        Action::AllocateVips => ErrorKind::Quota(QuotaScope::Subnet),
        _ => ErrorKind::Quota(QuotaScope::Account),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(action: Action, code: i64, message: &str) -> CallError {
        CallError::new(action, Refusal { code, message: message.to_owned() })
    }

    #[test]
    fn codes_mean_what_the_documentation_says_for_each_kind_of_action() {
        use Action::*;
        let throttled = |retry_after| ErrorKind::Throttled { retry_after: Some(retry_after) };
        for (action, code, kind, effect) in [
            (CreateNics, 1100, ErrorKind::Invalid, Effect::None),
            (CreateNics, 1200, ErrorKind::Unauthorised, Effect::None),
            (CreateNics, 1400, ErrorKind::Unauthorised, Effect::None),
            (DeleteNics, 1400, ErrorKind::Conflict, Effect::None),
            (AttachNics, 1400, ErrorKind::Conflict, Effect::None),
            (DescribeNics, 1400, ErrorKind::Unauthorised, Effect::None),
            (AttachNics, 2100, ErrorKind::NotFound, Effect::None),
            (CreateNics, 2500, ErrorKind::Quota(QuotaScope::Account), Effect::None),
            (AttachNics, 2500, ErrorKind::Quota(QuotaScope::Instance), Effect::None),
            (AllocateVips, 2500, ErrorKind::Quota(QuotaScope::Subnet), Effect::None),
            (DescribeNics, 2500, throttled(RATE_PAUSE), Effect::None),
            (DeleteNics, 2500, throttled(RATE_PAUSE), Effect::None),
            (CreateNics, 5000, ErrorKind::Transient, Effect::Unknown),
            (DescribeNics, 5000, ErrorKind::Transient, Effect::None),
            (CreateNics, 5100, throttled(BUSY_PAUSE), Effect::Unknown),
            (DescribeNics, 5100, throttled(BUSY_PAUSE), Effect::None),
            (CreateNics, 5200, ErrorKind::Quota(QuotaScope::Subnet), Effect::None),
            (AttachNics, 5300, ErrorKind::Transient, Effect::Unknown),
            (DeleteNics, 5400, ErrorKind::Conflict, Effect::None),
            (CreateNics, 9999, ErrorKind::Internal, Effect::Unknown),
        ] {
            let error = refused(action, code, "words");
            assert_eq!((error.kind(), error.effect()), (kind, effect), "{action} {code}");
        }
    }

    #[test]
    fn a_quota_of_requests_is_told_from_one_of_things_by_its_words() {
        let error = refused(Action::CreateNics, 2500, "QuotasExceeded, API Request quota exceeded");
        assert_eq!(error.kind(), ErrorKind::Throttled { retry_after: Some(RATE_PAUSE) });
        let error = refused(Action::CreateNics, 2500, "QuotasExceeded, no more nics");
        assert_eq!(error.kind(), ErrorKind::Quota(QuotaScope::Account));
    }

    #[test]
    fn a_write_whose_answer_is_missing_or_strange_may_have_been_carried_out() {
        let lost = || TransportError::Lost("reset".into());
        let status = |status| Failure::Status { status, retry_after: None };
        for (failure, effect) in [
            (Failure::from(TransportError::NotSent("refused".into())), Effect::None),
            (lost().into(), Effect::Unknown),
            (Failure::Late(Duration::from_secs(1)), Effect::Unknown),
            (Failure::OutOfTime, Effect::None),
            (Failure::Garbled("html".to_owned()), Effect::Unknown),
            (status(502), Effect::Unknown),
            (status(503), Effect::Unknown),
            (status(429), Effect::None),
            (status(404), Effect::None),
        ] {
            let error = CallError::new(Action::CreateNics, failure);
            assert_eq!(error.effect(), effect, "{error:?}");
        }
        assert_eq!(CallError::new(Action::DescribeNics, lost()).effect(), Effect::None);
    }

    #[test]
    fn an_error_names_action_and_resource_and_repeats_nothing() {
        let message = "PermissionDenied, nic [52:54:00:00:00:01] is in use";
        let error = refused(Action::DeleteNics, 1400, message).into_error("delete NICs", "52:54:00:00:00:01");
        let chain = error.chain().to_string();
        assert_eq!(
            chain,
            "delete NICs 52:54:00:00:00:01: in conflict with the present state: DeleteNics: the API says: \
             PermissionDenied, nic [52:54:00:00:00:01] is in use (ret_code 1400)"
        );
    }

    #[test]
    fn an_id_is_named_when_the_message_has_all_of_it() {
        for (message, named) in [
            ("ResourceNotFound, resource [j-12] of type job not found", true),
            ("nothing is known of J-12.", true),
            ("j-12: gone", true),
            ("resource [j-123] not found", false),
            ("not found", false),
        ] {
            assert_eq!(refused(Action::DescribeJobs, 2100, message).names("j-12"), named, "{message}");
        }
    }

    #[test]
    fn a_wrong_clock_is_told_in_seconds() {
        let refusal = Refusal { code: 1300, message: "RequestHasExpired".to_owned() };
        for (ahead, words) in
            [(Some(95), "95 s behind the"), (Some(-95), "95 s ahead of the"), (None, "perhaps far from the")]
        {
            let failure = Failure::Expired { refusal: refusal.clone(), ahead };
            let error = CallError::new(Action::CreateNics, failure).into_error("create NICs", "vxnet-1");
            assert_eq!((error.kind(), error.effect()), (ErrorKind::Unauthorised, Effect::None));
            assert!(error.chain().to_string().contains(words), "{}", error.chain());
        }
    }
}
