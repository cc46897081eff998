//! A pod's namespace, as a container runtime makes it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hostnic_core::{Error, ErrorKind, Result};
use hostnic_netlink::NamedNetns;

use crate::icmp;

/// How often a ping is sent before it counts as lost: the first one may wait for ARP.
const TRIES: u16 = 3;

/// An empty network namespace with a name. Dropping it removes it.
#[derive(Debug)]
pub struct Sandbox {
    /// The container's id.
    pub id: String,
    netns: NamedNetns,
}

impl Sandbox {
    /// Makes one, named `<folder>/<id>`.
    ///
    /// # Errors
    /// Those of [`NamedNetns::create`].
    pub async fn create(folder: &Path, id: &str) -> Result<Self> {
        Ok(Self { id: id.to_owned(), netns: NamedNetns::create(folder.join(id)).await? })
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.netns.path().to_owned()
    }

    /// Pings from inside it. Answers the time of the reply.
    ///
    /// # Errors
    /// `Transient` when no reply came.
    pub async fn ping(&self, target: Ipv4Addr, number: u16) -> Result<Duration> {
        let lost = |error: std::io::Error| {
            Error::new(ErrorKind::Transient, "ping", target)
                .detail(format!("from {} no reply came", self.id))
                .source(error)
        };
        let netns = self.netns.open()?;
        let tries = netns.run(move || {
            let mut last = std::io::Error::from(std::io::ErrorKind::TimedOut);
            for _ in 0..TRIES {
                match icmp::ping(target, number, Duration::from_secs(1)) {
                    Ok(time) => return Ok(time),
                    Err(error) => last = error,
                }
            }
            Err(last)
        });
        tries.await?.map_err(lost)
    }

    /// Ends it.
    ///
    /// # Errors
    /// Those of [`NamedNetns::remove`].
    pub fn remove(self) -> Result<()> {
        self.netns.remove()
    }
}
