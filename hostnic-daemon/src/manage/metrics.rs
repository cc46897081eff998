//! The metrics: what was counted as it happened, and what the node has at the moment of the scrape.

use std::fmt;
use std::time::SystemTime;

use hostnic_core::agent::Repair;
use hostnic_core::ledger::LeaseState;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::cluster_metrics;
use crate::facts::Facts;
use crate::observe::{HOURLY_LIMIT, Observer};

/// All metrics of a node.
#[derive(Debug)]
pub(super) struct Exposition(Registry);

impl Exposition {
    pub(super) fn new(facts: Facts) -> Self {
        let mut registry = Registry::default();
        counted(&mut registry, &facts.observer);
        registry.register(
            "hostnic_build",
            "The release that runs",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register_collector(Box::new(Moment(facts)));
        Self(registry)
    }

    /// The metrics as OpenMetrics has them in text.
    pub(super) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.0)?;
        Ok(text)
    }
}

/// What is counted as it happens. Counters get their ending `_total` from the encoder.
fn counted(registry: &mut Registry, observer: &Observer) {
    let grpc = observer.grpc();
    registry.register("grpc_server_started", "RPCs that have begun", grpc.started.clone());
    registry.register("grpc_server_handled", "RPCs that have ended, by code", grpc.handled.clone());
    registry.register("grpc_server_msg_received", "Messages that came in", grpc.received.clone());
    registry.register("grpc_server_msg_sent", "Messages that went out", grpc.sent.clone());
    let operations = observer.operations();
    registry.register("hostnic_operations", "ADDs and DELs that have ended", operations.ended.clone());
    registry.register(
        "hostnic_operation_duration_seconds",
        "How long ADDs and DELs took",
        operations.durations.clone(),
    );
    let calls = observer.calls();
    registry.register("hostnic_cloud_calls", "Calls to the cloud, each attempt", calls.ended.clone());
    registry.register(
        "hostnic_cloud_call_duration_seconds",
        "How long calls to the cloud took",
        calls.durations.clone(),
    );
    registry.register(
        "hostnic_store_commit_duration_seconds",
        "How long it took to make records durable",
        observer.commits().0.clone(),
    );
}

/// What the node has at the moment of the scrape.
#[derive(Debug)]
struct Moment(Facts);

impl Collector for Moment {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.process(&mut encoder)?;
        self.pool(&mut encoder)?;
        self.pods(&mut encoder)?;
        self.cloud(&mut encoder)?;
        self.counts(&mut encoder)?;
        cluster_metrics::encode(&self.0, &mut encoder)
    }
}

impl Moment {
    fn process(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let since = self.0.observer.started().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // Under the name that every client library gives it, the Go daemons' included.
        gauge(encoder, "process_start_time_seconds", "When the daemon began, in Unix time")?
            .encode_gauge(&since.as_secs_f64())?;
        gauge(encoder, "hostnic_ready", "Whether an ADD would be served")?
            .encode_gauge(&u32::from(self.0.unready().is_empty()))
    }

    fn pool(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let stocks = self.0.stock();
        let mut nics = gauge(encoder, "hostnic_pool_nics", "NICs of this node by subnet and state")?;
        for (subnet, stock) in &stocks {
            for (state, count) in stock.nics() {
                nics.encode_family(&[("subnet", subnet.as_str()), ("state", state)])?.encode_gauge(&count)?;
            }
        }
        let mut addresses =
            gauge(encoder, "hostnic_pool_addresses", "Addresses of this node by subnet and state")?;
        for (subnet, stock) in &stocks {
            for (state, count) in stock.addresses() {
                let labels = [("subnet", subnet.as_str()), ("state", state)];
                addresses.encode_family(&labels)?.encode_gauge(&count)?;
            }
        }
        let mut room = gauge(
            encoder,
            "hostnic_subnet_room",
            "How many more NICs the subnet takes, of all nodes, as the cloud told last",
        )?;
        let rooms = self.0.agent.subnet_room();
        for known in &rooms {
            room.encode_family(&[("subnet", known.subnet.as_str())])?.encode_gauge(&known.nics)?;
        }
        let mut age =
            gauge(encoder, "hostnic_subnet_room_age_seconds", "How long ago the cloud told that room")?;
        for known in &rooms {
            let labels = [("subnet", known.subnet.as_str())];
            age.encode_family(&labels)?.encode_gauge(&known.age.as_secs_f64())?;
        }
        let pool = &self.0.pool;
        let mut limits = gauge(encoder, "hostnic_pool_limit", "The pool's settings")?;
        for (limit, value) in [("low", pool.low), ("high", pool.high), ("max_nics", pool.max_nics)] {
            limits.encode_family(&[("limit", limit)])?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn pods(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let leases = self.0.agent.leases();
        let mut pods = gauge(encoder, "hostnic_pods", "Attachments of this node by state")?;
        for state in [LeaseState::Preparing, LeaseState::Active, LeaseState::Releasing] {
            let count = leases.iter().filter(|lease| lease.state == state).count();
            pods.encode_family(&[("state", state.word())])?.encode_gauge(&count)?;
        }
        Ok(())
    }

    fn cloud(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut calls = gauge(
            encoder,
            "hostnic_cloud_calls_last_hour",
            "This node's requests to the cloud in the last hour, as the account's quota counts them",
        )?;
        for (action, count) in self.0.observer.calls().last_hour() {
            calls.encode_family(&[("action", action)])?.encode_gauge(&count)?;
        }
        gauge(
            encoder,
            "hostnic_cloud_calls_hourly_limit",
            "Calls that all nodes of an account share in an hour",
        )?
        .encode_gauge(&HOURLY_LIMIT)
    }

    fn counts(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let counts = self.0.agent.counts();
        let policy = self.0.pool.policy.to_string();
        let mut choices = counter(encoder, "hostnic_policy_choices", "NICs that each subnet was chosen for")?;
        for subnet in &self.0.agent.subnets() {
            let count = counts.choices.get(subnet).copied().unwrap_or_default();
            let labels = [("policy", policy.as_str()), ("subnet", subnet.as_str())];
            grown(&mut choices.encode_family(&labels)?, count)?;
        }
        let mut repairs =
            counter(encoder, "hostnic_repairs", "What comparing records, cloud and kernel mended")?;
        for repair in Repair::ALL {
            let count = counts.repairs.get(&repair).copied().unwrap_or_default();
            grown(&mut repairs.encode_family(&[("repair", repair.word())])?, count)?;
        }
        let mut failed =
            counter(encoder, "hostnic_repair_failures", "Repairs that failed and are tried again")?;
        grown(&mut failed, counts.failed_repairs)
    }
}

pub(super) fn gauge<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &str,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)
}

fn counter<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &str,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    encoder.encode_descriptor(name, help, None, MetricType::Counter)
}

fn grown(encoder: &mut MetricEncoder<'_>, count: u64) -> fmt::Result {
    encoder.encode_counter::<NoLabelSet, u64, f64>(&count, None)
}
