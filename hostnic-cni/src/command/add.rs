//! ADD: an interface for a container.

use crate::args::Args;
use crate::config::NetworkConfig;
use crate::contract::Add;
use crate::daemon::Daemon;
use crate::environment::Environment;
use crate::error::CniError;

/// Everything that the runtime said is read before anything is asked for, so that a mistake changes nothing.
pub(crate) fn run(
    environment: &Environment<'_>,
    config: &NetworkConfig,
    daemon: &Daemon,
) -> Result<String, CniError> {
    let attached = environment.attached()?;
    let args = Args::parse(&environment.args()?)?;
    let wishes = config.wishes()?;
    let mut result = config.previous()?.unwrap_or_default();
    super::refuse_no_sandbox(&attached)?;
    let key = super::key(config, &attached.container, &attached.ifname);
    let made = daemon.ask(async |client, call| {
        let add = Add {
            key,
            netns: attached.netns.clone(),
            pod: args.pod,
            routes: wishes.routes,
            mtu: wishes.mtu,
            is_gateway: wishes.is_gateway,
            ip_masq: wishes.ip_masq,
            call,
        };
        client.add(&add).await
    })?;
    result.push(&attached.ifname, &attached.netns, &made);
    result.write(config.version())
}
