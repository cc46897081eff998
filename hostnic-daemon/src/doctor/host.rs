//! The kernel's settings that are not set per device.

use std::fs;
use std::io;
use std::path::Path;

use hostnic_netlink::programmer::setting_is_read_only;

use super::{Finding, Severity};

/// Settings of the network namespace; `None` where the kernel does not have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sysctls {
    /// `net.ipv4.ip_forward`.
    pub ip_forward: Option<u32>,
    /// `net.ipv4.conf.all.rp_filter`.
    pub all_rp_filter: Option<u32>,
    /// `net.ipv4.conf.all.send_redirects`.
    pub all_send_redirects: Option<u32>,
    /// Whether the daemon could not set them: /proc/sys is read-only where it runs, and the host's is mounted nowhere else.
    pub read_only: bool,
}

impl Sysctls {
    /// Reads them below `proc`, which is `/proc` but in tests.
    ///
    /// # Errors
    /// When one is there and cannot be read, or is no number.
    pub fn read(proc: &Path) -> io::Result<Self> {
        let ipv4 = proc.join("sys/net/ipv4");
        let files =
            ["ip_forward", "conf/all/rp_filter", "conf/all/send_redirects"].map(|file| ipv4.join(file));
        let read_only = files.iter().any(|file| setting_is_read_only(file));
        let [ip_forward, all_rp_filter, all_send_redirects] = files.map(|file| number(&file));
        Ok(Self {
            ip_forward: ip_forward?,
            all_rp_filter: all_rp_filter?,
            all_send_redirects: all_send_redirects?,
            read_only,
        })
    }
}

