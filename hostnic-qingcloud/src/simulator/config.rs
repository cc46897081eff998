//! What a simulator is made of.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hostnic_core::id::{InstanceId, InvalidValue, SubnetId};
use hostnic_core::sim::{Durations, Plug, Quotas};
use ipnet::{IpNet, Ipv4Net};
use secrecy::SecretString;

use super::fault::FaultRule;
use crate::clock::{SystemTimeOfDay, WallClock};

/// What a [`Simulator`](super::Simulator) is made of.
#[derive(Debug, Clone)]
pub struct SimulatorConfig {
    /// Where the API listens; port 0 takes a free one. `127.0.0.1:0` by default.
    pub listen: SocketAddr,
    /// More addresses at which the API listens, at the same port; none by default.
    pub also_listen: Vec<IpAddr>,
    /// Where the admin API listens; a free port of 127.0.0.1 by default. It asks for no credentials: keep it local.
    pub admin: SocketAddr,
    /// The one zone.
    pub zone: String,
    /// The access keys and their secrets.
    pub keys: BTreeMap<String, SecretString>,
    /// Credentials of an instance role, taken on `/iam`.
    pub role: Option<RoleCredentials>,
    /// The VPC that all vxnets are in: `rtr-simulate`, of 192.168.0.0/16 by default.
    pub vpc: IpNet,
    /// The vxnet that the instances' primary NICs are in: `vxnet-primary`, 192.168.255.0/24 by default.
    pub primary: VxnetSpec,
    /// The other vxnets that there are from the start, connected to the VPC's router.
    pub vxnets: Vec<VxnetSpec>,
    /// The instances, all running.
    pub instances: Vec<InstanceId>,
    /// An AppCenter cluster whose nodes are all instances; none by default.
    pub cluster: Option<String>,
    /// How many NICs may be where.
    pub quotas: Quotas,
    /// At most so many calls in any such time; no limit by default (the real one is 2,000 an hour).
    pub rate_limit: Option<(u32, Duration)>,
    /// How long jobs on NICs and VIPs take; no time by default.
    pub durations: Durations,
    /// How long answers take, by action.
    pub latencies: BTreeMap<String, Duration>,
    /// How far a list lags behind that [`Fault::StaleRead`](super::Fault::StaleRead) meets; 5 s by default.
    pub stale_by: Duration,
    /// What goes wrong from the start.
    pub faults: Vec<FaultRule>,
    /// Where MACs, ids and chance come from.
    pub seed: u64,
    /// A file that every change is written to before it is answered, and that a later start goes on from. Secrets,
    /// faults, latencies, limits and the history are not in it.
    pub state: Option<PathBuf>,
    /// What makes links appear in the instances.
    pub plug: Option<Arc<dyn Plug>>,
    /// The time of day, which requests' time stamps are compared with; the machine's own by default.
    pub clock: Arc<dyn WallClock>,
}

impl SimulatorConfig {
    /// The router of the VPC.
    pub const ROUTER: &'static str = "rtr-simulate";
    /// The default security group, which every instance is in.
    pub const SECURITY_GROUP: &'static str = "sg-simulate";
    /// The owner of everything.
    pub const OWNER: &'static str = "usr-Simulate";

    /// One zone with one access key; all else as by default, without vxnets for pods and without instances.
    pub fn new(zone: impl Into<String>, access_key: impl Into<String>, secret_key: SecretString) -> Self {
        let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        #[expect(clippy::expect_used, reason = "letters and '-' only")]
        let id = SubnetId::new("vxnet-primary").expect("a valid id");
        Self {
            listen: loopback,
            also_listen: Vec::new(),
            admin: loopback,
            zone: zone.into(),
            keys: BTreeMap::from([(access_key.into(), secret_key)]),
            role: None,
            vpc: Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16).into(),
            primary: VxnetSpec {
                id,
                prefix: Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 255, 0), 24).into(),
            },
            vxnets: Vec::new(),
            instances: Vec::new(),
            cluster: None,
            quotas: Quotas::default(),
            rate_limit: None,
            durations: Durations::default(),
            latencies: BTreeMap::new(),
            stale_by: Duration::from_secs(5),
            faults: Vec::new(),
            seed: 0,
            state: None,
            plug: None,
            clock: Arc::new(SystemTimeOfDay),
        }
    }
}

/// A vxnet that is there from the start, written `vxnet-aaaaaaa=192.168.50.0/24`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VxnetSpec {
    /// Its id.
    pub id: SubnetId,
    /// Its network; the router has the first address, and DHCP gives out the others.
    pub prefix: IpNet,
}

impl std::str::FromStr for VxnetSpec {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let invalid = || {
            InvalidValue::new("vxnet", text, "an id, '=' and a network, as in vxnet-aaaaaaa=192.168.50.0/24")
        };
        let (id, prefix) = text.split_once('=').ok_or_else(invalid)?;
        let prefix: IpNet = prefix.parse().map_err(|_| invalid())?;
        if prefix.trunc() != prefix {
            return Err(invalid());
        }
        Ok(Self { id: id.parse()?, prefix })
    }
}

/// What an instance with a role is given instead of an access key of its own.
#[derive(Debug, Clone)]
pub struct RoleCredentials {
    /// The access key.
    pub access_key: String,
    /// Its secret.
    pub secret_key: SecretString,
    /// The token that comes with every request.
    pub token: SecretString,
    /// Until when they are good, as the instance is told.
    pub expires: SystemTime,
}
