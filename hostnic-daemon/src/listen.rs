//! Listening for plugins by TCP, as the daemons before this one did.

use std::net::SocketAddr;

use hostnic_core::{Error, ErrorKind, Result};
use tokio::net::TcpListener;

/// Listens on `address`. Whoever reaches it commands the node's network, so that one which other machines reach takes an
/// explicit `allow_remote`.
///
/// # Errors
/// `Invalid` for an address that other machines reach, without `allow_remote`, and for one that is not this machine's;
/// `Conflict` when another program listens there.
pub(crate) async fn tcp(address: SocketAddr, allow_remote: bool) -> Result<TcpListener> {
    let failed = |kind| Error::new(kind, "listen for plugins on", address);
    if !allow_remote && !address.ip().to_canonical().is_loopback() {
        return Err(failed(ErrorKind::Invalid).detail(format!(
            "other machines reach this address, and whoever does commands the network of this node's pods; choose one \
             that only this machine reaches, as in --bind-addr 127.0.0.1:{}, or say that you want this with \
             --bind-addr {address} --allow-remote",
            address.port()
        )));
    }
    TcpListener::bind(address).await.map_err(|error| {
        let error_of = match error.kind() {
            std::io::ErrorKind::AddrInUse => failed(ErrorKind::Conflict)
                .detail("another program listens there, perhaps a daemon of an earlier release; stop it, or choose another address with --bind-addr"),
            _ => failed(ErrorKind::Invalid)
                .detail("the address cannot be listened on; choose one of this machine's with --bind-addr"),
        };
        error_of.source(error)
    })
}
