//! What the fuzz targets do, as functions, so that tests can replay their corpus without a fuzzer.
//!
//! Each function takes bytes that anybody may have sent and panics when a promise is broken.

mod cni;
mod settings;

pub use cni::cni_input;
pub use settings::settings_file;
