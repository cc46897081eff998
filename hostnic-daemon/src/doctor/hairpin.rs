//! What hairpin does not work with.

use std::fs;
use std::io;
use std::path::Path;

use super::Finding;

/// The link that kube-proxy has services' addresses on in IPVS mode.
const LINK: &str = "class/net/kube-ipvs0";
/// The services of IPVS, after three lines that are always there once it is loaded.
const SERVICES: &str = "net/ip_vs";
const HEADING: usize = 3;

/// Whether services are reached by IPVS on this machine, as `sys` and `proc` show it, which are /sys and /proc but in tests.
///
/// # Errors
/// When what is there cannot be read.
pub fn uses_ipvs(sys: &Path, proc: &Path) -> io::Result<bool> {
    if sys.join(LINK).try_exists()? {
        return Ok(true);
    }
    match fs::read_to_string(proc.join(SERVICES)) {
        Ok(text) => Ok(text.lines().count() > HEADING),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// What is wrong where hairpin is wanted, or not.
pub fn hairpin_findings(wanted: bool, ipvs: bool) -> Vec<Finding> {
    if !(wanted && ipvs) {
        return Vec::new();
    }
    vec![Finding::error(
        "hairpin",
        "is on, and services are reached by IPVS here: what pods send to services does not come back to them",
        "set hairpin to false in hostnic-cni.json (ConfigMap hostnic-cfg-cm), or kube-proxy's mode to iptables",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipvs_is_known_by_its_link_and_by_its_services() {
        let place = tempfile::tempdir().unwrap();
        let (sys, proc) = (place.path().join("sys"), place.path().join("proc"));
        let uses = || uses_ipvs(&sys, &proc).unwrap();
        fs::create_dir_all(proc.join("net")).unwrap();
        assert!(!uses());
        let heading =
            "IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port\n  -> RemoteAddress:Port\n";
        fs::write(proc.join(SERVICES), heading).unwrap();
        assert!(!uses(), "it is loaded, and nobody uses it");
        fs::write(proc.join(SERVICES), format!("{heading}TCP  0A600001:01BB rr\n")).unwrap();
        assert!(uses());
        fs::remove_file(proc.join(SERVICES)).unwrap();
        fs::create_dir_all(sys.join(LINK)).unwrap();
        assert!(uses());
    }

    #[test]
    fn only_hairpin_with_ipvs_is_a_finding() {
        assert_eq!(hairpin_findings(true, true).len(), 1);
        assert!(hairpin_findings(false, true).is_empty() && hairpin_findings(true, false).is_empty());
    }
}
