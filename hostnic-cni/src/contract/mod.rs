//! The contract between the plugin and the daemon of its node.
//!
//! [`Client`] asks, and [`NodeService`] is what a daemon implements and gives to [`serve`]; with [`ControlService`] and
//! [`serve_owner`] it takes commands too. Both sides speak in the types
//! of this module, which are checked when they are read from the wire: a daemon never sees a key, path, route or
//! address that breaks the rules of its type.
//!
//! [`v1`] is the generated code itself, for tests and for who wants to put other layers around the service. It is the
//! one place where types of tonic and prost are public. What a person's commands list (NICs, attachments, the state of
//! the node) is only shown, never acted on, and is therefore left in the plain messages of [`v1`].

mod both;
mod client;
mod connection;
mod endpoint;
mod reply;
mod request;
mod server;
mod tcp;
mod wire;

pub use client::{CallError, Client};
pub use endpoint::{Endpoint, TcpAddress};
pub use reply::{Cleaned, Freed, Interface, NodeStatus, NotReady};
pub use request::{Add, Call, Check, Del, Gc, Mtu, NextHop, PreviousInterface, ValidAttachment, WantedRoute};
pub use server::{ControlService, NodeService, serve, serve_owner, serve_tcp};
pub use tcp::TcpLimits;
pub use wire::pod_ref;

/// The generated messages, client and server of `proto/hostnic.proto`.
#[allow(
    missing_docs,
    unreachable_pub,
    rust_2018_idioms,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub mod v1 {
    include!("generated/hostnic.v1.rs");
}

/// Where the daemon listens unless it is told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/hostnic/hostnic.sock";
