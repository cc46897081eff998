//! A cloud and a kernel that exist only in memory: deterministic by seed, and at home in tokio's paused time.

mod plug;

pub use plug::Plug;
