//! `kill -9` of the daemon's node at every point of what it does, before and after, and a start anew: what was answered
//! holds, what was not leaves nothing, cloud, records and kernel agree, and other pods lose no packet. There are two such
//! nodes: one moves NICs into its pods, the other has its pods behind veths.
//!
//! Every scene is played once without a kill, and each point must be passed in one of them. Then each is played for each
//! of its points and killed there. HOSTNIC_SCALE says for how many of these, HOSTNIC_SEED which; HOSTNIC_POINT=DropIntent
//! has all of that point and no other.

mod calls;
mod hosted;
mod orders;
mod ping;
mod process;
mod scene;
mod stage;
mod wishes;

use std::collections::{BTreeMap, BTreeSet};

use hostnic_core::point::{Kind, Point, Side};
use libtest_mimic::Trial;
use tokio::time::Instant;

use crate::chance::Chance;
use crate::kills::scale;
use crate::trial;

use ping::{Pinged, Pinger};
use process::{Nth, Place};
use scene::{Play, Scene};
use stage::{Stage, Way};

pub(crate) use hosted::run as hosted;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("each_point_is_called_at_one_place", calls::once_each),
        trial("a_node_killed_at_every_point_loses_nothing_and_leaves_nothing", killed_at_points),
    ]
}

/// The fewest pings of the whole test, none of which may be lost.
const PINGS: f64 = 3000.0;

/// How often a scene is played, at the most, to be killed at a place.
const TRIES: u32 = 3;

/// How a scene ended that was to be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// The node died where it was to.
    Killed,
    /// It did not come by this time.
    Passed,
}

/// Points of pods that share NICs, which none of these nodes has: where their addresses come from is a cluster's business, and no
/// process here is one. `hostnic-core/tests/agent_shared/points.rs` kills a simulated node on both sides of each, but for
/// three that are frames and leave nothing in kernel, records or cloud: `AnnounceShared`, in the middle of `SetUpPod` and
/// `AnnouncePodAgain`, which are among its places, `AskForAddress`, whose lease a node that starts finds on its NIC and asks for
/// again, as hostnic-netlink's trials of VLANs show, and `AskWhoHasAddress`, before such a lease is there.
const WITHOUT_A_SCENE: &[Point] = &[
    Point::AnnounceShared,
    Point::AskForAddress,
    Point::AskWhoHasAddress,
    Point::UndoShared,
    Point::EndShared,
    Point::MoveShared,
    Point::RebuildShared,
    Point::ResumeSharedNic,
    Point::SetUpSharedNic,
    Point::CompareSharedNic,
    Point::TearDownSharedNic,
    Point::RestoreAddresses,
    Point::RestoreFound,
    Point::SettleAddresses,
    Point::ClaimAddress,
    Point::ReleaseAddress,
];

/// What was passed when nobody was killed.
type Passed = BTreeMap<(Way, Scene), BTreeMap<Place, u32>>;

/// Plays a scene, killed at `place`; makes sure that all is well after it.
async fn play(stage: &mut Stage, scene: Scene, place: Option<Nth>) -> (Ended, BTreeMap<Place, u32>) {
    let mut play = Play::new(scene);
    play.prepare(stage).await;
    stage.arm(place);
    let acted = play.act(stage).await;
    let died = match place {
        Some(_) => stage.dies().await,
        None => false,
    };
    if !died {
        assert!(acted.is_ok(), "the node has died in {scene:?} though nobody killed it");
        if place.is_none() && scene.settles() {
            stage.agree().await;
        }
    }
    let passed = stage.passed();
    if died || scene == Scene::Shutdown {
        stage.start().await.unwrap();
    }
    play.mend(stage).await;
    stage.check().await;
    stage.clear().await;
    (if died { Ended::Killed } else { Ended::Passed }, passed)
}

/// A scene, on which node, and where it is killed.
type Cell = (Way, Scene, Nth);

/// All of them.
fn cells(passed: &Passed) -> Vec<Cell> {
    let mut seen = BTreeSet::new();
    let mut cells = Vec::new();
    for (way, scene) in scenes() {
        let places = &passed[&(way, scene)];
        let points: BTreeSet<Point> = places.keys().map(|(point, _)| *point).collect();
        for point in points.into_iter().filter(|point| !is_of_the_test(*point, scene)) {
            // The cloud is asked the same by both.
            let of_way = (point.kind() != Kind::Cloud).then_some(way);
            let again = scene.is_whole() && (of_way.is_some() || way == Way::Passthrough);
            for place in sides(point, places) {
                if seen.insert((of_way, place)) || again {
                    cells.extend(times(place, places).map(|nth| (way, scene, (place, nth))));
                }
            }
        }
    }
    cells
}

/// What each node is in.
fn scenes() -> impl Iterator<Item = (Way, Scene)> {
    Way::ALL.into_iter().flat_map(|way| Scene::of(way).iter().map(move |scene| (way, *scene)))
}

/// The test itself asks for lists, to see whether all agree.
fn is_of_the_test(point: Point, scene: Scene) -> bool {
    matches!(point, Point::AnswerNics | Point::AnswerPods) && scene != Scene::Asked
}

/// The first time is enough, but where a point is the function that all messages to the kernel go by.
fn times(place: Place, places: &BTreeMap<Place, u32>) -> std::ops::RangeInclusive<u32> {
    match place.0 {
        Point::ChangeKernel => 1..=places[&place],
        _ => 1..=1,
    }
}

/// Where a scene passed this point; what comes after an answer is not the node's to tell.
fn sides(point: Point, places: &BTreeMap<Place, u32>) -> impl Iterator<Item = Place> {
    let there = move |place: &Place| places.contains_key(place) || point.kind() == Kind::Answer;
    [Side::Before, Side::After].map(|side| (point, side)).into_iter().filter(there)
}

