//! `kill -9` of the daemon at random moments of bursts of ADDs and of DELs, and a start anew after each: what was answered
//! holds, what was not leaves nothing, and cloud, records and kernel agree.
//!
//! HOSTNIC_SCALE says how many of the fifty kills are done, HOSTNIC_SEED repeats the moments of a run.

pub(crate) mod books;
mod burst;
mod moment;

use std::time::Duration;

use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::api::{Api, flags};
use crate::machine::{Machine, Running};
use crate::trial;

use books::Books;
use burst::Burst;
use moment::{Draw, Moment};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("a_daemon_killed_fifty_times_in_bursts_loses_nothing_and_leaves_nothing", killed_in_bursts)]
}

/// The kills of the whole test, and the pods of each burst.
const KILLS: f64 = 50.0;
const PODS: usize = 20;

/// What a burst is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Add,
    Del,
}

impl Kind {
    pub(crate) fn command(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
        }
    }
}

/// How often the daemon was killed, and what it had answered by then.
#[derive(Debug, Default)]
struct Tally {
    kills: [u32; 2],
    late: u32,
    answered: [usize; 2],
    unanswered: [usize; 2],
}

/// The node, its daemon and its pods, from kill to kill.
struct Trialled {
    machine: Machine,
    api: Api,
    daemon: Option<Running>,
    starts: u32,
    draw: Draw,
    /// How long a burst of each kind takes when nobody is killed.
    lasts: [Duration; 2],
    tally: Tally,
}

impl Trialled {
    async fn start() -> Self {
        let machine = Machine::new().await;
        let api = Api::start(&machine).await;
        let draw = Draw::seeded();
        let lasts = [Duration::ZERO; 2];
        let mut trialled =
            Self { machine, api, daemon: None, starts: 0, draw, lasts, tally: Tally::default() };
        trialled.start_daemon().await;
        trialled
    }

    async fn start_daemon(&mut self) {
        self.starts += 1;
        let file = self.api.access_file();
        let mut command = self.machine.start(&flags(&file));
        command.args(["--cooling", "0", "--policy", "RoundRotate", "--cleanup-cache-on-exit"]);
        command.args(["--log-level", "debug"]);
        let daemon = self.machine.spawn(command, &format!("log-{}", self.starts));
        let serves = async || self.machine.asked(&["pods"]).await.is_ok();
        self.machine.until(&daemon, "it serves", serves).await;
        self.daemon = Some(daemon);
    }

    fn daemon(&self) -> &Running {
        self.daemon.as_ref().unwrap()
    }

    /// A burst that runs to its end; how long that takes is what moments of later kills are drawn from.
    async fn undisturbed(&mut self, kind: Kind, books: &mut Books) {
        let mut burst = Burst::begin(&self.machine, kind, books.wanting(kind));
        burst.finish().await;
        self.lasts[kind as usize] = burst.elapsed();
        books.note(kind, burst.outcomes());
        assert!(books.wanting(kind).is_empty(), "{kind:?} of all succeed when nobody is killed: {books:#?}");
    }

    /// A burst in which the daemon is killed, and its start anew. Whether the burst was still under way.
    async fn disturbed(&mut self, kind: Kind, books: &mut Books) {
        let moment = self.draw.moment(PODS, self.lasts[kind as usize]);
        let mut burst = Burst::begin(&self.machine, kind, books.wanting(kind));
        burst.until(&moment).await;
        let daemon = self.daemon.take().unwrap();
        daemon.kill(Signal::SIGKILL);
        drop(daemon.ended().await);
        let lasted = burst.elapsed();
        self.start_daemon().await;
        burst.finish().await;
        let outcomes = burst.outcomes();
        let answered = outcomes.iter().filter(|(_, outcome)| outcome.success).count();
        self.count(kind, answered, outcomes.len() - answered, &moment, lasted);
        books.note(kind, outcomes);
    }

    fn count(&mut self, kind: Kind, answered: usize, unanswered: usize, moment: &Moment, lasted: Duration) {
        println!(
            "    killed {lasted:.0?} into 20 {}s ({moment}): {answered} answered, {unanswered} not",
            kind.command()
        );
        let tally = &mut self.tally;
        tally.answered[kind as usize] += answered;
        tally.unanswered[kind as usize] += unanswered;
        match unanswered {
            0 => tally.late += 1,
            _ => tally.kills[kind as usize] += 1,
        }
    }

    /// All agree about the pods in the books, once what is still under way has ended.
    async fn agree(&self, books: &Books) {
        let what = "cloud, records and kernel agree";
        let last = std::cell::RefCell::new(Vec::new());
        let agree = async || {
            let wrong = books::disagreements(&self.machine, &self.api, books).await;
            let agree = wrong.is_empty();
            last.replace(wrong);
            agree
        };
        let agreed = async {
            while !agree().await {
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(crate::host::PATIENCE, agreed).await.is_err() {
            panic!("not in time: {what}: {:#?}; the daemon said: {}", last.borrow(), self.daemon().said());
        }
    }
}

async fn killed_in_bursts() {
    let mut trialled = Trialled::start().await;
    let kills = ((KILLS * scale()).ceil() as u32).max(2);
    let mut books = Books::open(&trialled.machine, PODS).await;
    for kind in [Kind::Add, Kind::Del] {
        trialled.undisturbed(kind, &mut books).await;
        trialled.agree(&books).await;
    }
    while trialled.tally.kills.iter().sum::<u32>() < kills {
        assert!(trialled.tally.late <= kills, "most kills come too late: {:?}", trialled.tally);
        trialled.disturbed(Kind::Add, &mut books).await;
        books.check_answered(&trialled.machine).await;
        books.del_unanswered(&trialled.machine).await;
        trialled.agree(&books).await;
        trialled.undisturbed(Kind::Add, &mut books).await;
        trialled.disturbed(Kind::Del, &mut books).await;
        books.check_answered(&trialled.machine).await;
        trialled.undisturbed(Kind::Del, &mut books).await;
        trialled.agree(&books).await;
    }
    let Tally { kills: [in_adds, in_dels], late, answered, unanswered } = &trialled.tally;
    println!(
        "{} kills: {in_adds} during ADDs ({} answered, {} not), {in_dels} during DELs ({} answered, {} not), {late} after \
         a burst's last answer; {} starts; a whole burst takes {:.0?} (ADDs), {:.0?} (DELs)",
        in_adds + in_dels + late,
        answered[0],
        unanswered[0],
        answered[1],
        unanswered[1],
        trialled.starts,
        trialled.lasts[0],
        trialled.lasts[1],
    );
    assert!(*in_adds > 0 && *in_dels > 0, "both kinds of bursts are to be hit");
    let (success, said) = trialled.daemon.take().unwrap().ends_by(Signal::SIGTERM).await;
    assert!(success, "{said}");
    assert!(trialled.api.nics().await.is_empty(), "NICs are left: {:#?}", trialled.api.nics().await);
    trialled.api.end().await;
}

/// How much of the test is done.
pub(crate) fn scale() -> f64 {
    std::env::var("HOSTNIC_SCALE").map_or(0.1, |scale| scale.parse().unwrap())
}
