//! Pods that share the NIC of their subnet.

mod beside;
mod felix;
mod repair;
mod setup;
mod teardown;
mod traffic;
mod vlan;
pub(crate) mod world;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    [
        setup::trials(),
        traffic::trials(),
        vlan::trials(),
        beside::trials(),
        felix::trials(),
        repair::trials(),
        teardown::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
