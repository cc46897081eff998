//! Access keys.

use std::fmt::Display;

use serde::Deserialize;

use crate::action::Action;
use crate::client::Operation;
use crate::failure::CallError;
use crate::paging::Row;
use crate::request::Request;
use crate::wire;

/// An access key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct AccessKeyRow {
    /// Its id.
    #[serde(deserialize_with = "wire::text")]
    pub access_key_id: String,
    /// Its name.
    #[serde(deserialize_with = "wire::text")]
    pub access_key_name: String,
    /// The user who owns it.
    #[serde(deserialize_with = "wire::text")]
    pub owner: String,
    /// `active` where it can be used.
    #[serde(deserialize_with = "wire::text")]
    pub status: String,
}

impl Row for AccessKeyRow {
    const SET: &'static str = "access_key_set";

    fn id(&self) -> &str {
        &self.access_key_id
    }
}

impl Operation<'_> {
    /// `DescribeAccessKeys`, at most a hundred ids. Who owns a key is told by this alone.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn describe_access_keys(&self, ids: &[impl Display]) -> Result<Vec<AccessKeyRow>, CallError> {
        self.all(&Request::new(Action::DescribeAccessKeys).with_list("access_keys", ids)).await
    }
}
