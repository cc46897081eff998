//! Between the checked types and the generated messages.
//!
//! Reading checks every rule again, whoever wrote: the daemon does not rely on the plugin's checks.

use std::time::Duration;

use hostnic_core::attachment::{AttachmentKey, NetnsPath, PodRef};
use hostnic_core::clock::BootTime;
use hostnic_core::id::InvalidValue;
use hostnic_core::route::Route;
use ipnet::IpNet;

use crate::error::{CniError, Code};

use super::reply::{Cleaned, Freed, Interface, NodeStatus, NotReady};
use super::request::{
    Add, Call, Check, Del, Gc, Mtu, NextHop, PreviousInterface, ValidAttachment, WantedRoute,
};
use super::v1;

type Checked<T> = Result<T, InvalidValue>;

/// A pod by the names that a runtime tells; an empty uid is none.
///
/// # Errors
/// [`InvalidValue`] where a part is not made of 1 to 253 letters, digits, '-', '.' and '_'. They become a part of paths
/// and labels, so nothing else may be in them.
pub fn pod_ref(namespace: &str, name: &str, uid: &str) -> Result<PodRef, InvalidValue> {
    let part = |what, value: &str| {
        let valid = (1..=253).contains(&value.len())
            && value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
        match valid {
            true => Ok(value.to_owned()),
            false => Err(InvalidValue::new(what, value, "1 to 253 letters, digits, '-', '.' or '_'")),
        }
    };
    Ok(PodRef {
        namespace: part("pod namespace", namespace)?,
        name: part("pod name", name)?,
        uid: (!uid.is_empty()).then(|| part("pod uid", uid)).transpose()?,
    })
}

fn required<T>(what: &'static str, message: Option<T>) -> Checked<T> {
    message.ok_or_else(|| InvalidValue::new(what, "", "present"))
}

fn parsed<T: std::str::FromStr>(what: &'static str, text: &str, rule: &'static str) -> Checked<T> {
    text.parse().map_err(|_| InvalidValue::new(what, text, rule))
}

fn network(what: &'static str, text: &str) -> Checked<IpNet> {
    parsed(what, text, "an address with its prefix length")
}

fn address(what: &'static str, text: &str) -> Checked<std::net::IpAddr> {
    parsed(what, text, "an address")
}

pub(super) fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn nanos(time: BootTime) -> u64 {
    u64::try_from(time.since_boot().as_nanos()).unwrap_or(u64::MAX)
}

fn call(started_at_ns: u64, deadline_ms: u32) -> Call {
    Call {
        started_at: BootTime::new(Duration::from_nanos(started_at_ns)),
        remaining: Duration::from_millis(deadline_ms.into()),
    }
}

impl From<&AttachmentKey> for v1::AttachmentKey {
    fn from(key: &AttachmentKey) -> Self {
        Self {
            network: key.network.to_string(),
            container_id: key.container.to_string(),
            ifname: key.ifname.to_string(),
        }
    }
}

impl TryFrom<v1::AttachmentKey> for AttachmentKey {
    type Error = InvalidValue;
    fn try_from(key: v1::AttachmentKey) -> Checked<Self> {
        Ok(Self {
            network: key.network.try_into()?,
            container: key.container_id.try_into()?,
            ifname: key.ifname.try_into()?,
        })
    }
}

impl From<&PodRef> for v1::Pod {
    fn from(pod: &PodRef) -> Self {
        Self {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            uid: pod.uid.clone().unwrap_or_default(),
        }
    }
}

impl TryFrom<v1::Pod> for PodRef {
    type Error = InvalidValue;
    fn try_from(pod: v1::Pod) -> Checked<Self> {
        pod_ref(&pod.namespace, &pod.name, &pod.uid)
    }
}

impl From<&WantedRoute> for v1::WantedRoute {
    fn from(route: &WantedRoute) -> Self {
        use v1::wanted_route::NextHop as Wire;
        Self {
            destination: route.destination.to_string(),
            next_hop: match route.next_hop {
                NextHop::Gateway => None,
                NextHop::Address(address) => Some(Wire::Address(address.to_string())),
                NextHop::Host => Some(Wire::Host(v1::HostAddress {})),
            },
        }
    }
}

impl TryFrom<v1::WantedRoute> for WantedRoute {
    type Error = InvalidValue;
    fn try_from(route: v1::WantedRoute) -> Checked<Self> {
        use v1::wanted_route::NextHop as Wire;
        let next_hop = match route.next_hop {
            None => NextHop::Gateway,
            Some(Wire::Host(v1::HostAddress {})) => NextHop::Host,
            Some(Wire::Address(text)) => NextHop::Address(address("next hop", &text)?),
        };
        Self::new(network("route destination", &route.destination)?, next_hop)
    }
}

