//! `hostnic-daemon start`: from settings to a node that serves, until a signal.

mod capabilities;
mod cloud;
mod company;
mod earlier;
mod flags;
mod gateways;
mod kubernetes;
mod listeners;
mod mode;
mod node;
mod pool;
mod reload;
mod services;
mod sysctls;

use std::ffi::OsStr;
use std::sync::Arc;

use hostnic_core::{Chain, Result};

use super::in_force::in_force;
use crate::settings::{Notice, Settings};
use crate::signals::Signals;
use crate::{Observer, host_name, telemetry};

pub(super) use flags::Start;

use cloud::{Cloud, Plan};
use company::Company;
use reload::Reloading;

impl Start {
    pub(super) fn run(self, argv0: &OsStr) -> std::result::Result<(), String> {
        let flags = self.settings.clone();
        let (settings, notices) = in_force(argv0, self.settings)?;
        let logs = telemetry::begin(
            settings.log_level.value.as_str(),
            settings.log_format.value,
            settings.log_file.value.as_deref(),
        )?;
        tell(&notices);
        // Whatever is wrong with flags and files is said before anything is begun.
        let plan = Plan::new(&settings, &self.sim).map_err(|error| Chain(&error).to_string())?;
        // Whatever blocks has threads of its own. A second worker would be woken at each step of an ADD, to find that the
        // first one is at it.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .worker_threads(1)
            .build()
            .map_err(|error| format!("no runtime could be started: {error}"))?;
        let reloading = Reloading::new(argv0.to_owned(), flags, &settings, logs);
        runtime.block_on(serve(plan, &settings, reloading)).map_err(|error| error.chain().to_string())
    }
}

/// Logs what a person should hear about the settings.
fn tell(notices: &[Notice]) {
    for notice in notices {
        if notice.is_warning() {
            tracing::warn!("{notice}");
        } else {
            tracing::info!("{notice}");
        }
    }
}

/// What metrics call this node: as its cluster does, if it is in one.
fn node_name(settings: &Settings) -> String {
    let kubernetes = &settings.kubernetes;
    let named = kubernetes.node_name.value.as_ref().filter(|_| kubernetes.enabled.value);
    named.map_or_else(host_name, ToString::to_string)
}

async fn serve(plan: Plan, settings: &Settings, reloading: Reloading) -> Result<()> {
    let mut signals = Signals::catch()?;
    let mut company = Company::new(reloading)?;
    let pool = pool::pool(settings, plan.subnets());
    let observer = Arc::new(Observer::new(node_name(settings)));
    let cloud = Cloud::start(plan, &observer).await?;
    let served = node::serve(&cloud, settings, pool, observer, &mut signals, &mut company).await;
    // Also after a failure: what a simulated one made would outlive the process otherwise.
    let ended = cloud.end().await;
    served.and(ended)
}
