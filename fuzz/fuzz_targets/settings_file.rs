//! `cargo fuzz run --features libfuzzer --sanitizer none settings_file`
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hostnic_fuzz::settings_file(bytes));
