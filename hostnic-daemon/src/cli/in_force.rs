//! The settings of this process, and what a person hears about them.

use std::ffi::OsStr;

use hostnic_core::Chain;

use crate::settings::{Flags, Invocation, Notice, Settings, locate, resolve};

/// The settings of this process, which was started as `argv0` with `flags`.
///
/// # Errors
/// Everything that is wrong with them, for a person.
pub(super) fn in_force(argv0: &OsStr, flags: Flags) -> Result<(Settings, Vec<Notice>), String> {
    let invocation = Invocation::of_this_process(argv0, flags);
    let places = invocation.places(std::env::home_dir().as_deref());
    let files = locate(&places).map_err(|error| Chain(&error).to_string())?;
    resolve(&invocation, &files).map_err(|refused| {
        for notice in refused.notices.iter().filter(|notice| notice.is_warning()) {
            say(notice);
        }
        let lines: Vec<String> = refused.errors.iter().map(|error| Chain(error).to_string()).collect();
        match lines.as_slice() {
            [one] => one.clone(),
            several => format!("the settings are refused:\n  {}", several.join("\n  ")),
        }
    })
}

/// Tells a person at a terminal.
pub(super) fn say(notice: &Notice) {
    eprintln!("{}: {notice}", if notice.is_warning() { "warning" } else { "note" });
}
