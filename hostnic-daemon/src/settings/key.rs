//! Every setting there is, with all its spellings: flags, environment, files, help and `config` are made of this list.

use super::personality::Personality;

/// A setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    Compat,
    Provider,
    AccessFile,
    Zone,
    Vxnet,
    Instance,
    Socket,
    Store,
    BindAddr,
    ManageAddr,
    AllowRemote,
    PoolSize,
    PoolLow,
    PoolHigh,
    MaxNics,
    Policy,
    CleanupCacheOnExit,
    Cooling,
    Iface,
    GatewayName,
    LogLevel,
    LogFormat,
}

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// One value; the last one counts.
    One(&'static str),
    /// Several, repeated or parted by commas or blanks.
    List(&'static str),
    /// Nothing, or `=true` or `=false`.
    Switch,
}

/// How an earlier program spelt a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spelling {
    pub(super) text: &'static str,
    /// The program that this flag tells, where only one had it so.
    pub(super) tells: Option<Personality>,
}

/// All about one setting.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) key: Key,
    /// Our spelling, which is also the flag's and that of our files.
    pub(super) name: &'static str,
    pub(super) takes: Takes,
    pub(super) earlier: &'static [Spelling],
    /// What it is without the settings being given, for the help.
    pub(super) default: &'static str,
    pub(super) help: &'static str,
}

const fn only(text: &'static str, tells: Personality) -> Spelling {
    Spelling { text, tells: Some(tells) }
}

const fn shared(text: &'static str) -> Spelling {
    Spelling { text, tells: None }
}

use Personality::{Daemon, QingAgent};

/// In the order of the help.
pub(super) const SPECS: &[Spec] = &[
    Spec {
        key: Key::Vxnet,
        name: "vxnet",
        takes: Takes::List("ID"),
        earlier: &[shared("vxnet"), only("vxnets", Daemon)],
        default: "",
        help: "A vxnet that pods get their NICs from, the preferred one first; may be repeated, or list several with commas",
    },
    Spec {
        key: Key::Policy,
        name: "policy",
        takes: Takes::One("NAME"),
        earlier: &[shared("policy")],
        default: "FailRotate; Random as daemon",
        help: "How the subnet of the next NIC is chosen: FailRotate, RoundRotate or Random",
    },
    Spec {
        key: Key::PoolLow,
        name: "pool-low",
        takes: Takes::One("N"),
        earlier: &[],
        default: "3",
        help: "Fewer free NICs than this, and more are made",
    },
    Spec {
        key: Key::PoolHigh,
        name: "pool-high",
        takes: Takes::One("N"),
        earlier: &[],
        default: "two more than --pool-low",
        help: "More free NICs than this, and some are given back",
    },
    Spec {
        key: Key::PoolSize,
        name: "pool-size",
        takes: Takes::One("N"),
        earlier: &[only("PoolSize", Daemon)],
        default: "",
        help: "In place of the two marks: --pool-low N --pool-high N+2",
    },
    Spec {
        key: Key::MaxNics,
        name: "max-nics",
        takes: Takes::One("N"),
        earlier: &[],
        default: "63",
        help: "The most NICs of this node beside its primary one, at most 63",
    },
    Spec {
        key: Key::Cooling,
        name: "cooling",
        takes: Takes::One("SECONDS"),
        earlier: &[],
        default: "60",
        help: "How many seconds an address rests before another pod gets it; less, but at least 5, when a pod would otherwise fail",
    },
    Spec {
        key: Key::CleanupCacheOnExit,
        name: "cleanup-cache-on-exit",
        takes: Takes::Switch,
        earlier: &[only("CleanUpCacheOnExit", Daemon)],
        default: "false",
        help: "Give the NICs that no pod has back to the cloud when told to stop",
    },
    Spec {
        key: Key::Iface,
        name: "iface",
        takes: Takes::One("NAME"),
        earlier: &[shared("iface")],
        default: "eth0 as qingagent",
        help: "An interface that is never touched, beside that of the default route",
    },
    Spec {
        key: Key::GatewayName,
        name: "gateway-name",
        takes: Takes::One("NAME"),
        earlier: &[only("gatewayns", QingAgent)],
        default: "hostnic",
        help: "What the names of the host's own interfaces in pods' subnets begin with, where such are made; at most 13 bytes",
    },
    Spec {
        key: Key::Provider,
        name: "provider",
        takes: Takes::One("NAME"),
        earlier: &[],
        default: "qingcloud",
        help: "The cloud: qingcloud, or sim, simulated by this process with links and packets of this kernel",
    },
    Spec {
        key: Key::AccessFile,
        name: "access-file",
        takes: Takes::One("PATH"),
        earlier: &[only("QYAccessFilePath", QingAgent), only("QyAccessFilePath", Daemon)],
        default: "/etc/qingcloud/client.yaml, then ~/.qingcloud/config.yaml",
        help: "The file with the access key and where the API is, in the form of QingCloud's SDKs",
    },
    Spec {
        key: Key::Zone,
        name: "zone",
        takes: Takes::One("ZONE"),
        earlier: &[shared("zone")],
        default: "pek3a as qingagent, where the access file has none",
        help: "The zone, in place of the access file's",
    },
    Spec {
        key: Key::Instance,
        name: "instance",
        takes: Takes::One("ID"),
        earlier: &[],
        default: "what /etc/qingcloud/instance-id or the metadata service says; i-sim with --provider sim",
        help: "The cloud's id of this machine",
    },
    Spec {
        key: Key::Socket,
        name: "socket",
        takes: Takes::One("PATH"),
        earlier: &[],
        default: "/run/hostnic/hostnic.sock",
        help: "Where to listen for the CNI plugin",
    },
    Spec {
        key: Key::Store,
        name: "store",
        takes: Takes::One("PATH"),
        earlier: &[],
        default: "/run/hostnic/state.redb",
        help: "Where to keep records. They must survive the daemon, not the machine: a tmpfs is best",
    },
    Spec {
        key: Key::BindAddr,
        name: "bind-addr",
        takes: Takes::One("ADDRESS"),
        earlier: &[only("bindaddr", QingAgent), only("bindAddr", Daemon)],
        default: "off; 127.0.0.1:31080 as daemon or qingagent",
        help: "Where else to listen for the CNI plugin, by TCP; off, or an address as in 127.0.0.1:31080",
    },
    Spec {
        key: Key::ManageAddr,
        name: "manage-addr",
        takes: Takes::One("ADDRESS"),
        earlier: &[only("manageAddr", Daemon)],
        default: "127.0.0.1:31081",
        help: "Where to show metrics and health, by HTTP; off, or an address",
    },
    Spec {
        key: Key::AllowRemote,
        name: "allow-remote",
        takes: Takes::Switch,
        earlier: &[],
        default: "false",
        help: "Let --bind-addr take commands from other machines, from anybody who reaches it",
    },
    Spec {
        key: Key::LogLevel,
        name: "log-level",
        takes: Takes::One("LEVEL"),
        earlier: &[shared("loglevel")],
        default: "info",
        help: "What to log: a level, or directives such as warn,hostnic_core::pool=debug",
    },
    Spec {
        key: Key::LogFormat,
        name: "log-format",
        takes: Takes::One("FORM"),
        earlier: &[],
        default: "text",
        help: "The form of a log line: text or json",
    },
    Spec {
        key: Key::Compat,
        name: "compat",
        takes: Takes::One("PROGRAM"),
        earlier: &[],
        default: "by name, flags and file",
        help: "Whose defaults and files hold: hostnic-daemon, daemon (hostnic-cni 0.x) or qingagent (qingcloud-cni)",
    },
];

