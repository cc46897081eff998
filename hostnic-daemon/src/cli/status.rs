//! `hostnic-daemon status`: the node on one screen.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use hostnic_cni::contract::{NodeStatus, v1};
use serde::Serialize;

use super::Ask;
use super::ask::{ask, told};
use super::list::print;
use super::table::table;
use crate::view::{LastError, at};

/// How many errors a screen has room for; `-o json` has them all.
const ERRORS: usize = 5;

/// The longest error that is printed whole.
const LONGEST: usize = 120;

#[derive(Debug, Serialize)]
struct Status {
    ready: bool,
    /// Why not.
    reason: Option<String>,
    daemon: String,
    /// RFC 3339, in UTC.
    started: String,
    mode: String,
    mode_reason: String,
    pods: Pods,
    pool: Pool,
    api: Api,
    errors: Vec<LastError>,
}

#[derive(Debug, Serialize)]
struct Pods {
    preparing: u32,
    active: u32,
    releasing: u32,
}

#[derive(Debug, Serialize)]
struct Pool {
    policy: String,
    low: u32,
    high: u32,
    max_nics: u32,
    subnets: Vec<Subnet>,
}

#[derive(Debug, Serialize)]
struct Subnet {
    subnet: String,
    coming: u32,
    free: u32,
    leased: u32,
    cooling: u32,
    leaving: u32,
    quarantined: u32,
    lost: u32,
}

#[derive(Debug, Serialize)]
struct Api {
    calls_last_hour: u32,
    limit: u32,
    actions: Vec<Action>,
}

#[derive(Debug, Serialize)]
struct Action {
    action: String,
    calls: u32,
}

impl From<NodeStatus> for Status {
    fn from(status: NodeStatus) -> Self {
        let state = status.state;
        let pods = state.pods.unwrap_or_default();
        let pool = state.pool.unwrap_or_default();
        let api = state.api.unwrap_or_default();
        Self {
            ready: status.not_ready.is_none(),
            reason: status.not_ready.map(|not| not.reason),
            daemon: state.daemon,
            started: humantime::format_rfc3339_seconds(at(state.started_unix_s)).to_string(),
            mode: state.mode,
            mode_reason: state.reason,
            pods: Pods { preparing: pods.preparing, active: pods.active, releasing: pods.releasing },
            pool: Pool {
                policy: pool.policy,
                low: pool.low,
                high: pool.high,
                max_nics: pool.max_nics,
                subnets: state.subnets.into_iter().map(Subnet::from).collect(),
            },
            api: Api {
                calls_last_hour: api.actions.iter().map(|action| action.calls).sum(),
                limit: api.limit,
                actions: api
                    .actions
                    .into_iter()
                    .map(|action| Action { action: action.action, calls: action.calls })
                    .collect(),
            },
            errors: state.errors.into_iter().map(LastError::from).collect(),
        }
    }
}

impl From<v1::SubnetState> for Subnet {
    fn from(state: v1::SubnetState) -> Self {
        Self {
            subnet: state.subnet,
            coming: state.coming,
            free: state.free,
            leased: state.leased,
            cooling: state.cooling,
            leaving: state.leaving,
            quarantined: state.quarantined,
            lost: state.lost,
        }
    }
}

pub(super) fn status(asked: &Ask) -> Result<(), String> {
    let status = ask(&asked.socket, async |client| client.status().await).map_err(|e| told(&e))?;
    let now = SystemTime::now();
    print(asked.output, &Status::from(status), |status| screen(status, now))
}

/// The node on one screen.
fn screen(status: &Status, now: SystemTime) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<8} {value}");
    };
    match &status.reason {
        None => row("node", "ready"),
        Some(reason) => row("node", &format!("not ready: {reason}")),
    }
    row("daemon", &format!("{}, since {}", status.daemon, status.started));
    row("mode", &format!("{} ({})", status.mode, status.mode_reason));
    row("pods", &pods(&status.pods));
    let pool = &status.pool;
    row(
        "pool",
        &format!("{}, {} to {} free, at most {} NICs", pool.policy, pool.low, pool.high, pool.max_nics),
    );
    row("api", &api(&status.api));
    format!("{text}\n{}{}", subnets(&pool.subnets), errors(&status.errors, now))
}

fn pods(pods: &Pods) -> String {
    let moving = [(pods.preparing, "preparing"), (pods.releasing, "releasing")];
    let moving =
        moving.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!(", {count} {word}"));
    format!("{} active{}", pods.active, moving.collect::<String>())
}

fn api(api: &Api) -> String {
    let made = api.actions.iter().filter(|action| action.calls > 0);
    let made: Vec<String> = made.map(|action| format!("{} {}", action.action, action.calls)).collect();
    let by_action = if made.is_empty() { String::new() } else { format!(": {}", made.join(", ")) };
    format!(
        "{} calls in the last hour, of {} that the account's nodes share{by_action}",
        api.calls_last_hour, api.limit
    )
}

