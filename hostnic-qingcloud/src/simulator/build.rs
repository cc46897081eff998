//! From a configuration, and what was saved, to a backend.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use hostnic_core::Result;
use hostnic_core::id::InvalidValue;
use hostnic_core::provider::Capabilities;
use hostnic_core::sim::{Cloud, Faults, Random, RateLimit, SubnetSpec};

use super::account::access_key::KeyStatus;
use super::account::cluster::Cluster;
use super::account::instance::InstanceNote;
use super::account::router::Router;
use super::account::security_group::Group;
use super::account::vxnet::{Network, Vxnet};
use super::account::{Account, JobTimes, Limits};
use super::action;
use super::backend::{Backend, State};
use super::config::{SimulatorConfig, VxnetSpec};
use super::gate::Gate;
use super::store::{Saved, Store};

/// How many NICs one call takes is documented for CreateNics only; the same is assumed for the others.
const CAPABILITIES: Capabilities = Capabilities {
    create_batch: 252,
    batch: 252,
    addresses_per_nic: 1,
    fixed_addresses: true,
    bare_nics: true,
};

/// The backend of a simulator. What was saved comes first; what the configuration names beside it is added.
pub(super) fn backend(config: &SimulatorConfig) -> Result<Backend> {
    if let Some(unknown) = config.latencies.keys().find(|name| action::named(name).is_none()) {
        let rule = "one of the API's actions, such as DescribeNics";
        return Err(InvalidValue::new("action with a latency", unknown, rule).into());
    }
    let store = config.state.clone().map(Store::new);
    let saved = store.as_ref().map(Store::load).transpose()?.flatten();
    let clock = config.clock.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut builder = Cloud::builder()
        .seed(config.seed)
        .capabilities(CAPABILITIES)
        .router(SimulatorConfig::ROUTER)
        .quotas(config.quotas.clone())
        .durations(config.durations)
        .list_lag(config.stale_by);
    if let Some(plug) = &config.plug {
        builder = builder.plug(plug.clone());
    }
    for vxnet in vxnets(config) {
        builder = builder.subnet(vxnet.id.as_str(), &vxnet.prefix.to_string());
    }
    for instance in &config.instances {
        builder =
            builder.instance(instance.as_str()).primary_nic(instance.as_str(), config.primary.id.as_str());
    }
    let mut account = Account::new(SimulatorConfig::OWNER, clock, config.seed);
    if let Some(Saved { at, cloud, account: known }) = saved {
        builder = builder.resume(cloud, clock.saturating_sub(at));
        account = known;
    }
    let cloud = builder.build()?;
    furnish(&mut account, config, cloud.now());
    let state = State {
        account,
        faults: Faults::default(),
        random: Random::new(config.seed),
        rate_limit: config.rate_limit.map(|(calls, window)| RateLimit::new(calls, window)),
        latencies: config.latencies.clone(),
        history: super::history::History::default(),
    };
    let backend = Backend {
        control: cloud.control(),
        cloud,
        clock: config.clock.clone(),
        gate: Gate { zone: config.zone.clone(), secrets: config.keys.clone(), role: config.role.clone() },
        limits: Limits { vxnets: 300, security_group_rules: 100, tags: 100 },
        times: JobTimes { router: config.durations.attach, security_group: config.durations.attach },
        store,
        plug: config.plug.clone(),
        state: state.into(),
    };
    for rule in &config.faults {
        backend.inject(rule.clone())?;
    }
    Ok(backend)
}

fn vxnets(config: &SimulatorConfig) -> impl Iterator<Item = &VxnetSpec> {
    std::iter::once(&config.primary).chain(&config.vxnets)
}

/// Adds what the configuration names and the account does not have.
fn furnish(account: &mut Account, config: &SimulatorConfig, now: Duration) {
    let role = config.role.iter().map(|role| &role.access_key);
    for key in config.keys.keys().chain(role) {
        account.keys.entry(key.clone()).or_insert(KeyStatus::Active);
    }
    account.routers.entry(SimulatorConfig::ROUTER.to_owned()).or_insert_with(|| Router {
        name: "simulated VPC".to_owned(),
        network: config.vpc,
        created: now,
    });
    let base = Vxnet { name: "vxnet-0".to_owned(), kind: 2, created: now, network: None };
    account.vxnets.entry("vxnet-0".to_owned()).or_insert(base);
    for spec in vxnets(config) {
        account.vxnets.entry(spec.id.to_string()).or_insert_with(|| vxnet(spec, now));
    }
    let id = SimulatorConfig::SECURITY_GROUP.to_owned();
    let group = account.groups.entry(id).or_insert_with(|| Group::default_group(now));
    group.instances.extend(config.instances.iter().map(ToString::to_string));
    for instance in &config.instances {
        let note = InstanceNote { name: instance.to_string(), created: now };
        account.instances.entry(instance.to_string()).or_insert(note);
    }
    if let Some(id) = &config.cluster
        && !account.clusters.contains_key(id)
    {
        let nodes: BTreeMap<String, String> =
            config.instances.iter().map(|i| (account.names.id("cln"), i.to_string())).collect();
        let security_group = SimulatorConfig::SECURITY_GROUP.to_owned();
        let cluster = Cluster { name: "simulated".to_owned(), created: now, security_group, nodes };
        account.clusters.insert(id.clone(), cluster);
    }
}

/// A vxnet that is connected to the router, as usual.
fn vxnet(spec: &VxnetSpec, now: Duration) -> Vxnet {
    let usual = SubnetSpec::new(spec.id.clone(), spec.prefix, None);
    let network = Network {
        router: SimulatorConfig::ROUTER.to_owned(),
        prefix: spec.prefix,
        gateway: usual.gateway,
        first: *usual.range.start(),
        last: *usual.range.end(),
        features: 1,
    };
    Vxnet { name: spec.id.to_string(), kind: 1, created: now, network: Some(network) }
}
