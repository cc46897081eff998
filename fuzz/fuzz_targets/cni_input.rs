//! `cargo fuzz run --features libfuzzer --sanitizer none cni_input`
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hostnic_fuzz::cni_input(bytes));
