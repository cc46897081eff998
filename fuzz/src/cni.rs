//! What a runtime hands to the CNI plugin.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use hostnic_cni::args::Args;
use hostnic_cni::plugin::{Invocation, Outcome, dry_run};
use hostnic_cni::result::CniResult;
use hostnic_cni::version::Version;
use hostnic_core::clock::BootTime;
use serde_json::Value;

/// Reads an environment and a configuration as the plugin does, without a daemon.
///
/// The bytes are lines `NAME=VALUE` up to the first empty line, and standard input after it; without an empty line all
/// of it is the environment.
///
/// # Panics
/// When the plugin neither succeeds nor prints an error as runtimes read it, or writes a result that it reads otherwise.
pub fn cni_input(bytes: &[u8]) {
    let (environment, stdin) = split(bytes);
    let outcome = dry_run(Invocation {
        started_at: BootTime::default(),
        environment: &|name| environment.get(OsStr::new(name)).cloned(),
        stdin: &mut &*stdin,
        at_terminal: false,
    });
    if outcome.success {
        a_success_is_silent_or_json(&outcome)
    } else {
        a_failure_is_an_error(&outcome)
    }
    if let Ok(value) = serde_json::from_slice(stdin) {
        a_result_survives_every_version(&value);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        // Most inputs never get as far as their CNI_ARGS; this one does.
        drop(Args::parse(text));
    }
}

fn split(bytes: &[u8]) -> (HashMap<OsString, OsString>, &[u8]) {
    let end = bytes.windows(2).position(|two| two == b"\n\n");
    let (head, stdin) = match end {
        Some(end) => (&bytes[..end], &bytes[end + 2..]),
        None => (bytes, &[][..]),
    };
    let variable = |line: &[u8]| {
        let equals = line.iter().position(|byte| *byte == b'=')?;
        let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
        Some((text(&line[..equals]), text(&line[equals + 1..])))
    };
    (head.split(|byte| *byte == b'\n').filter_map(variable).collect(), stdin)
}

fn a_success_is_silent_or_json(outcome: &Outcome) {
    assert!(outcome.stderr.is_empty(), "{outcome:?}");
    let json = serde_json::from_str::<Value>(&outcome.stdout).is_ok();
    assert!(outcome.stdout.is_empty() || json, "{outcome:?}");
}

fn a_failure_is_an_error(outcome: &Outcome) {
    let error: Option<Value> = serde_json::from_str(&outcome.stdout).ok();
    let version = error.as_ref().and_then(|e| e["cniVersion"].as_str()?.parse::<Version>().ok());
    let code = error.as_ref().and_then(|e| e["code"].as_u64());
    let message = error.as_ref().and_then(|e| e["msg"].as_str());
    assert!(version.is_some() && message.is_some_and(|text| !text.is_empty()), "{outcome:?}");
    // Input alone can make no other error than these.
    assert!(matches!(code, Some(1 | 4 | 6 | 7)), "{outcome:?}");
}

fn a_result_survives_every_version(value: &Value) {
    let Ok(result) = CniResult::read(value, Version::NEWEST) else { return };
    for version in Version::ALL {
        let written = result.write(version).unwrap_or_default();
        let read = serde_json::from_str(&written).ok().and_then(|v| CniResult::read(&v, version).ok());
        let again = read.and_then(|read| read.write(version).ok());
        assert_eq!(again.as_ref(), Some(&written), "{version}");
    }
}
