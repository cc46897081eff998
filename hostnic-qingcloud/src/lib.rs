//! QingCloud as a [`NicProvider`](hostnic_core::NicProvider), and as all the smaller traits of
//! [`hostnic_core::capability`].
//!
//! Begin with [`QingCloud::from_config`]. A [`Config`] comes from the file of the vendor's SDK, or is put
//! together by hand. Put [`hostnic_core::layer::Stack`] around the provider for retries, a rate limit,
//! metrics and traces: the provider itself only says what an error means.
//!
//! # Parts
//! - [`sign`], [`Request`] and the reading of answers are pure. A [`Transport`] does the I/O and can be
//!   replaced.
//! - [`Client`] makes one call: it signs afresh for each attempt, keeps to the deadlines, learns how far the
//!   clock is off, and renews the keys of an instance's role.
//! - [`Operation`] has the actions as methods, for what the traits do not cover; [`api`] has their rows.
//! - [`QingCloudProvider`] bridges the cloud's semantics and those of the traits.
//!
//! # Choices where the cloud is not documented
//! | open | here |
//! |---|---|
//! | whether code 2500 means things or requests | requests where the action makes nothing, or the message speaks of requests |
//! | how long to stay away after too many requests | 60 s, or what `Retry-After` says; 5 s after code 5100 and HTTP 503 |
//! | which quota code 2500 is about | for `CreateNics` the vxnet where it has no room, else the account; for `AttachNics` the instance; for `AllocateVips` the vxnet |
//! | whether code 1400 means permission or state | permission for reads and creates, but the address where one was chosen; state for all else, and a look at the NICs tells more |
//! | code 5200 | for what makes things: another subnet may do; else for the moment |
//! | code 5300, and codes that are not documented | a write may have been carried out |
//! | whether `nic_name` matches in part | only exact matches are passed on |
//! | whether unknown ids in a list are left out or an error | both work |
//! | which NICs of a job "done with failure" failed | those that `error_codes` names, else those that a look finds where they were |
//! | a job's status that is none of the known | unknown: look at the NICs |
//! | most ids in a list | 100 |
//! | where an instance's id is in the metadata | `/latest/meta-data/instance-id` |
//! | slash at the end of `/iam` | as in the configured `uri` |
//! | `signature_version` with a role's token | 1, as the Go SDK sends |
//!
//! # Features
//! `http` adds the transport on reqwest, `tls` (on by default) adds https to it. `simulator` adds a server
//! that speaks the API back.

mod action;
pub mod api;
mod builder;
mod client;
mod clock;
mod config;
mod convert;
mod credentials;
mod failure;
mod instance_id;
mod paging;
mod provider;
mod request;
mod response;
pub mod sign;
#[cfg(feature = "simulator")]
pub mod simulator;
pub mod transport;
mod wire;

pub use action::Action;
pub use builder::{ConnectError, QingCloud};
pub use client::{Client, Operation, RequestRecorder};
pub use clock::{SystemTimeOfDay, WallClock};
pub use config::{
    Config, ConfigError, Credentials, Endpoint, InvalidEndpoint, Loaded, LogLevel, Protocol, Warning,
};
pub use credentials::CredentialsError;
pub use failure::{CallError, Failure, Refusal};
pub use instance_id::{InstanceIdError, InstanceSource};
pub use provider::QingCloudProvider;
pub use request::{Key, Request, Signer};
pub use transport::Transport;
