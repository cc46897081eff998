//! Attachments: one interface that a runtime asked for in one container, and where it lives.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::id::{InvalidValue, text_type};

/// The pattern that CNI 1.1.0 gives for container ids and network names.
fn is_cni_name(value: &str) -> bool {
    let mut bytes = value.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

text_type! {
    /// The name of a network, as the CNI configuration gives it.
    NetworkName, "network name", "letters, digits, '_', '.' or '-', beginning with a letter or digit", is_cni_name
}
text_type! {
    /// The runtime's name for a container.
    ContainerId, "container id", "letters, digits, '_', '.' or '-', beginning with a letter or digit", is_cni_name
}
text_type! {
    /// The name of an interface, as the kernel allows it.
    IfName, "interface name", "1 to 15 bytes, not '.' or '..', without '/', ':' or white space",
    |v| (1..=15).contains(&v.len()) && v != "." && v != ".."
        && !v.chars().any(|c| c == '/' || c == ':' || c.is_whitespace() || c.is_control())
}

/// What identifies an attachment: CNI's triple of network, container and interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttachmentKey {
    /// The network that the container is attached to.
    pub network: NetworkName,
    /// The container.
    pub container: ContainerId,
    /// The interface inside the container; another name is another attachment.
    pub ifname: IfName,
}

impl AttachmentKey {
    /// The short form of this key that is written on kernel objects.
    pub fn mark(&self) -> AttachmentMark {
        let mut hash = Sha256::new();
        for part in [self.network.as_str(), self.container.as_str(), self.ifname.as_str()] {
            hash.update(part.as_bytes());
            // No part can hold a zero byte, so no two keys feed the hash the same bytes.
            hash.update([0]);
        }
        let mut text = data_encoding::BASE32_NOPAD.encode(&hash.finalize()).to_ascii_lowercase();
        text.truncate(AttachmentMark::LENGTH);
        AttachmentMark(text)
    }
}

impl fmt::Display for AttachmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.network, self.container, self.ifname)
    }
}

/// Twenty characters that stand for an [`AttachmentKey`] where there is no room for the key.
///
/// Every pod link carries it in its alias (`hostnic:<mark>`), so that a DEL finds the link without any store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AttachmentMark(String);

impl AttachmentMark {
    const LENGTH: usize = 20;
    const PREFIX: &'static str = "hostnic:";

    /// The twenty characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The alias of a link that belongs to this attachment.
    pub fn alias(&self) -> String {
        format!("{}{}", Self::PREFIX, self.0)
    }

    /// The mark in a link's alias; `None` where the alias is not one of ours. More may follow it, parted by a space.
    pub fn from_alias(alias: &str) -> Option<Self> {
        alias.strip_prefix(Self::PREFIX)?.split(' ').next()?.parse().ok()
    }
}

impl fmt::Display for AttachmentMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AttachmentMark {
    type Err = InvalidValue;

    fn from_str(value: &str) -> Result<Self, InvalidValue> {
        let valid = value.len() == Self::LENGTH
            && value.bytes().all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b));
        if valid {
            Ok(Self(value.to_owned()))
        } else {
            Err(InvalidValue::new("attachment mark", value, "20 characters of base 32 in lower case"))
        }
    }
}

impl TryFrom<String> for AttachmentMark {
    type Error = InvalidValue;
    fn try_from(value: String) -> Result<Self, InvalidValue> {
        value.parse()
    }
}

impl From<AttachmentMark> for String {
    fn from(value: AttachmentMark) -> String {
        value.0
    }
}

/// The path of a network namespace, as a runtime names it. Absolute; nothing says that it still exists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "PathBuf", into = "PathBuf")]
pub struct NetnsPath(PathBuf);

impl NetnsPath {
    /// Checks and takes a path.
    ///
    /// # Errors
    /// [`InvalidValue`] unless the path is absolute.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, InvalidValue> {
        let path = path.into();
        if path.is_absolute() {
            Ok(Self(path))
        } else {
            Err(InvalidValue::new("network namespace", path.display().to_string(), "an absolute path"))
        }
    }

    /// The path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for NetnsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl TryFrom<PathBuf> for NetnsPath {
    type Error = InvalidValue;
    fn try_from(path: PathBuf) -> Result<Self, InvalidValue> {
        Self::new(path)
    }
}

impl From<NetnsPath> for PathBuf {
    fn from(path: NetnsPath) -> PathBuf {
        path.0
    }
}

/// The identity of a network namespace: the device and inode of its file.
///
/// A path may come to name another namespace; this does not, as long as the namespace lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sandbox {
    /// The device number of the namespace's file.
    pub device: u64,
    /// The inode number of the namespace's file.
    pub inode: u64,
}

impl fmt::Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.device, self.inode)
    }
}

/// The Kubernetes pod that an attachment belongs to, where the runtime told.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PodRef {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's uid, where the runtime gave it.
    pub uid: Option<String>,
}

impl fmt::Display for PodRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(network: &str, container: &str, ifname: &str) -> AttachmentKey {
        AttachmentKey {
            network: network.parse().unwrap(),
            container: container.parse().unwrap(),
            ifname: ifname.parse().unwrap(),
        }
    }

    #[test]
    fn a_mark_survives_the_way_through_an_alias() {
        let mark = key("net", "c1", "eth0").mark();
        assert_eq!(AttachmentMark::from_alias(&mark.alias()), Some(mark.clone()));
        assert_eq!(mark.as_str().len(), 20);
        assert_eq!(AttachmentMark::from_alias(&format!("{} mtu 1500", mark.alias())), Some(mark.clone()));
        assert_eq!(AttachmentMark::from_alias("hostnic:eth0"), None);
        assert_eq!(AttachmentMark::from_alias(mark.as_str()), None);
    }

    #[test]
    fn keys_whose_parts_join_to_the_same_text_have_different_marks() {
        assert_ne!(key("ab", "c", "eth0").mark(), key("a", "bc", "eth0").mark());
    }

    #[test]
    fn names_follow_the_specification() {
        for bad in ["", "-a", "a/b", "a b", "é"] {
            assert!(ContainerId::new(bad).is_err(), "{bad:?}");
        }
        for bad in ["", ".", "..", "a/b", "a:b", "a b", "0123456789abcdef", "a\0"] {
            assert!(IfName::new(bad).is_err(), "{bad:?}");
        }
        assert!(NetnsPath::new("relative").is_err());
    }
}
