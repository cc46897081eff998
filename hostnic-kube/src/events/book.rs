//! Which events there are to write, and when: the same thing again raises a count, seldom enough.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use hostnic_core::attachment::PodRef;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use tokio::time::Instant;

use super::{Notice, Severity};
use crate::config::NodeName;
use crate::pods::Seen;

/// How long an event's count is gathered before it is written again.
const GATHER: Duration = Duration::from_secs(10);
/// After how long without anything new an event is over: the next of its kind is a new one.
const OVER: Duration = Duration::from_secs(600);
/// How long to wait with an event that could not be written.
const AGAIN: Duration = Duration::from_secs(5);
/// How many events are remembered. The one with the least recent news goes first.
const MOST: usize = 1024;

/// The object that an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct About {
    pub(super) api: Cow<'static, str>,
    pub(super) kind: Cow<'static, str>,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) uid: String,
}

impl About {
    /// `kubectl describe node` of every version finds events that have the node's name as its uid, as the kubelet's have.
    pub(crate) fn node(node: &NodeName) -> Self {
        Self { namespace: None, name: node.to_string(), uid: node.to_string(), ..Self::core("Node") }
    }

    /// `None` where the pod's uid is not known: nobody would find the event.
    pub(super) fn pod(pod: &PodRef, seen: Option<&Seen>) -> Option<Self> {
        let uid = seen.map(|seen| seen.event_uid().to_owned()).or_else(|| pod.uid.clone())?;
        Some(Self {
            namespace: Some(pod.namespace.clone()),
            name: pod.name.clone(),
            uid,
            ..Self::core("Pod")
        })
    }

    /// Any other object, as it was read. `None` where it has no uid: nobody would find the event.
    pub(crate) fn object<K: Resource<DynamicType = ()>>(object: &K) -> Option<Self> {
        let meta = object.meta();
        let (name, uid) = (meta.name.clone()?, meta.uid.clone()?);
        let namespace = meta.namespace.clone();
        Some(Self { api: K::api_version(&()), kind: K::kind(&()), namespace, name, uid })
    }

    fn core(kind: &'static str) -> Self {
        let (api, kind) = (Cow::Borrowed("v1"), Cow::Borrowed(kind));
        Self { api, kind, namespace: None, name: String::new(), uid: String::new() }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The start of everything, as both clocks have it.
    fn start() -> Now {
        Now { at: Instant::now(), wall: Timestamp::from_second(1_700_000_000).unwrap() }
    }

    fn later(now: Now, by: Duration) -> Now {
        Now { at: now.at + by, wall: now.wall + by }
    }

    fn pod(name: &str) -> About {
        let (namespace, uid) = (Some("default".to_owned()), format!("uid of {name}"));
        About { namespace, name: name.to_owned(), uid, ..About::core("Pod") }
    }

    fn warning(reason: &'static str, message: &str) -> Notice {
        Notice { severity: Severity::Warning, reason, message: message.to_owned() }
    }

    #[test]
    fn the_same_again_raises_a_count_and_is_written_seldom() {
        let (mut book, first) = (Book::default(), start());
        book.note(pod("a"), warning("NoNicLeft", "full"), first);
        let write = book.take(first.at).unwrap();
        assert_eq!((write.count, write.again), (1, false));
        book.end(&write, Written::Done, first);
        for n in 1..=100 {
            book.note(pod("a"), warning("NoNicLeft", "still full"), later(first, Duration::from_millis(n)));
        }
        let soon = later(first, Duration::from_secs(1));
        assert_eq!(book.take(soon.at), None);
        assert_eq!(book.due(), Some(first.at + GATHER));
        let again = book.take(first.at + GATHER).unwrap();
        assert_eq!((again.count, again.again, again.message.as_str()), (101, true, "still full"));
        assert_eq!((again.name, again.first), (write.name, write.first));
        assert!(again.last > write.last);
    }

    #[test]
    fn another_reason_or_pod_is_another_event() {
        let (mut book, now) = (Book::default(), start());
        for (name, reason) in [("a", "NoNicLeft"), ("a", "SubnetFull"), ("b", "NoNicLeft")] {
            book.note(pod(name), warning(reason, "x"), now);
        }
        let mut names = vec![];
        while let Some(write) = book.take(now.at) {
            book.end(&write, Written::Done, now);
            names.push(write.name);
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 3);
        assert_eq!(book.due(), None);
    }

    #[test]
    fn what_could_not_be_written_is_tried_again_and_what_never_can_is_forgotten() {
        let (mut book, now) = (Book::default(), start());
        book.note(pod("a"), warning("NoNicLeft", "x"), now);
        let write = book.take(now.at).unwrap();
        book.end(&write, Written::Failed, now);
        assert_eq!(book.take(now.at), None);
        let write = book.take(now.at + AGAIN).unwrap();
        book.end(&write, Written::Done, now);

        // The API server forgets events; the next news makes a new one.
        book.note(pod("a"), warning("NoNicLeft", "x"), now);
        let again = book.take(now.at + GATHER).unwrap();
        assert!(again.again);
        let gone = later(now, Duration::from_secs(3600));
        book.end(&again, Written::Vanished, gone);
        let anew = book.take(gone.at).unwrap();
        assert!(!anew.again && anew.name != again.name);
        book.end(&anew, Written::Refused, gone);
        assert_eq!(book.due(), None);
    }

    #[test]
    fn a_story_that_ended_begins_anew() {
        let (mut book, now) = (Book::default(), start());
        book.note(pod("a"), warning("NoNicLeft", "x"), now);
        let write = book.take(now.at).unwrap();
        book.end(&write, Written::Done, now);
        let over = later(now, OVER);
        book.note(pod("a"), warning("NoNicLeft", "x"), over);
        let write = book.take(over.at).unwrap();
        assert_eq!((write.count, write.again), (1, false));
    }

    #[test]
    fn memory_is_bounded_and_the_latest_is_kept() {
        let (mut book, now) = (Book::default(), start());
        for n in 0..5000 {
            let wall = later(now, Duration::from_millis(n));
            book.note(pod(&format!("pod-{n}")), warning("NoNicLeft", "x"), wall);
        }
        assert_eq!(book.entries.len(), MOST);
        assert!(book.entries.keys().any(|key| key.about.name == "pod-4999"));
    }

    #[test]
    fn names_and_messages_fit_what_the_api_server_takes() {
        let (mut book, now) = (Book::default(), start());
        let name = format!("{}.{}", "a".repeat(199), "b".repeat(50));
        book.note(pod(&name), warning("NoNicLeft", &"é".repeat(2000)), now);
        let write = book.take(now.at).unwrap();
        assert!(write.name.len() <= 253 && !write.name.contains(".."), "{}", write.name);
        assert!(write.message.len() <= 1024 && write.message.ends_with(" ..."));
    }
}
