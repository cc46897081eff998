//! The daemon's store is lost, damaged or of another boot under twenty running pods: all are found again from the cloud and
//! the kernel, keep their traffic, and can be deleted. The long matrix of damages is core's (`agent_damage`); here a few
//! of each kind meet the real kernel, the plugin, and the daemon's and the simulator's programs.

mod full;
mod store;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::api::{Api, flags};
use crate::lifecycle::gateway;
use crate::machine::{Machine, Running};
use crate::pod::{Given, Pod};
use crate::trial;

use store::Damage;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("twenty_pods_are_found_again_whatever_became_of_the_store", found_again),
        trial("a_full_disk_fails_adds_until_there_is_room_and_nothing_else", full::full),
    ]
}

/// How many pods run.
pub(crate) const PODS: usize = 20;

/// A node with its pods.
pub(crate) struct Node {
    pub(crate) machine: Machine,
    pub(crate) api: Api,
    daemon: Option<Running>,
    starts: u32,
    store: PathBuf,
    pub(crate) pods: Vec<(Pod, Value, Given)>,
}

impl Node {
    pub(crate) async fn new() -> Self {
        let machine = Machine::new().await;
        let api = Api::start(&machine).await;
        let store = machine.folder().join("state.redb");
        Self { machine, api, daemon: None, starts: 0, store, pods: Vec::new() }
    }

    /// Has the daemon keep its records in another folder than its own.
    pub(crate) fn store_in(&mut self, folder: &Path) {
        self.store = folder.join("state.redb");
    }

    /// Starts the daemon and waits until it serves.
    pub(crate) async fn start(&mut self) {
        self.starts += 1;
        let file = self.api.access_file();
        let mut command = self.machine.start_with(&flags(&file), &self.store);
        command.args([
            "--pool-low",
            "1",
            "--pool-high",
            "4",
            "--cooling",
            "0",
            "--policy",
            "RoundRotate",
            "--cleanup-cache-on-exit",
        ]);
        let daemon = self.machine.spawn(command, &format!("log-{}", self.starts));
        let ready = async || {
            let status = self.machine.asked(&["status", "-o", "json"]).await;
            status.is_ok_and(|status| serde_json::from_str::<Value>(&status).unwrap()["ready"] == true)
        };
        self.machine.until(&daemon, "it is ready", ready).await;
        self.daemon = Some(daemon);
    }

    /// Gives all the pods their interfaces, at once.
    pub(crate) async fn add_pods(&mut self) {
        let mut calls = JoinSet::new();
        for number in 0..PODS {
            let pod = self.machine.pod(&format!("d{number}")).await;
            let call = self.machine.call("ADD", &pod);
            calls.spawn(async move { (pod, call.succeeds().await) });
        }
        self.pods = calls.join_all().await.into_iter().map(told).collect();
    }

    pub(crate) fn daemon(&self) -> &Running {
        self.daemon.as_ref().unwrap()
    }

    /// Ends the daemon by this signal.
    pub(crate) async fn end(&mut self, signal: Signal) -> String {
        let daemon = self.daemon.take().unwrap();
        daemon.ends_by(signal).await.1
    }

    /// What the daemon lists as active is what runs.
    pub(crate) async fn lists_all(&self) {
        let listed = self.machine.listed("pods").await;
        let active = listed.as_array().unwrap().iter().filter(|pod| pod["state"] == "active");
        let said: BTreeSet<String> = active.map(row).collect();
        let runs =
            self.pods.iter().map(|(pod, _, given)| format!("{}/24 {}", given.address, pod.path().display()));
        assert_eq!(said, runs.collect(), "{}", self.daemon().said());
    }

    /// Every pod has what it was given, says CHECK, and is answered by its router.
    pub(crate) async fn all_run(&self) {
        self.lists_all().await;
        for (pod, result, given) in &self.pods {
            assert_eq!(&pod.agrees_with(result), given);
            pod.ping(gateway(given.address)).await;
            self.machine.call("CHECK", pod).with("prevResult", result.clone()).succeeds().await;
        }
    }

