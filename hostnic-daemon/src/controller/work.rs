//! What the one controller does that works.

use std::convert::Infallible;
use std::time::Duration;

use hostnic_core::sweep;
use hostnic_kube::ipam::{GivenBack, GoneNodes, IpamTools, PoolController};
use hostnic_kube::{Access, ConnectError, HostLabels};
use tokio_util::sync::CancellationToken;

use super::cloud::Account;
use super::pages::State;
use super::webhooks::{Leading, Webhooks};

/// How long to wait before something is tried again that failed.
const AGAIN: Duration = Duration::from_secs(10);

/// All that it needs.
#[derive(Debug)]
pub(super) struct Work<'a> {
    pub(super) access: Access,
    pub(super) cloud: Account,
    pub(super) state: State,
    /// `None` where none are answered.
    pub(super) webhooks: Option<&'a Webhooks>,
}

impl Work<'_> {
    /// Works until `ending`.
    pub(super) async fn run(&self, ending: CancellationToken) {
        let _works = self.state.leading();
        let leading = self.webhooks.map(Webhooks::leading);
        let swept = sweep::keep(&*self.cloud.provider, self.cloud.directory(), |nics| {
            if !nics.is_empty() {
                let nics: Vec<_> = nics.iter().map(ToString::to_string).collect();
                tracing::info!(nics = nics.join(","), "NICs of instances that are gone are deleted");
            }
        });
        let (gone, labels) = (self.gone_nodes(), self.host_labels());
        tokio::select! {
            () = self.pools(leading.as_ref(), ending.clone()) => {}
            never = gone => match never {},
            never = labels => match never {},
            never = swept => match never {},
            () = ending.cancelled() => {}
        }
        if let Some(leading) = leading {
            leading.end().await;
        }
    }

    /// Labels nodes with the machines that they run on, where the cloud tells those of this cluster.
    async fn host_labels(&self) -> Infallible {
        let Some((cloud, cluster)) = self.cloud.host_machines() else { return std::future::pending().await };
        let labels = connected("nodes cannot be labelled", || {
            HostLabels::new(&self.access, cloud.clone(), cluster.clone())
        });
        labels.await.keep().await
    }

    /// Gives back the addresses of nodes that are gone.
    async fn gone_nodes(&self) -> Infallible {
        let otherwise = "addresses of nodes that are gone cannot be looked for";
        let tools = connected(otherwise, || IpamTools::connect(&self.access)).await;
        let tell = |GivenBack { nodes, addresses }: &GivenBack| {
            let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
            tracing::info!(
                addresses,
                nodes = nodes.join(","),
                "addresses of nodes that are gone are given back"
            );
        };
        GoneNodes::new(tools).keep(tell).await
    }

    async fn pools(&self, leading: Option<&Leading<'_>>, ending: CancellationToken) {
        if let Some(leading) = leading {
            leading.begin().await;
        }
        let made = connected("pools cannot be made", || {
            PoolController::new(&self.access, self.cloud.pools(), self.cloud.notices.clone())
        });
        made.await.run(ending).await;
    }
}

/// Tries until there is something to connect with.
async fn connected<T, F>(otherwise: &str, connect: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, ConnectError>>,
{
    loop {
        match connect().await {
            Ok(connected) => return connected,
            Err(error) => tracing::warn!("{otherwise} yet: {}; trying again", hostnic_core::Chain(&error)),
        }
        tokio::time::sleep(AGAIN).await;
    }
}
