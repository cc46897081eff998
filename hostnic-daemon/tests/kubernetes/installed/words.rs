//! What people read who ask by kubectl.

use crate::installation::Installation;
use crate::pod::Pod;
use crate::stage::Stage;

/// The commands in the daemon's container, the node's events, and the log.
pub(super) fn are_read(stage: &Stage, installation: &Installation, pods: &[&Pod]) {
    for node in &stage.world.nodes {
        let asked = |command: &str| {
            let said = installation.exec(node, &format!("hostnic-daemon {command}"));
            let said = said.unwrap_or_else(|said| panic!("{command} on {}: {said}", node.name()));
            println!("    {}: hostnic-daemon {command}", node.name());
            said.lines().for_each(|line| println!("      {line}"));
            said
        };
        assert!(asked("status").contains("ready"));
        let listed = asked("pods");
        for pod in pods.iter().filter(|pod| pod.node == node.name()) {
            let named = |line: &str| line.contains(&pod.name) && line.contains(&pod.address.to_string());
            assert!(listed.lines().any(named), "{} is not listed with its address", pod.name);
        }
        asked("nics");
        assert!(asked("doctor").contains("no finding"));
        let log = installation.log(node);
        let loud = |line: &&str| line.contains(" WARN ") || line.contains("ERROR");
        let loud: Vec<&str> = log.lines().filter(loud).collect();
        println!("    {}: warnings in the log: {loud:#?}", node.name());
    }
    let events = installation.shell("kubectl get events -A --field-selector source=hostnic");
    println!("    events:\n{events}");
    for reason in ["NoVxnet", "VxnetChosen"] {
        assert!(events.contains(reason), "{reason} is not among the events");
    }
}
