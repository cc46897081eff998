//! `hostnic-sim serve`: from flags to a simulator that serves, until a signal.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hostnic_core::sim::Durations;
use hostnic_core::{Error, ErrorKind, Result};
use hostnic_qingcloud::simulator::{FaultRule, Simulator, SimulatorConfig, VxnetSpec};
use ipnet::{IpNet, Ipv4Net};
use secrecy::{ExposeSecret, SecretString};
use tokio::signal::unix::{SignalKind, signal};

use super::client_yaml::client_yaml;
use super::fabric::Links;
use super::flags::{InstanceFlag, LatencyFlag, RateFlag};
use crate::telemetry::{self, LogFormat};

#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    /// Where the API listens; port 0 takes a free one. With --fabric it also listens, at the same port, where nodes
    /// reach it, and client.yaml names that address.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7777")]
    listen: SocketAddr,
    /// Where the admin API listens, which asks for no credentials.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7778")]
    admin: SocketAddr,
    /// The one zone.
    #[arg(long, value_name = "ZONE", default_value = "sim1")]
    zone: String,
    /// The access key.
    #[arg(long, value_name = "KEY", env = "HOSTNIC_SIM_ACCESS_KEY")]
    access_key: String,
    /// Its secret; better given by the environment, where other users do not see it.
    #[arg(long, value_name = "SECRET", env = "HOSTNIC_SIM_SECRET_KEY", hide_env_values = true)]
    secret_key: SecretString,
    /// A vxnet, as in vxnet-aaaaaaa=192.168.50.0/24; may be repeated.
    #[arg(long = "vxnet", value_name = "ID=PREFIX")]
    vxnets: Vec<VxnetSpec>,
    /// The vxnet of the instances' primary NICs.
    #[arg(long, value_name = "ID=PREFIX", default_value = "vxnet-primary=192.168.255.0/24")]
    primary_vxnet: VxnetSpec,
    /// The network of the VPC, which vxnets that join the router must lie in.
    #[arg(long, value_name = "PREFIX", default_value = "192.168.0.0/16")]
    vpc: IpNet,
    /// An instance; with --fabric, the network namespace that it is: a path or a name of `ip netns`. May be repeated.
    #[arg(long = "instance", value_name = "ID[=NETNS]")]
    instances: Vec<InstanceFlag>,
    /// An AppCenter cluster of all instances.
    #[arg(long, value_name = "ID")]
    cluster: Option<String>,
    /// Plug NICs into network namespaces, one for each instance: the given one, or a new one. Needs the capabilities
    /// NET_ADMIN and SYS_ADMIN.
    #[arg(long)]
    fabric: bool,
    /// The network beside the VPC by which nodes reach the API with --fabric. It has one link here, and one in each
    /// node.
    #[arg(long, value_name = "PREFIX", default_value = "100.127.0.0/24")]
    management: Ipv4Net,
    /// How long jobs take (attach, detach, vip), or the answers to an action, as in attach=3s or DescribeNics=200ms;
    /// may be repeated.
    #[arg(long = "latency", value_name = "OF=TIME")]
    latencies: Vec<LatencyFlag>,
    /// At most so many calls in such a time, as in 2000/1h.
    #[arg(long, value_name = "CALLS/TIME")]
    rate_limit: Option<RateFlag>,
    /// What goes wrong, as in AttachNics:nth=2:reset-after; may be repeated.
    #[arg(long = "fault", value_name = "ACTION:WHEN:FAULT")]
    faults: Vec<FaultRule>,
    /// How far lists lag behind that a stale-read meets.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    stale_by: Duration,
    /// Keep the state in this file, and go on from it.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Where MACs, ids and chance come from.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// What to log: a level, or directives.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: String,
    /// The form of a log line.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

