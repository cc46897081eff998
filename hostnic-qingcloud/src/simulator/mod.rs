//! QingCloud's API, spoken back: an HTTP server that SDKs take for the real one.
//!
//! What it knows of the real API it knows from its documentation and its SDKs. Where those are silent it chooses, and
//! says so where it does. The choices that a client can notice most:
//!
//! - A parameter that its action does not have is refused (1100), so that misspelt ones are found. Those that SDKs send by
//!   themselves are taken everywhere: `version`, `req_id`, `limit=0`, `verbose` and the like.
//! - 1100 is a parameter that is missing, unknown or malformed, 1101 a value that is not allowed, an unknown action or
//!   an unknown zone. The message names the parameter in brackets.
//! - Time stamps may be 60 s old (documented), and 60 s ahead. `expires` replaces that window.
//! - A NIC that is being attached is `available` until its job has succeeded; one without an address has
//!   `"private_ip":""`; `nic_name` and `vip_name` are compared as a whole.
//! - Unknown ids are left out by DescribeNics, DescribeVxnets, DescribeInstances and DescribeVips; DescribeJobs and
//!   DescribeSecurityGroups refuse them (2100). Calls that change several things change all or none.
//! - NICs of several instances are not detached in one call; DescribeInstances lists all NICs whatever `verbose` is.
//! - Errors carry `action` when they know it.
//!
//! Not simulated: running and stopping instances, EIPs, IPv6, moving a NIC to another vxnet, binding VIPs, what a
//! security group lets through. With a [`Plug`](hostnic_core::sim::Plug), vxnets that join the router later have no
//! links unless the plug knows them.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use hostnic_qingcloud::simulator::{Simulator, SimulatorConfig};
//!
//! let mut config = SimulatorConfig::new("sim1", "AK", "SK".into());
//! config.vxnets.push("vxnet-aaaaaaa=192.168.50.0/24".parse()?);
//! config.instances.push("i-node1".parse()?);
//! let simulator = Simulator::start(config).await?;
//! println!("{}", simulator.url());
//! # Ok(())
//! # }
//! ```

mod account;
mod action;
pub mod admin;
mod backend;
mod build;
mod config;
mod fault;
mod gate;
mod history;
mod http;
mod listeners;
mod parameter;
mod query;
mod refusal;
mod store;
mod timestamp;
mod transport;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hostnic_core::id::InvalidValue;
use hostnic_core::sim::Cloud;
use hostnic_core::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncWrite};

use account::access_key::KeyStatus;
use admin::Admin;
use backend::Backend;
use http::Server;
use listeners::{Addresses, Refused};
use transport::InProcess;

use crate::transport::Transport;

pub use config::{RoleCredentials, SimulatorConfig, VxnetSpec};
pub use fault::{Fault, FaultRule};
pub use history::{Call, Outcome};

/// A simulator that serves. It ends when this is dropped.
#[derive(Debug)]
pub struct Simulator {
    backend: Arc<Backend>,
    api: Arc<Server>,
    admin: Server,
}

impl Simulator {
    /// Begins to serve, from the saved state where there is one.
    ///
    /// # Errors
    /// `Invalid` or `Conflict` for a configuration that does not fit together, `Damaged` for a state that cannot be
    /// read, `Unsupported` when an address cannot be listened on.
    pub async fn start(config: SimulatorConfig) -> Result<Self> {
        let backend = Arc::new(build::backend(&config)?);
        let addresses = Addresses { first: config.listen, more: config.also_listen };
        let api = Arc::new(listen(addresses, &backend).await?);
        let admin = Addresses { first: config.admin, more: Vec::new() };
        let admin = listen(admin, &Arc::new(Admin::new(Arc::clone(&backend), &api))).await?;
        Ok(Self { backend, api, admin })
    }

    /// Where the API listens; the first address where there are more.
    pub fn address(&self) -> SocketAddr {
        self.api.address()
    }

    /// The endpoint, as in `http://127.0.0.1:7777/iaas`.
    pub fn url(&self) -> String {
        format!("http://{}/iaas", self.api.address())
    }

    /// A connection to the API that does not leave the process, for tests in paused time: a clock that is paused does not
    /// wait for sockets.
    ///
    /// # Errors
    /// `ConnectionRefused` while nobody listens.
    pub async fn connect(&self) -> io::Result<impl AsyncRead + AsyncWrite + Unpin + Send + use<>> {
        self.api.connect().await
    }

    /// The endpoint of the admin API.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin.address())
    }

    /// A way to the API without a connection, for programs that host the simulator and run in tokio's paused time,
    /// which sockets do not wait for. What the history tells is the same; only refused connections are not to be had.
    pub fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(InProcess { backend: Arc::clone(&self.backend) })
    }

    /// The cloud behind the API.
    pub fn cloud(&self) -> &Cloud {
        &self.backend.cloud
    }

    /// The calls so far, oldest first; the latest 65,536 of them.
    pub fn history(&self) -> Vec<Call> {
        self.backend.state().history.calls()
    }

    /// How often each action was called.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.backend.state().history.counts()
    }

    /// Forgets the calls so far.
    pub fn clear_history(&self) {
        self.backend.state().history.clear();
    }

    /// Lets something go wrong from now on.
    ///
    /// # Errors
    /// Where the rule names no action, or a stale read of anything but NICs.
    pub fn inject(&self, rule: FaultRule) -> Result<(), InvalidValue> {
        self.backend.inject(rule)
    }

    /// The rules that wait for calls.
    pub fn faults(&self) -> Vec<FaultRule> {
        self.backend.faults()
    }

    /// Takes back all faults. Jobs keep their fate.
    pub fn clear_faults(&self) {
        self.backend.state().faults.clear();
    }

    /// How long the answers to an action take from now on.
    pub fn set_latency(&self, action: &str, takes: Duration) {
        self.backend.state().latencies.insert(action.to_owned(), takes);
    }

    /// Has every stuck job end now.
    pub fn unstick_jobs(&self) {
        self.backend.cloud.unstick_jobs();
    }

    /// Lets time pass at once, for jobs and limits. Time stamps of requests are compared with the configured clock all
    /// the same.
    pub fn advance(&self, by: Duration) {
        self.backend.cloud.advance(by);
    }

    /// Makes an access key bad (1200). False where there is no such key.
    pub fn revoke(&self, access_key: &str) -> bool {
        self.set_key(access_key, KeyStatus::Inactive)
    }

    /// Makes it good again. False where there is no such key.
    pub fn restore(&self, access_key: &str) -> bool {
        self.set_key(access_key, KeyStatus::Active)
    }

    fn set_key(&self, access_key: &str, status: KeyStatus) -> bool {
        self.backend.state().account.set_key(access_key, status)
    }

    /// Refuses connections and closes those that there are; or takes them again, at the same addresses.
    ///
    /// # Errors
    /// `Conflict` when an address was taken by somebody else meanwhile.
    pub async fn set_listening(&self, listening: bool) -> Result<()> {
        let failed = |Refused { address, source }| {
            Error::new(ErrorKind::Conflict, "listen on", address).source(source)
        };
        self.api.listen(listening).await.map_err(failed)
    }
}

async fn listen(addresses: Addresses, responder: &Arc<impl http::Responder>) -> Result<Server> {
    let failed = |Refused { address, source }| {
        Error::new(ErrorKind::Unsupported, "listen on", address)
            .detail("choose another address")
            .source(source)
    };
    Server::start(addresses, Arc::clone(responder)).await.map_err(failed)
}
