//! What an operator, or whoever writes their files, says to the daemon.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;

use hostnic_core::Chain;
use hostnic_daemon::settings::{ConfigFile, Files, Flags, Invocation, Personality, Settings, resolve};

/// Resolves the daemon's settings from a file and an environment.
///
/// The bytes are a line with the program's name and the file's path, lines `NAME=VALUE`, and after the first empty line
/// the file's text. A file named `hostnic-cni.json` is the CNI configuration, any other the file of settings.
///
/// # Panics
/// When settings are refused without a reason, a reason would disturb a terminal, or settings that are shown are not
/// those that they are read back as.
pub fn settings_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (head, text) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let (program, path) = lines.next().and_then(|line| line.split_once(' ')).unwrap_or_default();
    // The file's name is what a person typed.
    if path.chars().any(char::is_control) {
        return;
    }
    let variables = lines.filter_map(|line| line.split_once('='));
    let environment: BTreeMap<String, String> =
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let program = Personality::of_program(OsStr::new(program));
    let invocation = Invocation { program, flags: Flags::default(), environment };
    let file = ConfigFile { path: PathBuf::from(path), text: text.to_owned(), beside: Vec::new() };
    let is_network = file.path.file_name() == Some(OsStr::new("hostnic-cni.json"));
    let files = if is_network {
        Files { network: Some(file), settings: None }
    } else {
        Files { settings: Some(file), network: None }
    };
    match resolve(&invocation, &files) {
        Ok((settings, notices)) => {
            notices.iter().for_each(|notice| is_fit_to_print(&notice.to_string()));
            what_is_shown_is_what_is_meant(&settings);
        }
        Err(refused) => {
            assert!(!refused.errors.is_empty(), "{refused:?}");
            refused.errors.iter().for_each(|error| is_fit_to_print(&Chain(error).to_string()));
        }
    }
}

fn is_fit_to_print(message: &str) {
    assert!(!message.is_empty());
    assert!(!message.chars().any(|c| c.is_control() && c != '\n'), "{message:?}");
}

/// The settings as `hostnic-daemon config` shows them, written into our own file, are the same settings.
fn what_is_shown_is_what_is_meant(settings: &Settings) {
    let shown = |settings: &Settings| -> BTreeMap<&'static str, String> {
        settings.rows().into_iter().filter_map(|row| Some((row.key, row.value?))).collect()
    };
    let first = shown(settings);
    let text = serde_json::to_string(&first).unwrap_or_default();
    let file = ConfigFile { path: "/etc/hostnic/hostnic-daemon.json".into(), text, beside: Vec::new() };
    let compat = ("HOSTNIC_COMPAT".to_owned(), settings.personality.name().to_owned());
    let again = Invocation { environment: [compat].into(), ..Invocation::default() };
    let files = Files { settings: Some(file), network: None };
    let second = resolve(&again, &files).map(|(settings, _)| shown(&settings));
    assert!(matches!(&second, Ok(second) if *second == first), "{first:?} is read as {second:?}");
}
