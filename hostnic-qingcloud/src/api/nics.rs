//! NICs.

use std::fmt::Display;
use std::net::IpAddr;

use serde::Deserialize;

use super::{Begun, Done};
use crate::action::Action;
use crate::client::Operation;
use crate::failure::CallError;
use crate::paging::Row;
use crate::request::Request;
use crate::wire;

/// A NIC.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct NicRow {
    /// Its MAC address.
    #[serde(deserialize_with = "wire::text")]
    pub nic_id: String,
    /// Its name.
    #[serde(deserialize_with = "wire::text")]
    pub nic_name: String,
    /// `available` or `in-use`.
    #[serde(deserialize_with = "wire::text")]
    pub status: String,
    /// The instance that carries it; empty for none.
    #[serde(deserialize_with = "wire::text")]
    pub instance_id: String,
    /// Its vxnet.
    #[serde(deserialize_with = "wire::text")]
    pub vxnet_id: String,
    /// Its address; empty for a NIC without.
    #[serde(deserialize_with = "wire::text")]
    pub private_ip: String,
    /// 1 for an instance's primary NIC.
    #[serde(deserialize_with = "wire::number")]
    pub role: Option<i64>,
    /// The user who owns it.
    #[serde(deserialize_with = "wire::text")]
    pub owner: String,
}

impl Row for NicRow {
    const SET: &'static str = "nic_set";

    fn id(&self) -> &str {
        &self.nic_id
    }
}

/// A NIC that was just made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct CreatedNic {
    /// Its MAC address.
    #[serde(deserialize_with = "wire::text")]
    pub nic_id: String,
    /// Its address; empty for a NIC without.
    #[serde(deserialize_with = "wire::text")]
    pub private_ip: String,
}

/// What NICs to make.
#[derive(Debug, Clone)]
pub struct NewNics<'a> {
    /// Where.
    pub vxnet: &'a str,
    /// How many, 1 to 252.
    pub count: u32,
    /// The name of every one.
    pub name: &'a str,
    /// The address of each; none for addresses that the cloud chooses.
    pub private_ips: &'a [IpAddr],
    /// Whether they get no address at all.
    pub without_address: bool,
}

/// What to change about a NIC.
#[derive(Debug, Clone, Default)]
pub struct NicChange<'a> {
    /// Its name.
    pub name: Option<&'a str>,
    /// Its address.
    pub private_ip: Option<IpAddr>,
    /// The vxnet that it moves to.
    pub vxnet: Option<&'a str>,
    /// Whether the cloud drops what the NIC sends from addresses that are not its own.
    pub anti_spoofing: Option<bool>,
}

/// Which NICs to list; none set lists all. Each list takes at most a hundred.
#[derive(Debug, Clone, Default)]
pub struct NicQuery {
    /// These MAC addresses.
    pub nics: Vec<String>,
    /// This name. Whether others that contain it are listed too is not documented.
    pub name: Option<String>,
    /// This status.
    pub status: Option<&'static str>,
    /// In these vxnets.
    pub vxnets: Vec<String>,
    /// In this instance.
    pub instance: Option<String>,
}

#[derive(Deserialize)]
struct Created {
    #[serde(default, deserialize_with = "wire::list")]
    nics: Vec<CreatedNic>,
}

impl Operation<'_> {
    /// `CreateNics`. What is made, in the order of the answer.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn create_nics(&self, new: &NewNics<'_>) -> Result<Vec<CreatedNic>, CallError> {
        let request = Request::new(Action::CreateNics)
            .with("vxnet", new.vxnet)
            .with("count", new.count)
            .with("nic_name", new.name)
            .with_list("private_ips", new.private_ips)
            .with_some("disable_ip", new.without_address.then_some(1));
        Ok(self.call::<Created>(&request).await?.nics)
    }

    /// `DescribeNics`. Ids that do not exist are left out.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn describe_nics(&self, query: &NicQuery) -> Result<Vec<NicRow>, CallError> {
        let request = Request::new(Action::DescribeNics)
            .with_list("nics", &query.nics)
            .with_some("nic_name", query.name.as_ref())
            .with_some("status", query.status)
            .with_list("vxnets", &query.vxnets)
            .with_list("instances", &query.instance);
        self.all(&request).await
    }

    /// `AttachNics`. The id of the job; empty where the cloud tells none.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn attach_nics(
        &self,
        nics: impl IntoIterator<Item = impl Display>,
        instance: impl Display,
    ) -> Result<String, CallError> {
        let request = Request::new(Action::AttachNics).with_list("nics", nics).with("instance", instance);
        Ok(self.call::<Begun>(&request).await?.job_id)
    }

    /// `DetachNics`, wherever they are attached. The id of the job; empty where the cloud tells none.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn detach_nics(
        &self,
        nics: impl IntoIterator<Item = impl Display>,
    ) -> Result<String, CallError> {
        let request = Request::new(Action::DetachNics).with_list("nics", nics);
        Ok(self.call::<Begun>(&request).await?.job_id)
    }

    /// `DeleteNics`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn delete_nics(&self, nics: impl IntoIterator<Item = impl Display>) -> Result<(), CallError> {
        let request = Request::new(Action::DeleteNics).with_list("nics", nics);
        self.call::<Done>(&request).await.map(|Done {}| ())
    }

    /// `ModifyNicAttributes`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn modify_nic(&self, nic: impl Display, change: &NicChange<'_>) -> Result<(), CallError> {
        let request = Request::new(Action::ModifyNicAttributes)
            .with("nic", nic)
            .with_some("nic_name", change.name)
            .with_some("private_ip", change.private_ip)
            .with_some("vxnet", change.vxnet)
            .with_some("enable_aspoof", change.anti_spoofing.map(u8::from));
        self.call::<Done>(&request).await.map(|Done {}| ())
    }
}
