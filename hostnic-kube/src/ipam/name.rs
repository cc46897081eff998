//! The names of blocks.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnet::Ipv4Net;

/// The id in the names of blocks whose pools are of type `local`, as all are that the controller makes.
pub const LOCAL: u32 = 4100;

/// The name of a block: the id of its pool's type and its addresses, such as `4100-172-16-3-0-26`.
///
/// ```
/// use hostnic_kube::ipam::BlockName;
///
/// let name: BlockName = "4100-172-16-3-0-26".parse()?;
/// assert_eq!(name.cidr(), "172.16.3.0/26".parse()?);
/// assert_eq!(name.to_string(), "4100-172-16-3-0-26");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockName {
    id: u32,
    cidr: Ipv4Net,
}

/// A text that names no block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names no block: a name is an id and the block's first address and prefix length, such as 4100-172-16-3-0-26"
)]
pub struct NoBlockName(String);

impl BlockName {
    /// Of the block with these addresses; bits behind the prefix do not count.
    pub fn new(id: u32, cidr: Ipv4Net) -> Self {
        Self { id, cidr: cidr.trunc() }
    }

    /// The id of its pool's type.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Its addresses.
    pub fn cidr(&self) -> Ipv4Net {
        self.cidr
    }

    /// What handles call it: `4100-172.16.3.0/26`.
    pub fn key(&self) -> String {
        format!("{}-{}", self.id, self.cidr)
    }
}

impl fmt::Display for BlockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.cidr.network().octets();
        write!(f, "{}-{a}-{b}-{c}-{d}-{}", self.id, self.cidr.prefix_len())
    }
}

impl FromStr for BlockName {
    type Err = NoBlockName;

    fn from_str(text: &str) -> Result<Self, NoBlockName> {
        let read = || {
            let (id, rest) = text.split_once('-')?;
            let mut numbers = rest.split('-').map(|number| number.parse::<u8>().ok());
            let mut next = || numbers.next().flatten();
            let first = Ipv4Addr::new(next()?, next()?, next()?, next()?);
            let cidr = Ipv4Net::new(first, next()?).ok()?;
            Some(Self { id: id.parse().ok()?, cidr })
        };
        // Another spelling of the same block would be no object's name.
        read().filter(|name| name.to_string() == text).ok_or_else(|| NoBlockName(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written_and_in_no_other_spelling() {
        for text in ["4100-172-16-3-0-26", "4100-0-0-0-0-0", "2-10-0-0-255-32"] {
            assert_eq!(text.parse::<BlockName>().unwrap().to_string(), text);
        }
        let wrong = [
            "",
            "4100",
            "vxnet-abcdefg",
            "4100-172-16-3-0",
            "4100-172-16-3-0-26-1",
            "4100-172-16-3-1-26",
            "4100-172-16-3-256-26",
            "4100-172-16-3-0-33",
            "4100-172-16-03-0-26",
            "+4100-172-16-3-0-26",
            "4100-172.16.3.0/26",
        ];
        for text in wrong {
            assert!(text.parse::<BlockName>().unwrap_err().to_string().contains(text), "{text}");
        }
        assert_eq!("4100-172-16-3-0-26".parse::<BlockName>().unwrap().key(), "4100-172.16.3.0/26");
    }
}
