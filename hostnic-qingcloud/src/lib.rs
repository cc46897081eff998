//! QingCloud as a [`NicProvider`](hostnic_core::NicProvider).

pub mod sign;
