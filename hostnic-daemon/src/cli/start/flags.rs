//! The flags of `hostnic-daemon start`, and what they must be together.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use hostnic_cni::contract::DEFAULT_SOCKET;
use hostnic_core::id::{InstanceId, SubnetId};
use hostnic_core::policy::PolicyName;
use hostnic_core::pool::PoolConfig;

use crate::simulated::SimSubnet;
use crate::telemetry::LogFormat;

/// Where a daemon keeps its records unless told.
pub(in crate::cli) const DEFAULT_STORE: &str = "/run/hostnic/state.redb";

/// The longest time that an address may be told to rest, in seconds.
const LONGEST_COOLING: u64 = 24 * 60 * 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Provider {
    /// QingCloud, public or private.
    Qingcloud,
    /// A cloud simulated by this process, with links and packets of this kernel.
    Sim,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Start {
    /// The cloud.
    #[arg(long, value_enum, default_value_t = Provider::Qingcloud)]
    pub(super) provider: Provider,
    #[command(flatten)]
    pub(super) qingcloud: QingCloudFlags,
    #[command(flatten)]
    pub(super) sim: SimFlags,
    /// The cloud's id of this machine [default: what /etc/qingcloud/instance-id or the metadata service says; i-sim with
    /// --provider sim].
    #[arg(long, value_name = "ID", default_value_if("provider", "sim", "i-sim"))]
    pub(super) instance: Option<InstanceId>,
    #[command(flatten)]
    pub(super) node: NodeFlags,
    #[command(flatten)]
    pub(super) pool: PoolFlags,
    /// What to log: a level, or directives such as warn,hostnic_core::pool=debug.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(super) log_level: String,
    /// The form of a log line.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(super) log_format: LogFormat,
}

#[derive(Debug, clap::Args)]
pub(super) struct QingCloudFlags {
    /// The file with the access key and where the API is, in the form of QingCloud's SDKs [default:
    /// /etc/qingcloud/client.yaml, then ~/.qingcloud/config.yaml].
    #[arg(long, value_name = "PATH")]
    pub(super) access_file: Option<PathBuf>,
    /// The zone, in place of the access file's.
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    pub(super) zone: Option<String>,
    /// A vxnet that pods get their NICs from, the preferred one first; may be repeated, or list several with commas.
    #[arg(long = "vxnet", value_name = "ID", value_delimiter = ',')]
    pub(super) vxnets: Vec<SubnetId>,
}

#[derive(Debug, clap::Args)]
pub(super) struct SimFlags {
    /// A subnet of the simulated cloud; may be repeated [default: vxnet-sim=192.168.50.0/24].
    #[arg(
        long = "sim-subnet",
        value_name = "ID=PREFIX",
        default_value_if("provider", "sim", "vxnet-sim=192.168.50.0/24")
    )]
    pub(super) subnets: Vec<SimSubnet>,
    /// How long the simulated cloud takes to attach or detach NICs, in milliseconds [default: 500].
    #[arg(long = "sim-job-ms", value_name = "MS", default_value_if("provider", "sim", "500"))]
    pub(super) job_ms: Option<u64>,
}

#[derive(Debug, Clone, clap::Args)]
pub(super) struct NodeFlags {
    /// Where to listen for the CNI plugin.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(super) socket: PathBuf,
    /// Where to keep records. They must survive the daemon, not the machine: a tmpfs is best.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_STORE)]
    pub(super) store: PathBuf,
    /// Give the NICs that no pod has back to the cloud when told to stop.
    #[arg(long)]
    pub(super) cleanup_cache_on_exit: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct PoolFlags {
    /// Fewer free NICs than this, and more are made.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pool_low: u32,
    /// More free NICs than this, and some are given back.
    #[arg(long, value_name = "N", default_value_t = 5)]
    pool_high: u32,
    /// The most NICs of this node beside its primary one.
    #[arg(long, value_name = "N", default_value_t = PoolConfig::NIC_LIMIT,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(PoolConfig::NIC_LIMIT)))]
    max_nics: u32,
    /// How the subnet of the next NIC is chosen: FailRotate, RoundRotate or Random.
    #[arg(long, value_name = "NAME", default_value_t = PolicyName::FailRotate)]
    policy: PolicyName,
    /// How many seconds an address rests before another pod gets it; less, but at least 5, when a pod would otherwise fail.
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(0..=LONGEST_COOLING))]
    cooling: u64,
}

/// Flags that are fine each, and not together.
#[derive(Debug, thiserror::Error)]
pub(super) enum FlagError {
    /// A flag of the other cloud.
    #[error("{flag} {value} is for --provider {of}; leave it out, or choose that provider")]
    Misplaced { flag: &'static str, value: String, of: &'static str },
    /// Nowhere to get NICs from.
    #[error(
        "--vxnet is missing: name the vxnets that pods get their NICs from, as in --vxnet vxnet-a,vxnet-b"
    )]
    NoVxnet,
    /// Who this node is has no default in this cloud.
    #[error("--instance is missing: name this node")]
    NoInstance,
    /// Which place of the two would count?
    #[error("--vxnet {0} is given more than once; name each vxnet once, the preferred one first")]
    Twice(SubnetId),
    /// No number of free NICs would be right.
    #[error("--pool-low {low} is more than --pool-high {high}; lower the one or raise the other")]
    Watermarks { low: u32, high: u32 },
}