/// One of them, and what the daemon needs it to be.
#[derive(Debug, Clone, Copy)]
struct Needed {
    name: &'static str,
    value: Option<u32>,
    needed: u32,
    /// What comes of it; `None` where it is right.
    wrong: Option<(Severity, &'static str)>,
}

fn number(path: &Path) -> io::Result<Option<u32>> {
    match fs::read_to_string(path) {
        Ok(text) => text.trim().parse().map(Some).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is wrong with them, where pods may be behind veths, or not.
pub fn host_findings(sysctls: &Sysctls, veths: bool) -> Vec<Finding> {
    needed(sysctls, veths).into_iter().filter_map(|needed| finding(needed, sysctls.read_only)).collect()
}

fn needed(sysctls: &Sysctls, veths: bool) -> [Needed; 3] {
    let Sysctls { ip_forward, all_rp_filter, all_send_redirects, .. } = *sysctls;
    let forwards = "this machine forwards nothing, so that pods reach no service through it";
    // The kernel takes the larger of this one and the device's own, so that we cannot help it on our devices.
    let filters = "the kernel drops what comes in by another NIC than the answer would leave by, which is usual with one NIC a \
                   vxnet";
    // Loose filtering lets through what strict filtering drops, but for what another pod sends in a pod's name.
    let is_strict = |value| value == 1 || veths && value != 0;
    // A redirect is sent where either of the two allows it.
    let redirects =
        "this machine may tell pods to reach service addresses by the VPC's router, which does not know them";
    let redirected = if veths { Severity::Error } else { Severity::Warning };
    [
        Needed {
            name: "net.ipv4.ip_forward",
            value: ip_forward,
            needed: 1,
            wrong: (ip_forward == Some(0)).then_some((Severity::Error, forwards)),
        },
        Needed {
            name: "net.ipv4.conf.all.rp_filter",
            value: all_rp_filter,
            needed: 0,
            wrong: all_rp_filter.is_some_and(is_strict).then_some((Severity::Error, filters)),
        },
        Needed {
            name: "net.ipv4.conf.all.send_redirects",
            value: all_send_redirects,
            needed: 0,
            wrong: (all_send_redirects == Some(1) && (veths || ip_forward == Some(1)))
                .then_some((redirected, redirects)),
        },
    ]
}

/// What is wrong with one of them: its value, or that nobody but a person could put it right.
fn finding(of: Needed, read_only: bool) -> Option<Finding> {
    let Needed { name, value, needed, wrong } = of;
    let value = value?;
    let remedy = match read_only {
        true => format!(
            "on the machine itself: {}; or let the daemon set it: mount the host's /proc/sys/net at /host/proc/sys/net, as \
             the manifests do",
            set(name, needed)
        ),
        false => set(name, needed),
    };
    let cannot = "and the daemon cannot set it, since /proc/sys is read-only here";
    match (wrong, read_only) {
        (Some((severity, why)), true) => {
            let problem = format!("is {value} and has to be {needed}, {cannot}: {why}");
            Some(Finding { severity, ..Finding::error(name, problem, remedy) })
        }
        (Some((severity, why)), false) => {
            Some(Finding { severity, ..Finding::error(name, format!("is {value}: {why}"), remedy) })
        }
        (None, true) => Some(Finding::warning(
            name,
            format!("is {value}, which is right, {cannot} should it change"),
            remedy,
        )),
        (None, false) => None,
    }
}

pub(super) fn set(name: &str, value: u32) -> String {
    format!("sysctl -w {name}={value}, and keep it in /etc/sysctl.d")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: Sysctls = Sysctls {
        ip_forward: Some(1),
        all_rp_filter: Some(0),
        all_send_redirects: Some(0),
        read_only: false,
    };

    fn objects(sysctls: &Sysctls, veths: bool) -> Vec<String> {
        host_findings(sysctls, veths).into_iter().map(|finding| finding.object).collect()
    }

    #[test]
    fn a_sound_host_has_no_finding_and_each_wrong_setting_has_one() {
        let redirects = Sysctls { all_send_redirects: Some(1), ..SOUND };
        for veths in [true, false] {
            assert_eq!(objects(&SOUND, veths), [""; 0]);
            assert_eq!(objects(&Sysctls { ip_forward: Some(0), ..SOUND }, veths), ["net.ipv4.ip_forward"]);
            let strict = Sysctls { all_rp_filter: Some(1), ..SOUND };
            assert_eq!(objects(&strict, veths), ["net.ipv4.conf.all.rp_filter"]);
            assert_eq!(objects(&redirects, veths), ["net.ipv4.conf.all.send_redirects"]);
        }
        let loose = Sysctls { all_rp_filter: Some(2), ..SOUND };
        assert_eq!(objects(&loose, false), [""; 0]);
        assert_eq!(objects(&loose, true), ["net.ipv4.conf.all.rp_filter"]);
        assert_eq!(host_findings(&redirects, false)[0].severity, Severity::Warning);
        assert_eq!(host_findings(&redirects, true)[0].severity, Severity::Error);
    }

    #[test]
    fn where_they_cannot_be_written_each_is_told_with_its_value_and_what_it_has_to_be() {
        let wrong = Sysctls { ip_forward: Some(0), all_rp_filter: Some(2), read_only: true, ..SOUND };
        let findings = host_findings(&wrong, true);
        let [forward, filter, redirects] = findings.as_slice() else { panic!("{findings:?}") };
        for (finding, name, value, needed) in [
            (forward, "net.ipv4.ip_forward", "is 0 and has to be 1", "net.ipv4.ip_forward=1"),
            (filter, "net.ipv4.conf.all.rp_filter", "is 2 and has to be 0", "net.ipv4.conf.all.rp_filter=0"),
        ] {
            assert_eq!((finding.severity, finding.object.as_str()), (Severity::Error, name));
            assert!(finding.problem.starts_with(value), "{finding:?}");
            assert!(finding.problem.contains("read-only"), "{finding:?}");
            assert!(
                finding.remedy.contains(needed) && finding.remedy.contains("/host/proc/sys/net"),
                "{finding:?}"
            );
        }
        assert_eq!(redirects.severity, Severity::Warning);
        assert!(redirects.problem.starts_with("is 0, which is right"), "{redirects:?}");
    }

    #[test]
    fn settings_are_read_and_one_that_is_missing_is_none() {
        let proc = tempfile::tempdir().unwrap();
        let ipv4 = proc.path().join("sys/net/ipv4");
        fs::create_dir_all(ipv4.join("conf/all")).unwrap();
        fs::write(ipv4.join("ip_forward"), "1\n").unwrap();
        fs::write(ipv4.join("conf/all/rp_filter"), "2\n").unwrap();
        let read = Sysctls::read(proc.path()).unwrap();
        let expected = Sysctls { ip_forward: Some(1), all_rp_filter: Some(2), ..Sysctls::default() };
        assert_eq!(read, expected);
        fs::write(ipv4.join("ip_forward"), "yes").unwrap();
        assert!(Sysctls::read(proc.path()).is_err());
    }
}
