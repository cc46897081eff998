//! Writes events and annotations, one after the other.

use std::collections::VecDeque;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use super::book::{About, Book, Now, Write, Written};
use super::note::{PodNote, is_of_no_pod};
use super::{BACKLOG, Notice, Severity};
use crate::client::Asker;
use crate::config::NodeName;
use crate::error::brief;

/// Who speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Speaker {
    /// The daemon of a node.
    Node(NodeName),
    /// The controller of the cluster.
    Controller,
}

impl Speaker {
    fn source(&self) -> EventSource {
        let (component, host) = match self {
            Self::Node(node) => ("hostnic", Some(node.to_string())),
            Self::Controller => ("hostnic-controller", None),
        };
        EventSource { component: Some(component.to_owned()), host }
    }
}

/// The least time between two writes: at most ten in a second.
const PACE: Duration = Duration::from_millis(100);
/// The pause after a write that got no answer.
const AWAY: Duration = Duration::from_secs(2);
/// How often an annotation is tried.
const TRIES: u32 = 5;

/// What there is to tell.
#[derive(Debug)]
pub(crate) enum Told {
    Event {
        about: About,
        notice: Notice,
    },
    /// Told always, or only where something was wrong before.
    Attached {
        about: About,
        notice: Notice,
        always: bool,
    },
    Note(PodNote),
}

struct Writer {
    asker: Asker,
    speaker: Speaker,
    book: Book,
    notes: VecDeque<(PodNote, u32)>,
}

/// Writes what is left with the [`Reporter`](super::Reporter), until nobody can leave anything any more.
pub(crate) async fn write(asker: Asker, speaker: Speaker, mut told: mpsc::Receiver<Told>) {
    let mut writer = Writer { asker, speaker, book: Book::default(), notes: VecDeque::new() };
    let mut not_before = Instant::now();
    loop {
        let due = if writer.notes.is_empty() { writer.book.due() } else { Some(not_before) };
        let next = due.map(|due| due.max(not_before));
        tokio::select! {
            heard = told.recv() => match heard {
                Some(told) => writer.hear(told),
                None => return,
            },
            () = sleep_until(next.unwrap_or(not_before)), if next.is_some() => {
                let answered = writer.write_one().await;
                not_before = Instant::now() + if answered { PACE } else { AWAY };
            }
        }
    }
}

fn now() -> Now {
    Now { at: Instant::now(), wall: Timestamp::now() }
}

impl Writer {
    fn hear(&mut self, told: Told) {
        match told {
            Told::Event { about, notice } => self.book.note(about, notice, now()),
            Told::Attached { about, notice, always } => {
                if always || self.book.warned(&about) {
                    self.book.note(about, notice, now());
                }
            }
            Told::Note(note) => {
                if self.notes.len() < BACKLOG {
                    self.notes.push_back((note, 0));
                }
            }
        }
    }

    /// Writes what is most pressing. Says whether the API server answered.
    async fn write_one(&mut self) -> bool {
        if let Some((note, tries)) = self.notes.pop_front() {
            return self.annotate(note, tries).await;
        }
        let Some(write) = self.book.take(Instant::now()) else { return true };
        let outcome = self.send(&write).await;
        let (written, answered) = match &outcome {
            Ok(()) => (Written::Done, true),
            Err(kube::Error::Api(status)) => match status.code {
                404 if write.again => (Written::Vanished, true),
                400 | 403 | 404 | 422 => (Written::Refused, true),
                _ => (Written::Failed, true),
            },
            Err(_) => (Written::Failed, false),
        };
        if let Err(error) = outcome {
            let (reason, about) = (write.key.reason, &write.key.about.name);
            match written {
                Written::Refused => warn!("event {reason} on {about} is not told: {}", brief(&error)),
                _ => debug!("event {reason} on {about} is not told yet: {}", brief(&error)),
            }
        }
        self.book.end(&write, written, now());
        answered
    }

    async fn send(&self, write: &Write) -> Result<(), kube::Error> {
        let about = &write.key.about;
        let namespace = about.namespace.as_deref().unwrap_or("default");
        let events: Api<Event> = Api::namespaced(self.asker.client.clone(), namespace);
        if write.again {
            let news = json!({
                "count": write.count, "lastTimestamp": Time(write.last), "message": write.message,
            });
            let news = Patch::Strategic(news);
            let params = PatchParams::default();
            return self.asker.ask(events.patch(&write.name, &params, &news)).await.map(drop);
        }
        let event = Event {
            metadata: ObjectMeta {
                name: Some(write.name.clone()),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some(about.api.to_string()),
                kind: Some(about.kind.to_string()),
                namespace: about.namespace.clone(),
                name: Some(about.name.clone()),
                uid: Some(about.uid.clone()),
                ..ObjectReference::default()
            },
            reason: Some(write.key.reason.to_owned()),
            message: Some(write.message.clone()),
            type_: Some(match write.severity {
                Severity::Normal => "Normal".to_owned(),
                Severity::Warning => "Warning".to_owned(),
            }),
            count: i32::try_from(write.count).ok(),
            first_timestamp: Some(Time(write.first)),
            last_timestamp: Some(Time(write.last)),
            source: Some(self.speaker.source()),
            ..Event::default()
        };
        match self.asker.ask(events.create(&PostParams::default(), &event)).await {
            // An earlier try whose answer was lost.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            answer => answer.map(drop),
        }
    }

    async fn annotate(&mut self, note: PodNote, tries: u32) -> bool {
        let pod = &note.name;
        match note.write(&self.asker, self.asker.deadline()).await {
            Ok(()) => true,
            Err(error) if is_of_no_pod(&error) => {
                debug!("pod {}/{pod} is gone and gets no annotation", note.namespace);
                true
            }
            Err(error) if tries + 1 >= TRIES || matches!(&error, kube::Error::Api(s) if s.code == 403) => {
                warn!("pod {}/{pod} gets no annotation: {}", note.namespace, brief(&error));
                matches!(error, kube::Error::Api(_))
            }
            Err(error) => {
                debug!("pod {}/{pod} gets no annotation yet: {}", note.namespace, brief(&error));
                self.notes.push_back((note, tries + 1));
                false
            }
        }
    }
}
