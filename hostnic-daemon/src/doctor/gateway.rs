//! NICs of the operator's that routes of pods may go by.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use hostnic_core::id::MacAddr;

use super::Finding;
use super::host::set;
use super::links::{links, text};

/// Those links below `sys` (`/sys`) with a MAC address of `theirs` which do not forward though the machine does, as it says
/// below `proc` (`/proc`).
///
/// # Errors
/// When a folder or file is there and cannot be read.
pub fn not_forwarding(sys: &Path, proc: &Path, theirs: &BTreeSet<MacAddr>) -> io::Result<Vec<String>> {
    let ipv4 = proc.join("sys/net/ipv4");
    let is_off = |name: &Path| -> io::Result<bool> {
        Ok(text(&ipv4.join(name))?.is_some_and(|value| value.trim() == "0"))
    };
    // That of all links is a finding of its own.
    if is_off(Path::new("ip_forward"))? {
        return Ok(Vec::new());
    }
    let mut held_back = Vec::new();
    for link in links(sys, theirs)? {
        if is_off(&Path::new("conf").join(&link.name).join("forwarding"))? {
            held_back.push(link.name);
        }
    }
    Ok(held_back)
}

/// What is wrong about them. Whether the cloud lets them forward is nowhere to be read.
pub fn gateway_findings(held_back: &[String]) -> Vec<Finding> {
    let finding = |link: &String| {
        let setting = format!("net.ipv4.conf.{link}.forwarding");
        let problem = "is 0 while net.ipv4.ip_forward is 1: pods in this NIC's vxnet whose routes have gw 0.0.0.0 reach \
                       nothing by them";
        Finding::warning(&setting, problem, set(&setting, 1))
    };
    held_back.iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_nic_of_the_operators_that_does_not_forward_is_named() {
        let machine = tempfile::tempdir().unwrap();
        let (sys, proc) = (machine.path().join("sys"), machine.path().join("proc"));
        let conf = proc.join("sys/net/ipv4/conf");
        for (name, mac) in [("eth0", "52:54:00:00:00:01"), ("eth1", "52:54:00:00:00:02")] {
            let link = sys.join("class/net").join(name);
            fs::create_dir_all(&link).unwrap();
            fs::write(link.join("address"), mac).unwrap();
            fs::write(link.join("ifindex"), "2").unwrap();
            fs::create_dir_all(conf.join(name)).unwrap();
            fs::write(conf.join(name).join("forwarding"), "0\n").unwrap();
        }
        let theirs = BTreeSet::from(["52:54:00:00:00:02".parse().unwrap()]);
        fs::write(proc.join("sys/net/ipv4/ip_forward"), "1\n").unwrap();
        let held_back = not_forwarding(&sys, &proc, &theirs).unwrap();
        assert_eq!(held_back, ["eth1"]);
        assert_eq!(gateway_findings(&held_back)[0].object, "net.ipv4.conf.eth1.forwarding");
        fs::write(proc.join("sys/net/ipv4/ip_forward"), "0\n").unwrap();
        assert_eq!(not_forwarding(&sys, &proc, &theirs).unwrap(), [""; 0]);
    }
}
