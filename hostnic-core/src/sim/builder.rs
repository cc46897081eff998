//! What the simulated cloud is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::cloud::Cloud;
use super::fault::{Fault, Gate, When};
use super::history::{History, Operation};
use super::job::Jobs;
use super::plug::Plug;
use super::quota::{Quotas, RateLimit};
use super::range::AddressRange;
use super::save::SavedCloud;
use super::seed::{Names, Random};
use super::service::Service;
use super::state::State;
use super::view::LaggingView;
use crate::cloud::{Carrier, Instance, Nic, NicAttachment};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{InstanceId, NicId, RouterId, SubnetId};
use crate::provider::Capabilities;

/// How long jobs take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Durations {
    /// An attach job, from its call to the moment at which links are plugged.
    pub attach: Duration,
    /// A detach job, likewise.
    pub detach: Duration,
    /// Reserving addresses and giving them back.
    pub reserve: Duration,
}

/// A subnet of the simulated cloud.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetSpec {
    /// Its id.
    pub id: SubnetId,
    /// Its address range.
    pub prefix: IpNet,
    /// The VPC router's address in it.
    pub gateway: IpAddr,
    /// The addresses that the cloud gives to NICs and reservations.
    pub range: RangeInclusive<IpAddr>,
    /// The VPC router that it is bound to.
    pub router: Option<RouterId>,
    /// Whether the cloud hands out addresses in it.
    pub dhcp: bool,
    /// What it is made of.
    #[serde(default)]
    pub carrier: Carrier,
}

impl SubnetSpec {
    /// A subnet whose gateway is the first address of `prefix`, and which gives out all others, by DHCP.
    pub fn new(id: SubnetId, prefix: IpNet, router: Option<RouterId>) -> Self {
        let (gateway, range) = AddressRange::usual(prefix);
        Self { id, prefix, gateway, range, router, dhcp: true, carrier: Carrier::default() }
    }

    pub(super) fn check(&self) -> Result<()> {
        let (first, last) = (*self.range.start(), *self.range.end());
        let inside = [self.gateway, first, last].iter().all(|address| self.prefix.contains(address));
        if inside && first <= last {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Invalid, "simulate subnet", &self.id).detail(format_args!(
            "the gateway {} and the range {first} to {last} do not fit {}",
            self.gateway, self.prefix
        )))
    }
}

/// Makes a [`Cloud`]. By default everything takes no time and nothing goes wrong.
///
/// Ids and prefixes are given as text; what is not valid is told by [`CloudBuilder::build`].
#[derive(Debug)]
#[must_use]
pub struct CloudBuilder {
    seed: u64,
    router: Option<RouterId>,
    capabilities: Capabilities,
    quotas: Quotas,
    durations: Durations,
    tells_room: bool,
    list_lag: Duration,
    latencies: BTreeMap<Operation, Duration>,
    rate_limit: Option<(u32, Duration)>,
    plug: Option<Arc<dyn Plug>>,
    subnets: Vec<SubnetSpec>,
    instances: Vec<Instance>,
    primaries: Vec<(InstanceId, SubnetId)>,
    groups: BTreeSet<String>,
    faults: Vec<(Operation, When, Fault)>,
    saved: Option<SavedCloud>,
    invalid: Option<Error>,
}

impl CloudBuilder {
    pub(super) fn new() -> Self {
        Self {
            seed: 0,
            router: RouterId::new("rtr-sim").ok(),
            capabilities: Capabilities {
                create_batch: 252,
                batch: 100,
                addresses_per_nic: 1,
                fixed_addresses: true,
                bare_nics: true,
            },
            quotas: Quotas::default(),
            durations: Durations::default(),
            tells_room: true,
            list_lag: Duration::ZERO,
            latencies: BTreeMap::new(),
            rate_limit: None,
            plug: None,
            subnets: Vec::new(),
            instances: Vec::new(),
            primaries: Vec::new(),
            groups: BTreeSet::new(),
            faults: Vec::new(),
            saved: None,
            invalid: None,
        }
    }

    /// Where MACs, job ids and chance come from; 0 by default. The same seed and calls give the same cloud.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The VPC router of the subnets and instances that are added after this; `rtr-sim` by default.
    pub fn router(mut self, id: &str) -> Self {
        self.router = self.valid(RouterId::new(id)).or(self.router);
        self
    }

    /// Adds a subnet, usual in every way (see [`SubnetSpec::new`]).
    pub fn subnet(mut self, id: &str, prefix: &str) -> Self {
        let prefix = prefix.parse::<IpNet>().map_err(|cause| {
            Error::new(ErrorKind::Invalid, "simulate subnet", id)
                .detail(format_args!("{prefix:?} is no prefix"))
                .source(cause)
        });
        if let (Some(id), Some(prefix)) = (self.valid(SubnetId::new(id)), self.valid(prefix)) {
            let spec = SubnetSpec::new(id, prefix, self.router.clone());
            self.subnets.push(spec);
        }
        self
    }

    /// Adds a subnet that is unusual in some way.
    pub fn subnet_with(mut self, spec: SubnetSpec) -> Self {
        self.subnets.push(spec);
        self
    }

    /// Adds an instance that may carry 63 NICs besides its primary one, which it does not have unless
    /// [`CloudBuilder::primary_nic`] gives it one.
    pub fn instance(mut self, id: &str) -> Self {
        if let Some(id) = self.valid(InstanceId::new(id)) {
            self.instances.push(Instance { id, router: self.router.clone(), nic_limit: 63 });
        }
        self
    }

