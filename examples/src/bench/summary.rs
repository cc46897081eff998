//! From measurements to figures, ratios and whether they are good enough.

use std::time::Duration;

use serde::Serialize;

use super::burst::Burst;
use super::gauge::Measured;
use super::mode::Mode;

/// Everything that was measured in one run; pairs are of ADD and DEL.
#[derive(Debug, Default)]
pub(super) struct Series {
    pub(super) ours: Vec<[Measured; 2]>,
    /// How long after the start of each of our DELs its NIC could be used again.
    pub(super) released: Vec<Duration>,
    pub(super) theirs: Vec<[Measured; 2]>,
    pub(super) kernel: Vec<[Duration; 2]>,
    pub(super) daemon_cpu: Duration,
    pub(super) daemon_peak_kib: u64,
}

/// Where it was measured, and how busy it was there.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// The kernel's release.
    pub kernel: String,
    /// Processors.
    pub cpus: usize,
    /// Runnable threads in the last minute, at the beginning and at the end. Above `cpus` times tell as much about the
    /// scheduler as about the plugins.
    pub load: [f64; 2],
}

impl Machine {
    pub(super) fn look() -> Self {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self { kernel: kernel.trim().to_owned(), cpus, load: [load(), 0.0] }
    }

    pub(super) fn look_again(&mut self) {
        self.load[1] = load();
    }
}

fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(f64::NAN)
}

/// How long something took, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Times {
    /// The fastest.
    pub min_ms: f64,
    /// The median.
    pub p50_ms: f64,
    /// What 99 of 100 were not slower than.
    pub p99_ms: f64,
}

impl Times {
    fn of(times: impl Iterator<Item = Duration>) -> Self {
        let mut times: Vec<f64> = times.map(millis).collect();
        times.sort_by(f64::total_cmp);
        Self { min_ms: rank(&times, 0.0), p50_ms: rank(&times, 0.5), p99_ms: rank(&times, 0.99) }
    }
}

/// The nearest rank.
fn rank(sorted: &[f64], part: f64) -> f64 {
    let place = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// What one plugin takes.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// ADD, from the start of the process to its end.
    pub add: Times,
    /// DEL, likewise.
    pub del: Times,
    /// Processor time of an ADD and its DEL on average, all processes together, in milliseconds.
    pub cpu_ms: f64,
    /// The plugin's own part of it.
    pub plugin_cpu_ms: f64,
    /// The most memory that a plugin's process, or one that it started, ever had.
    pub plugin_peak_mib: f64,
}

impl Figures {
    fn of(runs: &[[Measured; 2]], daemon_cpu: Duration) -> Self {
        let times = |which: usize| Times::of(runs.iter().map(|pair| pair[which].wall));
        let each = |cpu: Duration| millis(cpu) / runs.len().max(1) as f64;
        let plugin_cpu: Duration = runs.iter().flatten().map(|run| run.cpu).sum();
        let peak = runs.iter().flatten().map(|run| run.peak_kib).max().unwrap_or(0);
        Self {
            add: times(0),
            del: times(1),
            cpu_ms: each(plugin_cpu + daemon_cpu),
            plugin_cpu_ms: each(plugin_cpu),
            plugin_peak_mib: mebi(peak),
        }
    }
}

fn mebi(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// A promise, and what it came to.
#[derive(Debug, Clone, Serialize)]
pub struct Bar {
    /// What is promised.
    pub what: &'static str,
    /// What was measured.
    pub measured: f64,
    /// The most that it may be.
    pub limit: f64,
}

impl Bar {
    /// Whether it is kept.
    pub fn is_met(&self) -> bool {
        self.measured <= self.limit
    }
}

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// How pods were joined to their NICs.
    pub mode: Mode,
    /// Where.
    pub machine: Machine,
    /// How often ADD and DEL were measured.
    pub iterations: usize,
    /// NICs in the warm pool.
    pub pool: usize,
    /// Our plugin, its daemon counted in.
    pub hostnic: Figures,
    /// The plugin that it is compared with.
    pub rival: Figures,
    /// From the start of our DEL until its NIC is back in the node and its lease over. The other plugin ends with that.
    pub released: Times,
    /// The kernel alone, moving a NIC into a namespace and back out. Who moves NICs cannot be faster.
    pub kernel: Option<[Times; 2]>,
    /// The most memory that the daemon ever had, the simulated cloud within it counted in.
    pub daemon_peak_mib: f64,
    /// Many pods at once.
    pub bursts: [Burst; 2],
    /// What is promised.
    pub bars: Vec<Bar>,
}

impl Report {
    pub(super) fn new(
        mode: Mode,
        machine: Machine,
        pool: usize,
        series: &Series,
        bursts: [Burst; 2],
    ) -> Self {
        let ours = Figures::of(&series.ours, series.daemon_cpu);
        let theirs = Figures::of(&series.theirs, Duration::ZERO);
        let daemon_peak_mib = mebi(series.daemon_peak_kib);
        let limits = mode.limits();
        let part = |what, ours: f64, theirs: f64, limit| Bar { what, measured: ours / theirs, limit };
        let mut bars = vec![
            part("ADD, part of the other's median", ours.add.p50_ms, theirs.add.p50_ms, limits.add),
            part("DEL, part of the other's median", ours.del.p50_ms, theirs.del.p50_ms, limits.del),
        ];
        let [our_burst, their_burst] = &bursts;
        bars.extend(limits.adds_at_once.map(|limit| {
            part("ADDs at once, part of the other's", our_burst.adds_ms, their_burst.adds_ms, limit)
        }));
        bars.push(Bar {
            what: "plugin's memory, MiB",
            measured: ours.plugin_peak_mib,
            limit: limits.plugin_mib,
        });
        bars.push(Bar { what: "daemon's memory, MiB", measured: daemon_peak_mib, limit: limits.daemon_mib });
        let moves = |which: usize| Times::of(series.kernel.iter().map(|pair| pair[which]));
        let kernel = (!series.kernel.is_empty()).then(|| [0, 1].map(moves));
        Self {
            mode,
            machine,
            iterations: series.ours.len(),
            pool,
            hostnic: ours,
            released: Times::of(series.released.iter().copied()),
            rival: theirs,
            kernel,
            daemon_peak_mib,
            bursts,
            bars,
        }
    }

    /// Whether all promises are kept.
    pub fn is_good(&self) -> bool {
        self.bars.iter().all(Bar::is_met)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_the_nearest_ones() {
        let times = Times::of((1..=100).rev().map(Duration::from_millis));
        assert_eq!((times.min_ms, times.p50_ms, times.p99_ms), (1.0, 50.0, 99.0));
        let one = Times::of(std::iter::once(Duration::from_millis(7)));
        assert_eq!((one.min_ms, one.p50_ms, one.p99_ms), (7.0, 7.0, 7.0));
    }
}
