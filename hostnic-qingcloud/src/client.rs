//! One call to the API: signed, sent, read, within its time.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

use crate::action::Action;
use crate::clock::{Skew, WallClock};
use crate::config::{Config, Endpoint};
use crate::credentials::KeySource;
use crate::failure::{CallError, Failure, Refusal};
use crate::request::{Request, Signer};
use crate::response::read;
use crate::sign::{Digest, Method};
use crate::transport::{HttpResponse, Transport, TransportError};

/// Between attempts to connect, as in the vendor's SDK.
const CONNECT_PAUSE: Duration = Duration::from_secs(1);

/// The request is too old, or from the future.
const EXPIRED: i64 = 1300;
/// The key is unknown or the signature is wrong; and the session is over. For a role's key both mean that it
/// has ended.
const KEY_REFUSED: [i64; 2] = [1200, 2000];

/// The API, for one account and zone. Shared by all that goes on at the same time; holds the connections.
#[derive(Debug)]
pub struct Client {
    transport: Arc<dyn Transport>,
    recorder: Option<Arc<dyn RequestRecorder>>,
    clock: Arc<dyn WallClock>,
    keys: KeySource,
    skew: Skew,
    endpoint: Endpoint,
    zone: String,
    digest: Digest,
    connection_retries: u32,
    call_timeout: Duration,
    operation_timeout: Duration,
}

impl Client {
    pub(crate) fn new(config: &Config, transport: Arc<dyn Transport>, clock: Arc<dyn WallClock>) -> Self {
        Self {
            transport,
            recorder: None,
            clock,
            keys: KeySource::new(&config.credentials),
            skew: Skew::default(),
            endpoint: config.endpoint.clone(),
            zone: config.zone.clone(),
            digest: config.digest,
            connection_retries: config.connection_retries,
            call_timeout: config.call_timeout,
            operation_timeout: config.operation_timeout,
        }
    }

    /// Tells `recorder` of each request from now on.
    pub(crate) fn recorded(self, recorder: Option<Arc<dyn RequestRecorder>>) -> Self {
        Self { recorder, ..self }
    }

    /// Begins an operation: the calls made through it end, all together, within the configured time.
    pub fn operation(&self) -> Operation<'_> {
        Operation { client: self, ends: Instant::now() + self.operation_timeout }
    }

    /// The zone that all calls are about.
    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// By how many seconds the cloud's clock is ahead of this machine's, as the cloud told when it last refused a request
    /// for its time; `None` where it never did. Requests are signed by the cloud's clock from then on.
    pub fn clock_ahead(&self) -> Option<i64> {
        self.skew.learned()
    }

    /// Makes one request, and a second where the first was refused for its time or for a role's old key.
    async fn call<T: DeserializeOwned>(&self, request: &Request, ends: Instant) -> Result<T, CallError> {
        match self.attempt(request, ends).await {
            Err(Attempt { failure: Failure::Refused(refusal), told }) if refusal.code == EXPIRED => {
                self.again_in_time(request, ends, refusal, told).await
            }
            Err(Attempt { failure: Failure::Refused(refusal), .. })
                if KEY_REFUSED.contains(&refusal.code) && self.keys.forget() =>
            {
                tracing::info!(%refusal, "the key of the instance's role is refused; a new one is asked for");
                self.attempt(request, ends).await.map_err(|attempt| attempt.failure)
            }
            result => result.map_err(|attempt| attempt.failure),
        }
        .map_err(|failure| CallError::new(request.action(), failure))
    }

    /// Signs once more, by the cloud's clock where it told its time.
    async fn again_in_time<T: DeserializeOwned>(
        &self,
        request: &Request,
        ends: Instant,
        refusal: Refusal,
        told: Option<SystemTime>,
    ) -> Result<T, Failure> {
        let ahead = told.map(|cloud| self.skew.learn(cloud, self.clock.now()));
        tracing::warn!(
            %refusal,
            cloud_ahead_by_seconds = ahead,
            "the cloud refuses the request's time; it is signed again by the cloud's clock. Set this machine's clock"
        );
        self.attempt(request, ends).await.map_err(|attempt| match attempt.failure {
            Failure::Refused(refusal) if refusal.code == EXPIRED => Failure::Expired { refusal, ahead },
            failure => failure,
        })
    }

    /// One request, signed afresh for each attempt to connect.
    async fn attempt<T: DeserializeOwned>(&self, request: &Request, ends: Instant) -> Result<T, Attempt> {
        let mut connects = 0;
        let response = loop {
            match self.send(request, ends).await {
                Err(Failure::Transport(TransportError::NotSent(cause)))
                    if connects < self.connection_retries && Instant::now() + CONNECT_PAUSE < ends =>
                {
                    connects += 1;
                    tracing::debug!(%cause, connects, "no connection to the API; it is tried again");
                    sleep(CONNECT_PAUSE).await;
                }
                result => break result?,
            }
        };
        read(&response).map_err(|failure| Attempt { failure, told: response.date })
    }

    async fn send(&self, request: &Request, ends: Instant) -> Result<HttpResponse, Failure> {
        let now = || self.skew.correct(self.clock.now());
        let key = self.keys.key(&*self.transport, now()).await.map_err(Failure::Credentials)?;
        let signer = Signer {
            key: &key,
            endpoint: &self.endpoint,
            zone: &self.zone,
            method: Method::Get,
            digest: self.digest,
        };
        let left = ends.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::OutOfTime);
        }
        let time = left.min(self.call_timeout);
        let mut counted = Counted { client: self, action: request.action(), arrived: true };
        let sent = timeout(time, self.transport.send(request.sign(&signer, now()))).await;
        counted.arrived = !matches!(sent, Ok(Err(TransportError::NotSent(_))));
        Ok(sent.map_err(|_| Failure::Late(time))??)
    }
}

/// Told of each request that may have reached the API, whatever it answered: that is what an account's quota counts. One
/// operation of a provider may be several: pages, a look before a detach, a second try by the cloud's clock.
pub trait RequestRecorder: Send + Sync + std::fmt::Debug {
    /// A request was sent. It must not block.
    fn sent(&self, action: Action);
}

/// A request under way, which counts when it ends or is dropped, unless it never reached anybody.
struct Counted<'a> {
    client: &'a Client,
    action: Action,
    arrived: bool,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if let Some(recorder) = self.client.recorder.as_ref().filter(|_| self.arrived) {
            recorder.sent(self.action);
        }
    }
}

/// A failed attempt, and the time that the cloud told with it.
struct Attempt {
    failure: Failure,
    told: Option<SystemTime>,
}

impl From<Failure> for Attempt {
    fn from(failure: Failure) -> Self {
        Self { failure, told: None }
    }
}

/// Calls that together have one deadline. The actions are its methods.
#[derive(Debug, Clone, Copy)]
pub struct Operation<'a> {
    client: &'a Client,
    ends: Instant,
}

impl Operation<'_> {
    /// Makes a call. The methods named after actions are easier to use.
    ///
    /// Nothing is repeated that may have been carried out. Dropping the future closes the connection, not
    /// what the cloud has begun.
    ///
    /// # Errors
    /// [`CallError`] says what it means for a caller.
    pub async fn call<T: DeserializeOwned>(&self, request: &Request) -> Result<T, CallError> {
        self.client.call(request, self.ends).await
    }

    /// Waits, but not beyond the operation's end. Whether there is time left.
    pub(crate) async fn pause(&self, time: Duration) -> bool {
        tokio::time::sleep_until(self.ends.min(Instant::now() + time)).await;
        Instant::now() < self.ends
    }
}
