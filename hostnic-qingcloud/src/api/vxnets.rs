//! Vxnets: the cloud's subnets.

use std::fmt::Display;

use serde::Deserialize;

use crate::action::Action;
use crate::client::Operation;
use crate::failure::CallError;
use crate::paging::{PAGE, Row};
use crate::request::Request;
use crate::wire;

/// A vxnet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct VxnetRow {
    /// Its id.
    #[serde(deserialize_with = "wire::text")]
    pub vxnet_id: String,
    /// Its name.
    #[serde(deserialize_with = "wire::text")]
    pub vxnet_name: String,
    /// 0 self-managed, 1 managed, 2 the base network.
    #[serde(deserialize_with = "wire::number")]
    pub vxnet_type: Option<i64>,
    /// `vlan`, or something else or nothing for a vxlan.
    #[serde(deserialize_with = "wire::text")]
    pub tunnel_type: String,
    /// The VPC router that it is bound to; empty for none.
    #[serde(deserialize_with = "wire::text")]
    pub vpc_router_id: String,
    /// How many addresses are left.
    #[serde(deserialize_with = "wire::number")]
    pub available_ip_count: Option<i64>,
    /// Its part of the router; `None` where it is bound to none.
    #[serde(deserialize_with = "wire::object")]
    pub router: Option<VxnetRouter>,
    /// The user who owns it.
    #[serde(deserialize_with = "wire::text")]
    pub owner: String,
}

impl Row for VxnetRow {
    const SET: &'static str = "vxnet_set";

    fn id(&self) -> &str {
        &self.vxnet_id
    }
}

/// The side of a router that faces a vxnet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct VxnetRouter {
    /// The router.
    #[serde(deserialize_with = "wire::text")]
    pub router_id: String,
    /// The router's address in the vxnet: its gateway.
    #[serde(deserialize_with = "wire::text")]
    pub manager_ip: String,
    /// The vxnet's range.
    #[serde(deserialize_with = "wire::text")]
    pub ip_network: String,
    /// The first address of DHCP; empty where DHCP is off.
    #[serde(deserialize_with = "wire::text")]
    pub dyn_ip_start: String,
    /// The last address of DHCP; empty where DHCP is off.
    #[serde(deserialize_with = "wire::text")]
    pub dyn_ip_end: String,
}

/// The base network's type. Its vxnets are listed only when asked for.
const BASE: u8 = 2;

impl Operation<'_> {
    /// `DescribeVxnets`, those of the base network included. Unknown ids are left out.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn describe_vxnets(&self, ids: &[impl Display]) -> Result<Vec<VxnetRow>, CallError> {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let mut rows: Vec<VxnetRow> = Vec::new();
        for ids in ids.chunks(PAGE) {
            let request = |ids: &[String]| Request::new(Action::DescribeVxnets).with_list("vxnets", ids);
            let found = self.all(&request(ids)).await?;
            rows.extend(found);
            let missing: Vec<String> =
                ids.iter().filter(|id| rows.iter().all(|row| row.vxnet_id != **id)).cloned().collect();
            if !missing.is_empty() {
                rows.extend(self.all(&request(&missing).with("vxnet_type", BASE)).await?);
            }
        }
        Ok(rows)
    }
}
