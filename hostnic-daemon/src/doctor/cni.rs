//! What the container runtime finds: network configurations and the plugin's binary.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Finding;

/// The plugin's names: ours, and qingcloud-cni's.
const TYPES: [&str; 2] = ["hostnic", "qingcni"];

/// Where a runtime looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CniFolders {
    /// Network configurations; `/etc/cni/net.d` nearly everywhere.
    pub configurations: PathBuf,
    /// Plugins; `/opt/cni/bin` nearly everywhere.
    pub binaries: PathBuf,
}

/// One plugin in one file.
struct Entry {
    file: PathBuf,
    kind: String,
}

/// What is wrong in the folders.
///
/// A runtime takes the first file by name, so the configuration that is used is the first file's.
///
/// # Errors
/// When a folder or file is there and cannot be read.
pub fn cni_findings(folders: &CniFolders) -> io::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut ours: Vec<Entry> = Vec::new();
    let mut first = None;
    for file in files(&folders.configurations)? {
        match kinds(&fs::read(&file)?) {
            Ok(kinds) => {
                // A loopback's own file never is a pod's network.
                if kinds.iter().all(|kind| kind == "loopback") {
                    continue;
                }
                first.get_or_insert_with(|| file.clone());
                ours.extend(
                    kinds
                        .into_iter()
                        .filter(|kind| TYPES.contains(&kind.as_str()))
                        .map(|kind| Entry { file: file.clone(), kind }),
                );
            }
            Err(problem) => findings.push(Finding::error(file.display(), problem, "correct the file")),
        }
    }
    match (ours.first(), first) {
        (None, _) => findings.push(Finding::error(
            folders.configurations.display(),
            "has no configuration of type hostnic or qingcni: the runtime never asks for a NIC",
            r#"write 10-hostnic.conf there, such as {"cniVersion":"1.0.0","name":"hostnic","type":"hostnic"}"#,
        )),
        (Some(entry), Some(first)) if entry.file != first => findings.push(Finding::error(
            first.display(),
            format_args!("comes before {}: the runtime takes the first file by name", entry.file.display()),
            format_args!("remove or rename {}", first.display()),
        )),
        _ => {}
    }
    for entry in ours {
        findings.extend(binary(&folders.binaries.join(&entry.kind))?);
    }
    findings.dedup();
    Ok(findings)
}

/// The files that runtimes read, in their order.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    let read_by_runtimes = |path: &PathBuf| {
        path.extension()
            .is_some_and(|ending| ["conf", "conflist", "json"].iter().any(|known| ending == *known))
    };
    files.retain(read_by_runtimes);
    files.sort();
    Ok(files)
}

/// The types of the plugins that a file names.
fn kinds(text: &[u8]) -> Result<Vec<String>, String> {
    let file: Value = serde_json::from_slice(text).map_err(|error| format!("is not JSON: {error}"))?;
    let of = |plugin: &Value| plugin.get("type").and_then(Value::as_str).map(str::to_owned);
    let kinds: Vec<_> = match file.get("plugins").and_then(Value::as_array) {
        Some(plugins) => plugins.iter().filter_map(of).collect(),
        None => of(&file).into_iter().collect(),
    };
    if kinds.is_empty() { Err("names no plugin: the key type is missing".to_owned()) } else { Ok(kinds) }
}

fn binary(path: &Path) -> io::Result<Option<Finding>> {
    let install = format!("install the plugin there: install -m 0755 hostnic {}", path.display());
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(Some(Finding::error(path.display(), "is missing: the runtime cannot run the plugin", install)))
        }
        Err(error) => Err(error),
        Ok(metadata) if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 => Ok(None),
        Ok(_) => Ok(Some(Finding::error(path.display(), "is no program that can be run", install))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Machine(tempfile::TempDir);

    impl Machine {
        /// A machine whose runtime finds our plugin.
        fn sound() -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            fs::create_dir_all(machine.folders().configurations).unwrap();
            fs::create_dir_all(machine.folders().binaries).unwrap();
            machine.configuration("10-hostnic.conf", r#"{"cniVersion":"0.3.1","name":"n","type":"hostnic"}"#);
            machine.configuration("99-loopback.conf", r#"{"cniVersion":"0.3.1","type":"loopback"}"#);
            machine.binary("hostnic", 0o755);
            machine
        }

        fn folders(&self) -> CniFolders {
            CniFolders { configurations: self.0.path().join("net.d"), binaries: self.0.path().join("bin") }
        }

        fn configuration(&self, name: &str, text: &str) {
            fs::write(self.folders().configurations.join(name), text).unwrap();
        }

        fn binary(&self, name: &str, mode: u32) {
            let path = self.folders().binaries.join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }

        /// The names of the objects that something is wrong with, and what.
        fn findings(&self) -> Vec<(String, String)> {
            let name = |object: String| object.rsplit('/').next().unwrap_or_default().to_owned();
            let findings = cni_findings(&self.folders()).unwrap();
            findings.into_iter().map(|finding| (name(finding.object), finding.problem)).collect()
        }

        fn only_finding(&self, object: &str, problem: &str) {
            let findings = self.findings();
            assert!(
                matches!(&findings[..], [(o, p)] if o == object && p.contains(problem)),
                "{object}, {problem}: {findings:?}"
            );
        }
    }

    #[test]
    fn a_sound_machine_has_no_finding_whatever_lies_beside() {
        let machine = Machine::sound();
        machine.configuration("00-loopback.conf", r#"{"cniVersion":"0.3.1","type":"loopback"}"#);
        machine.configuration("00-old.conf.bak", "rubbish");
        machine.configuration("20-other.conflist", r#"{"name":"o","plugins":[{"type":"bridge"}]}"#);
        assert_eq!(machine.findings(), []);
    }

    #[test]
    fn a_missing_or_unusable_binary_is_named() {
        let machine = Machine::sound();
        machine.configuration(
            "11-old.conflist",
            r#"{"name":"o","plugins":[{"type":"qingcni"},{"type":"portmap"}]}"#,
        );
        machine.only_finding("qingcni", "is missing");
        machine.binary("qingcni", 0o644);
        machine.only_finding("qingcni", "is no program");
    }

    #[test]
    fn no_configuration_of_ours_and_one_behind_anothers_are_found() {
        let machine = Machine::sound();
        machine.configuration("05-bridge.conf", r#"{"name":"b","type":"bridge"}"#);
        machine.only_finding("05-bridge.conf", "comes before");
        fs::remove_file(machine.folders().configurations.join("10-hostnic.conf")).unwrap();
        machine.only_finding("net.d", "has no configuration");
        fs::remove_dir_all(machine.folders().configurations).unwrap();
        machine.only_finding("net.d", "has no configuration");
    }

    #[test]
    fn a_file_that_cannot_be_read_as_a_configuration_is_named() {
        let machine = Machine::sound();
        machine.configuration("01-broken.conf", "{");
        machine.only_finding("01-broken.conf", "is not JSON");
        machine.configuration("01-broken.conf", "{}");
        machine.only_finding("01-broken.conf", "names no plugin");
    }
}
