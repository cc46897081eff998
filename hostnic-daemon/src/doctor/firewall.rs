//! Chains that drop what this machine forwards.

use std::io;
use std::path::Path;
use std::time::Duration;

use hostnic_netlink::nft::ForwardDrop;
use tokio::process::Command;

use super::Finding;
use super::links::text;

/// How long the program may take that reads the tables of iptables-legacy.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the problem is wherever the chain is.
const DROPS: &str = "has the policy drop, as Docker sets it: what pods send to services by this machine is lost where no rule \
                     lets it through";

/// What is wrong about them. Whether a rule lets pods' packets through all the same cannot be told from here.
pub fn firewall_findings(drops: &[ForwardDrop]) -> Vec<Finding> {
    let finding = |chain: &ForwardDrop| {
        Finding::warning(
            format_args!("nftables chain {chain}"),
            DROPS,
            "iptables -P FORWARD ACCEPT, or let the pods' subnets through; keep it where the firewall is set up",
        )
    };
    drops.iter().map(finding).collect()
}

/// The chain FORWARD of the kernel's older tables, which iptables-legacy fills and nftables does not see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Legacy {
    /// There is none, or it drops nothing by its policy.
    Sound,
    /// Its policy is to drop.
    Drops,
    /// There is one, and it cannot be read, for this reason.
    Unreadable(String),
}

impl Legacy {
    /// Looks below `proc` (`/proc`) whether there is such a table, and has `program` (`iptables-legacy`) read it.
    ///
    /// # Errors
    /// When the kernel's list of tables is there and cannot be read.
    pub async fn read(proc: &Path, program: &str) -> io::Result<Self> {
        let tables = match text(&proc.join("net/ip_tables_names")) {
            // Only the machine's root may read it. Another user hears that already of nftables, and a network of an ordinary
            // user's own has no such tables.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
            tables => tables?,
        };
        let tables = tables.unwrap_or_default();
        if !tables.lines().any(|table| table == "filter") {
            return Ok(Self::Sound);
        }
        let asked = Command::new(program).args(["-S", "FORWARD"]).kill_on_drop(true).output();
        Ok(match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(output)) if output.status.success() => {
                Self::of_rules(&String::from_utf8_lossy(&output.stdout))
            }
            Ok(Ok(output)) => Self::Unreadable(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Ok(Err(error)) => Self::Unreadable(format!("{program}: {error}")),
            Err(_) => Self::Unreadable(format!("{program} did not answer within {PATIENCE:?}")),
        })
    }

    fn of_rules(rules: &str) -> Self {
        if rules.lines().any(|rule| rule == "-P FORWARD DROP") { Self::Drops } else { Self::Sound }
    }
}

/// What is wrong about it.
pub fn legacy_findings(legacy: &Legacy) -> Vec<Finding> {
    match legacy {
        Legacy::Sound => Vec::new(),
        Legacy::Drops => vec![Finding::warning(
            "chain FORWARD of iptables-legacy",
            DROPS,
            "iptables-legacy -P FORWARD ACCEPT, or let the pods' subnets through; keep it where the firewall is set up",
        )],
        Legacy::Unreadable(why) => vec![Finding::warning(
            "table filter of iptables-legacy",
            format_args!("is there beside nftables and could not be looked at: {why}"),
            "look with iptables-legacy -S FORWARD (package iptables) whether it drops what pods send by this machine",
        )],
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_legacy_table_is_read_by_its_own_program_and_said_where_that_fails() {
        let machine = tempfile::tempdir().unwrap();
        let program = machine.path().join("iptables-legacy");
        let program = program.to_str().unwrap();
        let says = |script: &str| {
            // Another file each time: one that is being run cannot be written.
            let _ = fs::remove_file(program);
            fs::write(program, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
        };
        let read = async || Legacy::read(machine.path(), program).await.unwrap();
        // Without a table nobody is asked.
        assert_eq!(read().await, Legacy::Sound);
        fs::create_dir(machine.path().join("net")).unwrap();
        fs::write(machine.path().join("net/ip_tables_names"), "nat\n").unwrap();
        assert_eq!(read().await, Legacy::Sound);
        fs::write(machine.path().join("net/ip_tables_names"), "nat\nfilter\n").unwrap();
        let Legacy::Unreadable(why) = read().await else { panic!("there is no such program") };
        assert!(why.contains("iptables-legacy"), "{why}");
        says("echo '-P FORWARD ACCEPT'; echo '-A FORWARD -j DROP'");
        assert_eq!(read().await, Legacy::Sound);
        says("echo '-P FORWARD DROP'");
        assert_eq!(read().await, Legacy::Drops);
        says("echo 'no right' >&2; exit 4");
        assert_eq!(read().await, Legacy::Unreadable("no right".to_owned()));
        assert_eq!(legacy_findings(&read().await)[0].object, "table filter of iptables-legacy");
    }
}
