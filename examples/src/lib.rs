//! What the demo and the benchmark are made of: a small container runtime around the real plugin, pings, and observers.

pub mod bench;
pub mod demo;
pub mod icmp;
pub mod observe;
pub mod plugin;
pub mod programs;
pub mod sandbox;
