//! The settings as a person asks for them.

use serde::Serialize;

use super::key::Key;
use super::source::{Setting, Source};
use super::veth::{name, show_mtu};
use super::zone::ZoneChoice;
use super::{LogFormat, Settings};

/// One setting in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Our spelling.
    pub key: &'static str,
    /// The value as one would write it into our file; `None` where it is left open.
    pub value: Option<String>,
    /// What a value that is left open will be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<String>,
    /// Where it comes from.
    pub source: Source,
}

impl Row {
    /// The value, or what stands for it, for a person.
    pub fn text(&self) -> String {
        let open = || self.otherwise.as_ref().map(|text| format!("({text})"));
        self.value.clone().or_else(open).unwrap_or_default()
    }
}

fn row<T>(key: Key, setting: &Setting<T>, value: Option<String>, otherwise: &str) -> Row {
    let otherwise = value.is_none().then(|| otherwise.to_owned());
    Row { key: key.name(), value, otherwise, source: setting.source.clone() }
}

fn plain<T: ToString>(key: Key, setting: &Setting<T>) -> Row {
    row(key, setting, Some(setting.value.to_string()), "")
}

fn open<T: ToString>(key: Key, setting: &Setting<Option<T>>, otherwise: &str) -> Row {
    row(key, setting, setting.value.as_ref().map(ToString::to_string), otherwise)
}

impl Settings {
    /// Every setting, in the order of the help. There are no secrets among them: of the access key only the file's path is
    /// known here.
    pub fn rows(&self) -> Vec<Row> {
        let path = |path: &std::path::PathBuf| path.display().to_string();
        let zone = match &self.zone.value {
            ZoneChoice::Given(zone) => (Some(zone.to_string()), String::new()),
            ZoneChoice::OfAccessFile { otherwise: None } => (None, "the access file's".to_owned()),
            ZoneChoice::OfAccessFile { otherwise: Some(zone) } => {
                (None, format!("the access file's, else {zone}"))
            }
        };
        let kubernetes = &self.kubernetes;
        let kubeconfig = kubernetes.kubeconfig.value.as_ref().map(path);
        let cni_conf_dir = kubernetes.cni_conf_dir.value.as_ref().map(path);
        let access_file = self.access_file.value.as_ref().map(path);
        let usual = "/etc/qingcloud/client.yaml, then ~/.qingcloud/config.yaml";
        let format = match self.log_format.value {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        let mut rows = vec![
            row(Key::Vxnet, &self.vxnets, list(&self.vxnets), "none"),
            plain(Key::Policy, &self.policy),
            plain(Key::PoolLow, &self.pool_low),
            plain(Key::PoolHigh, &self.pool_high),
            plain(Key::MaxNics, &self.max_nics),
            row(Key::Cooling, &self.cooling, Some(self.cooling.value.as_secs().to_string()), ""),
            plain(Key::CleanupCacheOnExit, &self.cleanup_cache_on_exit),
            open(Key::Iface, &self.iface, "that of the default route"),
            plain(Key::GatewayName, &self.gateway_name),
        ];
        rows.extend(self.rows_of_pods());
        rows.extend([
            plain(Key::Provider, &self.provider),
            row(Key::AccessFile, &self.access_file, access_file, usual),
            row(Key::Zone, &self.zone, zone.0, &zone.1),
            open(Key::Instance, &self.instance, "found out at the start"),
            row(Key::Socket, &self.socket, Some(path(&self.socket.value)), ""),
            row(Key::Store, &self.store, Some(path(&self.store.value)), ""),
            row(Key::BindAddr, &self.bind_addr, Some(address(&self.bind_addr)), ""),
            row(Key::ManageAddr, &self.manage_addr, Some(address(&self.manage_addr)), ""),
            plain(Key::AllowRemote, &self.allow_remote),
            plain(Key::Kubernetes, &kubernetes.enabled),
            open(Key::NodeName, &kubernetes.node_name, "the machine's host name"),
            row(Key::Kubeconfig, &kubernetes.kubeconfig, kubeconfig, "what Kubernetes gives each pod"),
            row(Key::CniConfDir, &kubernetes.cni_conf_dir, cni_conf_dir.or(Some("off".to_owned())), ""),
            row(
                Key::AnnotationVxnet,
                &kubernetes.annotation_vxnets,
                list(&kubernetes.annotation_vxnets),
                "any",
            ),
            row(
                Key::AnnotationNicTag,
                &kubernetes.annotation_nic_tags,
                list(&kubernetes.annotation_nic_tags),
                "none",
            ),
            plain(Key::NicAnnotation, &kubernetes.nic_annotation),
            plain(Key::NetworkPolicy, &kubernetes.network_policy),
            plain(Key::PolicyFailOpen, &kubernetes.policy_fail_open),
            plain(Key::LogLevel, &self.log_level),
            row(Key::LogFormat, &self.log_format, Some(format.to_owned()), ""),
            row(Key::LogFile, &self.log_file, self.log_file.value.as_ref().map(path), "none"),
        ]);
        rows
    }

    /// How pods are joined to their NICs, and how often is looked.
    fn rows_of_pods(&self) -> Vec<Row> {
        let veth = &self.veth;
        let number = |number: u32| Some(number.to_string());
        vec![
            plain(Key::Mode, &self.mode),
            row(
                Key::PodType,
                &self.pod_type,
                self.pod_type.value.map(|way| name(way).to_owned()),
                "the node's",
            ),
            row(Key::ServiceCidr, &veth.services, list(&veth.services), "none"),
            plain(Key::Hairpin, &veth.hairpin),
            plain(Key::VethPrefix, &veth.prefix),
            row(Key::Mtu, &veth.mtu, show_mtu(veth.mtu.value), "1500, or the NIC's where that is smaller"),
            row(Key::NatMark, &veth.nat_mark, Some(format!("{:#x}", veth.nat_mark.value.bits())), ""),
            row(Key::PodTable, &veth.pods, number(veth.pods.value.number()), ""),
            row(Key::FirstTable, &veth.first_table, number(veth.first_table.value.number()), ""),
            row(Key::JobPoll, &self.job_poll, Some(self.job_poll.value.as_secs().to_string()), ""),
            row(Key::NodeSync, &self.node_sync, Some(self.node_sync.value.as_secs().to_string()), ""),
            open(Key::NicTag, &self.nic_tag, "none"),
            row(
                Key::FreePeriod,
                &self.free_period,
                Some((self.free_period.value.as_secs() / 60).to_string()),
                "",
            ),
        ]
    }
}

/// A list as one text; `None` for an empty one.
fn list<T: ToString>(setting: &Setting<Vec<T>>) -> Option<String> {
    let items: Vec<String> = setting.value.iter().map(ToString::to_string).collect();
    (!items.is_empty()).then(|| items.join(","))
}

fn address(setting: &Setting<Option<super::ListenAddress>>) -> String {
    setting.value.as_ref().map_or_else(|| "off".to_owned(), ToString::to_string)
}
