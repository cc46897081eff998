//! What a node answers on its listeners, asked over real connections. The cloud and the kernel are simulated in memory, so
//! that no privileges are needed; everything stays on this machine's loopback.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at what it did not expect")]

mod alerts;
mod commands;
mod http;
mod manage;
mod wishes;
mod world;
