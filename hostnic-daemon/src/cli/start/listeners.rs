//! From settings to the addresses that are listened on.

use std::net::SocketAddr;

use hostnic_core::{Error, ErrorKind, Result};

use crate::Listeners;
use crate::settings::{ListenAddress, Setting, Settings};

/// Where the node of these settings listens. Names are looked up.
pub(super) async fn listeners(settings: &Settings) -> Result<Listeners> {
    Ok(Listeners {
        socket: settings.socket.value.clone(),
        tcp: found(&settings.bind_addr).await?,
        allow_remote: settings.allow_remote.value,
        manage: found(&settings.manage_addr).await?,
        // An address that nobody asked for must not keep a node from serving its pods.
        manage_required: settings.manage_addr.is_given(),
    })
}

async fn found(setting: &Setting<Option<ListenAddress>>) -> Result<Option<SocketAddr>> {
    let Some(address) = &setting.value else { return Ok(None) };
    let failed = || {
        Error::new(ErrorKind::Invalid, "listen on", address).detail(format!(
            "{}: this machine knows no such host, or has no such interface",
            setting.source.line(&address.to_string())
        ))
    };
    let addresses = address.resolve().await.map_err(|error| failed().source(error))?;
    choose(&addresses).map(Some).ok_or_else(failed)
}

/// One of the addresses of a name: the first of IPv4, as the Go programs did.
fn choose(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    addresses.iter().find(|address| address.is_ipv4()).or_else(|| addresses.first()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_addresses_of_a_name_the_first_of_ipv4_is_taken() {
        let of = |texts: &[&str]| {
            let addresses: Vec<SocketAddr> = texts.iter().map(|text| text.parse().unwrap()).collect();
            choose(&addresses).map(|address| address.to_string())
        };
        assert_eq!(of(&["[::1]:1", "127.0.0.1:1", "127.0.0.2:1"]).as_deref(), Some("127.0.0.1:1"));
        assert_eq!(of(&["[::1]:1"]).as_deref(), Some("[::1]:1"));
        assert_eq!(of(&[]), None);
    }
}
