//! `kill -9` of the daemon's node at every point of what it does, before and after, and a start anew: what was answered
//! holds, what was not leaves nothing, cloud, records and kernel agree, and other pods lose no packet.
//!
//! Every scene is played once without a kill, and each point must be passed in one of them. Then each is played for each
//! of its points and killed there. HOSTNIC_SCALE says for how many of these, HOSTNIC_SEED which; HOSTNIC_POINT=DropIntent
//! has all of that point and no other.

mod calls;
mod hosted;
mod ping;
mod process;
mod scene;
mod stage;

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
use stage::Stage;

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

/// What was passed when nobody was killed.
type Passed = BTreeMap<Scene, BTreeMap<Place, u32>>;

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

/// A scene, and where it is killed.
type Cell = (Scene, Nth);

/// All of them.
fn cells(passed: &Passed) -> Vec<Cell> {
    let mut seen = BTreeSet::new();
    let mut cells = Vec::new();
    for scene in Scene::ALL {
        let points: BTreeSet<Point> = passed[&scene].keys().map(|(point, _)| *point).collect();
        for point in points.into_iter().filter(|point| !is_of_the_test(*point, scene)) {
            if seen.insert(point) || scene.is_whole() {
                cells.extend(times(point, scene, passed).map(|nth| (scene, nth)));
            }
        }
    }
    cells
}

/// The test itself asks for lists, to see whether all agree.
fn is_of_the_test(point: Point, scene: Scene) -> bool {
    matches!(point, Point::AnswerNics | Point::AnswerPods) && scene != Scene::Asked
}

/// The first time is enough, but where a point is the function that all messages to the kernel go by.
fn times(point: Point, scene: Scene, passed: &Passed) -> impl Iterator<Item = Nth> + use<> {
    let times = match point {
        Point::ChangeKernel => passed[&scene][&(point, Side::Before)],
        _ => 1,
    };
    (1..=times).flat_map(move |nth| [Side::Before, Side::After].map(|side| ((point, side), nth)))
}

/// Those of the point that HOSTNIC_POINT names. Without it, of so many in a row every so manieth, beginning at one that
/// is drawn.
fn chosen(mut cells: Vec<Cell>, chance: &mut Chance) -> Vec<Cell> {
    if let Ok(name) = std::env::var("HOSTNIC_POINT") {
        cells.retain(|(_, ((point, _), _))| point.name() == name);
        return cells;
    }
    let wanted = ((cells.len() as f64 * scale()).ceil() as usize).clamp(1, cells.len());
    let offset = chance.below(cells.len());
    let at = |n: usize| cells[(offset + n * cells.len() / wanted) % cells.len()];
    (0..wanted).map(at).collect()
}

async fn killed_at_points() {
    ping::is_read_right();
    let mut chance = Chance::seeded();
    let mut stage = Stage::open().await;
    let target = stage.books.pod(1).agrees_with(stage.books.result(1).unwrap()).address;
    let pinger = Pinger::start(&stage.machine, stage.books.pod(0), target);

    let passed = undisturbed(&mut stage).await;
    all_passed(&passed);
    let survived = disturbed(&mut stage, &passed, &mut chance).await;

    while (pinger.answered() as f64) < PINGS * scale() {
        tokio::task::yield_now().await;
    }
    let Pinged { sent, lost } = pinger.end().await;
    println!("    {} starts; {sent} pings from pod to pod, {lost} lost", stage.starts());
    assert!(survived.is_empty(), "never killed there: {survived:?}");
    assert_eq!(lost, 0, "of {sent} pings");
    stage.close().await;
}

/// Plays every scene, and kills nobody.
async fn undisturbed(stage: &mut Stage) -> Passed {
    let mut passed = Passed::new();
    for scene in Scene::ALL {
        let begun = Instant::now();
        let (_, places) = play(stage, scene, None).await;
        println!("    {scene:?}: {} places passed, in {:.1?}", places.len(), begun.elapsed());
        passed.insert(scene, places);
    }
    passed
}

/// Plays scenes to be killed in. Where a node did not come by, for all that, is told.
async fn disturbed(stage: &mut Stage, passed: &Passed, chance: &mut Chance) -> BTreeSet<Place> {
    let all = cells(passed);
    println!("    {} places to be killed at", all.len());
    let (begun, mut kills) = (Instant::now(), 0);
    let (mut killed, mut survived) = (BTreeSet::new(), BTreeSet::new());
    for (scene, (place, nth)) in chosen(all, chance) {
        let (point, side) = place;
        let hits = passed[&scene].get(&place).copied().unwrap_or_default();
        let ended = insist(stage, scene, (place, nth)).await;
        let [scene, point, side] = [scene.name(), point.to_string(), side.to_string()];
        println!("    {scene:<14} {side:<6} {point:<22} {nth:>2} of {hits:>2}: {ended:?}");
        if ended == Ended::Killed {
            kills += 1;
            killed.insert(place);
        } else {
            survived.insert(place);
        }
    }
    println!("    {kills} kills, on {} sides of points, in {:.0?}", killed.len(), begun.elapsed());
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

/// Only pods behind veths have these, and no scene has such pods.
const OF_VETHS: [Point; 4] = [Point::AdaptPlan, Point::AdaptPod, Point::AnnouncePodAgain, Point::CompareNode];

/// Only pods that ask for a NIC of their own come by there. hostnic-core kills an agent at each of its steps for these.
fn is_for_one_pod(point: Point) -> bool {
    matches!(
        point,
        Point::RecordLent
            | Point::RecordEntrusted
            | Point::DescribeWished
            | Point::FindHolder
            | Point::FindWished
            | Point::ReadTags
            | Point::PutTags
    )
}

/// No point is never passed: a kill there would prove nothing.
fn all_passed(passed: &Passed) {
    let places: BTreeSet<Place> = passed.values().flat_map(|places| places.keys().copied()).collect();
    let sides = |point: Point| match point.kind() {
        // What comes after an answer is not the node's.
        Kind::Answer => vec![Side::Before],
        _ => vec![Side::Before, Side::After],
    };
    let all = Point::ALL.iter().filter(|point| !OF_VETHS.contains(point) && !is_for_one_pod(**point));
    let wanted = all.flat_map(|point| sides(*point).into_iter().map(|side| (*point, side)));
    let never: Vec<Place> = wanted.filter(|place| !places.contains(place)).collect();
    assert!(never.is_empty(), "never passed: {never:?}");
}
