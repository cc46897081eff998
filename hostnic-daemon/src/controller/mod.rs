//! The program `hostnic-controller`: makes of a cluster's vxnets what its nodes draw addresses from.
//!
//! Several may run; one works, and the others wait to take its place.

mod cloud;
mod cluster_config;
mod flags;
mod pages;
mod webhooks;
mod work;

use std::process::ExitCode;

use clap::Parser;
use hostnic_core::{Chain, Error, ErrorKind, Result};
use hostnic_kube::{Candidate, Leader};
use tokio_util::sync::CancellationToken;

use crate::manage::Bound;
use crate::signals::Signals;
use crate::{host_name, seed, telemetry};

use cloud::CloudPlan;
use cluster_config::ClusterConfig;
use flags::Controller;
use pages::{Pages, State};
use webhooks::Webhooks;
use work::Work;

/// The Lease of whoever works.
const LEASE: &str = "hostnic-controller";

/// Runs the program. Failures are printed as one line that says what failed, on what, and what to do.
pub fn run() -> ExitCode {
    match Controller::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("hostnic-controller: {message}");
            ExitCode::FAILURE
        }
    }
}

impl Controller {
    fn run(self) -> std::result::Result<(), String> {
        telemetry::begin(self.log_level.as_str(), self.log_format, None)?;
        for flag in self.obsolete() {
            tracing::warn!("--{flag} was the Go version's and has no effect; leave it out");
        }
        let config = ClusterConfig::read(self.cluster_config.as_deref())?;
        // Whatever is wrong with flags and files is said before anything is begun.
        let cloud = CloudPlan::new(&self, config).map_err(|error| Chain(&error).to_string())?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .worker_threads(1)
            .build()
            .map_err(|error| format!("no runtime could be started: {error}"))?;
        runtime.block_on(serve(self, cloud)).map_err(|error| error.chain().to_string())
    }
}

async fn serve(controller: Controller, cloud: CloudPlan) -> Result<()> {
    let mut signals = Signals::catch()?;
    let bound = Bound::bind(controller.manage_addr).await?;
    let (state, webhooks) = (State::default(), Webhooks::begin(&controller).await?);
    let manage = bound.answer(Pages::new(state.clone(), webhooks.as_ref().map(Webhooks::state)));
    let access = controller.access();
    let candidate = Candidate {
        namespace: controller.namespace.clone(),
        name: LEASE.to_owned(),
        // A name alone would be that of the process before this one as well, in a pod that was restarted.
        identity: format!("{}_{:016x}", host_name(), seed()?),
    };
    let connect = |source| {
        let failed = Error::new(ErrorKind::Invalid, "connect to", "the cluster");
        failed.detail("see --kubeconfig").source(source)
    };
    let leader = Leader::new(&access, candidate).await.map_err(connect)?;
    let work = Work { access, cloud: cloud.connect().await?, state, webhooks: webhooks.as_ref() };
    lead(leader, &work, &mut signals).await;
    if let Some(webhooks) = webhooks {
        webhooks.end().await;
    }
    manage.end().await;
    Ok(())
}

/// Works whenever this is the one to work, until a signal.
async fn lead(leader: Leader, work: &Work<'_>, signals: &mut Signals) {
    let stop = CancellationToken::new();
    let led = leader.run(stop.clone(), |ending| Box::pin(work.run(ending)));
    tokio::pin!(led);
    tokio::select! {
        () = &mut led => return,
        () = signals.next() => {}
    }
    tracing::info!("told to stop");
    stop.cancel();
    tokio::select! {
        () = &mut led => {}
        () = signals.next() => tracing::warn!("told to stop again: the lease is left to run out"),
    }
}