    /// Adds an instance as described.
    pub fn instance_with(mut self, instance: Instance) -> Self {
        self.instances.push(instance);
        self
    }

    /// Gives an instance its primary NIC, with the next address of the subnet.
    pub fn primary_nic(mut self, instance: &str, subnet: &str) -> Self {
        if let (Some(instance), Some(subnet)) =
            (self.valid(InstanceId::new(instance)), self.valid(SubnetId::new(subnet)))
        {
            self.primaries.push((instance, subnet));
        }
        self
    }

    /// The sizes and abilities: by default those of QingCloud, 252 NICs in a create, 100 things in other calls,
    /// one address on each NIC.
    pub fn capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// How many NICs may be where.
    pub fn quotas(mut self, quotas: Quotas) -> Self {
        self.quotas = quotas;
        self
    }

    /// How long jobs take; no time by default.
    pub fn durations(mut self, durations: Durations) -> Self {
        self.durations = durations;
        self
    }

    /// How long the answer to an operation takes; no time by default. A call has its effect when it comes.
    pub fn latency(mut self, operation: Operation, takes: Duration) -> Self {
        self.latencies.insert(operation, takes);
        self
    }

    /// How far lists lag behind: every change, first of all that a NIC was made, shows so much later. Zero by default.
    pub fn list_lag(mut self, lag: Duration) -> Self {
        self.list_lag = lag;
        self
    }

    /// Subnets do not tell how much room they have.
    pub fn hide_room(mut self) -> Self {
        self.tells_room = false;
        self
    }

    /// At most `calls` of the account, all nodes together, in any `window`; what comes beyond is `Throttled`.
    pub fn rate_limit(mut self, calls: u32, window: Duration) -> Self {
        self.rate_limit = Some((calls, window));
        self
    }

    /// Who makes links appear and disappear. Without one jobs end by themselves, and no task runs.
    pub fn plug(mut self, plug: Arc<dyn Plug>) -> Self {
        self.plug = Some(plug);
        self
    }

    /// Adds a security group without rules.
    pub fn security_group(mut self, group: &str) -> Self {
        self.groups.insert(group.to_owned());
        self
    }

    /// Injects a fault from the start; see [`Cloud::inject`].
    pub fn fault(mut self, operation: Operation, when: When, fault: Fault) -> Self {
        self.faults.push((operation, when, fault));
        self
    }

    /// Goes on where [`Cloud::save`] left off, `later` after it. Instances, subnets, NICs, reservations, rules, jobs and
    /// names come from there; what else was described to this builder holds anew, and its subnets and instances
    /// are added where they are not known.
    pub fn resume(mut self, mut saved: SavedCloud, later: Duration) -> Self {
        saved.now = saved.now.saturating_add(later);
        self.saved = Some(saved);
        self
    }

    /// Makes the cloud.
    ///
    /// # Errors
    /// `Invalid` for the first id, prefix or range that was not valid, and what [`Cloud::insert_nic`] says where a
    /// primary NIC cannot be made.
    pub fn build(mut self) -> Result<Cloud> {
        if let Some(invalid) = self.invalid.take() {
            return Err(invalid);
        }
        let mut random = Random::new(self.seed);
        let mut state = State {
            capabilities: self.capabilities,
            quotas: self.quotas,
            durations: self.durations,
            tells_room: self.tells_room,
            has_plug: self.plug.is_some(),
            instances: BTreeMap::new(),
            subnets: BTreeMap::new(),
            nics: BTreeMap::new(),
            reservations: BTreeMap::new(),
            host_machines: BTreeMap::new(),
            rules: self.groups.into_iter().map(|group| (group, BTreeSet::new())).collect(),
            jobs: Jobs::default(),
            work: Vec::new(),
            view: LaggingView::new(self.list_lag),
            names: Names::new(&mut random),
        };
        let mut now = Duration::ZERO;
        if let Some(saved) = self.saved {
            now = saved.now;
            random = saved.restore(&mut state);
        }
        for spec in self.subnets {
            spec.check()?;
            if !state.subnets.contains_key(&spec.id) {
                state.add_subnet(spec);
            }
        }
        for instance in self.instances {
            if !state.instances.contains_key(&instance.id) {
                state.add_instance(instance);
            }
        }
        for (instance, subnet) in self.primaries {
            if state.instances.get(&instance).is_none_or(|known| known.primary.is_none()) {
                make_primary(&mut state, instance, subnet, now)?;
            }
        }
        let rate_limit = self.rate_limit.map(|(calls, window)| RateLimit::new(calls, window));
        let mut gate = Gate { rate_limit, ..Gate::default() };
        for (operation, when, fault) in self.faults {
            gate.faults.inject(operation, when, fault);
        }
        let service = Service { state, gate, random, history: History::default(), latencies: self.latencies };
        Ok(Cloud::new(service, self.plug, now))
    }

    /// The value, or `None` and the error kept for the end.
    fn valid<T, E: Into<Error>>(&mut self, value: Result<T, E>) -> Option<T> {
        value.map_err(|error| self.invalid.get_or_insert(error.into())).ok()
    }
}

fn make_primary(state: &mut State, instance: InstanceId, subnet: SubnetId, now: Duration) -> Result<()> {
    let mac = state.names.mac();
    let address = state.subnets.get(&subnet).and_then(|subnet| subnet.range.peek());
    let nic = Nic {
        id: NicId::new(mac.to_string())?,
        mac,
        name: "primary".to_owned(),
        subnet,
        addresses: address.into_iter().collect(),
        attachment: NicAttachment::Attached { instance, primary: true },
    };
    state.insert_foreign(nic, now)
}
