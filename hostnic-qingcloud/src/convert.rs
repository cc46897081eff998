//! From the cloud's rows to the values of the traits. A row that cannot be is left out, and said so in the
//! log.

use std::net::IpAddr;

use hostnic_core::cloud::{Carrier, Nic, NicAttachment, Subnet};
use hostnic_core::id::{InstanceId, InvalidValue, MacAddr, NicId, RouterId, SubnetId};
use ipnet::IpNet;

use crate::api::{CreatedNic, NicRow, VxnetRow};
use hostnic_core::provider::CreateNics;

/// What a NIC in use is attached to where the cloud does not say.
const SOMEWHERE: &str = "unknown";

/// The NICs of the rows.
pub(crate) fn nics(rows: Vec<NicRow>) -> Vec<Nic> {
    let readable = |row: NicRow| match nic(&row) {
        Ok(nic) => Some(nic),
        Err(error) => {
            tracing::warn!(nic = row.nic_id, %error, "a NIC is left out, as its description cannot be read");
            None
        }
    };
    rows.into_iter().filter_map(readable).collect()
}

fn nic(row: &NicRow) -> Result<Nic, InvalidValue> {
    let (id, mac) = identity(&row.nic_id)?;
    let attachment = match (row.status.as_str(), row.instance_id.as_str()) {
        ("available", _) | ("", "") => NicAttachment::Available,
        (_, instance) => NicAttachment::Attached {
            // Taking it for free would let it be deleted.
            instance: InstanceId::new(if instance.is_empty() { SOMEWHERE } else { instance })?,
            primary: row.role == Some(1),
        },
    };
    Ok(Nic {
        id,
        mac,
        name: row.nic_name.clone(),
        subnet: SubnetId::new(&row.vxnet_id)?,
        addresses: addresses(&row.private_ip),
        attachment,
    })
}

/// A NIC that was just made, in the words of the request.
pub(crate) fn created(row: &CreatedNic, request: &CreateNics) -> Result<Nic, InvalidValue> {
    let (id, mac) = identity(&row.nic_id)?;
    Ok(Nic {
        id,
        mac,
        name: request.name.to_string(),
        subnet: request.subnet.clone(),
        addresses: addresses(&row.private_ip),
        attachment: NicAttachment::Available,
    })
}

/// The cloud's name for a NIC is its MAC address; ours is that in lower case.
fn identity(nic_id: &str) -> Result<(NicId, MacAddr), InvalidValue> {
    let mac: MacAddr = nic_id.parse()?;
    Ok((NicId::new(mac.to_string())?, mac))
}

fn addresses(private_ip: &str) -> Vec<IpAddr> {
    private_ip.parse().into_iter().collect()
}

