//! What pods and the node are told by events, and pods by annotations.

mod book;
mod note;
mod reason;
mod task;

use hostnic_core::attachment::PodRef;
use hostnic_core::error::Error;
use hostnic_core::ipam::Lease;
use tokio::sync::mpsc;
use tracing::debug;

use crate::config::{NodeName, Telling};
use crate::pods::Seen;
pub(crate) use book::About;
pub(crate) use note::{PodNote, is_of_no_pod};
pub(crate) use task::{Speaker, Told, write};

/// How grave an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Worth to know.
    Normal,
    /// A person should look.
    Warning,
}

/// Something that is told by an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// How grave it is.
    pub severity: Severity,
    /// What happened in one word, as `HairpinWithIpvs`. Events of one object with the same reason are counted as one.
    pub reason: &'static str,
    /// What happened and what to do, for people. At most 1,024 bytes are shown.
    pub message: String,
}

/// Where everybody leaves what is to be told. Nothing waits: when too much is left, the rest is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Teller(mpsc::Sender<Told>);

impl Teller {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Told>) {
        let (told, heard) = mpsc::channel(BACKLOG);
        (Self(told), heard)
    }

    pub(crate) fn event(&self, about: About, notice: Notice) {
        self.tell(Told::Event { about, notice });
    }

    fn tell(&self, told: Told) {
        if let Err(error) = self.0.try_send(told) {
            debug!("an event is not told: {error}");
        }
    }
}

/// What a node and its pods are told.
#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    node: NodeName,
    telling: Telling,
    teller: Teller,
}

/// How much may wait to be told.
const BACKLOG: usize = 512;

impl Reporter {
    pub(crate) fn new(node: NodeName, telling: Telling) -> (Self, mpsc::Receiver<Told>) {
        let (teller, heard) = Teller::new();
        (Self { node, telling, teller }, heard)
    }

    pub(crate) fn node(&self, notice: Notice) {
        self.teller.event(About::node(&self.node), notice);
    }

    pub(crate) fn failed(&self, pod: &PodRef, seen: Option<&Seen>, error: &Error) {
        if let (Some(about), Some(notice)) = (About::pod(pod, seen), reason::failed(error)) {
            self.teller.event(about, notice);
        }
    }

    pub(crate) fn attached(&self, pod: &PodRef, seen: Option<&Seen>, lease: &Lease) {
        if let Some(about) = About::pod(pod, seen) {
            let notice = reason::attached(lease);
            self.teller.tell(Told::Attached { about, notice, always: self.telling.attached_events });
        }
        let note = self.telling.nic_annotation.then(|| PodNote::nic(pod, seen, lease)).flatten();
        if let Some(note) = note {
            self.teller.tell(Told::Note(note));
        }
    }
}
