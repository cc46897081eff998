//! A suite that tests any [`NicProvider`](crate::NicProvider) against its contract.
//!
//! Give it a [`Harness`], which hands out [`World`]s: a provider, subnets to use, and whatever else there is to test
//! with. What a world lacks, and what the provider's capabilities rule out, is skipped, and the report says so.
//! [`run`] runs everything; [`cases()`] are for runners that want each case as a test of its own, such as libtest-mimic.
//!
//! The suite creates NICs under names of its own and removes them after each case, also after one that failed.
//!
//! ```
//! use std::sync::Arc;
//! use async_trait::async_trait;
//! use hostnic_core::conformance::{Harness, World, run};
//! # use hostnic_core::sim::Cloud;
//!
//! struct MyCloud;
//!
//! #[async_trait]
//! impl Harness for MyCloud {
//!     async fn world(&self) -> hostnic_core::Result<World> {
//! #       let cloud = Cloud::builder().subnet("net-1", "10.0.0.0/24").instance("i-1").build()?;
//! #       let provider = cloud.node(&"i-1".parse()?);
//!         Ok(World::new(Arc::new(provider), vec!["net-1".parse()?], 42))
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
//! let report = run(&MyCloud).await;
//! assert!(report.conforms(), "{report}");
//! # })
//! ```

mod bench;
mod cases;
mod contract;
mod report;
mod world;

pub use cases::{Case, cases};
pub use contract::Clause;
pub use report::{CaseResult, Failure, Report, Verdict};
pub use world::{FullAccount, Harness, Requirement, World};

/// Runs every case, one after the other, and tells how each ended.
pub async fn run(harness: &dyn Harness) -> Report {
    let mut results = Vec::new();
    for case in cases() {
        results.push(CaseResult { name: case.name(), verdict: case.run(harness).await });
    }
    Report { results }
}
