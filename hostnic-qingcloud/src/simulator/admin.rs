//! The admin API: an HTTP server of its own, whose requests and answers are JSON. It asks for no credentials.
//!
//! | request | body | does |
//! |---|---|---|
//! | `GET /history`, `GET /history?action=A` | | the calls so far |
//! | `DELETE /history` | | forgets them |
//! | `GET /counts` | | how often each action was called |
//! | `GET /faults` | | the rules that wait for calls |
//! | `POST /faults` | `{"action":"A","when":{"nth":2},"fault":"reset-after"}` | adds a rule |
//! | `DELETE /faults` | | takes all back |
//! | `POST /latency` | `{"action":"A","ms":200}` | how long its answers take |
//! | `POST /rate-limit` | `{"calls":10,"window_ms":1000}` or `null` | limits calls, or no longer |
//! | `POST /quotas` | `{"nics_per_subnet":252,"nics_per_instance":64,"nics_per_account":null}` | how many NICs may be where |
//! | `POST /durations` | `{"attach_ms":3000,"detach_ms":3000,"vip_ms":1000}` | how long jobs take |
//! | `POST /time` | `{"advance_ms":60000}` | lets time pass; time stamps of requests are compared with the real clock all the same |
//! | `POST /jobs/unstick` | | ends the stuck jobs |
//! | `GET /nics` | | all NICs, as the cloud knows them |
//! | `GET /police` | | frames that the NICs' ports dropped because they broke a rule: NIC, reason and number; none without links |
//! | `POST /nics/forwarding` | `{"nic":"52:54:…","forwards":true}` | lets a NIC send from any address, or its own ones only again |
//! | `POST /nics/vanish` | `{"nic":"52:54:…"}` | takes a NIC away |
//! | `POST /instances/terminate` | `{"instance":"i-…"}` | ends an instance |
//! | `POST /access-keys` | `{"access_key_id":"AK","status":"inactive"}` | revokes a key, or restores it (`active`) |
//! | `POST /listening` | `{"listening":false}` | refuses connections to the API, or takes them again |
//! | `GET /state` | | all that is saved |
//! | `GET /latest/meta-data/security-credentials` | | an instance role's credentials; 404 without a role |

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use hostnic_core::sim::{Durations, Quotas, RateLimit};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::account::access_key::KeyStatus;
use super::backend::Backend;
use super::fault::FaultRule;
use super::http::{Reply, Request, Responder, Server};
use super::listeners::Refused;

/// What answers the admin API.
#[derive(Debug)]
pub(super) struct Admin {
    backend: Arc<Backend>,
    /// The API's own server, which whoever started it holds.
    api: Weak<Server>,
}

impl Admin {
    pub(super) fn new(backend: Arc<Backend>, api: &Arc<Server>) -> Self {
        Self { backend, api: Arc::downgrade(api) }
    }
}

/// A request that cannot be done, and why.
struct Wrong(u16, String);

type Done = Result<Value, Wrong>;

impl Responder for Admin {
    async fn respond(&self, request: Request) -> Reply {
        let (status, body) = match self.serve(&request).await {
            Ok(body) => (200, body),
            Err(Wrong(status, message)) => (status, json!({ "error": message })),
        };
        let changed = request.method == "POST" && status == 200;
        if changed {
            self.backend.save().await;
        }
        Reply::Whole { status, content_type: "application/json", body: body.to_string().into_bytes() }
    }
}

