//! The hosted node as the test sees it: what it has passed so far, and its end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use hostnic_core::point::{Point, Side};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::hosted::{COMPARED, FOLLOWED, NODE, SERVING};
use crate::host::PATIENCE;
use crate::machine::Machine;

/// One side of a point.
pub(super) type Place = (Point, Side);

/// The so manieth time that it is reached; 1 is the first.
pub(super) type Nth = (Place, u32);

/// What a node told.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    /// How often each place was reached.
    pub(super) hits: BTreeMap<Place, u32>,
    /// It serves plugins.
    pub(super) serving: bool,
    /// How many comparisons that were asked for have ended.
    pub(super) compared: u32,
    /// How often it has followed changed orders.
    pub(super) followed: u32,
    /// It tells nothing any more.
    pub(super) ended: bool,
}

impl Told {
    fn note(&mut self, line: &str) {
        match line {
            COMPARED => self.compared += 1,
            FOLLOWED => self.followed += 1,
            SERVING => self.serving = true,
            place => self.hit(place),
        }
    }

    fn hit(&mut self, line: &str) {
        let (name, side) = line.split_once(' ').unwrap();
        let point = Point::ALL.iter().find(|point| point.name() == name).unwrap();
        let side = if side == "before" { Side::Before } else { Side::After };
        *self.hits.entry((*point, side)).or_default() += 1;
    }
}

/// The node has died in the middle of something.
#[derive(Debug)]
pub(super) struct Died;

/// A hosted node that runs.
#[derive(Debug)]
pub(super) struct Hosted {
    child: Child,
    told: watch::Receiver<Told>,
    reader: JoinHandle<()>,
    log: PathBuf,
}

impl Hosted {
    pub(super) fn spawn(machine: &Machine, log: &Path) -> Self {
        let this = std::env::current_exe().unwrap();
        let mut command: Command = machine.run(machine.netns(), this.to_str().unwrap());
        command.arg(NODE).arg(machine.folder());
        let said = std::fs::File::create(log).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(said).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (tell, told) = watch::channel(Told::default());
        let reader = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                tell.send_modify(|told| told.note(&line));
            }
            tell.send_modify(|told| told.ended = true);
        });
        Self { child, told, reader, log: log.to_owned() }
    }

    pub(super) fn told(&self) -> Told {
        self.told.borrow().clone()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.told.borrow().ended
    }

    pub(super) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub(super) fn kill(&self, signal: Signal) {
        // It may have ended.
        let Some(pid) = self.child.id() else { return };
        kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
    }

    /// Waits until what it told is so, or until it has died.
    pub(super) async fn until(&self, what: &str, holds: impl Fn(&Told) -> bool) -> Result<(), Died> {
        let mut told = self.told.clone();
        let come = tokio::time::timeout(PATIENCE, told.wait_for(|told| told.ended || holds(told))).await;
        let Ok(come) = come else {
            panic!("not within {PATIENCE:?}: {what}; the node said: {}", self.said())
        };
        if holds(&come.unwrap()) { Ok(()) } else { Err(Died) }
    }

    /// Waits for its end; what it had told by then.
    pub(super) async fn ended(mut self) -> Told {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("it does not end; it said: {}", self.said())).unwrap();
        self.reader.await.unwrap();
        let said = std::fs::read_to_string(&self.log).unwrap();
        assert!(!said.contains("panicked"), "{said}");
        self.told.borrow().clone()
    }
}
