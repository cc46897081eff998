//! Which namespace has addresses of which blocks: ConfigMap `hostnic-ipam-config`.

use std::collections::BTreeMap;

use super::name::{BlockName, NoBlockName};

/// The ConfigMap, which is in `kube-system`.
pub(crate) const CONFIG: &str = "hostnic-ipam-config";
/// The keys of the ConfigMap.
const AUTO: &str = "subnet-auto-assign";
pub(crate) const IPAM_KEY: &str = "ipam";
/// What stands in the place of a namespace, for all that have no blocks.
const DEFAULT: &str = "Default";

/// Who has addresses of what. A namespace without blocks has them of the vxnets of `default`, but never of a block that
/// another namespace has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// Whether namespaces get blocks without anybody's doing.
    pub(crate) auto: bool,
    /// Vxnets.
    pub(crate) default: Vec<String>,
    /// Blocks by namespace.
    pub(crate) namespaces: BTreeMap<String, Vec<BlockName>>,
}

/// What is wrong with the ConfigMap. Nothing of it counts then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Mistake {
    #[error("{AUTO} is {0:?}: it must be \"on\" or \"off\"")]
    Switch(String),
    #[error(
        "{IPAM_KEY} must be JSON, namespaces with lists of blocks, such as {{\"test\": [\"4100-172-16-3-0-26\"]}}"
    )]
    NoJson(#[source] serde_json::Error),
    #[error("{IPAM_KEY} gives namespace {namespace} what is no block")]
    NoBlock { namespace: String, source: NoBlockName },
    #[error("{IPAM_KEY} gives block {block} to both {first} and {second}: one namespace alone may have it")]
    Shared { block: BlockName, first: String, second: String },
}

impl Mapping {
    /// What the ConfigMap's data says; an empty mapping where a key is missing.
    ///
    /// # Errors
    /// The first mistake in it.
    pub(crate) fn read(data: &BTreeMap<String, String>) -> Result<Self, Mistake> {
        let (mapping, mistakes) = Self::check(data);
        mistakes.into_iter().next().map_or(Ok(mapping), Err)
    }

    /// What the data says as far as it can be read, and all mistakes in it.
    pub(crate) fn check(data: &BTreeMap<String, String>) -> (Self, Vec<Mistake>) {
        let mut mistakes = Vec::new();
        let auto = match data.get(AUTO).map(|text| text.trim()) {
            None | Some("" | "off") => false,
            Some("on") => true,
            Some(other) => {
                mistakes.push(Mistake::Switch(other.to_owned()));
                false
            }
        };
        let text = data.get(IPAM_KEY).map_or("", |text| text.trim());
        let text = if text.is_empty() { "{}" } else { text };
        let lists: BTreeMap<String, Option<Vec<String>>> =
            serde_json::from_str(text).unwrap_or_else(|error| {
                mistakes.push(Mistake::NoJson(error));
                BTreeMap::new()
            });
        let mut mapping = Self { auto, ..Self::default() };
        let mut owners: BTreeMap<BlockName, String> = BTreeMap::new();
        for (namespace, list) in lists {
            let list = list.unwrap_or_default();
            if namespace == DEFAULT {
                mapping.default = list;
                continue;
            }
            let blocks = blocks_of(&namespace, &list, &mut owners, &mut mistakes);
            mapping.namespaces.insert(namespace, blocks);
        }
        (mapping, mistakes)
    }

    /// The value of the key `ipam` that says the same.
    ///
    /// # Errors
    /// None that a mapping could bring about: its keys are texts.
    pub(crate) fn write(&self) -> serde_json::Result<String> {
        let names = |blocks: &Vec<BlockName>| blocks.iter().map(ToString::to_string).collect();
        let mut lists: BTreeMap<&str, Vec<String>> =
            self.namespaces.iter().map(|(namespace, blocks)| (namespace.as_str(), names(blocks))).collect();
        if !self.default.is_empty() {
            lists.insert(DEFAULT, self.default.clone());
        }
        serde_json::to_string_pretty(&lists)
    }

