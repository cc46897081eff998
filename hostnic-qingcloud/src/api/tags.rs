//! Tags.

use std::fmt::Display;

use serde::Deserialize;

use super::Done;
use crate::action::Action;
use crate::client::Operation;
use crate::failure::CallError;
use crate::paging::Row;
use crate::request::Request;
use crate::wire;

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct TagRow {
    /// Its id.
    #[serde(deserialize_with = "wire::text")]
    pub tag_id: String,
    /// Its name.
    #[serde(deserialize_with = "wire::text")]
    pub tag_name: String,
    /// What carries it, where that was asked for.
    #[serde(deserialize_with = "wire::list")]
    pub resource_tag_pairs: Vec<TaggedRow>,
}

/// A resource that carries a tag.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct TaggedRow {
    /// Its type, such as `nic`.
    #[serde(deserialize_with = "wire::text")]
    pub resource_type: String,
    /// Its id.
    #[serde(deserialize_with = "wire::text")]
    pub resource_id: String,
}

impl Row for TagRow {
    const SET: &'static str = "tag_set";

    fn id(&self) -> &str {
        &self.tag_id
    }
}

/// How many resources one request tags. Each takes some 150 bytes of the URL, and web servers stop at 8 KiB.
const AT_ONCE: usize = 25;

#[derive(Deserialize)]
struct Created {
    #[serde(default, deserialize_with = "wire::text")]
    tag_id: String,
}

impl Operation<'_> {
    /// `DescribeTags`: those with exactly this name.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn tags_named(&self, name: &str) -> Result<Vec<TagRow>, CallError> {
        let request = Request::new(Action::DescribeTags).with("search_word", name).with("verbose", 0);
        let mut rows: Vec<TagRow> = self.all(&request).await?;
        rows.retain(|row| row.tag_name == name);
        Ok(rows)
    }

    /// `DescribeTags`: those with these ids, and all that carries them.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn tags_with_resources(&self, ids: &[impl Display]) -> Result<Vec<TagRow>, CallError> {
        let request = Request::new(Action::DescribeTags).with_list("tags", ids).with("verbose", 1);
        self.all(&request).await
    }

    /// `CreateTag`. Its id.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn create_tag(&self, name: &str) -> Result<String, CallError> {
        let request = Request::new(Action::CreateTag).with("tag_name", name);
        Ok(self.call::<Created>(&request).await?.tag_id)
    }

    /// `AttachTags`: puts a tag on resources of one type, such as `nic` or `vxnet`.
    ///
    /// The type `nic` is not documented, but works.
    ///
    /// # Errors
    /// [`CallError`]; some of the resources may be tagged then.
    pub async fn attach_tag(
        &self,
        tag: &str,
        resource_type: &str,
        resources: &[impl Display],
    ) -> Result<(), CallError> {
        for resources in resources.chunks(AT_ONCE) {
            let pairs = resources.iter().map(|resource| {
                let text = [("tag_id", tag.to_owned()), ("resource_type", resource_type.to_owned())];
                text.into_iter().chain([("resource_id", resource.to_string())])
            });
            let request = Request::new(Action::AttachTags).with_objects("resource_tag_pairs", pairs);
            let Done {} = self.call(&request).await?;
        }
        Ok(())
    }
}
