//! How much room is left in a vxnet, without a call for it.

use hostnic_core::NicProvider;
use hostnic_core::agent::Agent;
use hostnic_core::cloud::NicName;
use hostnic_core::pool::SubnetRoom;
use hostnic_core::provider::{CreateNics, NicAddresses};
use tokio::time::sleep;

use crate::account::{Account, instance};
use crate::node::{Node, pool};
use crate::{secs, told};

/// Its one vxnet.
fn room(agent: &Agent) -> SubnetRoom {
    agent.subnet_room().pop().unwrap()
}

async fn made_by_others(account: &Account, count: u32) {
    let request = CreateNics {
        subnet: "vxnet-a".parse().unwrap(),
        count,
        name: NicName { instance: instance(1), token: None },
        addresses: NicAddresses::Assigned(1),
    };
    account.provider(1).await.create_nics(&request).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_room_of_a_vxnet_is_known_from_what_is_asked_anyway() {
    // 13 addresses beside the gateway's.
    let vxnets = ["vxnet-a=192.168.1.0/28".to_owned()];
    let account = Account::new(2, &vxnets).await;
    let mut node = Node::new(&account, 0, pool(&vxnets)).await;
    let agent = node.warm().await;
    assert_eq!(room(&agent).nics, 10, "three are our own");

    made_by_others(&account, 4).await;
    let ((), calls) = account
        .during(async {
            sleep(secs(60)).await;
            for _ in 0..1000 {
                assert_eq!(room(&agent).nics, 10, "nobody has told");
            }
        })
        .await;
    assert_eq!(told("a thousand looks at the room", &calls, 0), 0);
    assert!(room(&agent).age >= secs(60), "{:?}", room(&agent));

    let ((), calls) = account.during(sleep(secs(33 * 60))).await;
    assert_eq!(room(&agent).nics, 6, "the next comparison shows what others made");
    assert!(room(&agent).age < secs(5 * 60), "{:?}", room(&agent));
    assert!(told("half an hour until the next comparison", &calls, 2) <= 2);

    // One is left, and two are needed.
    made_by_others(&account, 5).await;
    let ((), calls) = account
        .during(async {
            node.add_pods(&agent, 2).await;
            sleep(secs(5)).await;
        })
        .await;
    assert_eq!(calls.iter().filter(|call| call.action == "CreateNics").count(), 1, "{calls:?}");
    assert_eq!(room(&agent).nics, 1, "a refusal says that there is less than was asked for");
    assert!(room(&agent).age <= secs(5), "{:?}", room(&agent));
    sleep(secs(120)).await;
    assert_eq!((room(&agent).nics, agent.nics().len()), (0, 4), "the last one is ours");
}