impl QingCloudFlags {
    /// The vxnets, of which there must be one.
    pub(super) fn checked_vxnets(&self) -> Result<&[SubnetId], FlagError> {
        if self.vxnets.is_empty() {
            return Err(FlagError::NoVxnet);
        }
        let mut seen = BTreeSet::new();
        match self.vxnets.iter().find(|vxnet| !seen.insert(*vxnet)) {
            Some(twice) => Err(FlagError::Twice(twice.clone())),
            None => Ok(&self.vxnets),
        }
    }

    /// Refuses all of them, where another cloud was chosen.
    pub(super) fn refuse(&self) -> Result<(), FlagError> {
        let file = self.access_file.as_ref().map(|path| ("--access-file", path.display().to_string()));
        let zone = self.zone.as_ref().map(|zone| ("--zone", zone.clone()));
        let vxnet = self.vxnets.first().map(|vxnet| ("--vxnet", vxnet.to_string()));
        misplaced(file.or(zone).or(vxnet), "qingcloud")
    }
}

impl SimFlags {
    /// Refuses all of them, where another cloud was chosen.
    pub(super) fn refuse(&self) -> Result<(), FlagError> {
        let subnet = self.subnets.first().map(|subnet| ("--sim-subnet", subnet.to_string()));
        let job = self.job_ms.map(|ms| ("--sim-job-ms", ms.to_string()));
        misplaced(subnet.or(job), "sim")
    }
}

fn misplaced(given: Option<(&'static str, String)>, of: &'static str) -> Result<(), FlagError> {
    given.map_or(Ok(()), |(flag, value)| Err(FlagError::Misplaced { flag, value, of }))
}

impl PoolFlags {
    /// The pool over these subnets.
    pub(super) fn config(&self, subnets: Vec<SubnetId>) -> Result<PoolConfig, FlagError> {
        if self.pool_low > self.pool_high {
            return Err(FlagError::Watermarks { low: self.pool_low, high: self.pool_high });
        }
        let usual = PoolConfig::new(subnets);
        let cooling = Duration::from_secs(self.cooling);
        Ok(PoolConfig {
            low: self.pool_low,
            high: self.pool_high,
            max_nics: self.max_nics,
            policy: self.policy,
            cooling,
            least_cooling: usual.least_cooling.min(cooling),
            ..usual
        })
    }
}

/// A zone's name: what can stand in a request without changing its meaning.
fn zone(text: &str) -> Result<String, &'static str> {
    let valid = (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if valid {
        Ok(text.to_owned())
    } else {
        Err("a zone is 1 to 64 letters, digits, '-' or '_', such as pek3a")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        start: Start,
    }

    fn start(arguments: &[&str]) -> Start {
        Line::try_parse_from([&["start"], arguments].concat()).unwrap().start
    }

    #[test]
    fn vxnets_are_repeated_or_listed_and_keep_their_order() {
        let flags = start(&["--vxnet", "vxnet-c,vxnet-a", "--vxnet", "vxnet-b"]).qingcloud;
        let names: Vec<_> = flags.checked_vxnets().unwrap().iter().map(SubnetId::as_str).collect();
        assert_eq!(names, ["vxnet-c", "vxnet-a", "vxnet-b"]);
        let twice = start(&["--vxnet", "vxnet-a,vxnet-b", "--vxnet", "vxnet-a"]).qingcloud;
        assert!(
            matches!(twice.checked_vxnets(), Err(FlagError::Twice(vxnet)) if vxnet.as_str() == "vxnet-a")
        );
    }

    #[test]
    fn no_flag_of_one_cloud_is_taken_for_the_other() {
        assert!(start(&["--vxnet", "vxnet-a"]).sim.refuse().is_ok());
        assert!(start(&["--provider", "sim"]).qingcloud.refuse().is_ok());
        for flag in [["--access-file", "a"], ["--zone", "pek3a"], ["--vxnet", "vxnet-a"]] {
            let error = start(&flag).qingcloud.refuse().unwrap_err().to_string();
            assert!(error.starts_with(&flag.join(" ")) && error.contains("--provider qingcloud"), "{error}");
        }
        for flag in [["--sim-subnet", "s=10.0.0.0/24"], ["--sim-job-ms", "1"]] {
            let error = start(&flag).sim.refuse().unwrap_err().to_string();
            assert!(error.starts_with(&flag.join(" ")) && error.contains("--provider sim"), "{error}");
        }
    }

    #[test]
    fn addresses_rest_no_longer_than_told_when_pods_wait() {
        let config = |seconds| start(&["--cooling", seconds]).pool.config(Vec::new()).unwrap();
        assert_eq!(
            (config("60").cooling, config("60").least_cooling),
            (Duration::from_secs(60), Duration::from_secs(5))
        );
        assert_eq!(
            (config("2").cooling, config("2").least_cooling),
            (Duration::from_secs(2), Duration::from_secs(2))
        );
    }

    #[test]
    fn a_zone_that_would_change_a_request_is_refused() {
        for text in ["", "a b", "a&b", "a/b", "a=b"] {
            assert!(zone(text).is_err(), "{text}");
        }
        assert_eq!(zone("pek3a").unwrap(), "pek3a");
    }
}
