//! A report for people.

use super::summary::{Report, Times};

/// Two plugins side by side, what the kernel alone takes, and the promises.
pub fn table(report: &Report) -> String {
    let mut lines = vec![
        format!(
            "{} ADDs and DELs, by turns, {} NICs in the warm pool; Linux {}, {} CPUs, load {:.1} to {:.1}",
            report.iterations,
            report.pool,
            report.machine.kernel,
            report.machine.cpus,
            report.machine.load[0],
            report.machine.load[1]
        ),
        format!("{}, beside {}", report.mode.words(), report.mode.rival()),
        String::new(),
        format!(
            "{:<26}{:>10}{:>13}{:>8}{:>14}",
            "",
            "hostnic",
            report.mode.rival(),
            "ratio",
            if report.kernel.is_some() { "kernel alone" } else { "" }
        ),
    ];
    let (ours, theirs) = (&report.hostnic, &report.rival);
    let kernel =
        |which: usize, time: fn(&Times) -> f64| report.kernel.as_ref().map(|times| time(&times[which]));
    let mut row = |what: &str, ours: f64, theirs: f64, unit: &str, kernel: Option<f64>| {
        let kernel = kernel.map_or(String::new(), |time| format!("{time:>11.1} {unit}"));
        lines.push(format!(
            "{what:<26}{ours:>7.1} {unit:<3}{theirs:>9.1} {unit:<3}{:>7.2}{kernel}",
            ours / theirs
        ));
    };
    row("ADD, fastest", ours.add.min_ms, theirs.add.min_ms, "ms", kernel(0, |times| times.min_ms));
    row("ADD, median", ours.add.p50_ms, theirs.add.p50_ms, "ms", kernel(0, |times| times.p50_ms));
    row("ADD, p99", ours.add.p99_ms, theirs.add.p99_ms, "ms", kernel(0, |times| times.p99_ms));
    row("DEL, fastest", ours.del.min_ms, theirs.del.min_ms, "ms", kernel(1, |times| times.min_ms));
    row("DEL, median", ours.del.p50_ms, theirs.del.p50_ms, "ms", kernel(1, |times| times.p50_ms));
    row("DEL, p99", ours.del.p99_ms, theirs.del.p99_ms, "ms", kernel(1, |times| times.p99_ms));
    let released = &report.released;
    row("NIC free again, median", released.p50_ms, theirs.del.p50_ms, "ms", None);
    row("NIC free again, p99", released.p99_ms, theirs.del.p99_ms, "ms", None);
    row("CPU of ADD and DEL", ours.cpu_ms, theirs.cpu_ms, "ms", None);
    row("plugin's peak memory", ours.plugin_peak_mib, theirs.plugin_peak_mib, "MiB", None);
    let [ours_at_once, theirs_at_once] = &report.bursts;
    let many = ours_at_once.pods;
    row(&format!("{many} ADDs at once, all done"), ours_at_once.adds_ms, theirs_at_once.adds_ms, "ms", None);
    row(&format!("{many} DELs at once, all done"), ours_at_once.dels_ms, theirs_at_once.dels_ms, "ms", None);
    let (ours_free, theirs_free) = (ours_at_once.released_ms, theirs_at_once.released_ms);
    row(&format!("{many} NICs free again, all"), ours_free, theirs_free, "ms", None);
    lines.push(format!("{:<26}{:>7.1} MiB", "daemon's peak memory", report.daemon_peak_mib));
    lines.push(format!(
        "\nThe CPU of hostnic is {:.1} ms in the plugin and {:.1} ms in the daemon. The daemon runs the simulated cloud too.\n",
        ours.plugin_cpu_ms,
        ours.cpu_ms - ours.plugin_cpu_ms
    ));
    lines.extend(report.bars.iter().map(|bar| {
        let verdict = if bar.is_met() { "met" } else { "NOT met" };
        format!("{:<36}{:>6.2}, at most {:<6.2}{verdict}", bar.what, bar.measured, bar.limit)
    }));
    lines.join("\n")
}
