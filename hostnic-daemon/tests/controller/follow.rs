//! Several controllers: one works, and another takes its place.

use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::place::{Place, VXNETS, repository, until};
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("another_controller_takes_the_place_of_one_that_ends", take_over)]
}

fn v_pool(vxnets: &[&str]) -> String {
    let list: String = vxnets.iter().map(|vxnet| format!("    - name: {vxnet}\n")).collect();
    format!(
        "apiVersion: network.qingcloud.com/v1alpha1\nkind: VxNetPool\nmetadata:\n  name: v-pool\nspec:\n  blockSize: 26\n  vxnets:\n{list}"
    )
}

async fn take_over() {
    let place = Place::new().await;
    let manifest = repository().join("deploy/hostnic.yaml");
    place.kubectl(&["apply", "-f", manifest.to_str().unwrap()]).unwrap();
    let first = place.controller("first");
    until("the first one works", async || first.leads().then_some(())).await;
    let second = place.controller("second");
    until("the second one is there", async || second.page("/readyz").map(drop)).await;
    until("v-pool is there", async || place.apply(&v_pool(&VXNETS[..1])).ok()).await;
    until("the vxnet has its blocks", async || (place.names("ipamblocks").len() == 4).then_some(())).await;
    assert!(!second.leads());

    // Whoever is told to end gives the lease up.
    assert!(first.end(Signal::SIGTERM));
    until("the second one works", async || second.leads().then_some(())).await;
    place.apply(&v_pool(&VXNETS)).unwrap();
    until("the other vxnet has its blocks", async || (place.names("ipamblocks").len() == 8).then_some(()))
        .await;

    // Whoever is killed is missed when the lease has run out.
    let third = place.controller_with_webhooks("third");
    assert!(!second.end(Signal::SIGKILL));
    until("the third one works", async || third.leads().then_some(())).await;
    place.apply(&v_pool(&VXNETS[1..])).unwrap();
    until("the first vxnet is taken out", async || (place.names("ipamblocks").len() == 4).then_some(()))
        .await;
    // Whoever has changes refused for want of an answer takes that back before the end.
    until("it insists on its webhooks", async || {
        place.policies().iter().any(|policy| policy == "Fail").then_some(())
    })
    .await;
    assert!(third.end(Signal::SIGTERM));
    assert_eq!(place.policies(), ["Ignore"; 3]);
    clear(&place).await;
}

/// The addresses of a vxnet that a controller did not give back, as it is gone.
async fn clear(place: &Place) {
    let file = place.path("access.yaml");
    std::fs::write(&file, place.access()).unwrap();
    let clear = |more: &[&str]| {
        let words = ["vxnet", "clear-vips", VXNETS[1], "--access-file", file.to_str().unwrap()];
        let output = place.tool(&[&words[..], more].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), String::from_utf8(output.stdout).unwrap(), said)
    };
    let (done, _, said) = clear(&["--yes"]);
    assert!(!done && said.contains("one of v-pool's vxnets"), "{said}");
    place.kubectl(&["delete", "vxnetpool", "v-pool"]).unwrap();
    let (done, shown, said) = clear(&[]);
    assert!(done && shown.starts_with("241 addresses") && said.contains("--yes"), "{shown}{said}");
    let (done, _, said) = clear(&["--yes"]);
    assert!(done && said.contains("241 addresses of vxnet-yyyyyyyy are given back"), "{said}");
    let (done, shown, _) = clear(&[]);
    assert!(done && shown.contains("no address"), "{shown}");
}