fn subnets(subnets: &[Subnet]) -> String {
    let row = |s: &Subnet| {
        let numbers = [s.coming, s.free, s.leased, s.cooling, s.leaving, s.quarantined, s.lost];
        let [coming, free, leased, cooling, leaving, quarantined, lost] = numbers.map(|n| n.to_string());
        [s.subnet.clone(), coming, free, leased, cooling, leaving, quarantined, lost]
    };
    let headings = ["SUBNET", "COMING", "FREE", "LEASED", "COOLING", "LEAVING", "QUARANTINED", "LOST"];
    table(headings, &subnets.iter().map(row).collect::<Vec<_>>())
}

fn errors(errors: &[LastError], now: SystemTime) -> String {
    if errors.is_empty() {
        return "\n\nno errors since the start".to_owned();
    }
    let row = |error: &LastError| {
        let last = humantime::parse_rfc3339(&error.last).ok();
        let ago = last.and_then(|last| now.duration_since(last).ok()).unwrap_or_default();
        let ago = format!("{} ago", humantime::format_duration(rounded(ago)));
        [ago, error.times.to_string(), error.kind.clone(), shortened(&error.message)]
    };
    let rows: Vec<_> = errors.iter().take(ERRORS).map(row).collect();
    let more = match errors.len().saturating_sub(ERRORS) {
        0 => String::new(),
        more => format!("\n{more} more with -o json"),
    };
    format!("\n\n{}{more}", table(["LAST", "TIMES", "KIND", "ERROR"], &rows))
}

/// To whole seconds, and from an hour on to whole minutes.
fn rounded(duration: Duration) -> Duration {
    let seconds = duration.as_secs();
    Duration::from_secs(if seconds < 3600 { seconds } else { seconds / 60 * 60 })
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{} …", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(number: u32) -> v1::LastError {
        v1::LastError {
            kind: "throttled".to_owned(),
            operation: "create NICs".to_owned(),
            subject: number.to_string(),
            message: format!("create NICs {number}: {}", "too many requests; ".repeat(20)),
            first_unix_s: 1_000_000,
            last_unix_s: 1_000_060,
            times: 7,
        }
    }

    fn state() -> v1::NodeState {
        v1::NodeState {
            mode: "passthrough".to_owned(),
            reason: "as configured".to_owned(),
            subnets: vec![v1::SubnetState {
                subnet: "vxnet-a".to_owned(),
                free: 3,
                leased: 2,
                quarantined: 1,
                ..v1::SubnetState::default()
            }],
            daemon: "0.1.0".to_owned(),
            started_unix_s: 1_000_000,
            pool: Some(v1::PoolSettings { policy: "FailRotate".to_owned(), low: 3, high: 5, max_nics: 63 }),
            pods: Some(v1::PodCounts { preparing: 1, active: 2, releasing: 0 }),
            api: Some(v1::ApiBudget {
                limit: 2000,
                actions: [("create_nics", 4), ("jobs", 0), ("list_nics", 9)]
                    .map(|(action, calls)| v1::ActionCalls { action: action.to_owned(), calls })
                    .to_vec(),
            }),
            errors: (0..7).map(error).collect(),
            ..v1::NodeState::default()
        }
    }

    #[test]
    fn a_node_fits_on_one_screen() {
        let status = NodeStatus { not_ready: None, state: state() };
        let screen = screen(&status.into(), at(1_000_180));
        assert!(screen.lines().count() <= 24, "{screen}");
        for part in [
            "node     ready",
            "pods     2 active, 1 preparing",
            "pool     FailRotate, 3 to 5 free, at most 63 NICs",
            "13 calls in the last hour, of 2000 that the account's nodes share: create_nics 4, list_nics 9",
            "vxnet-a  0       3     2       0        0        1            0",
            "2m ago  7      throttled  create NICs 0: too many",
            "2 more with -o json",
        ] {
            assert!(screen.contains(part), "{part} in\n{screen}");
        }
    }

    #[test]
    fn a_node_that_is_not_ready_says_why_first_and_one_without_errors_says_so() {
        let reason = "the cloud refuses the access key".to_owned();
        let not_ready = hostnic_cni::contract::NotReady { running_affected: false, reason };
        let status = NodeStatus { not_ready: Some(not_ready), state: v1::NodeState::default() };
        let screen = screen(&status.into(), at(0));
        assert!(screen.starts_with("node     not ready: the cloud refuses the access key\n"), "{screen}");
        assert!(screen.ends_with("no errors since the start"), "{screen}");
    }
}
