//! From a container of the manifest to what runc is told, as kubelet and containerd do it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::build;
use crate::manifest::Manifest;

/// What containerd hides from containers and what it lets them only read.
const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/scsi",
    "/proc/sched_debug",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Calls that the profile RuntimeDefault refuses to containers without further capabilities, on containerd or docker. The whole
/// profile is theirs; the tests on a real Kubernetes have it.
const REFUSED: &[&str] = &[
    "acct",
    "add_key",
    "clock_adjtime",
    "clock_settime",
    "delete_module",
    "finit_module",
    "get_mempolicy",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ioperm",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "mbind",
    "move_pages",
    "nfsservctl",
    "open_by_handle_at",
    "personality",
    "pivot_root",
    "process_vm_readv",
    "process_vm_writev",
    "reboot",
    "request_key",
    "set_mempolicy",
    "settimeofday",
    "swapoff",
    "swapon",
    "userfaultfd",
    "vhangup",
    "vmsplice",
];

/// What of the machine the containers of the pod get to see.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    /// The network that is the node's.
    pub(crate) netns: PathBuf,
    /// In place of `/`: the machine's own folders are left alone.
    pub(crate) host: PathBuf,
    /// The node's address.
    pub(crate) address: String,
    /// The name of the Secret or ConfigMap with the access key.
    pub(crate) credentials: &'static str,
    /// What is in it.
    pub(crate) access_file: String,
}

/// Of these the true ones are used: the kernel makes them.
const KERNELS: [&str; 2] = ["/run/netns", "/proc/sys/net"];

impl Surroundings {
    /// Where a path of the node is.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        if KERNELS.contains(&path) { path.into() } else { self.host.join(path.trim_start_matches('/')) }
    }

    /// Writes the bundle of a container, with further arguments, to a folder.
    pub(crate) fn bundle(&self, folder: &Path, manifest: &Manifest, container: &Value, arguments: &[&str]) {
        fs::create_dir_all(folder).unwrap();
        let config = self.config(folder, manifest, container, arguments);
        fs::write(folder.join("config.json"), serde_json::to_vec_pretty(&config).unwrap()).unwrap();
    }

    fn config(&self, folder: &Path, manifest: &Manifest, container: &Value, arguments: &[&str]) -> Value {
        let pod = manifest.pod();
        assert_eq!(pod["hostNetwork"], true);
        let context = &container["securityContext"];
        assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
        assert_eq!(context["privileged"], Value::Null);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        let added = context["capabilities"]["add"].as_array().cloned().unwrap_or_default();
        let capabilities: Vec<String> =
            added.iter().map(|name| format!("CAP_{}", name.as_str().unwrap())).collect();
        let mut args = vec!["/usr/local/bin/hostnic-daemon".to_owned()];
        args.extend(
            container["args"].as_array().unwrap().iter().map(|word| self.expanded(word.as_str().unwrap())),
        );
        args.extend(arguments.iter().map(|&word| word.to_owned()));
        let mut namespaces = vec![
            json!({"type": "ipc"}),
            json!({"type": "uts"}),
            json!({"type": "mount"}),
            json!({"type": "network", "path": self.netns}),
        ];
        if !manifest.shares_processes() {
            namespaces.push(json!({"type": "pid"}));
        }
        json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": pod["securityContext"]["runAsUser"], "gid": pod["securityContext"]["runAsGroup"]},
                "args": args,
                "env": ["PATH=/usr/local/bin", "HOME=/root", "MY_NODE_NAME=node1", format!("NODE_IP={}", self.address)],
                "cwd": "/",
                "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
                "noNewPrivileges": context["allowPrivilegeEscalation"] == false,
            },
            "root": {"path": build::root(), "readonly": context["readOnlyRootFilesystem"]},
            "mounts": self.mounts(folder, manifest, container),
            "linux": {
                "namespaces": namespaces,
                "maskedPaths": MASKED,
                "readonlyPaths": READ_ONLY,
                // As containerd does where a mount is to follow the host's.
                "rootfsPropagation": "rslave",
                "resources": {"devices": [{"allow": false, "access": "rwm"}]},
                "seccomp": {
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [{"names": REFUSED, "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
                },
            },
        })
    }

    fn expanded(&self, word: &str) -> String {
        let word = word.replace("$(NODE_IP)", &self.address);
        assert!(!word.contains("$("), "{word}");
        word
    }

    fn mounts(&self, folder: &Path, manifest: &Manifest, container: &Value) -> Vec<Value> {
        let system = |destination: &str, kind: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": kind, "options": options});
        let mut mounts = vec![
            system("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            system("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            system("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        ];
        for (name, text) in [("hosts", "127.0.0.1 localhost\n"), ("resolv.conf", "nameserver 127.0.0.1\n")] {
            fs::write(folder.join(name), text).unwrap();
            mounts.push(bind(&folder.join(name), &format!("/etc/{name}"), &["rbind", "rprivate", "rw"]));
        }
        for mount in container["volumeMounts"].as_array().unwrap() {
            let source = self.volume(folder, manifest, &mount["name"]);
            let access = if mount["readOnly"] == true { "ro" } else { "rw" };
            let propagation = match mount["mountPropagation"].as_str() {
                None => "rprivate",
                Some("HostToContainer") => "rslave",
                Some(other) => panic!("the test does not know {other}"),
            };
            mounts.push(bind(&source, mount["mountPath"].as_str().unwrap(), &["rbind", propagation, access]));
        }
        mounts
    }

    /// Makes a volume; answers where it is.
    fn volume(&self, folder: &Path, manifest: &Manifest, name: &Value) -> PathBuf {
        let volume = manifest.volume(name);
        if let Some(path) = volume["hostPath"]["path"].as_str() {
            let path = self.path(path);
            if volume["hostPath"]["type"] == "DirectoryOrCreate" {
                fs::create_dir_all(&path).unwrap();
            }
            return path;
        }
        let made = folder.join(name.as_str().unwrap());
        fs::create_dir_all(&made).unwrap();
        if let Some(items) = volume["configMap"]["items"].as_array() {
            let text = |item: &Value| manifest.setting(&volume["configMap"]["name"], &item["key"]).to_owned();
            items.iter().for_each(|item| write(&made, item, &text(item), 0o644));
        } else {
            let projected = &volume["projected"];
            let mode = projected["defaultMode"].as_u64().unwrap().try_into().unwrap();
            // What is optional and not there makes no file.
            for source in projected["sources"].as_array().unwrap() {
                let (kind, source) = source.as_object().unwrap().iter().next().unwrap();
                assert_eq!(source["optional"], true);
                if source["name"] == self.credentials {
                    assert_eq!(kind, if self.credentials == "qcsecret" { "secret" } else { "configMap" });
                    assert_eq!(source["items"][0]["key"], "config.yaml");
                    write(&made, &source["items"][0], &self.access_file, mode);
                }
            }
        }
        made
    }
}

fn bind(source: &Path, destination: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": "bind", "source": source, "options": options})
}

fn write(folder: &Path, item: &Value, text: &str, mode: u32) {
    let path = folder.join(item["path"].as_str().unwrap());
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}
