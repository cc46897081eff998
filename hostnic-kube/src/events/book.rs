//! Which events there are to write, and when: the same thing again raises a count, seldom enough.

use std::collections::HashMap;
use std::time::Duration;

use hostnic_core::attachment::PodRef;
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::{Notice, Severity};
use crate::config::NodeName;
use crate::pods::Seen;

/// How long an event's count is gathered before it is written again.
const GATHER: Duration = Duration::from_secs(15);
/// After how long without anything new an event is over: the next of its kind is a new one.
const OVER: Duration = Duration::from_secs(600);
/// How long to wait with an event that could not be written.
const AGAIN: Duration = Duration::from_secs(5);
/// How many events are remembered. The one with the least recent news goes first.
const MOST: usize = 1024;

/// The object that an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct About {
    pub(super) kind: &'static str,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) uid: String,
}

impl About {
    /// `kubectl describe node` of every version finds events that have the node's name as its uid, as the kubelet's have.
    pub(super) fn node(node: &NodeName) -> Self {
        Self { kind: "Node", namespace: None, name: node.to_string(), uid: node.to_string() }
    }

    /// `None` where the pod's uid is not known: nobody would find the event.
    pub(super) fn pod(pod: &PodRef, seen: Option<&Seen>) -> Option<Self> {
        let uid = seen.map(|seen| seen.event_uid().to_owned()).or_else(|| pod.uid.clone())?;
        Some(Self { kind: "Pod", namespace: Some(pod.namespace.clone()), name: pod.name.clone(), uid })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) about: About,
    pub(super) reason: &'static str,
}

/// What time it is, for order and for people.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) at: Instant,
    pub(super) wall: Timestamp,
}

#[derive(Debug, Clone)]
struct Entry {
    name: String,
    severity: Severity,
    message: String,
    first: Timestamp,
    last: Timestamp,
    touched: Instant,
    count: u32,
    /// The count that the API server has.
    written: u32,
    due: Instant,
}

/// One event to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) key: Key,
    pub(super) name: String,
    pub(super) severity: Severity,
    pub(super) message: String,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    pub(super) count: u32,
    /// Whether it is there already, and only has its count raised.
    pub(super) again: bool,
}

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Done,
    /// The event is no longer there: events live for an hour or so.
    Vanished,
    /// It will not be taken another time either: its namespace ends, say.
    Refused,
    Failed,
}

#[derive(Debug, Default)]
pub(super) struct Book {
    entries: HashMap<Key, Entry>,
}

impl Book {
    /// Something happened.
    pub(super) fn note(&mut self, about: About, notice: Notice, now: Now) {
        self.entries.retain(|_, e| e.count > e.written || now.at.duration_since(e.touched) < OVER);
        let key = Key { about, reason: notice.reason };
        if !self.entries.contains_key(&key) && self.entries.len() >= MOST {
            let oldest = self.entries.iter().min_by_key(|(_, e)| e.touched).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                self.entries.remove(&oldest);
            }
        }
        let fresh = |key: &Key| Entry {
            name: event_name(&key.about.name, key.reason, now.wall),
            severity: notice.severity,
            message: String::new(),
            first: now.wall,
            last: now.wall,
            touched: now.at,
            count: 0,
            written: 0,
            due: now.at,
        };
        let entry = match self.entries.entry(key) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                let entry = fresh(place.key());
                place.insert(entry)
            }
        };
        entry.count = entry.count.saturating_add(1);
        (entry.last, entry.touched) = (now.wall, now.at);
        entry.severity = notice.severity;
        entry.message = shortened(notice.message);
    }

    /// Whether something went wrong with it lately.
    pub(super) fn warned(&self, about: &About) -> bool {
        self.entries.iter().any(|(key, e)| key.about == *about && e.severity == Severity::Warning)
    }

    /// When the next event is to be written.
    pub(super) fn due(&self) -> Option<Instant> {
        self.entries.values().filter(|e| e.count > e.written).map(|e| e.due).min()
    }

    /// The event that is to be written now.
    pub(super) fn take(&self, now: Instant) -> Option<Write> {
        let ready = self.entries.iter().filter(|(_, e)| e.count > e.written && e.due <= now);
        let (key, entry) = ready.min_by_key(|(_, e)| e.due)?;
        Some(Write {
            key: key.clone(),
            name: entry.name.clone(),
            severity: entry.severity,
            message: entry.message.clone(),
            first: entry.first,
            last: entry.last,
            count: entry.count,
            again: entry.written > 0,
        })
    }

    /// A write ended.
    pub(super) fn end(&mut self, write: &Write, written: Written, now: Now) {
        let Some(entry) = self.entries.get_mut(&write.key) else { return };
        match written {
            Written::Done => {
                entry.written = write.count;
                entry.due = now.at + GATHER;
            }
            Written::Vanished => {
                entry.written = 0;
                entry.name = event_name(&write.key.about.name, write.key.reason, now.wall);
            }
            Written::Failed => entry.due = now.at + AGAIN,
            Written::Refused => {
                self.entries.remove(&write.key);
            }
        }
    }
}

/// Unlike any other: of one object and reason there is one at a time.
fn event_name(about: &str, reason: &str, wall: Timestamp) -> String {
    // The whole is a name of at most 253 bytes; names are ASCII, as the API server demands.
    let about = about.get(..about.len().min(200)).unwrap_or_default().trim_end_matches(['.', '-']);
    format!("{about}.{}.{:x}", reason.to_ascii_lowercase(), wall.as_nanosecond())
}

/// As much of the message as the API server takes.
fn shortened(mut message: String) -> String {
    const LONGEST: usize = 1024;
    const MORE: &str = " ...";
    if message.len() > LONGEST {
        let end = (0..=LONGEST - MORE.len()).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
        message.truncate(end);
        message.push_str(MORE);
    }
    message
}
