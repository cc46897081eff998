//! The VPC, drawn and listed.

use super::report::{Ping, Pod};

/// A picture of the nodes, their pods and the VPC between them, and a table of the pods.
pub fn picture(subnets: &[String], pods: &[Pod]) -> String {
    let mut lines = vec![
        format!("      +----------- VPC: router of {} -----------+", subnets.join(" and ")),
        "      |                                                       |".to_owned(),
    ];
    let mut nodes: Vec<&str> = pods.iter().map(|pod| pod.node.as_str()).collect();
    nodes.dedup();
    let of = |node: &str| pods.iter().filter(|pod| pod.node == node).collect::<Vec<_>>();
    let columns: Vec<Vec<String>> = nodes
        .iter()
        .map(|node| {
            let mut column = vec![format!("[{node}]")];
            column.extend(of(node).iter().map(|pod| format!("  +-- {:<6} {:<14}", pod.name, pod.address)));
            column
        })
        .collect();
    let height = columns.iter().map(Vec::len).max().unwrap_or(0);
    for row in 0..height {
        let cells = columns.iter().map(|c| format!("{:<48}", c.get(row).map_or("", String::as_str)));
        lines.push(format!("   {}", cells.collect::<String>().trim_end()));
    }
    lines.push(String::new());
    lines.push(format!("   {:<7} {:<9} {:<18} {:<15} {:<9} ADD", "POD", "NODE", "NIC", "ADDRESS", "SUBNET"));
    for pod in pods {
        lines.push(format!(
            "   {:<7} {:<9} {:<18} {:<15} {:<9} {:.0} ms",
            pod.name, pod.node, pod.mac, pod.address, pod.subnet, pod.add_ms
        ));
    }
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
