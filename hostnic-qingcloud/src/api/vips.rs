//! Reserved addresses: the cloud calls them VIPs.

use std::fmt::Display;
use std::net::Ipv4Addr;

use serde::Deserialize;

use super::Begun;
use crate::action::Action;
use crate::client::Operation;
use crate::failure::CallError;
use crate::paging::Row;
use crate::request::Request;
use crate::wire;

/// A reserved address.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct VipRow {
    /// Its id.
    #[serde(deserialize_with = "wire::text")]
    pub vip_id: String,
    /// Its name, which many may share.
    #[serde(deserialize_with = "wire::text")]
    pub vip_name: String,
    /// The address.
    #[serde(deserialize_with = "wire::text")]
    pub vip_addr: String,
    /// Its vxnet.
    #[serde(deserialize_with = "wire::text")]
    pub vxnet_id: String,
}

impl Row for VipRow {
    const SET: &'static str = "vip_set";

    fn id(&self) -> &str {
        &self.vip_id
    }
}

/// Which reserved addresses to list.
#[derive(Debug, Clone, Default)]
pub struct VipQuery {
    /// Of this vxnet. The vendor's SDK always sends one.
    pub vxnet: Option<String>,
    /// With this name.
    pub name: Option<String>,
    /// These ids, at most a hundred. No documentation mentions this filter; another client of the vendor's
    /// has it.
    pub vips: Vec<String>,
}

impl Operation<'_> {
    /// `DescribeVips`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn describe_vips(&self, query: &VipQuery) -> Result<Vec<VipRow>, CallError> {
        let request = Request::new(Action::DescribeVips)
            .with_list("vxnets", &query.vxnet)
            .with_some("vip_name", query.name.as_ref())
            .with_list("vips", &query.vips);
        self.all(&request).await
    }

    /// `AllocateVips` for every address from `first` to `last`, which are `count`. The id of the job.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn allocate_vips(
        &self,
        vxnet: impl Display,
        name: &str,
        (first, last): (Ipv4Addr, Ipv4Addr),
        count: u32,
    ) -> Result<String, CallError> {
        let request = Request::new(Action::AllocateVips)
            .with("vxnet_id", vxnet)
            .with("vip_name", name)
            .with("count", count)
            .with("vip_range", format_args!("{first}-{last}"));
        Ok(self.call::<Begun>(&request).await?.job_id)
    }

    /// `ReleaseVips`. The id of the job.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn release_vips(
        &self,
        vips: impl IntoIterator<Item = impl Display>,
    ) -> Result<String, CallError> {
        let request = Request::new(Action::ReleaseVips).with_list("vips", vips);
        Ok(self.call::<Begun>(&request).await?.job_id)
    }
}