/// Those of the point that HOSTNIC_POINT names. Without it, of so many in a row every so manieth, beginning at one that
/// is drawn.
fn chosen(mut cells: Vec<Cell>, chance: &mut Chance) -> Vec<Cell> {
    if let Ok(name) = std::env::var("HOSTNIC_POINT") {
        cells.retain(|(_, _, ((point, _), _))| point.name() == name);
        return cells;
    }
    let wanted = ((cells.len() as f64 * scale()).ceil() as usize).clamp(1, cells.len());
    let offset = chance.below(cells.len());
    let at = |n: usize| cells[(offset + n * cells.len() / wanted) % cells.len()];
    (0..wanted).map(at).collect()
}

/// A node, and pings between two of its pods all the while.
struct Theatre {
    stage: Stage,
    pinger: Pinger,
}

impl Theatre {
    async fn open(way: Way) -> Self {
        let stage = Stage::open(way).await;
        let target = stage.books.pod(1).agrees_with(stage.books.result(1).unwrap()).address;
        let pinger = Pinger::start(&stage.machine, stage.books.pod(0), target);
        Self { stage, pinger }
    }

    /// Gives all back. No ping may have been lost.
    async fn close(self) {
        let Self { stage, pinger } = self;
        while (pinger.answered() as f64) < PINGS * scale() {
            tokio::task::yield_now().await;
        }
        let Pinged { sent, lost } = pinger.end().await;
        println!("    {:?}: {} starts; {sent} pings from pod to pod, {lost} lost", stage.way, stage.starts());
        assert_eq!(lost, 0, "of {sent} pings");
        stage.close().await;
    }
}

async fn killed_at_points() {
    ping::is_read_right();
    let mut chance = Chance::seeded();
    let [first, second] = Way::ALL.map(Theatre::open);
    let (mut first, mut second) = tokio::join!(first, second);
    // Each waits most of the time, for its kernel and its cloud.
    let (mut passed, of_second) = tokio::join!(undisturbed(&mut first), undisturbed(&mut second));
    passed.extend(of_second);
    all_passed(&passed);
    let cells = cells(&passed);
    println!("    {} places to be killed at", cells.len());
    let chosen = chosen(cells, &mut chance);
    let (first_survived, second_survived) =
        tokio::join!(disturbed(&mut first, &passed, &chosen), disturbed(&mut second, &passed, &chosen));
    first.close().await;
    second.close().await;
    assert!(
        first_survived.is_empty() && second_survived.is_empty(),
        "never killed there: {first_survived:?} {second_survived:?}"
    );
}

/// Plays every scene of a node, and kills nobody.
async fn undisturbed(theatre: &mut Theatre) -> Passed {
    let mut passed = Passed::new();
    let way = theatre.stage.way;
    for scene in Scene::of(way) {
        let begun = Instant::now();
        let (_, places) = play(&mut theatre.stage, *scene, None).await;
        println!("    {way:?} {scene:?}: {} places passed, in {:.1?}", places.len(), begun.elapsed());
        passed.insert((way, *scene), places);
    }
    passed
}

/// Plays scenes of a node to be killed in. Where it did not come by, for all that, is told.
async fn disturbed(theatre: &mut Theatre, passed: &Passed, chosen: &[Cell]) -> BTreeSet<Place> {
    let own = theatre.stage.way;
    let (begun, mut kills) = (Instant::now(), 0);
    let (mut killed, mut survived) = (BTreeSet::new(), BTreeSet::new());
    for (way, scene, (place, nth)) in chosen.iter().copied().filter(|(way, _, _)| *way == own) {
        let (point, side) = place;
        let hits = passed[&(way, scene)].get(&place).copied().unwrap_or_default();
        let ended = insist(&mut theatre.stage, scene, (place, nth)).await;
        let [scene, point, side] = [scene.name(), point.to_string(), side.to_string()];
        let way = way.name();
        println!("    {way:<11} {scene:<14} {side:<6} {point:<22} {nth:>2} of {hits:>2}: {ended:?}");
        if ended == Ended::Killed {
            kills += 1;
            killed.insert(place);
        } else {
            survived.insert(place);
        }
    }
    println!("    {own:?}: {kills} kills, on {} sides of points, in {:.0?}", killed.len(), begun.elapsed());
    survived.difference(&killed).copied().collect()
}

/// Whether a node comes by is up to the order of things sometimes, and so is how often.
async fn insist(stage: &mut Stage, scene: Scene, place: Nth) -> Ended {
    let tries = if place.1 == 1 { TRIES } else { 1 };
    for _ in 1..tries {
        if play(stage, scene, Some(place)).await.0 == Ended::Killed {
            return Ended::Killed;
        }
    }
    play(stage, scene, Some(place)).await.0
}

/// No point is never passed: a kill there would prove nothing.
fn all_passed(passed: &Passed) {
    let places: BTreeSet<Place> = passed.values().flat_map(|places| places.keys().copied()).collect();
    let sides = |point: Point| match point.kind() {
        // What comes after an answer is not the node's.
        Kind::Answer => vec![Side::Before],
        _ => vec![Side::Before, Side::After],
    };
    let shown = Point::ALL.iter().filter(|point| !WITHOUT_A_SCENE.contains(point));
    let wanted = shown.flat_map(|point| sides(*point).into_iter().map(|side| (*point, side)));
    let never: Vec<Place> = wanted.filter(|place| !places.contains(place)).collect();
    assert!(never.is_empty(), "never passed: {never:?}");
}
