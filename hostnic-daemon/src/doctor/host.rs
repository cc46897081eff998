//! The kernel's settings that are not set per device.

use std::fs;
use std::io;
use std::path::Path;

use super::Finding;

/// Settings of the network namespace; `None` where the kernel does not have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sysctls {
    /// `net.ipv4.ip_forward`.
    pub ip_forward: Option<u32>,
    /// `net.ipv4.conf.all.rp_filter`.
    pub all_rp_filter: Option<u32>,
    /// `net.ipv4.conf.all.send_redirects`.
    pub all_send_redirects: Option<u32>,
}

impl Sysctls {
    /// Reads them below `proc`, which is `/proc` but in tests.
    ///
    /// # Errors
    /// When one is there and cannot be read, or is no number.
    pub fn read(proc: &Path) -> io::Result<Self> {
        let ipv4 = proc.join("sys/net/ipv4");
        Ok(Self {
            ip_forward: number(&ipv4.join("ip_forward"))?,
            all_rp_filter: number(&ipv4.join("conf/all/rp_filter"))?,
            all_send_redirects: number(&ipv4.join("conf/all/send_redirects"))?,
        })
    }
}

fn number(path: &Path) -> io::Result<Option<u32>> {
    match fs::read_to_string(path) {
        Ok(text) => text.trim().parse().map(Some).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is wrong with them.
pub fn host_findings(sysctls: &Sysctls) -> Vec<Finding> {
    let mut findings = Vec::new();
    if sysctls.ip_forward == Some(0) {
        findings.push(Finding::error(
            "net.ipv4.ip_forward",
            "is 0: this machine forwards nothing, so that pods reach no service through it",
            set("net.ipv4.ip_forward", 1),
        ));
    }
    // The kernel takes the larger of this one and the device's own, so that we cannot help it on our devices.
    if sysctls.all_rp_filter == Some(1) {
        findings.push(Finding::error(
            "net.ipv4.conf.all.rp_filter",
            "is 1: the kernel drops what comes in by another NIC than the answer would leave by, which is usual with one NIC a \
             vxnet",
            set("net.ipv4.conf.all.rp_filter", 0),
        ));
    }
    // A redirect is sent where either of the two allows it.
    if sysctls.all_send_redirects == Some(1) && sysctls.ip_forward == Some(1) {
        findings.push(Finding::warning(
            "net.ipv4.conf.all.send_redirects",
            "is 1: this machine may tell pods to reach service addresses by the VPC's router, which does not know them",
            set("net.ipv4.conf.all.send_redirects", 0),
        ));
    }
    findings
}

pub(super) fn set(name: &str, value: u32) -> String {
    format!("sysctl -w {name}={value}, and keep it in /etc/sysctl.d")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: Sysctls =
        Sysctls { ip_forward: Some(1), all_rp_filter: Some(0), all_send_redirects: Some(0) };

    fn objects(sysctls: &Sysctls) -> Vec<String> {
        host_findings(sysctls).into_iter().map(|finding| finding.object).collect()
    }

    #[test]
    fn a_sound_host_has_no_finding_and_each_wrong_setting_has_one() {
        assert_eq!(objects(&SOUND), [""; 0]);
        // Loose filtering lets through what strict filtering drops.
        assert_eq!(objects(&Sysctls { all_rp_filter: Some(2), ..SOUND }), [""; 0]);
        assert_eq!(objects(&Sysctls { ip_forward: Some(0), ..SOUND }), ["net.ipv4.ip_forward"]);
        assert_eq!(objects(&Sysctls { all_rp_filter: Some(1), ..SOUND }), ["net.ipv4.conf.all.rp_filter"]);
        let redirects = Sysctls { all_send_redirects: Some(1), ..SOUND };
        assert_eq!(objects(&redirects), ["net.ipv4.conf.all.send_redirects"]);
    }

    #[test]
    fn settings_are_read_and_one_that_is_missing_is_none() {
        let proc = tempfile::tempdir().unwrap();
        let ipv4 = proc.path().join("sys/net/ipv4");
        fs::create_dir_all(ipv4.join("conf/all")).unwrap();
        fs::write(ipv4.join("ip_forward"), "1\n").unwrap();
        fs::write(ipv4.join("conf/all/rp_filter"), "2\n").unwrap();
        let read = Sysctls::read(proc.path()).unwrap();
        assert_eq!(read, Sysctls { ip_forward: Some(1), all_rp_filter: Some(2), all_send_redirects: None });
        fs::write(ipv4.join("ip_forward"), "yes").unwrap();
        assert!(Sysctls::read(proc.path()).is_err());
    }
}