    /// The namespace that has a block.
    pub(crate) fn owner(&self, block: BlockName) -> Option<&str> {
        let mut owners = self.namespaces.iter().filter(|(_, blocks)| blocks.contains(&block));
        owners.next().map(|(namespace, _)| namespace.as_str())
    }
}

/// The blocks in a namespace's list, each once.
fn blocks_of(
    namespace: &str,
    list: &[String],
    owners: &mut BTreeMap<BlockName, String>,
    mistakes: &mut Vec<Mistake>,
) -> Vec<BlockName> {
    let mut blocks = Vec::with_capacity(list.len());
    for text in list {
        let block: BlockName = match text.parse() {
            Ok(block) => block,
            Err(source) => {
                mistakes.push(Mistake::NoBlock { namespace: namespace.to_owned(), source });
                continue;
            }
        };
        match owners.get(&block) {
            // Named twice by the same one, which says no more than once.
            Some(first) if first == namespace => {}
            Some(first) => {
                let (first, second) = (first.clone(), namespace.to_owned());
                mistakes.push(Mistake::Shared { block, first, second });
            }
            None => {
                owners.insert(block, namespace.to_owned());
                blocks.push(block);
            }
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(auto: &str, ipam: &str) -> Result<Mapping, Mistake> {
        let data = [(AUTO, auto), (IPAM_KEY, ipam)].map(|(key, text)| (key.to_owned(), text.to_owned()));
        Mapping::read(&BTreeMap::from(data))
    }

    fn said(mistake: Result<Mapping, Mistake>) -> String {
        mistake.unwrap_err().to_string()
    }

    #[test]
    fn the_documents_own_is_read_and_written_as_it_is() {
        let document = r#"{
            "Default": ["vxnet-xxxxxxxx"],
            "test": ["4100-172-16-3-0-26", "4100-172-16-3-128-26"],
            "abc": ["4100-172-16-3-64-26", "4100-172-16-3-192-26"]
        }"#;
        let mapping = read("off", document).unwrap();
        assert!(!mapping.auto);
        assert_eq!(mapping.default, ["vxnet-xxxxxxxx"]);
        assert_eq!(mapping.owner("4100-172-16-3-64-26".parse().unwrap()), Some("abc"));
        assert_eq!(mapping.owner("4100-172-16-3-64-27".parse().unwrap()), None);
        assert_eq!(read("off", &mapping.write().unwrap()).unwrap(), mapping);
    }

    #[test]
    fn what_is_missing_or_empty_is_nobodys() {
        assert_eq!(Mapping::read(&BTreeMap::new()).unwrap(), Mapping::default());
        assert_eq!(read(" ", "\n").unwrap(), Mapping::default());
        assert!(read("on", "{}").unwrap().auto);
        assert_eq!(read("off", r#"{"a": null}"#).unwrap().namespaces["a"], []);
    }

    #[test]
    fn a_mistake_is_told_with_what_it_is_about() {
        assert_eq!(said(read("yes", "{}")), r#"subnet-auto-assign is "yes": it must be "on" or "off""#);
        assert!(matches!(read("off", "{\"a\": \"b\"}"), Err(Mistake::NoJson(_))));
        let shared = said(read("off", r#"{"a": ["4100-10-0-0-0-27"], "b": ["4100-10-0-0-0-27"]}"#));
        assert!(shared.contains("4100-10-0-0-0-27 to both a and b"), "{shared}");
        let all =
            [(AUTO, "yes"), (IPAM_KEY, r#"{"a": ["4100-10-0-0-0-27", "x"], "b": ["4100-10-0-0-0-27"]}"#)];
        let all = BTreeMap::from(all.map(|(key, text)| (key.to_owned(), text.to_owned())));
        assert_eq!(Mapping::check(&all).1.len(), 3);
        let twice = read("off", r#"{"a": ["4100-10-0-0-0-27", "4100-10-0-0-0-27"]}"#).unwrap();
        assert_eq!(twice.namespaces["a"].len(), 1);
        let wrong = read("off", r#"{"a": ["vxnet-abcdefg"]}"#).unwrap_err();
        assert!(wrong.to_string().contains("namespace a"), "{wrong}");
        assert!(std::error::Error::source(&wrong).unwrap().to_string().contains("vxnet-abcdefg"));
    }
}
