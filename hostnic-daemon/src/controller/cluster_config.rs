//! What the cloud's own components know of the cluster: ConfigMap `clusterconfig`.

use std::io;
use std::path::Path;

use serde::Deserialize;

/// Where the file is unless told.
const USUAL: &str = "/etc/kubernetes/qingcloud.yaml";

/// What of it is acted on. Its other keys are for others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct ClusterConfig {
    /// The zone.
    pub(super) zone: Option<String>,
    /// The cluster, whose security group wins over the one that is named.
    #[serde(rename = "clusterID")]
    pub(super) cluster: Option<String>,
    /// The security group of the cluster's machines.
    #[serde(rename = "securityGroup")]
    pub(super) security_group: Option<String>,
}

impl ClusterConfig {
    /// Reads the file that was named, or the usual one where it is there.
    ///
    /// # Errors
    /// For a person.
    pub(super) fn read(named: Option<&Path>) -> Result<Self, String> {
        let path = named.unwrap_or_else(|| Path::new(USUAL));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => {
                return Err(format!(
                    "{} cannot be read: {error}; name another with --cluster-config",
                    path.display()
                ));
            }
        };
        Self::parse(&text).map_err(|error| {
            format!("{} cannot be used: {error}; correct the ConfigMap clusterconfig", path.display())
        })
    }

    fn parse(text: &str) -> Result<Self, serde_saphyr::Error> {
        let read: Option<Self> = serde_saphyr::from_str(text)?;
        let given = |value: Option<String>| value.filter(|value| !value.trim().is_empty());
        let Self { zone, cluster, security_group } = read.unwrap_or_default();
        Ok(Self { zone: given(zone), cluster: given(cluster), security_group: given(security_group) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_own_is_read_and_what_is_for_others_is_no_mistake() {
        let document = "zone: pek3a\nclusterID: cl-ns8bix0q\nuserID: usr-hRAmdSn6\nsecurityGroup: sg-mcun6ybb\nisApp: true\ntagIDs: [tag-a]\ninstanceIDs: []\ndefaultVxNetForLB: vxnet-a\n";
        let config = ClusterConfig::parse(document).unwrap();
        let told = (config.zone.as_deref(), config.cluster.as_deref(), config.security_group.as_deref());
        assert_eq!(told, (Some("pek3a"), Some("cl-ns8bix0q"), Some("sg-mcun6ybb")));
        assert_eq!(ClusterConfig::parse("").unwrap(), ClusterConfig::default());
        assert_eq!(ClusterConfig::parse("clusterID: \"\"\n").unwrap(), ClusterConfig::default());
        assert!(ClusterConfig::parse("zone: [").is_err());
    }

    #[test]
    fn a_file_that_was_named_must_be_there() {
        let missing = Path::new("/nowhere/qingcloud.yaml");
        let error = ClusterConfig::read(Some(missing)).unwrap_err();
        assert!(error.contains("/nowhere/qingcloud.yaml") && error.contains("--cluster-config"), "{error}");
    }
}
