//! The cloud's NICs come to light in the kernels of its nodes.

use std::sync::Arc;

use async_trait::async_trait;
use hostnic_core::capability::AddressReservation;
use hostnic_core::cloud::{JobState, Nic, NicAttachment};
use hostnic_core::id::{InstanceId, NicId};
use hostnic_core::provider::{CreateNics, NicAddresses};
use hostnic_core::sim::{Fault, Kernel, KernelFault, KernelOperation, Operation, Plug, PlugByInstance, When};
use hostnic_core::{ErrorKind, NicProvider, Result, RouteProgrammer};
use std::net::IpAddr;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use crate::{attached, builder, carrier, create, job, kind, node, request, secs, state};

async fn links(kernel: &Kernel) -> Vec<String> {
    kernel.observe().await.unwrap().host.into_iter().map(|link| link.mac.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_link_is_there_when_the_attach_job_is_done_and_gone_when_the_detach_job_is() {
    let kernel = Kernel::new();
    kernel.set_latency(KernelOperation::Plug, secs(2));
    let cloud = builder().plug(Arc::new(kernel.clone())).build().unwrap();
    let node = node(&cloud);
    let nics = create(&node, 1).await;
    let attach = job(node.attach_nics(&nics).await);
    sleep(secs(11)).await;
    assert_eq!(state(&node, &attach).await, JobState::Running, "its link is being plugged");
    assert!(links(&kernel).await.is_empty());
    sleep(secs(2)).await;
    assert_eq!(state(&node, &attach).await, JobState::Succeeded);
    assert_eq!(links(&kernel).await, [nics[0].to_string()]);
    let detach = job(node.detach_nics(&nics).await);
    sleep(secs(6)).await;
    assert_eq!(state(&node, &detach).await, JobState::Succeeded);
    assert!(links(&kernel).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_link_is_waited_for_and_seen_at_the_moment_it_comes() {
    let kernel = Kernel::new();
    let cloud = builder().plug(Arc::new(kernel.clone())).build().unwrap();
    let nics = node(&cloud).create_nics(&request(1)).await.unwrap();
    let start = Instant::now();
    job(node(&cloud).attach_nics(&[nics[0].id.clone()]).await);
    let link = kernel.wait_for_nic(nics[0].mac).await.unwrap();
    assert_eq!((link.mac, link.in_use), (nics[0].mac, false));
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_cannot_be_plugged_makes_the_job_fail_for_its_nic_only() {
    let kernel = Kernel::new();
    kernel.inject(KernelOperation::Plug, When::Nth(2), KernelFault::Before(ErrorKind::Transient));
    let cloud = builder().plug(Arc::new(kernel.clone())).build().unwrap();
    let node = node(&cloud);
    let nics = create(&node, 3).await;
    let attach = job(node.attach_nics(&nics).await);
    sleep(secs(11)).await;
    assert!(
        matches!(state(&node, &attach).await, JobState::Failed { nics: named, .. } if named == nics[1..2])
    );
    assert_eq!(carrier(&cloud, &nics[1]), None);
    assert_eq!(links(&kernel).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_fails_plugs_nothing() {
    let kernel = Kernel::new();
    let cloud = builder()
        .plug(Arc::new(kernel.clone()))
        .fault(Operation::AttachNics, When::Always, Fault::FailJobFor(1))
        .build()
        .unwrap();
    let nics = create(&node(&cloud), 2).await;
    job(node(&cloud).attach_nics(&nics).await);
    sleep(secs(11)).await;
    assert_eq!(links(&kernel).await, [nics[1].to_string()]);
}

#[tokio::test(start_paused = true)]
async fn each_instance_has_its_own_links_and_an_unknown_one_none() {
    let (one, two) = (Kernel::new(), Kernel::new());
    let plugs = PlugByInstance::new()
        .with("i-1".parse().unwrap(), Arc::new(one.clone()))
        .with("i-2".parse().unwrap(), Arc::new(two.clone()));
    let cloud = builder().instance("i-3").plug(Arc::new(plugs)).build().unwrap();
    attached(&node(&cloud), 2).await;
    attached(&cloud.node(&"i-2".parse().unwrap()), 1).await;
    let nowhere = attached(&cloud.node(&"i-3".parse().unwrap()), 1).await;
    assert_eq!((links(&one).await.len(), links(&two).await.len()), (2, 1));
    assert_eq!(carrier(&cloud, &nowhere[0]), None);
}

#[tokio::test(start_paused = true)]
async fn links_follow_nics_that_vanish_come_from_others_or_lose_their_instance() {
    let kernel = Kernel::new();
    let cloud = builder().primary_nic("i-1", "vxnet-1").plug(Arc::new(kernel.clone())).build().unwrap();
    let nics = attached(&node(&cloud), 2).await;
    assert_eq!(links(&kernel).await.len(), 3, "the primary NIC too");
    cloud.vanish(&nics[0]).unwrap();
    sleep(secs(1)).await;
    assert_eq!(links(&kernel).await.len(), 2);
    let foreign: Nic = Nic {
        id: NicId::new("52:54:00:00:00:01").unwrap(),
        mac: "52:54:00:00:00:01".parse().unwrap(),
        name: "theirs".to_owned(),
        subnet: "vxnet-1".parse().unwrap(),
        addresses: Vec::new(),
        attachment: NicAttachment::Attached { instance: "i-1".parse().unwrap(), primary: false },
    };
    cloud.insert_nic(foreign).unwrap();
    sleep(secs(1)).await;
    assert_eq!(links(&kernel).await.len(), 3);
    cloud.terminate(&"i-1".parse().unwrap());
    sleep(secs(1)).await;
    assert_eq!(links(&kernel).await, ["52:54:00:00:00:01"; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_bare_nic_may_send_from_the_reserved_addresses_of_its_subnet() {
    let kernel = Kernel::new();
    let cloud = builder().plug(Arc::new(kernel.clone())).build().unwrap();
    let node = node(&cloud);
    let bare = CreateNics { addresses: NicAddresses::None, ..request(1) };
    let nic = node.create_nics(&bare).await.unwrap().remove(0).id;
    job(node.attach_nics(std::slice::from_ref(&nic)).await);
    sleep(secs(11)).await;
    assert_eq!(kernel.sources(&nic), Some(Vec::new()));
    let (first, last) = ("192.168.50.8".parse::<IpAddr>().unwrap(), "192.168.50.9".parse().unwrap());
    let subnet = "vxnet-1".parse().unwrap();
    job(node.reserve(&subnet, "pods", first, last).await);
    sleep(secs(2)).await;
    assert_eq!(kernel.sources(&nic), Some(vec![first, last]));
    let reserved = node.reserved(&subnet, "pods").await.unwrap();
    job(node.release(&[reserved[0].id.clone()]).await);
    sleep(secs(2)).await;
    assert_eq!(kernel.sources(&nic), Some(vec![last]));
}

/// A plug whose plugging waits for permits; it shows whether the cloud holds anything meanwhile.
#[derive(Debug)]
struct SlowPlug {
    permits: Semaphore,
}

impl SlowPlug {
    fn new() -> Arc<Self> {
        Arc::new(Self { permits: Semaphore::new(0) })
    }
}

#[async_trait]
impl Plug for SlowPlug {
    async fn plug(&self, _: &InstanceId, _: &Nic, _: &[IpAddr]) -> Result<()> {
        self.permits.acquire().await.unwrap().forget();
        Ok(())
    }
    async fn unplug(&self, _: &InstanceId, _: &Nic) -> Result<()> {
        Ok(())
    }
    async fn set_sources(&self, _: &NicId, _: &[IpAddr]) -> Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_plug_holds_up_neither_calls_nor_other_jobs() {
    let plug = SlowPlug::new();
    let cloud = builder().plug(Arc::<SlowPlug>::clone(&plug)).build().unwrap();
    let node = node(&cloud);
    let nics = create(&node, 2).await;
    let first = job(node.attach_nics(&nics[..1]).await);
    sleep(secs(11)).await;
    let second = job(node.attach_nics(&nics[1..]).await);
    sleep(secs(11)).await;
    assert_eq!(kind(node.detach_nics(&nics).await), ErrorKind::Conflict);
    plug.permits.add_permits(2);
    sleep(secs(1)).await;
    assert_eq!(state(&node, &first).await, JobState::Succeeded);
    assert_eq!(state(&node, &second).await, JobState::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_nic_that_vanishes_while_it_is_plugged_leaves_no_link() {
    let kernel = Kernel::new();
    kernel.set_latency(KernelOperation::Plug, secs(4));
    let cloud = builder().plug(Arc::new(kernel.clone())).build().unwrap();
    let nics = create(&node(&cloud), 1).await;
    let attach = job(node(&cloud).attach_nics(&nics).await);
    sleep(secs(12)).await;
    cloud.vanish(&nics[0]).unwrap();
    sleep(secs(3)).await;
    assert!(
        matches!(state(&node(&cloud), &attach).await, JobState::Failed { nics: named, .. } if named == nics)
    );
    assert!(links(&kernel).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn with_its_last_handle_the_cloud_stops_plugging() {
    let plug = SlowPlug::new();
    let cloud = builder().plug(Arc::<SlowPlug>::clone(&plug)).build().unwrap();
    let node = node(&cloud);
    let nics = create(&node, 1).await;
    job(node.attach_nics(&nics).await);
    drop(cloud);
    sleep(secs(11)).await;
    drop(node);
    // Time goes on only when every task has had its turn.
    sleep(secs(1)).await;
    assert_eq!(Arc::strong_count(&plug), 1, "the task has let go of the plug");
}
