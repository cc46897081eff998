//! Whether NetworkManager and systemd-networkd, where they run, are told to leave alone the NICs that come.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Finding;
use super::links::text;

/// Where systemd reads configuration, what wins first.
const SYSTEMD: [&str; 5] = ["etc", "run", "usr/local/lib", "usr/lib", "lib"];

/// Names that a NIC may come under.
const NAMES: [&str; 4] = ["eth77", "ens77", "enp0s77", "eno77"];

/// The interfaces of the default routes: they stay with whoever manages them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Primary(Vec<String>);

impl Primary {
    /// Reads them below `proc`, which is `/proc` but in tests.
    ///
    /// # Errors
    /// When the kernel's list is there and cannot be read.
    pub fn read(proc: &Path) -> io::Result<Self> {
        let routes = text(&proc.join("net/route"))?.unwrap_or_default();
        let mut names = Vec::new();
        for route in routes.lines().skip(1) {
            let columns: Vec<&str> = route.split_whitespace().collect();
            if let [name, "00000000", _, _, _, _, _, "00000000", ..] = *columns
                && !names.contains(&name.to_owned())
            {
                names.push(name.to_owned());
            }
        }
        Ok(Self(names))
    }

    fn names(&self) -> Vec<&str> {
        if self.0.is_empty() { vec!["PRIMARY"] } else { self.0.iter().map(String::as_str).collect() }
    }

    /// What keeps NetworkManager away from all other NICs.
    pub(super) fn network_manager(&self) -> String {
        let but: String = self.names().iter().map(|name| format!(",except:interface-name:{name}")).collect();
        format!(
            "write /etc/NetworkManager/conf.d/90-hostnic.conf with the lines [keyfile] and \
             unmanaged-devices=type:ethernet{but}, naming there each interface that is yours, then systemctl reload \
             NetworkManager"
        )
    }

    /// What keeps systemd-networkd away from all other NICs.
    pub(super) fn networkd(&self) -> String {
        format!(
            "write /etc/systemd/network/05-hostnic.network with the lines [Match], Type=ether, Kind=!*, Name=!{}, [Link] and \
             Unmanaged=yes, naming there each interface that is yours, then networkctl reload",
            self.names().join(" ")
        )
    }
}

/// What those that run are not told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Untold {
    /// NetworkManager runs, and takes up every NIC.
    pub network_manager: bool,
    /// systemd-networkd runs, and takes up NICs by this file.
    pub networkd: Option<PathBuf>,
    /// systemd-networkd runs, and may remove rules that others made.
    pub foreign_rules: bool,
}

impl Untold {
    /// Looks below `root`, which is `/` but in tests.
    ///
    /// # Errors
    /// When a folder or file is there and cannot be read.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut untold = Self::default();
        if root.join("run/NetworkManager/devices").exists() {
            untold.network_manager = !network_manager_told(root)?;
        }
        if root.join("run/systemd/netif/state").exists() {
            untold.networkd = taker(root)?;
            untold.foreign_rules = !keeps_foreign_rules(root)?;
        }
        Ok(untold)
    }
}

/// What is to be told.
pub fn drop_in_findings(untold: &Untold, primary: &Primary) -> Vec<Finding> {
    let mut findings = Vec::new();
    if untold.network_manager {
        findings.push(Finding::warning(
            "NetworkManager",
            "no file of its configuration has it leave NICs alone: it gives each that is plugged in for a pod an address and \
             routes on the host",
            primary.network_manager(),
        ));
    }
    if let Some(file) = &untold.networkd {
        findings.push(Finding::warning(
            file.display(),
            "has systemd-networkd take up each NIC that is plugged in for a pod",
            primary.networkd(),
        ));
    }
    if untold.foreign_rules {
        findings.push(Finding::warning(
            "systemd-networkd",
            "may remove routes and rules that it has not made when it starts, those of gateways among them",
            "write /etc/systemd/networkd.conf.d/hostnic.conf with the lines [Network], ManageForeignRoutes=no and \
             ManageForeignRoutingPolicyRules=no, then systemctl restart systemd-networkd",
        ));
    }
    findings
}

