//! QingCloud as a [`NicProvider`](hostnic_core::NicProvider).

pub mod sign;
#[cfg(feature = "simulator")]
pub mod simulator;
