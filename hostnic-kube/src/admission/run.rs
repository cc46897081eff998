//! What each replica of the controller does for the webhooks.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hostnic_core::{Error, ErrorKind, Result};
use k8s_openapi::jiff::Timestamp;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::answer::Answerer;
use super::certificate::{Certificates, Role, Step, Store, step};
use super::registration::{Conditions, Policy, Registrar, Wanted};
use super::server::serve;
use super::settings::AdmissionSettings;
use crate::client::{Asker, connect};
use crate::config::Access;
use crate::error::ConnectError;

/// How long the answer to one request may take.
const REQUEST: Duration = Duration::from_secs(10);
/// How soon something is tried again that failed.
const RETRY: Duration = Duration::from_secs(2);
/// How often in a row the webhooks may be out of reach before that is told.
const MISSES: u32 = 10;
/// How long it may take to have changes made without the webhooks at the end.
const LEAVE: Duration = Duration::from_secs(5);

/// What a replica of the controller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// One that only answers.
    Follower,
    /// The one that leads, and is not ready yet, or not any more.
    Leader,
    /// The one that leads and is ready.
    Ready,
}

/// How far things are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AdmissionState {
    /// Whether there is a certificate to answer with.
    pub serves: bool,
    /// Whether this replica has had the API servers refuse changes for which no webhook answers, since they reach it.
    pub enforces: bool,
}

/// The webhooks of one replica of the controller.
pub struct Admission {
    settings: AdmissionSettings,
    asker: Asker,
    store: Store,
    registrar: Registrar,
    tls: watch::Sender<Option<Arc<ServerConfig>>>,
    state: watch::Sender<AdmissionState>,
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("settings", &self.settings)
            .field("state", &*self.state.borrow())
            .finish_non_exhaustive()
    }
}

/// What is known from one comparison to the next.
struct Memory {
    /// With which chain it is served.
    served: String,
    /// Of which authorities the API servers have been told.
    told: Option<String>,
    conditions: Conditions,
    is_reached: bool,
    /// How often in a row it was not.
    misses: u32,
    /// What was said last of what failed.
    failure: Option<String>,
}

impl Admission {
    /// Reads how to reach the API server. Waits for no answer of it.
    ///
    /// # Errors
    /// [`ConnectError`] where there is nothing to connect with.
    pub async fn new(access: &Access, settings: AdmissionSettings) -> Result<Self, ConnectError> {
        let (asker, _) = connect(access, REQUEST).await?;
        let store = Store::new(asker.clone(), settings.namespace.clone());
        let registrar = Registrar::new(asker.clone());
        let (tls, state) = (watch::Sender::new(None), watch::Sender::new(AdmissionState::default()));
        Ok(Self { settings, asker, store, registrar, tls, state })
    }

    /// How far things are, now and whenever that changes.
    pub fn state(&self) -> watch::Receiver<AdmissionState> {
        self.state.subscribe()
    }

    /// Has no change be refused for want of an answer of the webhooks. To be called by whoever becomes the leader, before it
    /// writes anything else; that it is so already is success. An API server may take a moment to hear of it, and refuse
    /// changes until then.
    ///
    /// # Errors
    /// `Conflict` when somebody else changed a registration meanwhile, `Transient` where the API server cannot be reached,
    /// `Unauthorised` without the right: it is to be called again. Dropping the future leaves it done or not.
    pub async fn relax(&self) -> Result<()> {
        self.registrar.relax().await
    }

