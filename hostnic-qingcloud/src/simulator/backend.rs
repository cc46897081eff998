//! From a request to its answer: faults, gate, limits, action, history.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use hostnic_core::id::InvalidValue;
use hostnic_core::sim::{Cloud, ControlPlane, Faults, Plug, Random, RateLimit};
use serde_json::{Map, Value};

use super::account::access_key::KeyStatus;
use super::account::{Account, Call as ActionCall, JobTimes, Limits};
use super::action;
use super::fault::{Fault, FaultRule};
use super::gate::Gate;
use super::history::{Call, History, Outcome};
use super::http::{Reply, Request, Responder};
use super::parameter::Arguments;
use super::query::Query;
use super::refusal::Refusal;
use super::store::{Saved, Store};
use super::timestamp;
use crate::clock::WallClock;
use crate::sign::Method;

/// What all requests share.
#[derive(Debug)]
pub(super) struct Backend {
    pub(super) cloud: Cloud,
    pub(super) control: ControlPlane,
    pub(super) clock: Arc<dyn WallClock>,
    pub(super) gate: Gate,
    pub(super) limits: Limits,
    pub(super) times: JobTimes,
    pub(super) store: Option<Store>,
    pub(super) plug: Option<Arc<dyn Plug>>,
    pub(super) state: Mutex<State>,
}

/// What they change.
#[derive(Debug)]
pub(super) struct State {
    pub(super) account: Account,
    pub(super) faults: Faults<String, Fault>,
    pub(super) random: Random,
    pub(super) rate_limit: Option<RateLimit>,
    pub(super) latencies: BTreeMap<String, Duration>,
    pub(super) history: History,
}

/// An answer on its way.
struct Served {
    reply: Reply,
    after: Duration,
    /// Whether the state may have changed.
    changed: bool,
}

impl Backend {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn inject(&self, rule: FaultRule) -> Result<(), InvalidValue> {
        let FaultRule { action, when, fault } = rule;
        if action != "*" && action::named(&action).is_none() {
            return Err(InvalidValue::new("action of a fault", action, "one of the API's actions, or *"));
        }
        if fault == Fault::StaleRead && action != "DescribeNics" {
            return Err(InvalidValue::new("action of a stale read", action, "DescribeNics"));
        }
        self.state().faults.inject(action, when, fault);
        Ok(())
    }

    /// The rules that wait for calls.
    pub(super) fn faults(&self) -> Vec<FaultRule> {
        let state = self.state();
        let rules = state.faults.waiting();
        rules.map(|(action, when, fault)| FaultRule::new(action, when, fault.clone())).collect()
    }

    /// The state as it is saved.
    pub(super) fn saved(&self) -> Saved {
        let mut state = self.state();
        state.account.settle(&self.control);
        let at = self.clock.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Saved { at, cloud: self.cloud.save(), account: state.account.clone() }
    }

    pub(super) async fn save(&self) {
        if let Some(store) = &self.store
            && let Err(error) = store.save(|| self.saved()).await
        {
            tracing::error!(error = %error.chain(), "the simulator's state is not saved");
        }
    }

    fn serve(&self, request: &Request) -> Served {
        let mut state = self.state();
        let mut query = Query::default();
        let read = query.read(&request.query).and_then(|()| query.read(&request.body));
        let action = query.get("action").unwrap_or_default().to_owned();
        let fault = state.struck(&action);
        if fault == Some(Fault::RevokeKey) {
            let key = query.get("access_key_id").unwrap_or_default();
            state.account.set_key(key, KeyStatus::Inactive);
        }
        let result = match &fault {
            Some(Fault::Refuse(_) | Fault::ResetBefore | Fault::Http(_)) => None,
            _ => Some(read.and_then(|()| self.decide(&mut state, request, &query, fault.as_ref()))),
        };
        if fault == Some(Fault::NicGone) {
            self.control.vanish_any();
        }
        let carried_out = matches!(result, Some(Ok(_)));
        let changed = carried_out && action::named(&action).is_some_and(|action| action.changes());
        let changed = changed || matches!(fault, Some(Fault::NicGone | Fault::RevokeKey));
        let (reply, outcome) = reply(&action, result, fault.as_ref());
        let slow = if let Some(Fault::Slow(by)) = fault { by } else { Duration::ZERO };
        let after = state.latencies.get(&action).copied().unwrap_or_default().saturating_add(slow);
        let time = timestamp::write(self.clock.now());
        state.history.record(call(time, request, &query, action, carried_out, outcome));
        Served { reply, after, changed }
    }

