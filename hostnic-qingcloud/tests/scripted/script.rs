//! A transport that answers from a script, and remembers what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use hostnic_core::id::{JobId, NicId};
use hostnic_qingcloud::transport::{HttpRequest, HttpResponse, TransportError};
use hostnic_qingcloud::{Config, InstanceSource, QingCloud, QingCloudProvider, Transport, WallClock};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::time::Instant;

pub(crate) const SECRET: &str = "TOP-SECRET";

/// What comes of one request.
pub(crate) enum Reply {
    Answer(HttpResponse),
    NotSent,
    Lost,
    /// No answer ever comes.
    Silence,
}

/// A good answer.
pub(crate) fn ok(fields: Value) -> Reply {
    let mut body = json!({"ret_code": 0});
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    with_body(200, &body.to_string())
}

/// A refusal.
pub(crate) fn no(code: i64, message: &str) -> Reply {
    with_body(200, &json!({"ret_code": code, "message": message}).to_string())
}

/// A refusal that tells the server's time, so far from ours.
pub(crate) fn no_at(code: i64, ahead: i64) -> Reply {
    let Reply::Answer(mut answer) = no(code, "RequestHasExpired, look at your watch") else { panic!() };
    let seconds = START.saturating_add_signed(ahead) + since_start().as_secs();
    answer.date = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    Reply::Answer(answer)
}

pub(crate) fn with_body(status: u16, body: &str) -> Reply {
    let content_type = Some("application/json".to_owned());
    let body = body.as_bytes().to_vec();
    Reply::Answer(HttpResponse { status, content_type, body, ..HttpResponse::default() })
}

/// A row of a list of NICs; attached where there is an instance.
pub(crate) fn nic(n: u8, instance: &str, role: u8) -> Value {
    let status = if instance.is_empty() { "available" } else { "in-use" };
    json!({"nic_id": mac(n), "nic_name": "n", "status": status, "instance_id": instance,
        "vxnet_id": "vxnet-1", "private_ip": format!("10.0.0.{n}"), "role": role})
}

pub(crate) fn nics(rows: &[Value]) -> Reply {
    ok(json!({"nic_set": rows, "total_count": rows.len()}))
}

pub(crate) fn jobs(rows: &[Value]) -> Reply {
    ok(json!({"job_set": rows, "total_count": rows.len()}))
}

pub(crate) fn mac(n: u8) -> String {
    format!("52:54:00:00:00:{n:02x}")
}

pub(crate) fn id(n: u8) -> NicId {
    NicId::new(mac(n)).unwrap()
}

pub(crate) fn job(id: &str) -> JobId {
    JobId::new(id).unwrap()
}

/// One request, decoded.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) parameters: Vec<(String, String)>,
}

impl Asked {
    pub(crate) fn get(&self, name: &str) -> &str {
        self.parameters.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn action(&self) -> &str {
        self.get("action")
    }

    /// The values of a list, in order.
    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        (1..).map(|n| self.get(&format!("{name}.{n}"))).take_while(|value| !value.is_empty()).collect()
    }
}

#[derive(Default)]
pub(crate) struct Script {
    replies: Mutex<VecDeque<Reply>>,
    asked: Mutex<Vec<Asked>>,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Script")
    }
}

impl Script {
    pub(crate) fn new(replies: impl IntoIterator<Item = Reply>) -> Arc<Self> {
        let replies = Mutex::new(replies.into_iter().collect());
        Arc::new(Self { replies, asked: Mutex::default() })
    }

    /// All requests so far. What is left of the script is a mistake.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        assert_eq!(self.replies.lock().unwrap().len(), 0, "more requests were expected");
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn actions(&self) -> Vec<String> {
        self.asked().iter().map(|asked| asked.action().to_owned()).collect()
    }
}

#[async_trait]
impl Transport for Script {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let decode = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
        let pairs = request.parameters.split('&').filter_map(|pair| pair.split_once('='));
        let parameters = pairs.map(|(n, v)| (decode(n), decode(v))).collect();
        let asked = Asked { path: request.endpoint.path().to_owned(), parameters };
        let unexpected = format!("not in the script: {asked:?}");
        self.asked.lock().unwrap().push(asked);
        let reply = self.replies.lock().unwrap().pop_front();
        match reply {
            Some(Reply::Answer(answer)) => Ok(answer),
            Some(Reply::NotSent) => Err(TransportError::NotSent("refused".into())),
            Some(Reply::Lost) => Err(TransportError::Lost("reset".into())),
            Some(Reply::Silence) => std::future::pending().await,
            None => panic!("{unexpected}"),
        }
    }
}

/// 2026-01-01T00:00:00Z.
const START: u64 = 1_767_225_600;

thread_local! {
    /// When this test began, by tokio's clock.
    static BEGAN: Instant = Instant::now();
}

fn since_start() -> Duration {
    BEGAN.with(|began| began.elapsed())
}

/// The time of day that passes with tokio's paused clock.
#[derive(Debug)]
pub(crate) struct PausedDay;

impl WallClock for PausedDay {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(START) + since_start()
    }
}

pub(crate) fn config() -> Config {
    Config::with_key("KEY", SECRET, "pek3a")
}

pub(crate) fn builder(config: Config, script: &Arc<Script>) -> QingCloud {
    since_start();
    QingCloud::from_config(config)
        .instance(InstanceSource::Given("i-1".parse().unwrap()))
        .transport(Arc::clone(script) as Arc<dyn Transport>)
        .clock(Arc::new(PausedDay))
}

pub(crate) async fn provider_of(config: Config, script: &Arc<Script>) -> QingCloudProvider {
    builder(config, script).connect().await.unwrap()
}

/// A provider that is answered by these replies.
pub(crate) async fn provider(replies: impl IntoIterator<Item = Reply>) -> (QingCloudProvider, Arc<Script>) {
    let script = Script::new(replies);
    (provider_of(config(), &script).await, script)
}
