//! What the demo and the benchmark are made of: a small container runtime around the real plugin, pings, and observers.

pub mod bench;
pub mod demo;
pub mod icmp;
pub mod observe;
pub mod plugin;
pub mod programs;
pub mod sandbox;

/// The program in README, compiled and run with the tests so that it stays true.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