/// What the earlier programs knew and nobody needs any more.
pub(super) const OBSOLETE: &[&str] = &["WorkInAppCenterCluser"];

impl Key {
    /// All about it.
    #[expect(clippy::indexing_slicing, reason = "a test finds every key in the list")]
    pub(super) fn spec(self) -> &'static Spec {
        &SPECS[SPECS.iter().position(|spec| spec.key == self).unwrap_or_default()]
    }

    /// Our spelling.
    pub(crate) fn name(self) -> &'static str {
        self.spec().name
    }

    /// The key of a file that is ours: spelt exactly.
    pub(super) fn of_ours(text: &str) -> Option<Self> {
        // It says how the file itself is read.
        SPECS.iter().find(|spec| spec.name == text && spec.key != Key::Compat).map(|spec| spec.key)
    }

    /// The key of an earlier program's file: any spelling, without regard to case.
    pub(super) fn of_earlier(text: &str) -> Option<Self> {
        let spelt = |spec: &&Spec| spec.earlier.iter().any(|s| s.text.eq_ignore_ascii_case(text));
        let ours = || Self::of_ours(&text.to_ascii_lowercase());
        SPECS.iter().find(spelt).map(|spec| spec.key).or_else(ours)
    }
}

/// Our spelling of the setting that `text` was most likely meant to be.
pub(super) fn nearest(text: &str) -> Option<&'static str> {
    let bare = |text: &str| text.to_lowercase().replace(['-', '_', '.'], "");
    let wanted = bare(text);
    let spellings = |spec: &'static Spec| {
        std::iter::once(spec.name)
            .chain(spec.earlier.iter().map(|s| s.text))
            .map(move |text| (text, spec.name))
    };
    let near = |(text, name)| {
        let distance = strsim::damerau_levenshtein(&bare(text), &wanted);
        (distance <= (wanted.chars().count() / 3).max(1)).then_some((distance, name))
    };
    let known = SPECS.iter().filter(|spec| spec.key != Key::Compat);
    known.flat_map(spellings).filter_map(near).min().map(|(_, name)| name)
}

/// A key in the environment of an earlier program: in capitals, without prefix.
pub(super) fn capitals(text: &str) -> String {
    text.to_ascii_uppercase()
}

/// A key in the environment by our spelling.
pub(super) fn variable(name: &str) -> String {
    format!("HOSTNIC_{}", name.to_ascii_uppercase().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_listed_once() {
        let mut keys: Vec<Key> = SPECS.iter().map(|spec| spec.key).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), SPECS.len());
        assert_eq!(keys.len(), Key::LogFormat as usize + 1, "a key is missing in SPECS");
    }

    #[test]
    fn spellings_of_the_earlier_programs_are_found_in_any_case() {
        assert_eq!(Key::of_earlier("QYACCESSFILEPATH"), Some(Key::AccessFile));
        assert_eq!(Key::of_earlier("bindaddr"), Some(Key::BindAddr));
        assert_eq!(Key::of_earlier("Allow-Remote"), Some(Key::AllowRemote));
        assert_eq!(Key::of_earlier("compat"), None);
        assert_eq!(Key::of_ours("poolsize"), None);
    }

    #[test]
    fn the_nearest_key_is_the_one_that_was_meant() {
        let cases = [
            ("PoolSize", Some("pool-size")),
            ("pool_low", Some("pool-low")),
            ("poolhigh", Some("pool-high")),
            ("vxnetz", Some("vxnet")),
            ("polcy", Some("policy")),
            ("QyAcessFilePath", Some("access-file")),
            ("colour", None),
            ("", None),
            ("é", None),
        ];
        for (written, meant) in cases {
            assert_eq!(nearest(written), meant, "{written}");
        }
    }
}
