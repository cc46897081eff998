//! VPC routers.

use std::fmt::Display;

use serde::Deserialize;

use crate::action::Action;
use crate::client::Operation;
use crate::failure::CallError;
use crate::paging::Row;
use crate::request::Request;
use crate::wire;

/// A VPC router.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RouterRow {
    /// Its id.
    #[serde(deserialize_with = "wire::text")]
    pub router_id: String,
    /// Its name.
    #[serde(deserialize_with = "wire::text")]
    pub router_name: String,
    /// The range of the VPC.
    #[serde(deserialize_with = "wire::text")]
    pub vpc_network: String,
    /// `active` where it routes.
    #[serde(deserialize_with = "wire::text")]
    pub status: String,
    /// Its security group.
    #[serde(deserialize_with = "wire::text")]
    pub security_group_id: String,
}

impl Row for RouterRow {
    const SET: &'static str = "router_set";

    fn id(&self) -> &str {
        &self.router_id
    }
}

impl Operation<'_> {
    /// `DescribeRouters`, at most a hundred ids.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn describe_routers(&self, ids: &[impl Display]) -> Result<Vec<RouterRow>, CallError> {
        let request = Request::new(Action::DescribeRouters).with_list("routers", ids).with("verbose", 1);
        self.all(&request).await
    }
}
