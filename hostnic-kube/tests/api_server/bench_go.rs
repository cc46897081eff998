//! The scheme of the Go version, for comparison: for each address it reads the pool, lists the blocks, takes the first one with room,
//! writes the handle and then the block, and begins anew where somebody else was faster, ten times at most. One pod of a node at a
//! time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kube::ResourceExt;
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::stage::{LARGE, Stage};
use crate::{Figures, Size, pod};

const TRIES: usize = 10;

#[derive(Default)]
struct Counts {
    reads: AtomicU64,
    writes: AtomicU64,
    conflicts: AtomicU64,
}

struct Client {
    stage: Stage,
    counts: Counts,
}

impl Client {
    async fn read(&self, kind: &str, name: &str) -> Option<DynamicObject> {
        self.counts.reads.fetch_add(1, Ordering::Relaxed);
        self.stage.objects(kind).get_opt(name).await.unwrap()
    }

    async fn write(&self, kind: &str, object: &DynamicObject) -> bool {
        self.counts.writes.fetch_add(1, Ordering::Relaxed);
        let api = self.stage.objects(kind);
        let written = if object.metadata.resource_version.is_some() {
            api.replace(&object.name_any(), &PostParams::default(), object).await
        } else {
            api.create(&PostParams::default(), object).await
        };
        match written {
            Ok(_) => true,
            Err(kube::Error::Api(status)) if status.code == 409 => {
                self.counts.conflicts.fetch_add(1, Ordering::Relaxed);
                false
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Whether an address was claimed.
    async fn claim(&self, handle: &str) -> bool {
        for _ in 0..TRIES {
            self.read("IPPool", LARGE).await.unwrap();
            self.counts.reads.fetch_add(1, Ordering::Relaxed);
            let of_pool = ListParams::default().labels(&format!("ippool.network.qingcloud.com/name={LARGE}"));
            let blocks = self.stage.objects("IPAMBlock").list(&of_pool).await.unwrap().items;
            let has_room =
                |block: &&DynamicObject| !block.data["spec"]["unallocated"].as_array().unwrap().is_empty();
            let Some(block) = blocks.iter().find(has_room) else { return false };
            if self.claim_in(block.clone(), handle).await {
                return true;
            }
        }
        false
    }

    async fn claim_in(&self, mut block: DynamicObject, handle: &str) -> bool {
        for _ in 0..TRIES {
            if !take(&mut block, handle) {
                return false;
            }
            self.mark(handle, &block, 1).await;
            if self.write("IPAMBlock", &block).await {
                return true;
            }
            self.mark(handle, &block, -1).await;
            block = self.read("IPAMBlock", &block.name_any()).await.unwrap();
        }
        false
    }

    /// Raises or lowers what a handle says.
    async fn mark(&self, handle: &str, block: &DynamicObject, by: i64) {
        let key = format!("4100-{}", block.data["spec"]["cidr"].as_str().unwrap());
        loop {
            let mut object = self.read("IPAMHandle", handle).await.unwrap_or_else(|| {
                let object = json!({
                    "apiVersion": "network.qingcloud.com/v1alpha1", "kind": "IPAMHandle", "metadata": { "name": handle },
                    "spec": { "handleID": handle, "block": {}, "deleted": false },
                });
                serde_json::from_value(object).unwrap()
            });
            let count = object.data["spec"]["block"][&key].as_i64().unwrap_or(0) + by;
            if count <= 0 {
                self.counts.writes.fetch_add(1, Ordering::Relaxed);
                let _ = self.stage.objects("IPAMHandle").delete(handle, &DeleteParams::default()).await;
                return;
            }
            object.data["spec"]["block"][&key] = json!(count);
            if self.write("IPAMHandle", &object).await {
                return;
            }
        }
    }

    async fn release(&self, handle: &str) {
        let Some(object) = self.read("IPAMHandle", handle).await else { return };
        for key in object.data["spec"]["block"].as_object().unwrap().keys() {
            let name = key.replace(['.', '/'], "-");
            loop {
                let mut block = self.read("IPAMBlock", &name).await.unwrap();
                if !give(&mut block, handle) {
                    break;
                }
                if self.write("IPAMBlock", &block).await {
                    self.mark(handle, &block, -1).await;
                    break;
                }
            }
        }
    }
}

/// Takes the first free address of a block.
fn take(block: &mut DynamicObject, handle: &str) -> bool {
    let spec = &mut block.data["spec"];
    let free = spec["unallocated"].as_array_mut().unwrap();
    if free.is_empty() {
        return false;
    }
    let number = usize::try_from(free.remove(0).as_u64().unwrap()).unwrap();
    let attributes = spec["attributes"].as_array_mut().unwrap();
    attributes.push(json!({ "handle_id": handle, "secondary": { "namespace": "default" } }));
    let index = attributes.len() - 1;
    spec["allocations"][number] = json!(index);
    true
}

/// Takes a handle's addresses back.
fn give(block: &mut DynamicObject, handle: &str) -> bool {
    let spec = &mut block.data["spec"];
    let attributes = spec["attributes"].as_array_mut().unwrap();
    let Some(index) = attributes.iter().position(|attribute| attribute["handle_id"] == handle) else {
        return false;
    };
    attributes.remove(index);
    let mut numbers = Vec::new();
    for (number, place) in spec["allocations"].as_array_mut().unwrap().iter_mut().enumerate() {
        match place.as_u64().map(|place| usize::try_from(place).unwrap()) {
            Some(at) if at == index => {
                *place = Value::Null;
                numbers.push(number);
            }
            Some(at) if at > index => *place = json!(at - 1),
            _ => {}
        }
    }
    spec["unallocated"].as_array_mut().unwrap().extend(numbers.iter().map(|number| json!(number)));
    true
}

pub(crate) async fn run(stage: &Stage, size: Size) -> Figures {
    let client = Arc::new(Client { stage: stage.clone(), counts: Counts::default() });
    let mut figures = Figures::default();
    let handle = |node: usize, number: usize| format!("default-{}", pod(node, number).0);
    let half = size.pods / 2;
    let begun = Instant::now();
    for (from, to, nodes) in [(0, half, size.nodes), (half, size.pods, size.nodes - size.killed)] {
        let mut draws = JoinSet::new();
        for node in 0..nodes {
            let client = client.clone();
            draws.spawn(async move {
                let mut drawn = 0;
                for number in from..to {
                    drawn += usize::from(client.claim(&handle(node, number)).await);
                }
                (drawn, to - from - drawn)
            });
        }
        while let Some(done) = draws.join_next().await {
            let (drawn, failed) = done.unwrap();
            figures.drawn += drawn;
            figures.failed += failed;
        }
    }
    figures.drawing = begun.elapsed();
    let begun = Instant::now();
    let mut returns = JoinSet::new();
    for node in 0..size.nodes - size.killed {
        let client = client.clone();
        returns.spawn(async move {
            for number in 0..size.pods {
                client.release(&handle(node, number)).await;
            }
        });
        figures.returned += size.pods;
    }
    while let Some(done) = returns.join_next().await {
        done.unwrap();
    }
    figures.returning = begun.elapsed();
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    figures.reads = read(&client.counts.reads);
    figures.writes = read(&client.counts.writes);
    figures.conflicts = read(&client.counts.conflicts);
    figures
}