    fn decide(
        &self,
        state: &mut State,
        request: &Request,
        query: &Query,
        fault: Option<&Fault>,
    ) -> Result<Map<String, Value>, Refusal> {
        let now = self.cloud.now();
        let method = if request.method == "POST" { Method::Post } else { Method::Get };
        let keys = &state.account.keys;
        self.gate.check((method, &request.path), query, keys, self.clock.now())?;
        if let Some(limit) = &mut state.rate_limit {
            limit.admit(now).map_err(|wait| {
                Refusal::quota(format!("too many API requests, the next is taken in {} s", wait.as_secs()))
            })?;
        }
        if let Some(Fault::RetCode(code)) = fault {
            return Err(Refusal::coded(*code, "injected"));
        }
        let name = query.required("action")?;
        let action = action::named(name).ok_or_else(|| {
            Refusal::wrong_value(format!("parameter [action]: there is no action [{name}]"))
        })?;
        let arguments = Arguments::check(query, action.name, action.takes)?;
        state.account.settle(&self.control);
        let mut call = ActionCall {
            account: &mut state.account,
            control: &self.control,
            action: action.name,
            arguments: &arguments,
            zone: &self.gate.zone,
            limits: self.limits,
            times: self.times,
            fate: fault.map(Fault::fate).unwrap_or_default(),
            stale: fault == Some(&Fault::StaleRead),
            now,
        };
        let mut body = (action.run)(&mut call)?;
        // Jobs that take no time have their effect before the answer.
        state.account.settle(&self.control);
        body.insert("action".into(), format!("{}Response", action.name).into());
        body.insert("ret_code".into(), 0.into());
        Ok(body)
    }
}

impl State {
    fn struck(&mut self, action: &str) -> Option<Fault> {
        let special = self.faults.struck(action.to_owned(), &mut self.random);
        let general = self.faults.struck("*".to_owned(), &mut self.random);
        special.or(general)
    }
}

/// What is sent, and what the caller so hears. Without a result nothing was carried out.
fn reply(
    action: &str,
    result: Option<Result<Map<String, Value>, Refusal>>,
    fault: Option<&Fault>,
) -> (Reply, Outcome) {
    let (mut body, code) = match result {
        Some(Ok(body)) => (body, 0),
        Some(Err(refusal)) => (refusal.body(), refusal.code()),
        None => (Map::new(), 0),
    };
    match fault {
        Some(Fault::Refuse(time)) => return (Reply::Leave(*time), Outcome::Reset),
        Some(Fault::ResetBefore | Fault::ResetAfter) => return (Reply::Reset, Outcome::Reset),
        Some(Fault::Http(status)) => return (page(*status), Outcome::Http(*status)),
        _ => {}
    }
    if code != 0 && action::named(action).is_some() {
        // Whether the real API says the action here is not known.
        body.insert("action".into(), format!("{action}Response").into());
    }
    let body = Value::Object(body).to_string().into_bytes();
    if fault == Some(&Fault::CutBody) {
        return (Reply::Cut(body), Outcome::Cut);
    }
    (Reply::Whole { status: 200, content_type: "application/json", body }, Outcome::RetCode(code))
}

/// A page as load balancers show it.
fn page(status: u16) -> Reply {
    let reason = hyper::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let title = format!("{status} {}", reason.unwrap_or("Error"));
    let body = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body><h1>{title}</h1></body>\r\n</html>\r\n"
    );
    Reply::Whole { status, content_type: "text/html", body: body.into_bytes() }
}

fn call(
    time: String,
    request: &Request,
    query: &Query,
    action: String,
    carried_out: bool,
    outcome: Outcome,
) -> Call {
    let told = query.iter().filter(|(name, _)| !matches!(*name, "signature" | "token" | "action"));
    Call {
        time,
        method: request.method.clone(),
        path: request.path.clone(),
        action,
        parameters: told.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        carried_out,
        outcome,
    }
}

impl Responder for Backend {
    fn time(&self) -> Option<SystemTime> {
        Some(self.clock.now())
    }

    async fn respond(&self, request: Request) -> Reply {
        if !matches!(request.path.as_str(), "/iaas" | "/iaas/" | "/iam" | "/iam/") {
            return page(404);
        }
        if !matches!(request.method.as_str(), "GET" | "POST") {
            return page(405);
        }
        let served = self.serve(&request);
        if served.changed {
            self.save().await;
        }
        if !served.after.is_zero() {
            tokio::time::sleep(served.after).await;
        }
        served.reply
    }
}