impl Admin {
    async fn serve(&self, request: &Request) -> Done {
        let body = &request.body;
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/history") => Ok(self.history(&request.query)),
            ("DELETE", "/history") => self.done(|b| b.state().history.clear()),
            ("GET", "/counts") => Ok(json!({ "counts": self.backend.state().history.counts() })),
            ("GET", "/faults") => Ok(self.faults()),
            ("POST", "/faults") => self.inject(body),
            ("DELETE", "/faults") => self.done(|b| b.state().faults.clear()),
            ("POST", "/latency") => self.latency(body),
            ("POST", "/rate-limit") => self.rate_limit(body),
            ("POST", "/quotas") => self.quotas(body),
            ("POST", "/durations") => self.durations(body),
            ("POST", "/time") => self.advance(body),
            ("POST", "/jobs/unstick") => self.done(|b| b.cloud.unstick_jobs()),
            ("GET", "/nics") => Ok(self.nics()),
            ("GET", "/police") => self.police().await,
            ("POST", "/nics/forwarding") => self.forwarding(body),
            ("POST", "/nics/vanish") => self.vanish(body),
            ("POST", "/instances/terminate") => self.terminate(body),
            ("POST", "/access-keys") => self.access_key(body),
            ("POST", "/listening") => self.listening(body).await,
            ("GET", "/state") => self.state(),
            ("GET", "/latest/meta-data/security-credentials") => self.role(),
            (method, path) => Err(Wrong(404, format!("there is no {method} {path}"))),
        }
    }

    fn done(&self, change: impl FnOnce(&Backend)) -> Done {
        change(&self.backend);
        Ok(json!({}))
    }

    fn history(&self, query: &str) -> Value {
        let mut calls = self.backend.state().history.calls();
        if let Some(action) = query.strip_prefix("action=") {
            calls.retain(|call| call.action == action);
        }
        json!({ "calls": calls })
    }

    fn faults(&self) -> Value {
        json!({ "faults": self.backend.faults() })
    }

    fn inject(&self, body: &str) -> Done {
        let rule: FaultRule = read(body)?;
        self.backend.inject(rule).map_err(|error| Wrong(400, error.to_string()))?;
        Ok(json!({}))
    }

    fn latency(&self, body: &str) -> Done {
        #[derive(Deserialize)]
        struct Latency {
            action: String,
            ms: u64,
        }
        let Latency { action, ms } = read(body)?;
        self.done(|b| _ = b.state().latencies.insert(action, Duration::from_millis(ms)))
    }

    fn rate_limit(&self, body: &str) -> Done {
        #[derive(Deserialize)]
        struct Limit {
            calls: u32,
            window_ms: u64,
        }
        let limit: Option<Limit> = read(body)?;
        let limit = limit.map(|l| RateLimit::new(l.calls, Duration::from_millis(l.window_ms)));
        self.done(|b| b.state().rate_limit = limit)
    }

    fn quotas(&self, body: &str) -> Done {
        #[derive(Deserialize)]
        struct Asked {
            nics_per_subnet: u32,
            nics_per_instance: u32,
            nics_per_account: Option<u32>,
        }
        let Asked { nics_per_subnet, nics_per_instance, nics_per_account } = read(body)?;
        let quotas = Quotas { nics_per_subnet, nics_per_instance, nics_per_account };
        self.done(|b| b.control.set_quotas(quotas))
    }

    fn durations(&self, body: &str) -> Done {
        #[derive(Deserialize)]
        struct Asked {
            attach_ms: u64,
            detach_ms: u64,
            vip_ms: u64,
        }
        let asked: Asked = read(body)?;
        let [attach, detach, reserve] =
            [asked.attach_ms, asked.detach_ms, asked.vip_ms].map(Duration::from_millis);
        self.done(|b| b.cloud.set_durations(Durations { attach, detach, reserve }))
    }

    fn advance(&self, body: &str) -> Done {
        #[derive(Deserialize)]
        struct Time {
            advance_ms: u64,
        }
        let Time { advance_ms } = read(body)?;
        self.done(|b| b.cloud.advance(Duration::from_millis(advance_ms)))
    }

    fn nics(&self) -> Value {
        let nics: Vec<_> = self.backend.cloud.snapshot().into_values().collect();
        json!({ "nics": nics })
    }

    async fn police(&self) -> Done {
        let dropped = match &self.backend.plug {
            Some(plug) => plug.dropped().await.map_err(|error| Wrong(500, error.chain().to_string()))?,
            None => Vec::new(),
        };
        Ok(json!({ "dropped": dropped }))
    }

    fn forwarding(&self, body: &str) -> Done {
        #[derive(Deserialize)]
        struct Asked {
            nic: hostnic_core::id::NicId,
            forwards: bool,
        }
        let Asked { nic, forwards } = read(body)?;
        let set = self.backend.control.set_forwarding(&nic, forwards);
        set.map(|()| json!({})).map_err(|error| Wrong(404, error.to_string()))
    }

    fn vanish(&self, body: &str) -> Done {
        #[derive(Deserialize)]
        struct Which {
            nic: hostnic_core::id::NicId,
        }
        let Which { nic } = read(body)?;
        let gone = self.backend.cloud.vanish(&nic);
        gone.map(|_| json!({})).ok_or_else(|| Wrong(404, format!("there is no NIC {nic}")))
    }

    fn terminate(&self, body: &str) -> Done {
        #[derive(Deserialize)]
        struct Which {
            instance: hostnic_core::id::InstanceId,
        }
        let Which { instance } = read(body)?;
        self.done(|b| b.cloud.terminate(&instance))
    }

    fn access_key(&self, body: &str) -> Done {
        #[derive(Deserialize)]
        struct Key {
            access_key_id: String,
            status: KeyStatus,
        }
        let Key { access_key_id, status } = read(body)?;
        if self.backend.state().account.set_key(&access_key_id, status) {
            return Ok(json!({}));
        }
        Err(Wrong(404, format!("there is no access key {access_key_id}")))
    }

    async fn listening(&self, body: &str) -> Done {
        #[derive(Deserialize)]
        struct Asked {
            listening: bool,
        }
        let Asked { listening } = read(body)?;
        let api = self.api.upgrade().ok_or_else(|| Wrong(500, "the API's server has ended".to_owned()))?;
        let failed = |Refused { address, source }| Wrong(500, format!("listen on {address}: {source}"));
        api.listen(listening).await.map_err(failed)?;
        Ok(json!({}))
    }

    fn state(&self) -> Done {
        serde_json::to_value(self.backend.saved()).map_err(|error| Wrong(500, error.to_string()))
    }

    fn role(&self) -> Done {
        let role = self.backend.gate.role.as_ref();
        let role = role.ok_or_else(|| Wrong(404, "the instance has no role".to_owned()))?;
        let expires = role.expires.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok(json!({
            "jti": "simulated",
            "id_token": role.token.expose_secret(),
            "access_key": role.access_key,
            "secret_key": role.secret_key.expose_secret(),
            "expiration": expires.as_secs(),
        }))
    }
}

fn read<T: DeserializeOwned>(body: &str) -> Result<T, Wrong> {
    serde_json::from_str(body).map_err(|error| Wrong(400, format!("the body is not as documented: {error}")))
}