    /// Answers API servers at `listener`, keeps the certificate, and as the leader the registrations, until `stop` or until
    /// nobody can say any more what it is. What fails is logged and tried again.
    ///
    /// A leader that ends has no change be refused for want of an answer, as by [`relax`](Self::relax), before it stops answering.
    /// Dropping the future ends everything at once, and leaves the registrations as they are.
    pub async fn run(
        &self,
        listener: TcpListener,
        mut standing: watch::Receiver<Standing>,
        stop: CancellationToken,
    ) {
        let end = CancellationToken::new();
        let answerer =
            Arc::new(Answerer { asker: self.asker.clone(), accounts: self.settings.accounts.clone() });
        let mut server = JoinSet::new();
        server.spawn(serve(listener, self.tls.subscribe(), answerer, end.clone()));
        let mut memory = Memory {
            served: String::new(),
            told: None,
            conditions: Conditions::Unknown,
            is_reached: false,
            misses: 0,
            failure: None,
        };
        loop {
            let now = *standing.borrow_and_update();
            let round = async {
                let pause = self.round(&mut memory, now).await;
                tokio::time::sleep(pause).await;
            };
            tokio::select! {
                () = round => {}
                changed = standing.changed() => if changed.is_err() { break },
                () = stop.cancelled() => break,
            }
        }
        let last = *standing.borrow();
        if last != Standing::Follower {
            match timeout(LEAVE, self.relax()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(error = %error.chain(), "changes may be refused until another controller leads");
                }
                Err(_) => tracing::warn!(
                    "the API server is away; changes may be refused until another controller leads"
                ),
            }
        }
        end.cancel();
        while server.join_next().await.is_some() {}
    }

    /// Compares and acts; answers how long it need not be done again.
    async fn round(&self, memory: &mut Memory, standing: Standing) -> Duration {
        let soon = RETRY.min(self.settings.period);
        if standing != Standing::Ready {
            memory.is_reached = false;
        }
        if standing == Standing::Follower {
            memory.told = None;
        }
        let done = async {
            let certificates = self.certificates(memory, standing).await?;
            self.serve_with(memory, &certificates)?;
            match standing {
                Standing::Follower => Ok(true),
                _ => self.register(memory, standing, certificates.bundle()).await,
            }
        };
        let done: Result<bool> = done.await;
        let enforces = memory.is_reached && matches!(done, Ok(true));
        self.tell(|state| state.enforces = enforces);
        match done {
            Ok(is_done) => {
                memory.failure = None;
                if is_done { self.settings.period } else { soon }
            }
            // Another replica was quicker, which is as good.
            Err(error) if error.kind() == ErrorKind::Conflict => {
                tracing::debug!(error = %error.chain(), "the webhooks are looked at again");
                soon
            }
            Err(error) => {
                let failure = error.chain().to_string();
                // Once each time that something else is wrong.
                if memory.failure.as_ref() != Some(&failure) {
                    tracing::warn!(error = failure, "the webhooks are not as they should be; trying again");
                }
                memory.failure = Some(failure);
                soon
            }
        }
    }

    /// The certificates as they are now, after what was to be done about them.
    async fn certificates(&self, memory: &Memory, standing: Standing) -> Result<Certificates> {
        let now = Timestamp::try_from(self.settings.clock.now())
            .map_err(|error| Error::new(ErrorKind::Internal, "read", "the clock").source(error))?;
        let found = self.store.read().await?;
        let names = self.settings.endpoint.names();
        let present = found.certificates.as_ref();
        let role = match standing {
            Standing::Follower => Role::Server,
            _ => Role::Registrar {
                is_told: memory.told.is_some() && memory.told == present.map(Certificates::bundle),
            },
        };
        let life = self.settings.life;
        let (next, what) = match (step(present, &names, role, now, self.settings.period), present) {
            (Step::Keep, Some(present)) => return Ok(present.clone()),
            (Step::Prepare, Some(present)) => (present.prepare(now, life)?, "a next one is made known"),
            (Step::Promote, Some(present)) => (present.promote(), "the next one is in its place"),
            (Step::Make | Step::Keep | Step::Prepare | Step::Promote, _) => {
                let former = present.map(|present| present.present.authority.clone());
                (Certificates { former, ..Certificates::make(names, now, life)? }, "the first one is made")
            }
        };
        self.store.write(&found, &next).await?;
        tracing::info!(until = %next.present.ends, "certificate of the webhooks: {what}");
        Ok(next)
    }

    fn serve_with(&self, memory: &mut Memory, certificates: &Certificates) -> Result<()> {
        if memory.served != certificates.present.chain {
            self.tls.send_replace(Some(certificates.present.server()?));
            memory.served.clone_from(&certificates.present.chain);
            self.tell(|state| state.serves = true);
        }
        Ok(())
    }

    /// Has the API servers know of the webhooks, and insist on them when this replica is ready and is reached; false when it is
    /// not reached.
    async fn register(&self, memory: &mut Memory, standing: Standing, bundle: String) -> Result<bool> {
        let mut wanted = Wanted {
            endpoint: self.settings.endpoint.clone(),
            accounts: self.settings.accounts.clone(),
            bundle,
            policy: if memory.is_reached { Policy::Fail } else { Policy::Ignore },
            conditions: memory.conditions,
            namespaces_named: self.registrar.namespaces_named().await?,
        };
        memory.conditions = self.registrar.keep(&wanted).await?;
        memory.told = Some(wanted.bundle.clone());
        if standing != Standing::Ready {
            return Ok(true);
        }
        let was = memory.is_reached;
        let reached = self.registrar.is_reached().await;
        memory.is_reached = reached.is_ok();
        if was != memory.is_reached {
            wanted.policy = if memory.is_reached { Policy::Fail } else { Policy::Ignore };
            wanted.conditions = memory.conditions;
            self.registrar.keep(&wanted).await?;
        }
        match reached {
            Ok(()) => {
                memory.misses = 0;
                if !was {
                    tracing::info!("the API server reaches the webhooks, and insists on them");
                }
            }
            Err(reason) => {
                memory.misses = memory.misses.saturating_add(1);
                // It takes a moment until a Service leads to a pod that has just become ready.
                if was || memory.misses == MISSES {
                    tracing::warn!(
                        reason,
                        "the API server does not reach the webhooks, and changes are made without them; look at what is \
                         between it and this controller"
                    );
                }
            }
        }
        Ok(memory.is_reached)
    }

    fn tell(&self, change: impl FnOnce(&mut AdmissionState)) {
        self.state.send_if_modified(|state| {
            let before = *state;
            change(state);
            *state != before
        });
    }
}