    /// A repeated ADD of each pod is answered as the first was.
    async fn all_are_answered_again(&self) {
        let mut calls = JoinSet::new();
        for (pod, result, _) in &self.pods {
            let (call, result) = (self.machine.call("ADD", pod), result.clone());
            calls.spawn(async move { assert_eq!(call.succeeds().await, result) });
        }
        calls.join_all().await;
    }

    /// A new pod gets what nobody has.
    pub(crate) async fn a_newcomer_is_served(&self, name: &str) {
        let pod = self.machine.pod(name).await;
        let given = pod.agrees_with(&self.machine.call("ADD", &pod).succeeds().await);
        let others =
            |(_, _, other): &&(Pod, Value, Given)| other.address == given.address || other.mac == given.mac;
        assert!(!self.pods.iter().any(|other| others(&other)), "{given:?} is another pod's");
        pod.ping(gateway(given.address)).await;
        self.machine.call("DEL", &pod).succeeds().await;
    }

    /// The DEL of each pod works, whether or not the runtime tells the namespace, and a new ADD after it.
    async fn all_are_deleted_and_added_again(&mut self) {
        self.delete_all().await;
        let mut calls = JoinSet::new();
        for (pod, ..) in self.pods.drain(..) {
            let call = self.machine.call("ADD", &pod);
            calls.spawn(async move { (pod, call.succeeds().await) });
        }
        self.pods = calls.join_all().await.into_iter().map(told).collect();
    }

    pub(crate) async fn delete_all(&self) {
        let mut calls = JoinSet::new();
        for (number, (pod, ..)) in self.pods.iter().enumerate() {
            let call = self.machine.call("DEL", pod);
            let call = if number % 2 == 0 { call } else { call.unset("CNI_NETNS") };
            calls.spawn(async move { call.succeeds().await });
        }
        calls.join_all().await;
        self.machine.until_released().await;
        self.pods.iter().for_each(|(pod, ..)| pod.is_empty());
    }

    /// Waits until nothing is left of any pod but the twenty.
    pub(crate) async fn until_alone(&self) {
        let alone = async || self.machine.listed("pods").await.as_array().unwrap().len() == PODS;
        self.machine.until(self.daemon(), "the newcomer is gone", alone).await;
    }

    /// Gives everything back. What was on its way in or out when the records were lost is attached nowhere, and is deleted
    /// by a daemon that sees it for longer than the grace.
    pub(crate) async fn finish(mut self) {
        self.delete_all().await;
        let said = self.end(Signal::SIGTERM).await;
        let mut left = self.api.nics().await;
        left.retain(|nic| nic["attachment"] != "Available");
        assert!(left.is_empty(), "NICs are left: {left:#?}; {said}");
        self.api.end().await;
    }
}

fn told((pod, result): (Pod, Value)) -> (Pod, Value, Given) {
    let given = pod.agrees_with(&result);
    (pod, result, given)
}

fn row(pod: &Value) -> String {
    let [address, netns] = ["address", "netns"].map(|key| pod[key].as_str().unwrap());
    format!("{address} {netns}")
}

async fn found_again() {
    let mut node = Node::new().await;
    node.start().await;
    node.add_pods().await;
    node.all_run().await;
    for (number, damage) in Damage::chosen().iter().enumerate() {
        node.end(if number % 2 == 0 { Signal::SIGKILL } else { Signal::SIGTERM }).await;
        damage.apply(&node.store).await;
        node.start().await;
        node.all_run().await;
        node.a_newcomer_is_served(&format!("n{number}")).await;
        node.all_are_answered_again().await;
        let said = node.daemon().said();
        if damage.is_said() {
            assert!(said.contains("the state store is damaged and a new one begins"), "{damage:?}: {said}");
        }
        node.all_are_deleted_and_added_again().await;
        println!("    {damage:?}: all {PODS} found, answered again, deleted and added again");
    }
    node.finish().await;
}
