//! The annotations of nodes and pods, and what a pod asks for by them.

use std::fmt;
use std::net::IpAddr;

use hostnic_core::id::{MacAddr, NicId, SubnetId};
use hostnic_core::pods::{NicWish, PodWishes};
use hostnic_core::route::Datapath;

/// On a node: the vxnet that its pool draws from. On a pod: the vxnet that a NIC is made in for it.
pub const VXNET: &str = "hostnic.network.kubesphere.io/vxnet";
/// On a pod: the address that it wants, in the vxnet that it names or else in the node's.
pub const IP: &str = "hostnic.network.kubesphere.io/ip";
/// On a pod: the id of an existing NIC, attached to nothing, that it wants. It has its own subnet and address, so a pod
/// that names one names neither vxnet nor ip.
///
/// By option the daemon also writes here which NIC a pod was given; [`NIC_GIVEN`] tells the two apart.
pub const NIC: &str = "hostnic.network.kubesphere.io/nic";
/// On a pod, beside [`NIC`]: what the daemon wrote there. Where both are equal, [`NIC`] is a fact and no wish: for the same
/// pod in a new sandbox, and for another pod that was made from its description.
pub const NIC_GIVEN: &str = "hostnic.network.kubesphere.io/nic-given";
/// On a pod: how it is joined to its NIC, `passthrough` or `veth`.
pub const TYPE: &str = "hostnic.network.kubesphere.io/type";

/// On a pod: the addresses that it may have, as a JSON list of texts, the preferred one first. As the Go version and Calico have it.
pub const IP_ADDRS: &str = "cni.projectcalico.org/ipAddrs";
/// The longest list of addresses that is read; a longer one is refused.
const LONGEST_LIST: usize = 1024;

/// Longer values are no ids or addresses. One byte more than the longest that is valid is kept, so that a value that was cut
/// is refused as the whole one would be.
const LONGEST: usize = 129;

/// What a pod's annotations say, as they stand there; each value at most [`LONGEST`] bytes. Empty ones count as absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Asked {
    vxnet: Option<Box<str>>,
    ip: Option<Box<str>>,
    nic: Option<Box<str>>,
    datapath: Option<Box<str>>,
    addresses: Option<Box<str>>,
}

/// An annotation that makes no sense. Displays its name, its value and what it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrongWish {
    annotation: &'static str,
    value: Box<str>,
    rule: String,
}

impl fmt::Display for WrongWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "annotation {} is {:?}: it must be {}", self.annotation, self.value, self.rule)
    }
}

fn cut(value: &str, longest: usize) -> &str {
    let end = (0..=longest).rev().find(|end| value.is_char_boundary(*end)).unwrap_or(0);
    value.get(..end).unwrap_or(value)
}

impl Asked {
    /// What the annotations say of us; `None` where they say nothing.
    pub(crate) fn read<'a>(annotations: impl IntoIterator<Item = (&'a String, &'a String)>) -> Option<Self> {
        let mut asked = Self::default();
        let mut given = None;
        for (name, value) in annotations {
            let value = value.trim();
            let place = match name.as_str() {
                VXNET => &mut asked.vxnet,
                IP => &mut asked.ip,
                NIC => &mut asked.nic,
                NIC_GIVEN => &mut given,
                TYPE => &mut asked.datapath,
                IP_ADDRS => &mut asked.addresses,
                _ => continue,
            };
            let longest = if name == IP_ADDRS { LONGEST_LIST } else { LONGEST };
            *place = (!value.is_empty()).then(|| cut(value, longest).into());
        }
        if asked.nic == given {
            asked.nic = None;
        }
        (asked != Self::default()).then_some(asked)
    }

    /// Whether it names a NIC: then that annotation is the user's, and not written.
    pub(crate) fn names_nic(&self) -> bool {
        self.nic.is_some()
    }

    /// What the pod asks for. `allowed` are the vxnets that pods may name; `None` for any.
    pub(crate) fn wishes(&self, allowed: Option<&[SubnetId]>) -> Result<PodWishes, WrongWish> {
        let wrong = |annotation, value: &str, rule: &dyn fmt::Display| WrongWish {
            annotation,
            value: value.into(),
            rule: rule.to_string(),
        };
        let datapath = self.datapath.as_deref().map(|value| match value.to_ascii_lowercase().as_str() {
            "passthrough" => Ok(Datapath::Passthrough),
            "veth" => Ok(Datapath::Veth),
            _ => Err(wrong(TYPE, value, &"passthrough or veth")),
        });
        let subnet = self.vxnet.as_deref().map(|value| {
            let id = SubnetId::new(value)
                .map_err(|e| wrong(VXNET, value, &format_args!("a vxnet's id, {}", e.rule)))?;
            match allowed {
                Some(allowed) if !allowed.contains(&id) => Err(wrong(
                    VXNET,
                    value,
                    &format_args!("one that pods may name here: {}", Listed(allowed)),
                )),
                _ => Ok(id),
            }
        });
        let address = self.ip.as_deref().map(|value| match value.parse::<IpAddr>() {
            Ok(ip) if !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast()) => Ok(ip),
            _ => Err(wrong(IP, value, &"one address of the vxnet, without a prefix length, as 172.22.0.88")),
        });
        let nic = self
            .nic
            .as_deref()
            .map(|value| nic_id(value).ok_or_else(|| wrong(NIC, value, &"a NIC's id, as 52:54:00:12:34:56")));
        let addresses = self.addresses.as_deref().map_or(Ok(Vec::new()), |value| {
            addresses(value)
                .ok_or_else(|| wrong(IP_ADDRS, value, &r#"a JSON list of addresses, as ["172.22.0.88"]"#))
        })?;
        let (datapath, subnet, address) = (datapath.transpose()?, subnet.transpose()?, address.transpose()?);
        let nic = match (nic.transpose()?, subnet, address) {
            (None, None, None) => NicWish::Any,
            (None, subnet, address) => NicWish::Made { subnet, address },
            (Some(nic), None, None) => NicWish::Existing(nic),
            (Some(nic), ..) => {
                let rule = "without the annotations vxnet and ip, since that NIC has both already";
                return Err(wrong(NIC, nic.as_str(), &rule));
            }
        };
        Ok(PodWishes { nic, datapath, addresses })
    }
}

