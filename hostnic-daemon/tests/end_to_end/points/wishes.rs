//! What pods ask for themselves, and which addresses they have for network policies, in files of the node's folder in place of an
//! orchestrator.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use hostnic_core::attachment::PodRef;
use hostnic_core::enforcer::PolicyEnforcer;
use hostnic_core::ipam::Lease;
use hostnic_core::pods::{NicWish, PodDirectory, PodWishes};
use hostnic_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// Which NIC a pod asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Wish {
    /// One that is made in this subnet, with this address.
    Made(String, String),
    /// This one.
    Existing(String),
}

impl Wish {
    fn nic(self) -> NicWish {
        match self {
            Self::Made(subnet, address) => NicWish::Made {
                subnet: Some(subnet.parse().unwrap()),
                address: Some(address.parse().unwrap()),
            },
            Self::Existing(nic) => NicWish::Existing(nic.parse().unwrap()),
        }
    }
}

fn file(folder: &Path, pod: &str) -> PathBuf {
    folder.join(format!("wish-{pod}"))
}

/// The pod asks for this from now on.
pub(super) fn make(folder: &Path, pod: &str, wish: &Wish) {
    std::fs::write(file(folder, pod), serde_json::to_vec(wish).unwrap()).unwrap();
}

/// The pod asks for nothing any more.
pub(super) fn withdraw(folder: &Path, pod: &str) {
    // Most ask for nothing.
    let _ = std::fs::remove_file(file(folder, pod));
}

/// Reads wishes for the node.
#[derive(Debug)]
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new(folder: &Path) -> Self {
        Self(folder.to_owned())
    }
}

#[async_trait]
impl PodDirectory for Directory {
    async fn wishes(&self, pod: &PodRef) -> Result<PodWishes> {
        let Ok(text) = std::fs::read(file(&self.0, &pod.name)) else { return Ok(PodWishes::default()) };
        let wish: Wish = serde_json::from_slice(&text).unwrap();
        Ok(PodWishes { nic: wish.nic(), ..PodWishes::default() })
    }

    fn attached(&self, _pod: &PodRef, _lease: &Lease) {}

    fn failed(&self, _pod: &PodRef, _error: &Error) {}
}

#[async_trait]
impl PolicyEnforcer for Directory {
    async fn tell(&self, pod: &PodRef, address: IpAddr) -> Result<()> {
        std::fs::write(self.0.join(format!("address-{}", pod.name)), address.to_string()).unwrap();
        Ok(())
    }

    fn tell_later(&self, _pod: &PodRef, _address: IpAddr) {}
}