impl Serve {
    pub(super) fn run(&self) -> std::result::Result<(), String> {
        telemetry::begin(&self.log_level, self.log_format, None)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .worker_threads(2)
            .build()
            .map_err(|error| format!("no runtime could be started: {error}"))?;
        runtime.block_on(self.serve()).map_err(|error| error.chain().to_string())
    }

    async fn serve(&self) -> Result<()> {
        let catch =
            |kind| signal(kind).map_err(|e| Error::new(ErrorKind::Internal, "catch", "signals").source(e));
        let (mut term, mut int) = (catch(SignalKind::terminate())?, catch(SignalKind::interrupt())?);
        let mut config = self.config();
        let mut links = None;
        if self.fabric {
            let started = Links::start(&self.instances, self.management).await?;
            for (instance, path) in started.nodes {
                tracing::info!(%instance, netns = %path.display(), "the instance is a network namespace");
            }
            // Who listens everywhere listens there too.
            if !self.listen.ip().is_unspecified() {
                config.also_listen.push(started.address.into());
            }
            config.plug = Some(started.links.clone());
            links = Some((started.links, started.address));
        } else if let Some(flag) = self.instances.iter().find(|flag| flag.netns.is_some()) {
            return Err(Error::new(ErrorKind::Invalid, "use the namespace of instance", &flag.id)
                .detail("only --fabric plugs NICs into namespaces: add it, or leave the namespace out"));
        }
        let served = tokio::select! {
            served = self.run_until_failed(config, links.as_ref()) => served,
            _ = term.recv() => Ok(()),
            _ = int.recv() => Ok(()),
        };
        tracing::info!("stopping");
        let shut = match links {
            Some((links, _)) => links.shutdown().await,
            None => Ok(()),
        };
        served.and(shut)
    }

    /// Serves as long as this is polled.
    async fn run_until_failed(
        &self,
        config: SimulatorConfig,
        links: Option<&(Arc<Links>, Ipv4Addr)>,
    ) -> Result<()> {
        let simulator = Arc::new(Simulator::start(config).await?);
        let mut reached = simulator.address();
        if let Some((links, address)) = links {
            links.serve(&simulator).await?;
            reached.set_ip((*address).into());
        }
        self.tell(&simulator, reached)?;
        std::future::pending().await
    }

    fn config(&self) -> SimulatorConfig {
        let mut config = SimulatorConfig::new(&self.zone, &self.access_key, self.secret_key.clone());
        config.listen = self.listen;
        config.admin = self.admin;
        config.vpc = self.vpc;
        config.primary = self.primary_vxnet.clone();
        config.vxnets = self.vxnets.clone();
        config.instances = self.instances.iter().map(|flag| flag.id.clone()).collect();
        config.cluster = self.cluster.clone();
        config.rate_limit = self.rate_limit.map(|rate| (rate.calls, rate.window));
        config.faults = self.faults.clone();
        config.stale_by = self.stale_by;
        config.state = self.state.clone();
        config.seed = self.seed;
        for LatencyFlag { of, takes } in &self.latencies {
            let Durations { attach, detach, reserve } = &mut config.durations;
            match of.as_str() {
                "attach" => *attach = *takes,
                "detach" => *detach = *takes,
                "vip" => *reserve = *takes,
                action => _ = config.latencies.insert(action.to_owned(), *takes),
            }
        }
        config
    }

    /// Prints what a client needs, and nothing else, so that it can be sent to a file.
    fn tell(&self, simulator: &Simulator, reached: SocketAddr) -> Result<()> {
        let secret = self.secret_key.expose_secret();
        let yaml = client_yaml(reached, &self.zone, &self.access_key, secret);
        let mut out = std::io::stdout().lock();
        let written = out.write_all(yaml.as_bytes()).and_then(|()| out.flush());
        written.map_err(|e| Error::new(ErrorKind::Internal, "print", "client.yaml").source(e))?;
        tracing::info!(api = %simulator.url(), admin = %simulator.admin_url(), "serving");
        Ok(())
    }
}