/// A list of addresses that a pod can have; at least one.
fn addresses(value: &str) -> Option<Vec<IpAddr>> {
    let texts: Vec<String> = serde_json::from_str(value).ok()?;
    let addresses: Option<Vec<IpAddr>> = texts.iter().map(|text| text.trim().parse().ok()).collect();
    let fits = |ip: &IpAddr| !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast());
    addresses.filter(|addresses| !addresses.is_empty() && addresses.iter().all(fits))
}

/// MAC addresses are NIC ids of QingCloud's, in lower case; people write them as they like.
fn nic_id(value: &str) -> Option<NicId> {
    match value.parse::<MacAddr>() {
        Ok(mac) => NicId::new(mac.to_string()).ok(),
        Err(_) => NicId::new(value).ok(),
    }
}

/// Displays ids parted by commas.
pub(crate) struct Listed<'a, T>(pub(crate) &'a [T]);

impl<T: fmt::Display> fmt::Display for Listed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, item) in self.0.iter().enumerate() {
            write!(f, "{}{item}", if n == 0 { "" } else { ", " })?;
        }
        if self.0.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn asked(annotations: &[(&str, &str)]) -> Option<Asked> {
        let map: BTreeMap<String, String> =
            annotations.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Asked::read(&map)
    }

    fn wishes(annotations: &[(&str, &str)]) -> Result<PodWishes, String> {
        asked(annotations).unwrap_or_default().wishes(None).map_err(|wrong| wrong.to_string())
    }

    fn made(subnet: Option<&str>, address: Option<&str>) -> NicWish {
        NicWish::Made {
            subnet: subnet.map(|id| SubnetId::new(id).unwrap()),
            address: address.map(|ip| ip.parse().unwrap()),
        }
    }

    #[test]
    fn what_the_guide_writes_is_understood() {
        let nic = |annotations: &[(&str, &str)]| wishes(annotations).unwrap().nic;
        assert_eq!(nic(&[(VXNET, "vxnet-cfn58ev")]), made(Some("vxnet-cfn58ev"), None));
        let both = [(VXNET, "vxnet-cfn58ev"), (IP, "172.22.0.88")];
        assert_eq!(nic(&both), made(Some("vxnet-cfn58ev"), Some("172.22.0.88")));
        assert_eq!(nic(&[(IP, "172.22.0.88")]), made(None, Some("172.22.0.88")));
        assert_eq!(
            nic(&[(NIC, "52:54:00:AB:cd:01")]),
            NicWish::Existing("52:54:00:ab:cd:01".parse().unwrap())
        );
        assert_eq!(wishes(&[(TYPE, "Passthrough")]).unwrap().datapath, Some(Datapath::Passthrough));
        assert_eq!(
            wishes(&[(TYPE, "veth")]).unwrap(),
            PodWishes { datapath: Some(Datapath::Veth), ..PodWishes::default() }
        );
    }

    #[test]
    fn a_list_of_addresses_is_read_as_the_document_writes_it() {
        let list = |value: &str| wishes(&[(IP_ADDRS, value)]).map(|wishes| wishes.addresses);
        let addresses =
            |texts: &[&str]| -> Vec<IpAddr> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        assert_eq!(list(r#"["192.168.102.40"]"#).unwrap(), addresses(&["192.168.102.40"]));
        assert_eq!(list(r#"["10.0.0.4", "10.0.0.5"]"#).unwrap(), addresses(&["10.0.0.4", "10.0.0.5"]));
        for wrong in ["10.0.0.4", "[]", "[\"a\"]", "[\"127.0.0.1\"]", "[1]"] {
            assert!(list(wrong).unwrap_err().contains("cni.projectcalico.org/ipAddrs"), "{wrong}");
        }
    }

    #[test]
    fn templates_that_fill_in_nothing_ask_for_nothing() {
        assert_eq!(asked(&[(VXNET, ""), (IP, "  "), (TYPE, ""), ("other", "x")]), None);
    }

    #[test]
    fn a_wish_that_makes_no_sense_names_annotation_value_and_rule() {
        for (annotations, message) in [
            (
                vec![(TYPE, "bridge")],
                "annotation hostnic.network.kubesphere.io/type is \"bridge\": it must be passthrough or veth",
            ),
            (
                vec![(IP, "172.22.0.88/24")],
                "annotation hostnic.network.kubesphere.io/ip is \"172.22.0.88/24\": it must be one address of the vxnet, \
                 without a prefix length, as 172.22.0.88",
            ),
            (
                vec![(NIC, "nic-1"), (IP, "172.22.0.88")],
                "annotation hostnic.network.kubesphere.io/nic is \"nic-1\": it must be without the annotations vxnet and ip, \
                 since that NIC has both already",
            ),
        ] {
            assert_eq!(wishes(&annotations).unwrap_err(), message);
        }
        for value in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "::", "a"] {
            assert!(wishes(&[(IP, value)]).is_err(), "{value}");
        }
        for value in ["vxnet a", "vxnet/a", "é"] {
            assert!(wishes(&[(VXNET, value)]).is_err(), "{value}");
        }
    }

    #[test]
    fn only_vxnets_that_pods_may_name_are_named() {
        let allowed = [SubnetId::new("vxnet-a").unwrap()];
        let of = |annotations: &[(&str, &str)]| asked(annotations).unwrap().wishes(Some(&allowed));
        assert!(of(&[(VXNET, "vxnet-a")]).is_ok());
        assert!(of(&[(VXNET, "vxnet-b")]).is_err());
        // The node's own vxnet is not named by the pod.
        assert!(of(&[(IP, "10.0.0.4")]).is_ok());
        assert!(asked(&[(VXNET, "vxnet-a")]).unwrap().wishes(Some(&[])).is_err());
    }

    #[test]
    fn what_was_given_is_no_wish_and_what_was_changed_since_is_one() {
        assert_eq!(asked(&[(NIC, "nic-1"), (NIC_GIVEN, "nic-1")]), None);
        let changed = asked(&[(NIC, "nic-2"), (NIC_GIVEN, "nic-1")]).unwrap();
        assert!(changed.names_nic());
        assert_eq!(changed.wishes(None).unwrap().nic, NicWish::Existing("nic-2".parse().unwrap()));
        assert_eq!(asked(&[(NIC_GIVEN, "nic-1")]), None);
    }

    proptest! {
        /// Whatever people write: no panic, little remembered, and nothing that is cut becomes valid by that.
        #[test]
        fn anything_is_read(vxnet in ".{0,300}", ip in ".{0,80}", nic in "[a-z:é]{0,300}", datapath in ".{0,20}") {
            let annotations = [(VXNET, vxnet.as_str()), (IP, &ip), (NIC, &nic), (TYPE, &datapath)];
            if let Some(asked) = asked(&annotations) {
                for value in [&asked.vxnet, &asked.ip, &asked.nic, &asked.datapath].into_iter().flatten() {
                    prop_assert!(value.len() <= LONGEST);
                }
                if let Ok(PodWishes { nic: NicWish::Made { subnet: Some(subnet), .. }, .. }) = asked.wishes(None) {
                    prop_assert_eq!(subnet.as_str(), vxnet.trim());
                }
            }
        }
    }
}
