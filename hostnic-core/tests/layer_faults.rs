//! The retry layer over a simulated cloud that loses requests and answers, throttles, and whose lists lag behind.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::sync::Arc;
use std::time::Duration;

use hostnic_core::cloud::{JobState, NicName, Submitted};
use hostnic_core::id::{CreateToken, NicId};
use hostnic_core::layer::{Deadline, RetryConfig, Stack};
use hostnic_core::provider::{CreateNics, NicAddresses};
use hostnic_core::sim::{Cloud, Durations, Fault, Operation, When};
use hostnic_core::{Effect, ErrorKind, NicProvider, Result};
use proptest::prelude::*;

const OPERATIONS: [Operation; 6] = [
    Operation::Instance,
    Operation::CreateNics,
    Operation::AttachNics,
    Operation::DetachNics,
    Operation::DeleteNics,
    Operation::ListNics,
];

/// A cloud that breaks every other call in one way or another. Lists lag less than the retries look back.
fn cloud(seed: u64, lag: Duration) -> Cloud {
    let second = Duration::from_secs(1);
    let mut cloud = Cloud::builder()
        .seed(seed)
        .subnet("vxnet-1", "10.1.0.0/24")
        .instance("i-1")
        .list_lag(lag)
        .durations(Durations { attach: second, detach: second, reserve: second });
    for operation in OPERATIONS {
        let throttled = ErrorKind::Throttled { retry_after: Some(second) };
        for fault in [Fault::LoseAnswer, Fault::LoseRequest, Fault::NeverAnswer, Fault::Refuse(throttled)] {
            cloud = cloud.fault(operation, When::Chance(0.15), fault);
        }
    }
    cloud.build().unwrap()
}

fn stack(cloud: &Cloud, seed: u64) -> Arc<dyn NicProvider> {
    let node = Arc::new(cloud.node(&"i-1".parse().unwrap()));
    let config = RetryConfig::default().with_seed(seed);
    Stack::new().retry(config).deadline(Deadline::default()).around(node)
}

fn named(cloud: &Cloud, name: &NicName) -> Vec<NicId> {
    let nics = cloud.snapshot();
    nics.values().filter(|nic| nic.name == name.to_string()).map(|nic| nic.id.clone()).collect()
}

/// One NIC's life, as far as the cloud lets it come.
async fn live(provider: &dyn NicProvider, cloud: &Cloud, count: u32) -> Result<()> {
    let name = NicName { instance: "i-1".parse()?, token: Some(CreateToken::from_bits([7; 10])) };
    let request = CreateNics {
        subnet: "vxnet-1".parse()?,
        count,
        name: name.clone(),
        addresses: NicAddresses::Assigned(1),
    };
    let made = provider.create_nics(&request).await;
    let there = named(cloud, &name);
    match &made {
        Ok(nics) => {
            let mut ids: Vec<_> = nics.iter().map(|nic| nic.id.clone()).collect();
            ids.sort();
            assert_eq!(ids, there, "what is answered is what there is, once");
        }
        Err(error) if error.effect() == Effect::None => assert_eq!(there, [], "{error}"),
        Err(error) => assert!(there.is_empty() || there.len() == count as usize, "{there:?} after {error}"),
    }
    made?;
    let attached = |id: &NicId| cloud.snapshot()[id].attachment.instance().is_some();
    finish(provider, provider.attach_nics(&there).await?).await?;
    assert!(there.iter().all(attached), "what was attached is attached");
    finish(provider, provider.detach_nics(&there).await?).await?;
    assert!(!there.iter().any(attached), "what was detached is detached");
    provider.delete_nics(&there).await?;
    assert_eq!(named(cloud, &name), [], "what was deleted is gone");
    Ok(())
}

async fn finish(provider: &dyn NicProvider, submitted: Submitted) -> Result<()> {
    let Submitted::Job(job) = submitted else { return Ok(()) };
    while provider.jobs(std::slice::from_ref(&job)).await?[0].state == JobState::Running {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

proptest! {
    #[test]
    fn nothing_is_made_twice_and_every_answer_is_true_whatever_gets_lost(
        seed in any::<u64>(), count in 1u32..5, lag in 0u64..5,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let cloud = cloud(seed, Duration::from_secs(lag));
            // An error is an answer too: what `live` asserts is that none is false.
            let _outcome = live(&*stack(&cloud, seed), &cloud, count).await;
        });
    }
}

/// The other half of the above: with all those faults most lives come to their good end.
#[test]
fn most_calls_get_through_a_cloud_that_breaks_every_other_one() {
    let lives = 200;
    let good = (0..lives).filter(|seed| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let cloud = cloud(*seed, Duration::from_secs(1));
            live(&*stack(&cloud, *seed), &cloud, 2).await.is_ok()
        })
    });
    let good = good.count();
    assert!(good > 150, "{good} of {lives}");
}
