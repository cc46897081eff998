//! The demo: two nodes, two subnets, six pods, everything real but the cloud.

mod picture;
mod report;
mod story;
mod teller;
mod world;

pub use picture::picture;
pub use report::{Ping, Pod, Report};
pub use story::run;
pub use teller::Teller;
