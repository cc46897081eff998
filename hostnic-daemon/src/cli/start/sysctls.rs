//! Settings of the whole machine that the daemon cannot set where it runs.

use std::path::Path;

use crate::doctor::{Severity, Sysctls, host_findings};

/// Says which of them are wrong and what to do, where /proc/sys is read-only; whoever needs one fails by itself, and only at the
/// first. `veths` is whether pods may be behind veths.
pub(super) fn tell(veths: bool) {
    // What cannot be read is told by whoever needs it.
    let Ok(sysctls) = Sysctls::read(Path::new("/proc")) else { return };
    if !sysctls.read_only {
        return;
    }
    for finding in host_findings(&sysctls, veths) {
        let (object, problem, remedy) = (finding.object, finding.problem, finding.remedy);
        match finding.severity {
            Severity::Error => tracing::error!("{object} {problem}; {remedy}"),
            Severity::Warning => tracing::info!("{object} {problem}"),
        }
    }
}
