//! The simulated kernel as the place where a simulated cloud's NICs appear.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::state::Link;
use super::{Kernel, KernelOperation};
use crate::cloud::Nic;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{InstanceId, NicId};
use crate::sim::Plug;

#[async_trait]
impl Plug for Kernel {
    async fn plug(&self, _instance: &InstanceId, nic: &Nic, sources: &[IpAddr]) -> Result<()> {
        let course = self.single(KernelOperation::Plug, &nic.id).await?;
        {
            let mut state = self.lock();
            // A NIC that was plugged before is new: the cloud takes a link out before it puts it in again.
            state.links.unplug(nic.mac);
            state.links.put_on_host(Link::new(nic.mac));
            state.sources.insert(nic.id.clone(), sources.to_vec());
        }
        self.shared.arrived.notify_waiters();
        course.end(())
    }

    async fn unplug(&self, _instance: &InstanceId, nic: &Nic) -> Result<()> {
        let course = self.single(KernelOperation::Unplug, &nic.id).await?;
        {
            let mut state = self.lock();
            state.links.unplug(nic.mac);
            state.sources.remove(&nic.id);
        }
        course.end(())
    }

    async fn set_sources(&self, nic: &NicId, sources: &[IpAddr]) -> Result<()> {
        let course = self.single(KernelOperation::SetSources, nic).await?;
        if let Some(known) = self.lock().sources.get_mut(nic) {
            *known = sources.to_vec();
        }
        course.end(())
    }
}

/// Plugs each instance's NICs into that instance's own plug: a cloud of several nodes.
#[derive(Debug, Default)]
pub struct PlugByInstance {
    plugs: BTreeMap<InstanceId, Arc<dyn Plug>>,
    /// Where each NIC is plugged in, as changes of sources do not say it.
    plugged: Mutex<BTreeMap<NicId, InstanceId>>,
}

impl PlugByInstance {
    /// One without instances; for those it does not know it answers `NotFound`, so that their attach jobs fail.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an instance, or replaces its plug.
    #[must_use]
    pub fn with(mut self, instance: InstanceId, plug: Arc<dyn Plug>) -> Self {
        self.plugs.insert(instance, plug);
        self
    }

    fn plug_of(&self, instance: &InstanceId) -> Result<&Arc<dyn Plug>> {
        let unknown = || Error::new(ErrorKind::NotFound, "find the plug of", instance);
        self.plugs.get(instance).ok_or_else(unknown)
    }

    fn with_plugged<T>(&self, change: impl FnOnce(&mut BTreeMap<NicId, InstanceId>) -> T) -> T {
        change(&mut self.plugged.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Plug for PlugByInstance {
    async fn plug(&self, instance: &InstanceId, nic: &Nic, sources: &[IpAddr]) -> Result<()> {
        self.plug_of(instance)?.plug(instance, nic, sources).await?;
        self.with_plugged(|plugged| plugged.insert(nic.id.clone(), instance.clone()));
        Ok(())
    }

    async fn unplug(&self, instance: &InstanceId, nic: &Nic) -> Result<()> {
        self.plug_of(instance)?.unplug(instance, nic).await?;
        self.with_plugged(|plugged| plugged.remove(&nic.id));
        Ok(())
    }

    async fn set_sources(&self, nic: &NicId, sources: &[IpAddr]) -> Result<()> {
        match self.with_plugged(|plugged| plugged.get(nic).cloned()) {
            Some(instance) => self.plug_of(&instance)?.set_sources(nic, sources).await,
            // It was unplugged meanwhile.
            None => Ok(()),
        }
    }
}
