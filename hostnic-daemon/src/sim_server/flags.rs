//! Values of flags that are more than a number or a word.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use hostnic_core::id::{InstanceId, InvalidValue};

/// An instance, and the network namespace that it is: `i-node1`, or `i-node1=/run/netns/node1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InstanceFlag {
    pub(super) id: InstanceId,
    pub(super) netns: Option<PathBuf>,
}

impl FromStr for InstanceFlag {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let Some((id, netns)) = text.split_once('=') else {
            return Ok(Self { id: text.parse()?, netns: None });
        };
        if netns.is_empty() {
            return Err(InvalidValue::new("instance", text, "an id, or an id, '=' and a network namespace"));
        }
        // A name without a folder is one of `ip netns`.
        let path =
            if netns.contains('/') { PathBuf::from(netns) } else { Path::new("/run/netns").join(netns) };
        Ok(Self { id: id.parse()?, netns: Some(path) })
    }
}

/// How long something takes: `attach=3s` for its jobs, `DescribeNics=200ms` for its answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LatencyFlag {
    pub(super) of: String,
    pub(super) takes: Duration,
}

impl FromStr for LatencyFlag {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let invalid = || {
            InvalidValue::new(
                "latency",
                text,
                "attach, detach, vip or an action, '=' and a time, as in attach=3s or DescribeNics=200ms",
            )
        };
        let (of, takes) = text.split_once('=').ok_or_else(invalid)?;
        let takes = humantime::parse_duration(takes).map_err(|_| invalid())?;
        Ok(Self { of: of.to_owned(), takes })
    }
}

/// So many calls in such a time: `2000/1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RateFlag {
    pub(super) calls: u32,
    pub(super) window: Duration,
}

impl FromStr for RateFlag {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let invalid = || InvalidValue::new("rate limit", text, "a number, '/' and a time, as in 2000/1h");
        let (calls, window) = text.split_once('/').ok_or_else(invalid)?;
        let calls = calls.parse().map_err(|_| invalid())?;
        let window = humantime::parse_duration(window).map_err(|_| invalid())?;
        Ok(Self { calls, window })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read() {
        let instance: InstanceFlag = "i-1=node".parse().unwrap();
        assert_eq!(instance.netns.unwrap(), Path::new("/run/netns/node"));
        assert_eq!("i-1".parse::<InstanceFlag>().unwrap().netns, None);
        assert!("i-1=".parse::<InstanceFlag>().is_err());
        let latency: LatencyFlag = "attach=1500ms".parse().unwrap();
        assert_eq!((latency.of.as_str(), latency.takes), ("attach", Duration::from_millis(1500)));
        assert!("attach=soon".parse::<LatencyFlag>().is_err());
        let rate: RateFlag = "2000/1h".parse().unwrap();
        assert_eq!((rate.calls, rate.window), (2000, Duration::from_secs(3600)));
    }
}
