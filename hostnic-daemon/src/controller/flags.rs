//! The flags of `hostnic-controller`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use hostnic_kube::Access;

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
    /// The namespace of the Lease of the controller that works.
    #[arg(long, value_name = "NAMESPACE", default_value = "kube-system")]
    pub(super) namespace: String,
    /// What is logged: a level, or a list of directives.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(super) log_level: LogLevel,
    /// The form of a log line.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(super) log_format: LogFormat,
    #[command(flatten)]
    go: OfTheGoVersion,
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
    }
}
