//! `hostnic-daemon start`: from flags to a node that serves, until a signal.

mod cloud;
mod flags;
mod node;

use hostnic_core::{Chain, Result};

use crate::telemetry;

pub(super) use flags::{DEFAULT_STORE, Start};

use cloud::{Cloud, Plan};
use node::{Settings, Signals};

impl Start {
    pub(super) fn run(&self) -> std::result::Result<(), String> {
        telemetry::begin(&self.log_level, self.log_format)?;
        // Whatever is wrong with flags and files is said before anything is begun.
        let plan = Plan::new(self).map_err(|error| Chain(&error).to_string())?;
        let pool = self.pool.config(plan.subnets()).map_err(|error| error.to_string())?;
        let settings = Settings { pool, node: self.node.clone() };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .worker_threads(2)
            .build()
            .map_err(|error| format!("no runtime could be started: {error}"))?;
        runtime.block_on(serve(plan, settings)).map_err(|error| error.chain().to_string())
    }
}

async fn serve(plan: Plan, settings: Settings) -> Result<()> {
    let mut signals = Signals::catch()?;
    let cloud = Cloud::start(plan).await?;
    let served = node::serve(&cloud, settings, &mut signals).await;
    // Also after a failure: what a simulated one made would outlive the process otherwise.
    let ended = cloud.end().await;
    served.and(ended)
}