/// Whether NICs that nobody has seen before are to be left alone.
fn network_manager_told(root: &Path) -> io::Result<bool> {
    let mut files = vec![root.join("etc/NetworkManager/NetworkManager.conf")];
    for folder in ["etc", "run", "usr/lib"] {
        files.extend(endings(&root.join(folder).join("NetworkManager/conf.d"), "conf")?.into_values());
    }
    for file in files {
        let lines = lines(&file)?;
        let told = lines.iter().any(|line| {
            let of_section = |key: &str| lines.iter().find(|l| l.section == line.section && l.key == key);
            match line.key.trim_end_matches('+') {
                "unmanaged-devices" => covers_any_nic(&line.value),
                "managed" if line.section.starts_with("device") && is_no(&line.value) => {
                    of_section("match-device").is_none_or(|devices| covers_any_nic(&devices.value))
                }
                _ => false,
            }
        });
        if told {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether one of NetworkManager's words for devices stands for NICs under whatever name they come.
fn covers_any_nic(devices: &str) -> bool {
    devices.split([',', ';']).map(str::trim).any(|device| match device.split_once(':') {
        None => device == "*",
        Some(("type", kind)) => kind == "ethernet",
        Some(("driver", driver)) => is_like(driver, "virtio_net"),
        Some(("interface-name", glob)) => {
            NAMES.iter().any(|name| is_like(glob.trim_start_matches('='), name))
        }
        Some(_) => false,
    })
}

/// The file by which networkd takes up a NIC that nobody has seen before; `None` where it leaves it alone.
fn taker(root: &Path) -> io::Result<Option<PathBuf>> {
    let mut files = BTreeMap::new();
    for folder in SYSTEMD {
        for (name, file) in endings(&root.join(folder).join("systemd/network"), "network")? {
            // What is in /etc hides what has the same name elsewhere.
            files.entry(name).or_insert(file);
        }
    }
    for file in files.into_values() {
        let lines = lines(&file)?;
        if matches_any_nic(&lines) {
            let left_alone =
                lines.iter().any(|l| l.section == "Link" && l.key == "Unmanaged" && is_yes(&l.value));
            return Ok((!left_alone).then_some(file));
        }
    }
    Ok(None)
}

/// Whether a file is for NICs of any MAC address and under a name that they may have. What else it asks for is taken as
/// something that ours do not have.
fn matches_any_nic(lines: &[Line]) -> bool {
    let mut conditions = lines.iter().filter(|line| line.section == "Match").peekable();
    conditions.peek().is_some()
        && conditions.all(|line| match line.key.as_str() {
            "Name" => match line.value.strip_prefix('!') {
                None => {
                    line.value.split_whitespace().any(|glob| NAMES.iter().any(|name| is_like(glob, name)))
                }
                Some(but) => NAMES.iter().any(|name| !but.split_whitespace().any(|glob| is_like(glob, name))),
            },
            "Type" => line.value.split_whitespace().any(|kind| kind == "ether"),
            "Kind" => line.value == "!*",
            "Driver" => line.value.split_whitespace().any(|driver| is_like(driver, "virtio_net")),
            _ => false,
        })
}

fn keeps_foreign_rules(root: &Path) -> io::Result<bool> {
    for folder in SYSTEMD {
        let place = root.join(folder).join("systemd");
        let mut files: Vec<PathBuf> =
            endings(&place.join("networkd.conf.d"), "conf")?.into_values().collect();
        files.push(place.join("networkd.conf"));
        for file in files {
            let keeps = |line: &Line| line.key == "ManageForeignRoutingPolicyRules" && is_no(&line.value);
            if lines(&file)?.iter().any(keeps) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// A setting of a file with sections.
struct Line {
    section: String,
    key: String,
    value: String,
}

/// The settings of a file; none where there is no such file.
fn lines(file: &Path) -> io::Result<Vec<Line>> {
    let (mut lines, mut section) = (Vec::new(), String::new());
    for line in text(file)?.unwrap_or_default().lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
        } else if !line.starts_with(['#', ';'])
            && let Some((key, value)) = line.split_once('=')
        {
            let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
            lines.push(Line { section: section.clone(), key, value });
        }
    }
    Ok(lines)
}

/// The files of a folder with this ending, by name; none where there is no such folder.
fn endings(folder: &Path, ending: &str) -> io::Result<BTreeMap<OsString, PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries?,
    };
    let mut files = BTreeMap::new();
    for entry in entries {
        let entry = entry?;
        if entry.path().extension().is_some_and(|e| e == ending) {
            files.insert(entry.file_name(), entry.path());
        }
    }
    Ok(files)
}

fn is_yes(value: &str) -> bool {
    ["yes", "true", "on", "1"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

fn is_no(value: &str) -> bool {
    ["no", "false", "off", "0"].iter().any(|no| value.eq_ignore_ascii_case(no))
}

/// Whether a name is like a shell's pattern; a set of characters stands for any of them.
fn is_like(pattern: &str, name: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => name.is_empty(),
        Some('*') => name
            .char_indices()
            .map(|(i, _)| i)
            .chain([name.len()])
            .any(|i| is_like(rest.as_str(), &name[i..])),
        Some(one) => {
            let mut left = name.chars();
            let Some(first) = left.next() else { return false };
            let rest = if one == '[' {
                rest.as_str().split_once(']').map_or("", |(_, rest)| rest)
            } else {
                rest.as_str()
            };
            (one == first || matches!(one, '?' | '[')) && is_like(rest, left.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORKD: &str = include_str!("../../../deploy/systemd/networkd/05-hostnic.network.in");
    const NETWORKD_CONF: &str = include_str!("../../../deploy/systemd/networkd/hostnic.conf");
    const NETWORK_MANAGER: &str = include_str!("../../../deploy/systemd/network-manager/90-hostnic.conf.in");

    struct Machine(tempfile::TempDir);

    impl Machine {
        /// One on which both run.
        fn new() -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            machine.write("run/NetworkManager/devices/2", "");
            machine.write("run/systemd/netif/state", "");
            machine
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn untold(&self) -> Untold {
            Untold::read(self.0.path()).unwrap()
        }
    }

    #[test]
    fn where_neither_runs_nothing_is_to_be_told_and_where_both_do_the_files_that_we_ship_are_enough() {
        assert_eq!(Untold::read(tempfile::tempdir().unwrap().path()).unwrap(), Untold::default());
        let machine = Machine::new();
        machine.write(
            "usr/lib/systemd/network/80-ethernet.network",
            "[Match]\nType=ether\nKind=!*\n[Network]\nDHCP=yes\n",
        );
        let taker = machine.0.path().join("usr/lib/systemd/network/80-ethernet.network");
        let all = Untold { network_manager: true, networkd: Some(taker), foreign_rules: true };
        assert_eq!(machine.untold(), all);
        let ours = |template: &str| template.replace("@PRIMARY@", "eth0");
        machine.write("etc/systemd/network/05-hostnic.network", &ours(NETWORKD));
        machine.write("etc/systemd/networkd.conf.d/hostnic.conf", NETWORKD_CONF);
        machine.write("etc/NetworkManager/conf.d/90-hostnic.conf", &ours(NETWORK_MANAGER));
        assert_eq!(machine.untold(), Untold::default());
    }

    #[test]
    fn a_remedy_says_what_is_in_the_file_that_we_ship() {
        let machine = Machine::new();
        let route = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU\neth0 0032A8C0 0 1 0 0 0 00FFFFFF 0\n\
                     ens5 00000000 0132A8C0 3 0 0 0 00000000 0\n";
        machine.write("proc/net/route", route);
        let primary = Primary::read(&machine.0.path().join("proc")).unwrap();
        let all =
            Untold { network_manager: true, networkd: Some("80-all.network".into()), foreign_rules: true };
        let findings = drop_in_findings(&all, &primary);
        for (finding, file) in findings.iter().zip([NETWORK_MANAGER, NETWORKD, NETWORKD_CONF]) {
            let lines = file.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
            for line in lines.map(|line| line.replace("@PRIMARY@", "ens5")) {
                assert!(finding.remedy.contains(&line), "{line} in {}", finding.remedy);
            }
        }
        assert_eq!(findings.len(), 3);
    }

    #[test]
    fn network_manager_is_told_by_what_covers_nics_that_nobody_knows() {
        let told = |text: &str| {
            let machine = Machine::new();
            machine.write("etc/NetworkManager/conf.d/10-a.conf", text);
            !machine.untold().network_manager
        };
        for all in [
            "[keyfile]\nunmanaged-devices=*,except:type:wifi\n",
            "[keyfile]\nunmanaged-devices+=interface-name:docker0;interface-name:eth*\n",
            "[device-nics]\nmatch-device=driver:virtio_net\nmanaged=0\n",
            "[device]\nmanaged=false\n",
        ] {
            assert!(told(all), "{all}");
        }
        for some in [
            "",
            "[keyfile]\nunmanaged-devices=\n",
            "[keyfile]\nunmanaged-devices=interface-name:docker0,mac:52:54:00:00:00:01\n",
            "[keyfile]\n#unmanaged-devices=*\n",
            "[device-nics]\nmatch-device=interface-name:cali*\nmanaged=0\n",
            "[ifupdown]\nmanaged=false\n",
        ] {
            assert!(!told(some), "{some}");
        }
    }

    #[test]
    fn only_a_file_for_nics_that_nobody_knows_takes_them() {
        let takes = |conditions: &str| {
            let machine = Machine::new();
            machine.write(
                "etc/systemd/network/10-a.network",
                &format!("[Match]\n{conditions}\n[Network]\nDHCP=yes\n"),
            );
            machine.untold().networkd.is_some()
        };
        for any in [
            "Name=*",
            "Name=e*",
            "Name=en* eth*",
            "Name=eth[0-9]*",
            "Name=!eth0",
            "Type=ether",
            "Driver=virtio*",
        ] {
            assert!(takes(any), "{any}");
        }
        for one in [
            "Name=eth0",
            "Name=ens[5]",
            "MACAddress=52:54:00:00:00:01",
            "Name=veth*",
            "Type=ether\nKind=veth",
            "Driver=veth",
            "",
        ] {
            assert!(!takes(one), "{one}");
        }
    }
}
