//! A full disk under twenty pods, at each write of an ADD and of a DEL.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use hostnic_core::ledger::{State, Write};
use hostnic_core::store::StateStore;
use hostnic_core::{Error, ErrorKind, Result};
use tokio::time::sleep;

use super::damage::Damage;
use super::node::{Daemon, Node, PODS, identity};
use super::support::disk::{PAGE, fill, with_small_disk};
use super::support::{Pod, secs};

/// A store whose disk has room for so many more commits.
#[derive(Debug)]
struct Filling {
    store: Arc<dyn StateStore>,
    room: AtomicI64,
}

#[async_trait]
impl StateStore for Filling {
    async fn load(&self) -> Result<State> {
        self.store.load().await
    }

    async fn commit(&self, writes: &[Write]) -> Result<()> {
        if self.room.fetch_sub(1, Ordering::SeqCst) <= 0 {
            return Err(
                Error::new(ErrorKind::Transient, "write", "the state store").detail("the disk is full")
            );
        }
        self.store.commit(writes).await
    }
}

/// What was refused for want of room changed nothing that anybody can see.
async fn all_is_as_it_was(node: &Node, daemon: &Daemon, newcomer: &Pod) {
    for (pod, answer) in node.pods.iter().zip(&node.answers) {
        node.has(daemon, pod, answer).await;
    }
    let kernel = hostnic_core::RouteProgrammer::observe(&node.world.kernel).await.unwrap();
    assert_eq!(kernel.pods.len(), PODS, "{} has nothing", newcomer.key);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_is_full_from_each_write_on_fails_what_asks_and_nothing_else() {
    for commits in 0.. {
        let mut node = Node::new();
        let daemon = node.serving().await;
        let filling = Arc::new(Filling { store: daemon.store.clone(), room: AtomicI64::new(i64::MAX) });
        daemon.stop().await;
        let opened = hostnic_core::store::Opened::Existing;
        let daemon = node.start_over(filling.clone(), opened).await;
        daemon.agent.ready().await;
        daemon.quiet().await;
        let pod = node.world.pod("new");
        filling.room.store(commits, Ordering::SeqCst);
        let add = node.world.add(&daemon.agent, &pod).await;
        let done = add.is_ok();
        println!(
            "an ADD with room for {commits} commits: {}",
            add.map_or_else(|e| e.to_string(), |_| "done".to_owned())
        );
        if !done {
            all_is_as_it_was(&node, &daemon, &pod).await;
        }
        // It is full for a while, and comparisons go on.
        sleep(secs(200)).await;
        let refused = node.del(&daemon, &node.pods[0].clone(), true).await;
        assert_eq!(
            refused.map_err(|error| error.kind()),
            Err(ErrorKind::Transient),
            "a DEL cannot be remembered"
        );
        filling.room.store(i64::MAX, Ordering::SeqCst);
        let answer = node.world.add(&daemon.agent, &pod).await.unwrap();
        assert!(node.answers.iter().all(|other| other.lease.address != answer.lease.address));
        for (pod, answer) in node.pods.iter().zip(&node.answers).chain([(&pod, &answer)]) {
            node.has(&daemon, pod, answer).await;
        }
        for pod in node.pods.iter().chain([&pod]) {
            node.del(&daemon, pod, true).await.unwrap();
        }
        node.pods_are_empty().await;
        daemon.quiet().await;
        node.world.agree_on(&daemon.store.load().await.unwrap()).await;
        if done {
            return;
        }
    }
}

/// Takes a page's room away from what fills the disk.
fn free_a_page(filler: &Path) {
    let file = OpenOptions::new().write(true).open(filler).unwrap();
    let length = File::metadata(&file).unwrap().len();
    file.set_len(length.saturating_sub(PAGE)).unwrap();
}

#[test]
fn a_real_disk_that_fills_up_page_by_page_fails_what_asks_and_nothing_else() {
    with_small_disk(8 << 20, async |folder| {
        tokio::time::pause();
        let filler = folder.join("filler");
        let mut node = Node::at(folder);
        let daemon = node.serving().await;
        fill(&filler);
        // What a DEL of the unknown leaves takes room, too.
        let mut unknown = 0;
        let refused = loop {
            let pod = Pod::named(&format!("unknown{unknown}"));
            match node.del(&daemon, &pod, false).await {
                Ok(()) => unknown += 1,
                Err(error) => break error,
            }
            assert!(unknown < 100_000, "the disk is never full");
        };
        assert_eq!(refused.kind(), ErrorKind::Transient, "{}", refused.chain());
        let mut pages = 0;
        let mut refusals = std::collections::BTreeMap::new();
        let pod = node.world.pod("new");
        let answer = loop {
            match node.world.add(&daemon.agent, &pod).await {
                Ok(answer) => break answer,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Transient, "{}", error.chain());
                    *refusals.entry(error.to_string()).or_insert(0) += 1;
                    all_is_as_it_was(&node, &daemon, &pod).await;
                }
            }
            free_a_page(&filler);
            pages += 1;
            // The store is looked at again after a second.
            sleep(secs(2)).await;
        };
        println!(
            "a full disk: {unknown} DELs of the unknown until it was full; an ADD was served {pages} pages later"
        );
        for (said, times) in &refusals {
            println!("  {times:>3} times: {said}");
        }
        assert!(!refusals.is_empty(), "the ADD was to be refused at least once");
        assert!(node.answers.iter().all(|other| other.lease.address != answer.lease.address));
        std::fs::remove_file(&filler).unwrap();
        node.end(daemon, true).await;
        let daemon = node.start(identity(&Damage::Flipped)).await;
        daemon.agent.ready().await;
        for (pod, answer) in node.pods.iter().zip(&node.answers).chain([(&pod, &answer)]) {
            node.has(&daemon, pod, answer).await;
        }
        for pod in node.pods.iter().chain([&pod]) {
            node.del(&daemon, pod, true).await.unwrap();
        }
        node.pods_are_empty().await;
        daemon.stop().await;
    });
}
