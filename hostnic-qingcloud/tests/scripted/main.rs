//! The client and the provider against a transport that answers from a script, in paused time.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot be set up fails")]

mod calls;
mod nics;
mod others;
mod role;
mod script;
