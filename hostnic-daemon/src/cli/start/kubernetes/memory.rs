//! What the cluster said last, for a start while it cannot be asked. Lost without harm.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hostnic_core::id::SubnetId;
use hostnic_core::store::BootId;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// What the cluster said in this boot, in a file beside the records.
#[derive(Debug)]
pub(super) struct Memory {
    path: PathBuf,
    boot: String,
    said: Option<Said>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Said {
    boot: String,
    cluster: String,
    #[serde(default)]
    subnets: Vec<SubnetId>,
    #[serde(default)]
    services: Vec<IpNet>,
    /// Whether there is a VxNetPool `v-pool`.
    #[serde(default)]
    v_pool: bool,
    /// The uid of the node's object.
    #[serde(default)]
    node: Option<String>,
}

impl Memory {
    /// What the cluster said in this boot to the daemon with the records at `store`.
    pub(super) fn beside(store: &Path, boot: BootId) -> Self {
        let path = store.with_extension("cluster.json");
        let said = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Said>(&text).ok());
        let boot = boot.to_string();
        Self { said: said.filter(|said| said.boot == boot), boot, path }
    }

    /// Whether no daemon was in this cluster before in this boot.
    pub(super) fn is_new(&self) -> bool {
        self.said.is_none()
    }

    /// The cluster's uid.
    pub(super) fn cluster(&self) -> Option<&str> {
        self.said.as_ref().map(|said| said.cluster.as_str())
    }

    /// The subnets that the node drew from.
    pub(super) fn subnets(&self) -> Vec<SubnetId> {
        self.said.as_ref().map(|said| said.subnets.clone()).unwrap_or_default()
    }

    /// Takes the cluster's uid. What another one said is forgotten.
    pub(super) fn set_cluster(&mut self, cluster: &str) {
        if self.cluster() == Some(cluster) {
            return;
        }
        self.set(Said { boot: self.boot.clone(), cluster: cluster.to_owned(), ..Said::default() });
    }

    /// Takes the subnets that the node draws from.
    pub(super) fn set_subnets(&mut self, subnets: &[SubnetId]) {
        if let Some(said) = self.said.clone().filter(|said| said.subnets != subnets) {
            self.set(Said { subnets: subnets.to_vec(), ..said });
        }
    }

    /// The addresses of the cluster's services; none where it did not say.
    pub(super) fn services(&self) -> &[IpNet] {
        self.said.as_ref().map(|said| said.services.as_slice()).unwrap_or_default()
    }

    /// Takes the addresses of the cluster's services.
    pub(super) fn set_services(&mut self, services: &[IpNet]) {
        if let Some(said) = self.said.clone().filter(|said| said.services != services) {
            self.set(Said { services: services.to_vec(), ..said });
        }
    }

    /// Whether the cluster's nodes share NICs.
    pub(super) fn v_pool(&self) -> bool {
        self.said.as_ref().is_some_and(|said| said.v_pool)
    }

    /// Takes whether the cluster's nodes share NICs.
    pub(super) fn set_v_pool(&mut self, v_pool: bool) {
        if let Some(said) = self.said.clone().filter(|said| said.v_pool != v_pool) {
            self.set(Said { v_pool, ..said });
        }
    }

    /// The uid of the node's object.
    pub(super) fn node(&self) -> Option<String> {
        self.said.as_ref().and_then(|said| said.node.clone())
    }

    /// Takes the uid of the node's object.
    pub(super) fn set_node(&mut self, uid: &str) {
        if let Some(said) = self.said.clone().filter(|said| said.node.as_deref() != Some(uid)) {
            self.set(Said { node: Some(uid.to_owned()), ..said });
        }
    }

    fn set(&mut self, said: Said) {
        if let Err(error) = write(&self.path, &said) {
            tracing::warn!(file = %self.path.display(), %error, "what the cluster says cannot be kept for the next start");
        }
        self.said = Some(said);
    }
}

/// Whole or not at all, for whoever reads it after a kill; nothing need survive the machine.
fn write(path: &Path, said: &Said) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let unfinished = path.with_extension("json.new");
    fs::write(&unfinished, serde_json::to_vec(said)?)?;
    fs::rename(&unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_in_this_boot_is_remembered_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("run/state.redb");
        let memory = |boot: &str| Memory::beside(&store, boot.parse().unwrap());
        let subnets: Vec<SubnetId> = vec!["vxnet-a".parse().unwrap()];
        let mut first = memory("b1");
        assert!(first.is_new());
        first.set_subnets(&subnets);
        assert!(memory("b1").is_new(), "subnets are of a cluster");
        first.set_cluster("c1");
        first.set_subnets(&subnets);
        let services = ["10.96.0.0/12".parse().unwrap()];
        first.set_services(&services);
        let again = memory("b1");
        assert_eq!((again.cluster(), again.subnets()), (Some("c1"), subnets));
        assert_eq!(again.services(), services);
        assert_eq!((again.v_pool(), again.node()), (false, None));
        first.set_v_pool(true);
        first.set_node("u1");
        assert_eq!((memory("b1").v_pool(), memory("b1").node().as_deref()), (true, Some("u1")));
        assert!(memory("b2").is_new());
        first.set_cluster("c2");
        assert_eq!((memory("b1").cluster(), memory("b1").subnets()), (Some("c2"), vec![]));
        assert_eq!(memory("b1").services(), [] as [IpNet; 0]);
        fs::write(store.with_extension("cluster.json"), "rubbish").unwrap();
        assert!(memory("b1").is_new());
    }
}
