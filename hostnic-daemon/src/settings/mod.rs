//! The daemon's one configuration, where each value knows its source.
//!
//! Defaults, then files, then the environment, then flags: later ones win, value by value. [`resolve()`] is all of it as a
//! pure function. The flags, files, keys and variables of the earlier daemons (`daemon` of hostnic-cni 0.x, `qingagent` of
//! qingcloud-cni, `hostnic-node` on Kubernetes) are understood as they are, and choose by which [`Personality`] the daemon goes where nothing is said.

mod cni_template;
mod document;
mod environment;
mod error;
mod file;
mod flags;
mod guide;
mod invocation;
mod key;
mod kubernetes;
mod layer;
mod listen;
mod locate;
mod log_level;
mod notice;
mod personality;
mod placeholder;
mod provider;
mod raw;
mod reading;
mod resolve;
mod show;
mod source;
mod specs;
mod values;
mod veth;
mod zone;

use std::path::PathBuf;
use std::time::Duration;

use hostnic_core::attachment::IfName;
use hostnic_core::id::{InstanceId, SubnetId};
use hostnic_core::policy::PolicyName;
use hostnic_core::route::Datapath;

pub use cni_template::{BOOT_KEY, CniTemplate};
pub use document::Format;
pub use error::{Refused, SettingsError};
pub use file::{ConfigFile, Files};
pub use flags::Flags;
pub use invocation::{Invocation, NetworkPlace, Places, SettingsPlace};
pub use kubernetes::{CNI_FOLDER, KubernetesSettings, NetworkPolicy};
pub use listen::{ListenAddress, ListenHost, is_loopback};
pub use locate::locate;
pub use log_level::LogLevel;
pub use notice::Notice;
pub use personality::Personality;
pub use provider::Provider;
pub use resolve::resolve;
pub use show::Row;
pub use source::{Setting, Source};
pub use veth::{ModeChoice, VethSettings, name as datapath_name};
pub use zone::{Zone, ZoneChoice};

pub(crate) use flags::anywhere;

pub use crate::telemetry::LogFormat;

/// Where a daemon keeps its records unless told.
pub const DEFAULT_STORE: &str = "/run/hostnic/state.redb";

/// Everything that can be set. The values are checked, each by itself and against each other.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Whose defaults and files are in force.
    pub personality: Personality,
    /// The configuration file that was read.
    pub file: Option<PathBuf>,
    /// The CNI configuration for runtimes.
    pub cni: CniTemplate,
    /// The cloud.
    pub provider: Setting<Provider>,
    /// The file with the access key; `None` for the usual places.
    pub access_file: Setting<Option<PathBuf>>,
    /// The zone.
    pub zone: Setting<ZoneChoice>,
    /// The subnets that NICs come from, the preferred one first, each once; may be empty.
    pub vxnets: Setting<Vec<SubnetId>>,
    /// The cloud's id of this machine; `None` where it has to be found out.
    pub instance: Setting<Option<InstanceId>>,
    /// The unix socket for the CNI plugin.
    pub socket: Setting<PathBuf>,
    /// The file of the records.
    pub store: Setting<PathBuf>,
    /// Where commands are taken by TCP as well. Loopback, or [`allow_remote`](Self::allow_remote) is set, or a name: what
    /// that resolves to has to be checked by whoever binds it.
    pub bind_addr: Setting<Option<ListenAddress>>,
    /// Where metrics and health are shown, read-only.
    pub manage_addr: Setting<Option<ListenAddress>>,
    /// Whether other machines may send commands.
    pub allow_remote: Setting<bool>,
    /// Fewer free NICs than this, and more are made. At most [`pool_high`](Self::pool_high).
    pub pool_low: Setting<u32>,
    /// More free NICs than this, and some are given back.
    pub pool_high: Setting<u32>,
    /// The most NICs of this node, 1 to 63.
    pub max_nics: Setting<u32>,
    /// How the subnet of the next NIC is chosen.
    pub policy: Setting<PolicyName>,
    /// How long an address rests between two pods, at most a day.
    pub cooling: Setting<Duration>,
    /// Whether NICs that no pod has are given back when the daemon stops.
    pub cleanup_cache_on_exit: Setting<bool>,
    /// An interface that is never touched, beside that of the default route.
    pub iface: Setting<Option<IfName>>,
    /// What the names of interfaces begin with that are made to be the host's own in a pod's subnet; 1 to 13 bytes. A number
    /// follows.
    pub gateway_name: Setting<String>,
    /// How pods are joined to their NICs.
    pub mode: Setting<ModeChoice>,
    /// How pods of a node in veth mode are joined that ask for neither way; `None` for veths.
    pub pod_type: Setting<Option<Datapath>>,
    /// Pods behind veths.
    pub veth: VethSettings,
    /// The longest time between two looks at jobs of the cloud, 1 s to 1 h.
    pub job_poll: Setting<Duration>,
    /// The time between two comparisons with the kernel, 1 s to a day.
    pub node_sync: Setting<Duration>,
    /// The tag of each NIC that is made.
    pub nic_tag: Setting<Option<String>>,
    /// How long a NIC that pods share is kept without a pod, 1 minute to a year.
    pub free_period: Setting<Duration>,
    /// What a node of Kubernetes is told beside.
    pub kubernetes: KubernetesSettings,
    /// What is logged.
    pub log_level: Setting<LogLevel>,
    /// The form of a log line.
    pub log_format: Setting<LogFormat>,
    /// A file that the log is written to as well.
    pub log_file: Setting<Option<PathBuf>>,
}

#[cfg(test)]
mod tests;
