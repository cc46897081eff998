//! Programs that configure links which they do not own.
//!
//! NetworkManager and systemd-networkd take up each link that appears, and give a pod's NIC an address by DHCP on the host
//! before the pod has it. Both tell in files what they manage, so that neither has to be asked.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use hostnic_core::id::MacAddr;

use super::Finding;
use super::drop_ins::Primary;
use super::links::{links, text};

/// A link of ours that somebody else manages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedLink {
    /// The link's name.
    pub name: String,
    /// Who manages it.
    pub by: Manager,
}

/// Who manages links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// NetworkManager.
    NetworkManager,
    /// systemd-networkd.
    Networkd,
}

/// Those links below `sys` (`/sys`) with a MAC address of `ours` which a program manages, as it says below `run` (`/run`).
///
/// # Errors
/// When a folder or file is there and cannot be read.
pub fn managed_links(sys: &Path, run: &Path, ours: &BTreeSet<MacAddr>) -> io::Result<Vec<ManagedLink>> {
    let mut managed = Vec::new();
    for link in links(sys, ours)? {
        for by in [Manager::NetworkManager, Manager::Networkd] {
            if by.manages(run, &link.index)? {
                managed.push(ManagedLink { name: link.name.clone(), by });
            }
        }
    }
    Ok(managed)
}

impl Manager {
    fn manages(self, run: &Path, index: &str) -> io::Result<bool> {
        let (folder, key, unmanaged): (_, _, &[&str]) = match self {
            Self::NetworkManager => ("NetworkManager/devices", "managed", &["false"]),
            Self::Networkd => {
                ("systemd/netif/links", "ADMIN_STATE", &["unmanaged", "pending", "initialized"])
            }
        };
        let state = text(&run.join(folder).join(index))?.unwrap_or_default();
        let value = state.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='));
        Ok(value.is_some_and(|value| !unmanaged.contains(&value.trim())))
    }

    fn remedy(self, link: &str, primary: &Primary) -> String {
        match self {
            Self::NetworkManager => {
                format!("nmcli device set {link} managed no; for good, {}", primary.network_manager())
            }
            Self::Networkd => primary.networkd(),
        }
    }
}

/// What is wrong about them.
pub fn interference_findings(managed: &[ManagedLink], primary: &Primary) -> Vec<Finding> {
    let finding = |link: &ManagedLink| {
        let program = match link.by {
            Manager::NetworkManager => "NetworkManager",
            Manager::Networkd => "systemd-networkd",
        };
        let problem = format!("is managed by {program}, which gives it addresses and routes on the host");
        Finding::error(format_args!("link {}", link.name), problem, link.by.remedy(&link.name, primary))
    };
    managed.iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A machine's folders with one link of ours and one of somebody else's.
    fn machine() -> tempfile::TempDir {
        let machine = tempfile::tempdir().unwrap();
        for (name, mac, index) in [("eth0", "52:54:00:00:00:01", 2), ("eth1", "52:54:00:00:00:02", 3)] {
            let link = machine.path().join("sys/class/net").join(name);
            fs::create_dir_all(&link).unwrap();
            fs::write(link.join("address"), format!("{mac}\n")).unwrap();
            fs::write(link.join("ifindex"), format!("{index}\n")).unwrap();
        }
        fs::write(machine.path().join("sys/class/net/bonding_masters"), "\n").unwrap();
        machine
    }

    fn state(machine: &tempfile::TempDir, folder: &str, index: u32, text: &str) {
        let folder = machine.path().join("run").join(folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(index.to_string()), text).unwrap();
    }

    fn managed(machine: &tempfile::TempDir) -> Vec<ManagedLink> {
        let ours = BTreeSet::from(["52:54:00:00:00:02".parse().unwrap()]);
        managed_links(&machine.path().join("sys"), &machine.path().join("run"), &ours).unwrap()
    }

    #[test]
    fn a_link_of_ours_that_somebody_manages_is_found_and_one_of_others_is_not() {
        let machine = machine();
        assert_eq!(managed(&machine), []);
        for index in [2, 3] {
            state(&machine, "NetworkManager/devices", index, "[device]\nmanaged=true\nnm-owned=false\n");
            state(
                &machine,
                "systemd/netif/links",
                index,
                "# private\nADMIN_STATE=configured\nOPER_STATE=routable\n",
            );
        }
        let link = |by| ManagedLink { name: "eth1".into(), by };
        assert_eq!(managed(&machine), [link(Manager::NetworkManager), link(Manager::Networkd)]);
        let findings = interference_findings(&managed(&machine), &Primary::default());
        assert_eq!(findings[0].object, "link eth1");
        assert!(findings[0].problem.contains("NetworkManager"), "{findings:?}");
        assert!(findings[0].remedy.contains("nmcli device set eth1 managed no"), "{findings:?}");
        assert!(findings[1].problem.contains("systemd-networkd"), "{findings:?}");
    }

    #[test]
    fn a_link_that_is_left_alone_is_no_finding() {
        let machine = machine();
        state(&machine, "NetworkManager/devices", 3, "[device]\nmanaged=false\n");
        state(&machine, "systemd/netif/links", 3, "ADMIN_STATE=unmanaged\n");
        assert_eq!(managed(&machine), []);
    }
}
