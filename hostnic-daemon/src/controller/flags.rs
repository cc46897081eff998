//! The flags of `hostnic-controller`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;
use hostnic_core::id::InvalidValue;
use hostnic_kube::Access;
use hostnic_kube::admission::{AccountName, Accounts, AdmissionSettings, Endpoint};

use crate::settings::{LogFormat, LogLevel, Zone};

/// Makes of a cluster's vxnets the blocks that its nodes draw addresses from.
#[derive(Debug, Parser)]
#[command(name = "hostnic-controller", version)]
pub(super) struct Controller {
    /// The file with the access key [default: the usual places, such as ~/.qingcloud/config.yaml].
    #[arg(long, value_name = "PATH")]
    pub(super) access_file: Option<PathBuf>,
    /// The zone [default: that of the access file].
    #[arg(long, value_name = "ZONE")]
    pub(super) zone: Option<Zone>,
    /// How to reach the cluster [default: the service account of this pod].
    #[arg(long, value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
    /// What the ConfigMap clusterconfig has as qingcloud.yaml [default: /etc/kubernetes/qingcloud.yaml, if it is there].
    #[arg(long, value_name = "PATH")]
    pub(super) cluster_config: Option<PathBuf>,
    /// Where metrics and health are shown, read-only.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9192")]
    pub(super) manage_addr: SocketAddr,
    /// The namespace of the Lease of the controller that works, and of the Secret with the webhooks' certificate.
    #[arg(long, value_name = "NAMESPACE", default_value = "kube-system")]
    pub(super) namespace: String,
    /// Where the webhooks are answered that check changes of pools, blocks and hostnic-ipam-config [default: nowhere].
    #[arg(long, value_name = "ADDRESS")]
    pub(super) webhook_addr: Option<SocketAddr>,
    /// The Service by which API servers reach the webhooks, with its port.
    #[arg(
        long,
        value_name = "NAME:PORT",
        default_value = "hostnic-controller:443",
        requires = "webhook_addr"
    )]
    pub(super) webhook_service: ServicePort,
    /// The service account that this runs as, whose changes are not checked.
    #[arg(long, value_name = "NAME", default_value = "hostnic-controller")]
    service_account: String,
    /// The service account of the nodes, whose changes are not checked.
    #[arg(long, value_name = "NAME", default_value = "hostnic-node")]
    node_account: String,
    /// What is logged: a level, or a list of directives.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(super) log_level: LogLevel,
    /// The form of a log line.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(super) log_format: LogFormat,
    #[command(flatten)]
    go: OfTheGoVersion,
}

/// A Service's name and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServicePort {
    name: String,
    port: u16,
}

impl FromStr for ServicePort {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse().ok()?)));
        let (name, port) = parts
            .filter(|(name, _)| !name.is_empty())
            .ok_or("it must be a name and a port, as in hostnic-controller:443")?;
        Ok(Self { name: name.to_owned(), port })
    }
}

/// Flags that the Go version took, and that manifests may still have.
#[derive(Debug, clap::Args)]
struct OfTheGoVersion {
    #[arg(long, short, hide = true, value_name = "LEVEL")]
    v: Option<String>,
    #[arg(long, hide = true, value_name = "NUMBER")]
    k8s_api_qps: Option<String>,
    #[arg(long, hide = true, value_name = "NUMBER")]
    k8s_api_burst: Option<String>,
    #[arg(long, hide = true, value_name = "PORT")]
    metrics_port: Option<String>,
}

impl Controller {
    /// How to reach the cluster.
    pub(super) fn access(&self) -> Access {
        self.kubeconfig.clone().map_or(Access::InCluster, Access::Kubeconfig)
    }

    /// How the webhooks are known, where they are answered.
    ///
    /// # Errors
    /// For names that no service account can have.
    pub(super) fn admission(&self) -> Result<Option<(SocketAddr, AdmissionSettings)>, InvalidValue> {
        let Some(address) = self.webhook_addr else { return Ok(None) };
        let account =
            |name: &str| AccountName::new(format!("system:serviceaccount:{}:{name}", self.namespace));
        let accounts =
            Accounts { own: account(&self.service_account)?, nodes: vec![account(&self.node_account)?] };
        let ServicePort { name, port } = self.webhook_service.clone();
        let endpoint = Endpoint::Service { namespace: self.namespace.clone(), name, port };
        Ok(Some((address, AdmissionSettings::new(endpoint, &*self.namespace, accounts))))
    }

    /// The flags that were given and mean nothing any more.
    pub(super) fn obsolete(&self) -> impl Iterator<Item = &'static str> {
        let OfTheGoVersion { v, k8s_api_qps, k8s_api_burst, metrics_port } = &self.go;
        let flags = [
            ("v", v),
            ("k8s-api-qps", k8s_api_qps),
            ("k8s-api-burst", k8s_api_burst),
            ("metrics-port", metrics_port),
        ];
        let given = flags.map(|(flag, value)| value.as_ref().map(|_| flag));
        given.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_go_versions_flags_are_taken_and_mean_nothing() {
        Controller::command().debug_assert();
        let words = ["hostnic-controller", "--v=5", "--k8s-api-qps=80", "--k8s-api-burst", "100"];
        let controller = Controller::try_parse_from(words).unwrap();
        assert_eq!(controller.obsolete().collect::<Vec<_>>(), ["v", "k8s-api-qps", "k8s-api-burst"]);
        assert!(matches!(controller.access(), Access::InCluster));
        assert!(controller.admission().unwrap().is_none());
    }

    #[test]
    fn the_webhooks_are_those_of_a_service_and_spare_our_own_accounts() {
        let words = ["hostnic-controller", "--webhook-addr", "0.0.0.0:9443"];
        let (address, settings) = Controller::try_parse_from(words).unwrap().admission().unwrap().unwrap();
        assert_eq!((address.port(), settings.namespace.as_str()), (9443, "kube-system"));
        let (namespace, name) = ("kube-system".to_owned(), "hostnic-controller".to_owned());
        assert_eq!(settings.endpoint, Endpoint::Service { namespace, name, port: 443 });
        assert_eq!(settings.accounts.own.as_str(), "system:serviceaccount:kube-system:hostnic-controller");
        for wrong in ["hostnic-controller", ":443", "a:b", "a:70000"] {
            assert!(wrong.parse::<ServicePort>().is_err(), "{wrong}");
        }
    }
}
