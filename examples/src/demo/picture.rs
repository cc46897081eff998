//! The VPC, drawn and listed.

use super::report::{Calls, Ping, Pod};

/// The width of a node's column.
const COLUMN: usize = 34;

/// A picture of the nodes, their pods and the VPC between them, and a table of the pods.
pub fn picture(subnets: &[String], pods: &[Pod]) -> String {
    let mut nodes: Vec<&str> = pods.iter().map(|pod| pod.node.as_str()).collect();
    nodes.dedup();
    let row = |cells: Vec<String>| {
        let padded: String = cells.iter().map(|cell| format!("{cell:<COLUMN$}")).collect();
        format!("   {}", padded.trim_end())
    };
    let of = |node: &str| -> Vec<&Pod> { pods.iter().filter(|pod| pod.node == node).collect() };
    let mut lines = vec![
        format!("   VPC: {}", subnets.join(", ")),
        format!("   {:=^1$}", " router ", COLUMN * nodes.len()),
        row(nodes.iter().map(|_| "    |".to_owned()).collect()),
        row(nodes.iter().map(|node| format!("  [{node}]")).collect()),
    ];
    let height = nodes.iter().map(|node| of(node).len()).max().unwrap_or(0);
    for index in 0..height {
        let cell = |node: &&str| match of(node).get(index) {
            Some(pod) => format!("    +-- {} {}", pod.name, pod.address),
            None => String::new(),
        };
        lines.push(row(nodes.iter().map(cell).collect()));
    }
    lines.push(String::new());
    lines.push(format!("   {:<7} {:<9} {:<18} {:<15} {:<14} ADD", "POD", "NODE", "NIC", "ADDRESS", "SUBNET"));
    lines.extend(pods.iter().map(|pod| {
        format!(
            "   {:<7} {:<9} {:<18} {:<15} {:<14} {:.0} ms",
            pod.name, pod.node, pod.mac, pod.address, pod.subnet, pod.add_ms
        )
    }));
    lines.join("\n")
}

/// How the pings went, in one line a kind.
pub(super) fn pings(pings: &[Ping]) -> String {
    let kinds = [
        ("one node, one subnet  ", true, true),
        ("one node, two subnets ", true, false),
        ("two nodes, one subnet ", false, true),
        ("two nodes, two subnets", false, false),
    ];
    let line = |(name, same_node, same_subnet): (&str, bool, bool)| {
        let of_kind: Vec<&Ping> =
            pings.iter().filter(|p| p.same_node == same_node && p.same_subnet == same_subnet).collect();
        let answered: Vec<f64> = of_kind.iter().filter_map(|p| p.ms).collect();
        let slowest = answered.iter().copied().fold(0.0, f64::max);
        format!("   {name}  {}/{} answered, slowest {slowest:.2} ms", answered.len(), of_kind.len())
    };
    kinds.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The calls to the cloud's API, by action.
pub(super) fn calls(calls: &[Calls]) -> String {
    let row = |action: &str, cells: [String; 4]| {
        let [start, pods, end, all] = cells;
        format!("   {action:<22} {start:>8} {pods:>8} {end:>8} {all:>8}")
    };
    let heads = ["STARTING", "PODS", "ENDING", "ALL"].map(str::to_owned);
    let numbers = |c: &Calls| [c.start, c.pods, c.end, c.start + c.pods + c.end].map(|n| n.to_string());
    let total = calls.iter().fold(Calls::default(), |sum, c| Calls {
        action: String::new(),
        start: sum.start + c.start,
        pods: sum.pods + c.pods,
        end: sum.end + c.end,
    });
    let mut lines = vec![row("CALLS TO THE CLOUD", heads)];
    lines.extend(calls.iter().map(|c| row(&c.action, numbers(c))));
    lines.push(row("all", numbers(&total)));
    lines.join("\n")
}