impl From<&Add> for v1::AddRequest {
    fn from(add: &Add) -> Self {
        Self {
            key: Some((&add.key).into()),
            netns: add.netns.to_string(),
            pod: add.pod.as_ref().map(Into::into),
            routes: add.routes.iter().map(Into::into).collect(),
            mtu: add.mtu.map_or(0, Mtu::get),
            is_gateway: add.is_gateway,
            ip_masq: add.ip_masq,
            started_at_boottime_ns: nanos(add.call.started_at),
            deadline_ms: millis(add.call.remaining),
        }
    }
}

impl TryFrom<v1::AddRequest> for Add {
    type Error = InvalidValue;
    fn try_from(add: v1::AddRequest) -> Checked<Self> {
        Ok(Self {
            key: required("attachment key", add.key)?.try_into()?,
            netns: NetnsPath::new(add.netns)?,
            pod: add.pod.map(TryInto::try_into).transpose()?,
            routes: add.routes.into_iter().map(TryInto::try_into).collect::<Checked<_>>()?,
            mtu: (add.mtu != 0).then(|| Mtu::new(add.mtu)).transpose()?,
            is_gateway: add.is_gateway,
            ip_masq: add.ip_masq,
            call: call(add.started_at_boottime_ns, add.deadline_ms),
        })
    }
}

impl From<&Del> for v1::DelRequest {
    fn from(del: &Del) -> Self {
        Self {
            key: Some((&del.key).into()),
            netns: del.netns.as_ref().map(ToString::to_string).unwrap_or_default(),
            started_at_boottime_ns: nanos(del.call.started_at),
            deadline_ms: millis(del.call.remaining),
        }
    }
}

impl TryFrom<v1::DelRequest> for Del {
    type Error = InvalidValue;
    fn try_from(del: v1::DelRequest) -> Checked<Self> {
        Ok(Self {
            key: required("attachment key", del.key)?.try_into()?,
            netns: (!del.netns.is_empty()).then(|| NetnsPath::new(del.netns)).transpose()?,
            call: call(del.started_at_boottime_ns, del.deadline_ms),
        })
    }
}

impl From<&Check> for v1::CheckRequest {
    fn from(check: &Check) -> Self {
        Self {
            key: Some((&check.key).into()),
            netns: check.netns.to_string(),
            previous: Some(v1::PreviousInterface {
                mac: check.previous.mac.map(|mac| mac.to_string()).unwrap_or_default(),
                mtu: check.previous.mtu.unwrap_or_default(),
                addresses: check.previous.addresses.iter().map(ToString::to_string).collect(),
            }),
            started_at_boottime_ns: nanos(check.call.started_at),
            deadline_ms: millis(check.call.remaining),
        }
    }
}

impl TryFrom<v1::CheckRequest> for Check {
    type Error = InvalidValue;
    fn try_from(check: v1::CheckRequest) -> Checked<Self> {
        let previous = required("previous interface", check.previous)?;
        Ok(Self {
            key: required("attachment key", check.key)?.try_into()?,
            netns: NetnsPath::new(check.netns)?,
            previous: PreviousInterface {
                mac: (!previous.mac.is_empty()).then(|| previous.mac.parse()).transpose()?,
                mtu: (previous.mtu != 0).then_some(previous.mtu),
                addresses: previous
                    .addresses
                    .iter()
                    .map(|text| network("previous address", text))
                    .collect::<Checked<_>>()?,
            },
            call: call(check.started_at_boottime_ns, check.deadline_ms),
        })
    }
}

impl From<&Gc> for v1::GcRequest {
    fn from(gc: &Gc) -> Self {
        let valid = |attachment: &ValidAttachment| v1::Attachment {
            container_id: attachment.container.to_string(),
            ifname: attachment.ifname.to_string(),
        };
        Self {
            network: gc.network.to_string(),
            valid: gc.valid.iter().map(valid).collect(),
            started_at_boottime_ns: nanos(gc.call.started_at),
            deadline_ms: millis(gc.call.remaining),
        }
    }
}

impl TryFrom<v1::GcRequest> for Gc {
    type Error = InvalidValue;
    fn try_from(gc: v1::GcRequest) -> Checked<Self> {
        let valid = |attachment: v1::Attachment| {
            Ok(ValidAttachment {
                container: attachment.container_id.try_into()?,
                ifname: attachment.ifname.try_into()?,
            })
        };
        Ok(Self {
            network: gc.network.try_into()?,
            valid: gc.valid.into_iter().map(valid).collect::<Checked<_>>()?,
            call: call(gc.started_at_boottime_ns, gc.deadline_ms),
        })
    }
}

impl From<&Interface> for v1::Interface {
    fn from(interface: &Interface) -> Self {
        let route = |route: &Route| v1::Route {
            destination: route.destination.to_string(),
            next_hop: route.next_hop.map(|hop| hop.to_string()).unwrap_or_default(),
        };
        Self {
            mac: interface.mac.to_string(),
            mtu: interface.mtu,
            address: interface.address.to_string(),
            gateway: interface.gateway.to_string(),
            routes: interface.routes.iter().map(route).collect(),
        }
    }
}