/// The subnet of a vxnet; `None` for one that no pod can use, as it has no gateway.
pub(crate) fn subnet(row: &VxnetRow) -> Option<Subnet> {
    let read = || -> Result<Subnet, String> {
        let router = row.router.as_ref().ok_or("it is bound to no VPC router: join it to one")?;
        let prefix: IpNet = router.ip_network.parse().map_err(|_| "its router tells no ip_network")?;
        let gateway: IpAddr = router.manager_ip.parse().map_err(|_| "its router tells no manager_ip")?;
        if !prefix.contains(&gateway) {
            return Err(format!("its gateway {gateway} is outside {prefix}"));
        }
        let id = SubnetId::new(&row.vxnet_id).map_err(|error| error.to_string())?;
        let bound = [&row.vpc_router_id, &router.router_id].into_iter().find(|id| !id.is_empty());
        Ok(Subnet {
            id,
            prefix: prefix.trunc(),
            gateway,
            router: bound.map(RouterId::new).transpose().map_err(|error| error.to_string())?,
            dhcp: router.dyn_ip_start.parse().ok().zip(router.dyn_ip_end.parse().ok()).map(|(a, z)| a..=z),
            // The name of the other kind is not documented.
            carrier: if row.tunnel_type == "vlan" { Carrier::Vlan } else { Carrier::Vxlan },
            room: row.available_ip_count.map(|count| u32::try_from(count.max(0)).unwrap_or(u32::MAX)),
        })
    };
    read()
        .inspect_err(
            |why| tracing::warn!(vxnet = row.vxnet_id, %why, "a vxnet is left out, as pods cannot use it"),
        )
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(json: serde_json::Value) -> NicRow {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_nic_is_read_with_its_id_in_lower_case() {
        let nics = nics(vec![row(serde_json::json!({
            "nic_id": "52:54:00:AB:00:01", "nic_name": "n", "status": "in-use", "instance_id": "i-1",
            "vxnet_id": "vxnet-1", "private_ip": "10.0.0.2", "role": "1",
        }))]);
        assert_eq!(nics[0].id.as_str(), "52:54:00:ab:00:01");
        assert_eq!(nics[0].addresses, ["10.0.0.2".parse::<IpAddr>().unwrap()]);
        let here = NicAttachment::Attached { instance: InstanceId::new("i-1").unwrap(), primary: true };
        assert_eq!(nics[0].attachment, here);
    }

    #[test]
    fn a_nic_without_address_has_none_in_whatever_way_that_is_written() {
        for private_ip in [serde_json::Value::Null, "".into(), serde_json::json!([])] {
            let row = row(serde_json::json!({
                "nic_id": "52:54:00:00:00:01", "vxnet_id": "vxnet-1", "private_ip": private_ip,
            }));
            assert!(nic(&row).unwrap().addresses.is_empty());
        }
    }

    #[test]
    fn only_what_is_surely_attached_nowhere_is_available() {
        for (status, instance, available) in [
            ("available", "", true),
            ("", "", true),
            ("in-use", "i-1", false),
            ("in-use", "", false),
            ("attaching", "", false),
            ("", "i-1", false),
        ] {
            let row = row(serde_json::json!({
                "nic_id": "52:54:00:00:00:01", "vxnet_id": "vxnet-1", "status": status, "instance_id": instance,
            }));
            let found = nic(&row).unwrap().attachment == NicAttachment::Available;
            assert_eq!(found, available, "{status:?} {instance:?}");
        }
    }

    #[test]
    fn a_row_that_cannot_be_leaves_the_others_readable() {
        let good = serde_json::json!({"nic_id": "52:54:00:00:00:01", "vxnet_id": "vxnet-1"});
        let rows = vec![row(serde_json::json!({"nic_id": "?"})), row(good), NicRow::default()];
        assert_eq!(nics(rows).len(), 1);
    }

    #[test]
    fn a_vxnet_is_read_with_its_room_and_router() {
        let vxnet = serde_json::json!({
            "vxnet_id": "vxnet-1", "available_ip_count": 240, "vpc_router_id": "",
            "router": {"router_id": "rtr-1", "manager_ip": "172.22.0.1", "ip_network": "172.22.0.0/24",
                "dyn_ip_start": "172.22.0.2", "dyn_ip_end": "172.22.0.254", "mode": 0},
        });
        let read = |json: &serde_json::Value| subnet(&serde_json::from_value(json.clone()).unwrap());
        let subnet = read(&vxnet).unwrap();
        let [first, last] = ["172.22.0.2", "172.22.0.254"].map(|text| text.parse().unwrap());
        assert_eq!((subnet.room, subnet.dhcp), (Some(240), Some(first..=last)));
        assert_eq!(subnet.carrier, Carrier::Vxlan);
        assert_eq!(subnet.router.unwrap().as_str(), "rtr-1");

        let mut without_dhcp = vxnet.clone();
        without_dhcp["router"]["dyn_ip_start"] = "".into();
        without_dhcp["tunnel_type"] = "vlan".into();
        let without_dhcp = read(&without_dhcp).unwrap();
        assert_eq!((without_dhcp.dhcp, without_dhcp.carrier), (None, Carrier::Vlan));
        let mut unbound = vxnet.clone();
        unbound["router"] = serde_json::Value::Null;
        assert_eq!(read(&unbound), None);
        let mut absurd = vxnet;
        absurd["router"]["manager_ip"] = "10.0.0.1".into();
        assert_eq!(read(&absurd), None);
    }
}
