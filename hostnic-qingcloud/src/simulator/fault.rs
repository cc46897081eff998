//! What can go wrong between a client and the API, and which calls it meets.

use std::str::FromStr;
use std::time::Duration;

use hostnic_core::id::InvalidValue;
use hostnic_core::sim::{Fate, When};
use serde::{Deserialize, Serialize};

/// What goes wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Fault {
    /// Nobody listens for so long: this connection and all others are closed before anything happened, and new ones are
    /// refused.
    #[serde(with = "milliseconds")]
    Refuse(Duration),
    /// The connection is reset before anything happened.
    ResetBefore,
    /// The call is carried out; then the connection is reset.
    ResetAfter,
    /// The call is carried out; the answer ends in the middle.
    CutBody,
    /// This HTTP status with a page of HTML, as from a load balancer; nothing happened.
    Http(u16),
    /// This `ret_code`; nothing happened. Only calls with a good signature come so far.
    RetCode(u32),
    /// The call is carried out, and answered so much later.
    #[serde(with = "milliseconds")]
    Slow(Duration),
    /// The list shows the NICs as they were some time ago
    /// ([`SimulatorConfig::stale_by`](super::SimulatorConfig::stale_by)); `DescribeNics` only.
    StaleRead,
    /// The job that the call begins does not end until [`Simulator::unstick_jobs`](super::Simulator::unstick_jobs).
    JobStuck,
    /// The job does nothing and fails.
    JobFailed,
    /// The job does nothing for the first so many NICs: `done with failure`.
    JobPartlyFailed(usize),
    /// After the call some NIC is gone, wherever it was; the seed chooses it. No primary one.
    NicGone,
    /// The access key that the call names is bad (1200), for this call and all later ones, until
    /// [`Simulator::restore`](super::Simulator::restore).
    RevokeKey,
}

impl Fault {
    /// How the job of a call goes that this meets.
    pub(super) fn fate(&self) -> Fate {
        match self {
            Self::JobStuck => Fate::Stick,
            Self::JobFailed => Fate::Fail,
            Self::JobPartlyFailed(nics) => Fate::FailFor(*nics),
            _ => Fate::Succeed,
        }
    }
}

/// Which calls meet which fault, written `ACTION:WHEN:FAULT`.
///
/// `ACTION` is a name such as `AttachNics`, or `*` for every call; `WHEN` is `always`, `next=N`, `nth=N` or
/// `chance=0.1`; `FAULT` is `refuse=10s`, `reset-before`, `reset-after`, `cut-body`, `http=503`, `ret-code=5000`,
/// `slow=2s`, `stale-read`, `job-stuck`, `job-failed`, `job-partly-failed=1`, `nic-gone` or `revoke-key`. Where several
/// rules meet a call, those of its action come before those of `*`, and older ones before newer ones.
///
/// ```
/// use hostnic_qingcloud::simulator::{Fault, FaultRule};
///
/// let rule: FaultRule = "CreateNics:nth=2:reset-after".parse()?;
/// assert_eq!(rule.fault, Fault::ResetAfter);
/// # Ok::<(), hostnic_core::id::InvalidValue>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// The action, or `*`.
    pub action: String,
    /// Which of its calls.
    pub when: When,
    /// What goes wrong.
    pub fault: Fault,
}

impl FaultRule {
    /// A rule.
    pub fn new(action: impl Into<String>, when: When, fault: Fault) -> Self {
        Self { action: action.into(), when, fault }
    }
}

impl FromStr for FaultRule {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let invalid =
            || InvalidValue::new("fault", text, "ACTION:WHEN:FAULT, as in AttachNics:nth=2:reset-after");
        let mut parts = text.splitn(3, ':');
        let (Some(action), Some(when), Some(fault)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(invalid());
        };
        let when = read_when(when).ok_or_else(invalid)?;
        let fault = read_fault(fault).ok_or_else(invalid)?;
        Ok(Self { action: action.to_owned(), when, fault })
    }
}

fn read_when(text: &str) -> Option<When> {
    match text.split_once('=') {
        None => (text == "always").then_some(When::Always),
        Some(("next", n)) => n.parse().ok().map(When::Next),
        Some(("nth", n)) => n.parse().ok().map(When::Nth),
        Some(("chance", p)) => p.parse().ok().filter(|p| (0.0..=1.0).contains(p)).map(When::Chance),
        Some(_) => None,
    }
}

fn read_fault(text: &str) -> Option<Fault> {
    Some(match text.split_once('=') {
        None => match text {
            "reset-before" => Fault::ResetBefore,
            "reset-after" => Fault::ResetAfter,
            "cut-body" => Fault::CutBody,
            "stale-read" => Fault::StaleRead,
            "job-stuck" => Fault::JobStuck,
            "job-failed" => Fault::JobFailed,
            "nic-gone" => Fault::NicGone,
            "revoke-key" => Fault::RevokeKey,
            _ => return None,
        },
        Some(("http", status)) => Fault::Http(status.parse().ok().filter(|s| (400..600).contains(s))?),
        Some(("ret-code", code)) => Fault::RetCode(code.parse().ok().filter(|code| *code != 0)?),
        Some(("refuse", time)) => Fault::Refuse(humantime::parse_duration(time).ok()?),
        Some(("slow", by)) => Fault::Slow(humantime::parse_duration(by).ok()?),
        Some(("job-partly-failed", nics)) => Fault::JobPartlyFailed(nics.parse().ok()?),
        Some(_) => return None,
    })
}

/// Durations as numbers of milliseconds.
mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_from_text_and_from_json_alike() {
        for (text, json) in [
            ("*:always:http=502", r#"{"action":"*","when":"always","fault":{"http":502}}"#),
            ("A:nth=3:slow=2s", r#"{"action":"A","when":{"nth":3},"fault":{"slow":2000}}"#),
            ("A:next=2:refuse=10s", r#"{"action":"A","when":{"next":2},"fault":{"refuse":10000}}"#),
            ("A:nth=1:revoke-key", r#"{"action":"A","when":{"nth":1},"fault":"revoke-key"}"#),
            ("A:chance=0.5:job-stuck", r#"{"action":"A","when":{"chance":0.5},"fault":"job-stuck"}"#),
        ] {
            assert_eq!(text.parse::<FaultRule>().unwrap(), serde_json::from_str(json).unwrap());
        }
        for text in ["", "A:always", "A:sometimes:cut-body", "A:chance=2:cut-body", "A:always:ret-code=0"] {
            assert!(text.parse::<FaultRule>().is_err(), "{text}");
        }
    }
}
