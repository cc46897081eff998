//! The benchmark: ADD and DEL of the plugin with a warm pool, beside the CNI project's plugin that joins pods likewise:
//! `host-device`, which moves the same kind of NIC, or `ptp`.

mod burst;
mod contender;
mod daemon;
mod gauge;
mod mode;
mod release;
mod run;
mod summary;
mod table;
mod world;

pub use gauge::{GAUGE, gauge};
pub use mode::Mode;
pub use run::{Bench, BenchError, Programs};
pub use summary::{Bar, Report};
pub use table::table;
