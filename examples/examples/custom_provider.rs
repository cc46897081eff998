//! A cloud of one's own: what a `NicProvider` has to do, in memory, and the conformance suite that says whether it does.
//!
//! `cargo run -p hostnic-examples --example custom_provider` prints the report, and fails where the report is bad.

#![expect(clippy::print_stdout, reason = "the report is what this program is for")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use hostnic_core::cloud::{
    Carrier, Instance, Job, JobState, Nic, NicAttachment, NicFilter, Submitted, Subnet,
};
use hostnic_core::conformance::{Harness, World, run};
use hostnic_core::id::{JobId, MacAddr, NicId, SubnetId};
use hostnic_core::provider::{Capabilities, CreateNics, NicAddresses};
use hostnic_core::{Error, ErrorKind, NicProvider, QuotaScope, Result};

/// One instance and one subnet, 10.9.0.0/24. Attaching takes no time, so there are no jobs.
#[derive(Debug, Clone)]
struct ToyCloud {
    instance: Instance,
    subnet: Subnet,
    nics: Arc<Mutex<BTreeMap<NicId, Nic>>>,
}

impl ToyCloud {
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let instance = Instance { id: "toy-1".parse()?, router: None, nic_limit: 8 };
        let (id, prefix, gateway) = ("net-1".parse()?, "10.9.0.0/24".parse()?, "10.9.0.1".parse()?);
        let dhcp = Some("10.9.0.2".parse()?..="10.9.0.254".parse()?);
        let subnet = Subnet { id, prefix, gateway, router: None, dhcp, carrier: Carrier::Vxlan, room: None };
        Ok(Self { instance, subnet, nics: Arc::default() })
    }

    fn nics(&self) -> MutexGuard<'_, BTreeMap<NicId, Nic>> {
        self.nics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The NIC whose address ends in `host`.
    fn nic(&self, host: u8, request: &CreateNics) -> Result<Nic> {
        let mac = MacAddr::new([0x02, 0, 10, 9, 0, host])?;
        Ok(Nic {
            id: NicId::new(mac.to_string())?,
            mac,
            name: request.name.to_string(),
            subnet: self.subnet.id.clone(),
            addresses: vec![Ipv4Addr::new(10, 9, 0, host).into()],
            attachment: NicAttachment::Available,
        })
    }
}

#[async_trait]
impl NicProvider for ToyCloud {
    fn capabilities(&self) -> Capabilities {
        let (create_batch, batch) = (16, 16);
        Capabilities { create_batch, batch, addresses_per_nic: 1, fixed_addresses: false, bare_nics: false }
    }

    async fn instance(&self) -> Result<Instance> {
        Ok(self.instance.clone())
    }

    async fn subnets(&self, ids: &[SubnetId]) -> Result<Vec<Subnet>> {
        Ok(ids.iter().filter(|id| **id == self.subnet.id).map(|_| self.subnet.clone()).collect())
    }

    async fn create_nics(&self, request: &CreateNics) -> Result<Vec<Nic>> {
        let refuse = |kind| Error::new(kind, "create NICs", &request.subnet);
        if request.subnet != self.subnet.id {
            return Err(refuse(ErrorKind::NotFound));
        }
        if request.addresses != NicAddresses::Assigned(1) || !(1..=16).contains(&request.count) {
            return Err(refuse(ErrorKind::Invalid).detail("1 to 16 NICs with one address each"));
        }
        let mut nics = self.nics();
        let all: Vec<_> = (2..=254).map(|host| self.nic(host, request)).collect::<Result<_>>()?;
        let free = all.into_iter().filter(|nic| !nics.contains_key(&nic.id));
        let made: Vec<_> = free.take(request.count as usize).collect();
        // Nothing is put in before there is room for all: the call makes all of them or none.
        if made.len() < request.count as usize {
            return Err(refuse(ErrorKind::Quota(QuotaScope::Subnet)));
        }
        nics.extend(made.iter().map(|nic| (nic.id.clone(), nic.clone())));
        Ok(made)
    }

    async fn attach_nics(&self, ids: &[NicId]) -> Result<Submitted> {
        let mut nics = self.nics();
        for id in ids {
            let refuse = |kind| Error::new(kind, "attach NICs", id);
            let nic = nics.get(id).ok_or_else(|| refuse(ErrorKind::NotFound))?;
            if nic.attachment != NicAttachment::Available {
                return Err(refuse(ErrorKind::Conflict).detail("it is attached already"));
            }
        }
        let attached = nics.values().filter(|nic| nic.attachment != NicAttachment::Available).count();
        if attached + ids.len() > self.instance.nic_limit as usize {
            return Err(Error::new(ErrorKind::Quota(QuotaScope::Instance), "attach NICs", &self.instance.id));
        }
        for nic in nics.values_mut().filter(|nic| ids.contains(&nic.id)) {
            nic.attachment = NicAttachment::Attached { instance: self.instance.id.clone(), primary: false };
        }
        Ok(Submitted::Complete)
    }

    async fn detach_nics(&self, ids: &[NicId]) -> Result<Submitted> {
        for nic in self.nics().values_mut().filter(|nic| ids.contains(&nic.id)) {
            nic.attachment = NicAttachment::Available;
        }
        Ok(Submitted::Complete)
    }

    async fn delete_nics(&self, ids: &[NicId]) -> Result<()> {
        let mut nics = self.nics();
        let attached =
            |id: &&NicId| nics.get(id).is_some_and(|nic| nic.attachment != NicAttachment::Available);
        if let Some(id) = ids.iter().find(attached) {
            return Err(Error::new(ErrorKind::Conflict, "delete NICs", id).detail("detach it first"));
        }
        nics.retain(|id, _| !ids.contains(id));
        Ok(())
    }

    async fn list_nics(&self, filter: &NicFilter) -> Result<Vec<Nic>> {
        Ok(self.nics().values().filter(|nic| filter.matches(nic)).cloned().collect())
    }

    async fn jobs(&self, jobs: &[JobId]) -> Result<Vec<Job>> {
        Ok(jobs.iter().map(|id| Job { id: id.clone(), state: JobState::Unknown }).collect())
    }
}

#[async_trait]
impl Harness for ToyCloud {
    async fn world(&self) -> Result<World> {
        Ok(World::new(Arc::new(self.clone()), vec![self.subnet.id.clone()], 1))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let report = run(&ToyCloud::new()?).await;
    println!("{report}");
    Ok(if report.conforms() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
