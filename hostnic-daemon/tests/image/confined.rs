//! With what the manifests give it the image works, and with anything less it does not.

use std::os::unix::fs::chown;

use libtest_mimic::Trial;
use serde_json::Value;

use crate::build;
use crate::contained::contained;
use crate::manifest::Manifest;
use crate::node::Node;
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("the_image_serves_pods_as_the_manifest_confines_it_and_nothing_can_be_spared", confined),
        trial("namespaces_named_by_proc_need_the_overlay_and_it_suffices", by_proc),
        trial("the_access_key_is_taken_from_the_config_map_of_the_go_version_with_a_warning", config_map),
        trial("folders_of_another_user_need_the_overlay_and_it_suffices", foreign_folders),
    ]
}

fn print(table: &[(String, String)]) {
    println!("\n{:<40} | outcome", "the manifest");
    for (with, outcome) in table {
        println!("{with:<40} | {outcome}");
    }
}

/// What comes of a daemon that lacks something.
async fn lacks(node: &Node, manifest: &Manifest, called: &str) -> String {
    node.forwards_nothing();
    let mut daemon = node.starts(manifest, called);
    let served = match node.is_up(&mut daemon).await {
        Ok(()) => node.serves(called).await,
        failed => failed,
    };
    let Err(why) = served else { panic!("{called} can be spared") };
    if !daemon.running.has_ended() {
        daemon.ends().await;
    }
    why
}

async fn confined() {
    let node = Node::new().await;
    let manifest = Manifest::node();
    let (success, said) = node.installs(&manifest, "install").await;
    assert!(success, "{said}");
    let installed = node.surroundings.path("/opt/cni/bin/hostnic");
    assert_eq!(std::fs::read(&installed).unwrap(), std::fs::read(build::path()).unwrap());
    let (success, said) = node.installs(&manifest, "install-again").await;
    assert!(success, "{said}");

    let mut table = Vec::new();
    for name in manifest.capabilities() {
        let less = manifest.clone().without_capability(&name);
        let why = lacks(&node, &less, &format!("less-{name}")).await;
        table.push((format!("without {name}"), why));
    }
    for volume in ["netns", "sysctl", "credentials"] {
        let why = lacks(&node, &manifest.clone().without_mount(volume), &format!("less-{volume}")).await;
        table.push((format!("without the mount {volume}"), why));
    }

    let mut daemon = node.starts(&manifest, "whole");
    assert_eq!(node.is_up(&mut daemon).await, Ok(()));
    assert_eq!(node.serves("whole").await, Ok(()), "{}", daemon.running.said());
    table.push(("as it is".to_owned(), "ADD, gateway, DEL work".to_owned()));
    probes_are_answered(&node, &manifest).await;
    let status = daemon.exec(&["hostnic-daemon", "status"]).await;
    assert!(status.contains("node     ready"), "{status}");
    let (success, said) = daemon.ends().await;
    assert!(success, "{said}");
    print(&table);
    node.end().await;
}

/// What kubelet asks, by the manifest's own words.
async fn probes_are_answered(node: &Node, manifest: &Manifest) {
    let container = manifest.daemon();
    let port = |probe: &Value| {
        let name = &probe["httpGet"]["port"];
        let ports = container["ports"].as_array().unwrap();
        ports.iter().find(|port| port["name"] == *name).unwrap()["containerPort"].as_u64().unwrap()
    };
    for probe in [&container["livenessProbe"], &container["readinessProbe"]] {
        let address = format!("{}:{}", node.surroundings.address, port(probe));
        let answer = node.page(&address, probe["httpGet"]["path"].as_str().unwrap()).await;
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    }
}

async fn by_proc() {
    let node = Node::new().await;
    let (_process, netns) = contained().await;
    let overlay = Manifest::node().with_proc_netns();
    let mut table = Vec::new();
    for (called, manifest) in
        [("as-it-is", Manifest::node()), ("no-ptrace", overlay.clone().without_capability("SYS_PTRACE"))]
    {
        let mut daemon = node.starts(&manifest, called);
        assert_eq!(node.is_up(&mut daemon).await, Ok(()));
        let Err(why) = node.serves_by_proc(netns.as_ref()).await else {
            panic!("{called}: the overlay is not needed")
        };
        assert!(why.contains("deploy/kubernetes/proc-netns"), "{why}");
        table.push((called.to_owned(), why));
        let (success, said) = daemon.ends().await;
        assert!(success, "{said}");
    }
    let mut daemon = node.starts(&overlay, "overlay");
    assert_eq!(node.is_up(&mut daemon).await, Ok(()));
    assert_eq!(node.serves_by_proc(netns.as_ref()).await, Ok(()), "{}", daemon.running.said());
    assert_eq!(node.serves("by-path").await, Ok(()), "{}", daemon.running.said());
    table.push(("with proc-netns".to_owned(), "ADD, DEL work".to_owned()));
    let (success, said) = daemon.ends().await;
    assert!(success, "{said}");
    print(&table);
    node.end().await;
}

async fn config_map() {
    let mut node = Node::new().await;
    node.surroundings.credentials = "hostnic-qingcloud";
    let mut daemon = node.starts(&Manifest::node(), "config-map");
    assert_eq!(node.is_up(&mut daemon).await, Ok(()));
    let (success, said) = daemon.ends().await;
    assert!(success, "{said}");
    let warned = said
        .lines()
        .find(|line| line.contains("ConfigMap hostnic-qingcloud"))
        .unwrap_or_else(|| panic!("{said}"));
    assert!(warned.contains("WARN") && warned.contains("qcsecret"), "{warned}");
    node.end().await;
}

async fn foreign_folders() {
    let node = Node::new().await;
    let folder = node.surroundings.path("/opt/cni/bin");
    std::fs::create_dir_all(&folder).unwrap();
    chown(&folder, Some(1000), Some(0)).unwrap();
    let (success, why) = node.installs(&Manifest::node(), "as-it-is").await;
    assert!(!success && why.contains("Permission denied"), "{why}");
    let (success, said) = node.installs(&Manifest::node().with_foreign_folders(), "overlay").await;
    assert!(success, "{said}");
    assert!(folder.join("hostnic").exists());
    print(&[
        ("as it is".to_owned(), why.trim().to_owned()),
        ("with foreign-folders".to_owned(), "the plugin is installed".to_owned()),
    ]);
    node.end().await;
}
