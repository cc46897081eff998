//! Pods behind veths.

mod repair;
mod setup;
mod teardown;
pub(crate) mod traffic;
pub(crate) mod world;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    [setup::trials(), repair::trials(), teardown::trials(), traffic::trials()].into_iter().flatten().collect()
}