impl TryFrom<v1::Interface> for Interface {
    type Error = InvalidValue;
    fn try_from(interface: v1::Interface) -> Checked<Self> {
        let route = |route: v1::Route| {
            Ok(Route {
                destination: network("route destination", &route.destination)?,
                next_hop: (!route.next_hop.is_empty())
                    .then(|| address("next hop", &route.next_hop))
                    .transpose()?,
            })
        };
        Ok(Self {
            mac: interface.mac.parse()?,
            mtu: interface.mtu,
            address: network("address", &interface.address)?,
            gateway: address("gateway", &interface.gateway)?,
            routes: interface.routes.into_iter().map(route).collect::<Checked<_>>()?,
        })
    }
}

impl From<CniError> for v1::Failure {
    fn from(error: CniError) -> Self {
        Self { code: error.code.number(), message: error.message, details: error.details }
    }
}

impl From<v1::Failure> for CniError {
    fn from(failure: v1::Failure) -> Self {
        CniError::new(Code::from_number(failure.code), failure.message).details(failure.details)
    }
}

impl From<Freed> for v1::GcReply {
    fn from(freed: Freed) -> Self {
        Self { freed: freed.freed, failures: freed.failures.into_iter().map(Into::into).collect() }
    }
}

impl From<v1::GcReply> for Freed {
    fn from(reply: v1::GcReply) -> Self {
        Self { freed: reply.freed, failures: reply.failures.into_iter().map(Into::into).collect() }
    }
}

impl From<Cleaned> for v1::Cleaned {
    fn from(cleaned: Cleaned) -> Self {
        Self { given_back: cleaned.given_back, left: cleaned.left, held: cleaned.held }
    }
}

impl From<v1::Cleaned> for Cleaned {
    fn from(cleaned: v1::Cleaned) -> Self {
        Self { given_back: cleaned.given_back, left: cleaned.left, held: cleaned.held }
    }
}

impl From<NodeStatus> for v1::StatusReply {
    fn from(status: NodeStatus) -> Self {
        Self { not_ready: status.not_ready.map(|n| n.to_error().into()), state: Some(status.state) }
    }
}

impl From<v1::StatusReply> for NodeStatus {
    fn from(reply: v1::StatusReply) -> Self {
        let not_ready = |failure: v1::Failure| NotReady {
            running_affected: Code::from_number(failure.code) == Code::LimitedConnectivity,
            reason: failure.message,
        };
        Self { not_ready: reply.not_ready.map(not_ready), state: reply.state.unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add() -> Add {
        Add {
            key: AttachmentKey {
                network: "net".parse().unwrap(),
                container: "c1".parse().unwrap(),
                ifname: "eth0".parse().unwrap(),
            },
            netns: NetnsPath::new("/run/netns/a").unwrap(),
            pod: Some(pod_ref("default", "web-0", "").unwrap()),
            routes: [NextHop::Gateway, NextHop::Host, NextHop::Address([10, 0, 0, 1].into())]
                .map(|hop| WantedRoute::new("10.96.0.0/12".parse().unwrap(), hop).unwrap())
                .to_vec(),
            mtu: Some(Mtu::new(1400).unwrap()),
            is_gateway: true,
            ip_masq: false,
            call: call(7, 9),
        }
    }

    #[test]
    fn an_add_survives_the_wire() {
        assert_eq!(Add::try_from(v1::AddRequest::from(&add())), Ok(add()));
    }

    #[test]
    fn the_daemon_refuses_what_a_broken_client_sends() {
        let good = v1::AddRequest::from(&add());
        let breakages: [fn(&mut v1::AddRequest); 6] = [
            |a| a.key = None,
            |a| a.key.as_mut().unwrap().ifname = "a/b".to_owned(),
            |a| a.netns = "relative".to_owned(),
            |a| a.pod.as_mut().unwrap().name = "../secrets".to_owned(),
            |a| a.routes[0].destination = "everywhere".to_owned(),
            |a| a.mtu = 1,
        ];
        for (index, break_it) in breakages.into_iter().enumerate() {
            let mut bad = good.clone();
            break_it(&mut bad);
            assert!(Add::try_from(bad).is_err(), "{index}");
        }
    }

    #[test]
    fn an_interface_survives_the_wire() {
        let interface = Interface {
            mac: "52:54:00:00:00:01".parse().unwrap(),
            mtu: 1500,
            address: "192.168.50.4/24".parse().unwrap(),
            gateway: [192, 168, 50, 1].into(),
            routes: vec![
                Route { destination: "169.254.1.1/32".parse().unwrap(), next_hop: None },
                Route {
                    destination: "10.96.0.0/12".parse().unwrap(),
                    next_hop: Some([192, 168, 50, 3].into()),
                },
            ],
        };
        assert_eq!(Interface::try_from(v1::Interface::from(&interface)), Ok(interface));
    }
}
