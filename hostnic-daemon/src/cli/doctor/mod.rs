//! `hostnic-daemon doctor`: what keeps pods of this machine from their NICs, and what to do.

mod cloud;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use hostnic_core::Result;
use hostnic_netlink::Netns;
use hostnic_netlink::nft::Nft;
use hostnic_netlink::programmer::SERVED;

use super::Output;
use super::in_force::{in_force, say};
use super::list::print;
use super::table::table;
use crate::doctor::{
    CniFolders, Finding, Legacy, Primary, Severity, Sysctls, Untold, cni_findings, drop_in_findings,
    felix_findings, firewall_findings, gateway_findings, hairpin_findings, host_findings,
    interference_findings, legacy_findings, managed_links, not_forwarding, uses_ipvs,
};
use crate::settings::{CNI_FOLDER, Flags, Settings};

use cloud::NicsHere;

/// The flags of `hostnic-daemon doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct Doctor {
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Where the container runtime finds plugins.
    #[arg(long, value_name = "PATH", default_value = "/opt/cni/bin")]
    cni_bin_dir: PathBuf,
    #[command(flatten)]
    flags: Flags,
}

impl Doctor {
    pub(super) fn run(self, argv0: &OsStr) -> std::result::Result<(), String> {
        let (settings, notices) = in_force(argv0, self.flags)?;
        for notice in notices.iter().filter(|notice| notice.is_warning()) {
            say(notice);
        }
        let configurations = settings.kubernetes.cni_conf_dir.value.clone();
        let folders = CniFolders {
            configurations: configurations.unwrap_or_else(|| CNI_FOLDER.into()),
            binaries: self.cni_bin_dir,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("no runtime could be started: {error}"))?;
        let mut findings = runtime.block_on(examine(&settings, &folders));
        findings.sort_by_key(|finding| finding.severity);
        print(self.output, &findings, |findings| as_table(findings))?;
        match findings.iter().filter(|finding| finding.severity == Severity::Error).count() {
            0 => Ok(()),
            1 => Err("1 error was found; its remedy is beside it".to_owned()),
            errors => Err(format!("{errors} errors were found; their remedies are beside them")),
        }
    }
}

/// Everything that is wrong, in the order in which it was looked at.
async fn examine(settings: &Settings, folders: &CniFolders) -> Vec<Finding> {
    let (mut findings, NicsHere { ours, theirs }) = cloud::examine(settings).await;
    let veths = settings.has_veths();
    let sysctls = Sysctls::read(Path::new("/proc"));
    findings.extend(looked("/proc/sys", sysctls, |read| host_findings(&read, veths)));
    let drops = forward_drops().await.map_err(|error| error.chain().to_string());
    findings.extend(looked("nftables", drops, |drops| firewall_findings(&drops)));
    if veths {
        let ours = settings.veth.nat_mark.value.bits() | SERVED;
        // Whatever keeps it from being read has kept the chains from that.
        let writers = mark_writers().await.unwrap_or_default();
        findings.extend(felix_findings(ours, &writers));
    }
    let (proc, sys) = (Path::new("/proc"), Path::new("/sys"));
    let legacy = Legacy::read(proc, "iptables-legacy").await;
    findings.extend(looked("/proc/net/ip_tables_names", legacy, |legacy| legacy_findings(&legacy)));
    let held_back = not_forwarding(sys, proc, &theirs);
    findings.extend(looked("/proc/sys/net/ipv4/conf", held_back, |links| gateway_findings(&links)));
    // It is in remedies only.
    let primary = Primary::read(proc).unwrap_or_default();
    let managed = managed_links(sys, Path::new("/run"), &ours);
    let judged = |managed: Vec<_>| interference_findings(&managed, &primary);
    findings.extend(looked("/sys/class/net and /run", managed, judged));
    let untold = Untold::read(Path::new("/"));
    findings.extend(looked("/etc and /run", untold, |untold| drop_in_findings(&untold, &primary)));
    let hairpin = settings.veth.hairpin.value;
    let ipvs = uses_ipvs(sys, proc);
    findings.extend(looked("/proc/net/ip_vs", ipvs, |ipvs| hairpin_findings(hairpin, ipvs)));
    let found = cni_findings(folders);
    let of = format!("{} and {}", folders.configurations.display(), folders.binaries.display());
    findings.extend(looked(&of, found, |found| found));
    findings
}

async fn forward_drops() -> Result<Vec<hostnic_netlink::nft::ForwardDrop>> {
    Nft::new(Netns::current()?).forward_drops().await
}

async fn mark_writers() -> Result<Vec<hostnic_netlink::nft::MarkWriter>> {
    Nft::new(Netns::current()?).mark_writers().await
}

/// What was found, or that nobody could look.
fn looked<T, E: ToString>(
    at: &str,
    facts: std::result::Result<T, E>,
    judge: impl FnOnce(T) -> Vec<Finding>,
) -> Vec<Finding> {
    match facts {
        Ok(facts) => judge(facts),
        Err(error) => vec![Finding::warning(
            at,
            format_args!("could not be looked at: {}", error.to_string()),
            "run doctor as root, in the network namespace of the daemon",
        )],
    }
}

fn as_table(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "no finding: nothing keeps pods from their NICs".to_owned();
    }
    let row = |finding: &Finding| {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        [severity.to_owned(), finding.object.clone(), finding.problem.clone(), finding.remedy.clone()]
    };
    table(["SEVERITY", "OBJECT", "PROBLEM", "REMEDY"], &findings.iter().map(row).collect::<Vec<_>>())
}
