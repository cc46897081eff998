//! The benchmark: ADD and DEL of the plugin with a warm pool, beside `host-device`, which moves the same kind of NIC.

mod burst;
mod contender;
mod daemon;
mod gauge;
mod release;
mod run;
mod summary;
mod table;
mod world;

pub use gauge::{GAUGE, gauge};
pub use run::{Bench, BenchError, Programs};
pub use summary::{Bar, Report};
pub use table::table;
