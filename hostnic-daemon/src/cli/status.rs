//! `hostnic-daemon status`: the node on one screen.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use hostnic_cni::contract::NodeStatus;
use serde::Serialize;

use super::Ask;
use super::ask::{ask, told};
use super::list::print;
use super::table::table;
use crate::view::{Gateway, LastError, Pool, Subnet, at};

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
    gateways: Vec<Gateway>,
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
        let api = state.api.unwrap_or_default();
        Self {
            ready: status.not_ready.is_none(),
            reason: status.not_ready.map(|not| not.reason),
            daemon: state.daemon,
            started: humantime::format_rfc3339_seconds(at(state.started_unix_s)).to_string(),
            mode: state.mode,
            mode_reason: state.reason,
            pods: Pods { preparing: pods.preparing, active: pods.active, releasing: pods.releasing },
            pool: Pool::new(state.pool.unwrap_or_default(), state.subnets),
            gateways: state.gateways.into_iter().map(Gateway::from).collect(),
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
    format!("{text}\n{}{}{}", subnets(&pool.subnets), gateways(&status.gateways), errors(&status.errors, now))
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
        let (a, nics) = (&s.addresses, &s.nics);
        let leaving = nics.detaching + nics.deleting;
        let numbers = [a.coming, a.free, a.leased, a.cooling, leaving, nics.quarantined, nics.lost];
        let [coming, free, leased, cooling, leaving, quarantined, lost] = numbers.map(|n| n.to_string());
        let room = s.room.map_or_else(|| "-".to_owned(), |room| room.to_string());
        [s.subnet.clone(), coming, free, leased, cooling, leaving, quarantined, lost, room]
    };
    let headings =
        ["SUBNET", "COMING", "FREE", "LEASED", "COOLING", "LEAVING", "QUARANTINED", "LOST", "ROOM"];
    table(headings, &subnets.iter().map(row).collect::<Vec<_>>())
}

/// The node's own NICs that pods' routes go by, if there are any.
fn gateways(gateways: &[Gateway]) -> String {
    if gateways.is_empty() {
        return String::new();
    }
    let row = |gateway: &Gateway| {
        let nic = gateway.nic.as_ref().unwrap_or(&gateway.mac);
        // The cloud does not tell whether it lets a NIC forward; of ours we have it do so.
        let note = match (&gateway.trouble, gateway.owner) {
            (Some(trouble), _) => shortened(trouble),
            (None, "operator") => "see that the cloud lets it forward (anti-spoofing off)".to_owned(),
            (None, _) => gateway.link.clone().unwrap_or_default(),
        };
        let address = gateway.address.clone().unwrap_or_else(|| "-".to_owned());
        [gateway.subnet.clone(), address, nic.clone(), gateway.owner.into(), gateway.state.into(), note]
    };
    let rows: Vec<_> = gateways.iter().map(row).collect();
    format!("\n\n{}", table(["GATEWAY IN", "ADDRESS", "NIC", "OWNER", "STATE", "NOTE"], &rows))
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
    use hostnic_cni::contract::v1;

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

    fn gateway(subnet: &str, operators: bool) -> v1::GatewayState {
        let of_ours = |text: &str| if operators { String::new() } else { text.to_owned() };
        v1::GatewayState {
            subnet: subnet.to_owned(),
            mac: "52:54:00:00:00:09".to_owned(),
            address: "192.168.50.9".to_owned(),
            operators,
            nic: of_ours("nic-9"),
            link: of_ours("hostnic0"),
            progress: v1::GatewayProgress::Ready.into(),
            trouble: String::new(),
        }
    }

    fn state() -> v1::NodeState {
        v1::NodeState {
            mode: "passthrough".to_owned(),
            reason: "as configured".to_owned(),
            subnets: vec![v1::SubnetState {
                subnet: "vxnet-a".to_owned(),
                addresses: Some(v1::AddressCounts { free: 3, leased: 2, ..v1::AddressCounts::default() }),
                nics: Some(v1::NicCounts { ready: 6, quarantined: 1, ..v1::NicCounts::default() }),
                room: Some(246),
            }],
            gateways: vec![gateway("vxnet-a", false), gateway("vxnet-b", true)],
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
            "vxnet-a  0       3     2       0        0        1            0     246",
            "vxnet-a     192.168.50.9  nic-9              hostnic   ready  hostnic0",
            "vxnet-b     192.168.50.9  52:54:00:00:00:09  operator  ready  see that the cloud lets it forward",
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
