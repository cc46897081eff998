//! Settings and how they are spelt: flags, environment, files, help and `config` are made of the list of [`SPECS`].

use super::personality::Personality;
pub(super) use super::specs::SPECS;

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
    Mode,
    PodType,
    ServiceCidr,
    Hairpin,
    VethPrefix,
    Mtu,
    NatMark,
    PodTable,
    FirstTable,
    JobPoll,
    NodeSync,
    NicTag,
    FreePeriod,
    Kubernetes,
    NodeName,
    Kubeconfig,
    CniConfig,
    CniConfDir,
    AnnotationVxnet,
    AnnotationNicTag,
    NicAnnotation,
    NetworkPolicy,
    PolicyFailOpen,
    LogFile,
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

/// How the ConfigMap `hostnic-cfg-cm` of the Kubernetes guide spells a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guide {
    /// A key of `pool`, under `hostnic`.
    Pool(&'static str),
    /// A key of `server`, under `hostnic`.
    Server(&'static str),
    /// A key of the CNI configuration, under `hostnic-cni`.
    Network(&'static str),
}

/// All about one setting.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) key: Key,
    /// Our spelling, which is also the flag's and that of our files.
    pub(super) name: &'static str,
    pub(super) takes: Takes,
    pub(super) earlier: &'static [Spelling],
    /// A variable beside ours and those of the earlier spellings.
    pub(super) variable: Option<&'static str>,
    pub(super) guide: &'static [Guide],
    /// What it is without the settings being given, for the help.
    pub(super) default: &'static str,
    pub(super) help: &'static str,
}

/// What the earlier programs knew and nobody needs any more.
pub(super) const OBSOLETE: &[&str] = &["WorkInAppCenterCluser"];
/// The same of hostnic-node, which had it as a flag with a value.
pub(super) const OBSOLETE_FLAG: &str = "dbpath";
/// The same of its file, under `pool`.
pub(super) const OBSOLETE_GUIDE: [Guide; 2] = [Guide::Pool("nodeThreshold"), Guide::Pool("vxnetThreshold")];

impl Guide {
    /// The key itself.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Pool(key) | Self::Server(key) | Self::Network(key) => key,
        }
    }

    /// The section of the file that the key is in; `None` where it is in none.
    pub(super) fn section(self) -> Option<&'static str> {
        match self {
            Self::Pool(_) => Some("pool"),
            Self::Server(_) => Some("server"),
            Self::Network(_) => None,
        }
    }

    /// Whether this is what `text` in `section` says, without regard to case.
    pub(super) fn is(self, section: Option<&str>, text: &str) -> bool {
        self.section() == section && self.key().eq_ignore_ascii_case(text)
    }
}

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
        SPECS.iter().find(|spec| spec.name == text && spec.key.is_of_files()).map(|spec| spec.key)
    }

    /// Whether a file can say it. Some say how, and which, files are read.
    fn is_of_files(self) -> bool {
        !matches!(self, Key::Compat | Key::CniConfig)
    }

    /// The key of the guide's ConfigMap, in `section` or in the CNI configuration, without regard to case.
    pub(super) fn of_guide(section: Option<&str>, text: &str) -> Option<Self> {
        let spelt = |spec: &&Spec| spec.guide.iter().any(|guide| guide.is(section, text));
        SPECS.iter().find(spelt).map(|spec| spec.key)
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
    let spellings = |spec: &'static Spec| {
        std::iter::once(spec.name)
            .chain(spec.earlier.iter().map(|s| s.text))
            .chain(spec.guide.iter().map(|guide| guide.key()))
            .map(move |text| (text, spec.name))
    };
    let known = SPECS.iter().filter(|spec| spec.key.is_of_files());
    nearest_of(text, known.flat_map(spellings))
}

/// The key of the guide's ConfigMap, in `section` or in the CNI configuration, that `text` was most likely meant to be.
pub(super) fn nearest_in_guide(section: Option<&str>, text: &str) -> Option<&'static str> {
    let there = |guide: &&Guide| guide.section() == section;
    let known = SPECS.iter().flat_map(|spec| spec.guide).filter(there);
    nearest_of(text, known.map(|guide| (guide.key(), guide.key())))
}

/// Of texts and the names of what they say, the name whose text is nearest.
fn nearest_of(text: &str, known: impl Iterator<Item = (&'static str, &'static str)>) -> Option<&'static str> {
    let bare = |text: &str| text.to_lowercase().replace(['-', '_', '.'], "");
    let wanted = bare(text);
    let near = |(text, name)| {
        let distance = strsim::damerau_levenshtein(&bare(text), &wanted);
        (distance <= (wanted.chars().count() / 3).max(1)).then_some((distance, name))
    };
    known.filter_map(near).min().map(|(_, name)| name)
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
        assert_eq!(keys.len(), Key::LogFile as usize + 1, "a key is missing in SPECS");
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
