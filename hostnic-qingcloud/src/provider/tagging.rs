//! Tags on NICs.

use std::collections::BTreeSet;

use async_trait::async_trait;
use hostnic_core::capability::Tagging;
use hostnic_core::id::NicId;
use hostnic_core::layer::Call;
use hostnic_core::{ErrorKind, Result};

use super::QingCloudProvider;
use crate::api::TagRow;
use crate::client::Operation;
use crate::failure::CallError;
use crate::paging::PAGE;

const TAG: &str = "tag NICs";
const READ: &str = "read the tags of";

/// What the ids of tags begin with.
const ID: &str = "tag-";

/// A tag is given by its id (`tag-…`), or by its name; one of a new name is made.
#[async_trait]
impl Tagging for QingCloudProvider {
    async fn tag_nics(&self, tag: &str, nics: &[NicId]) -> Result<()> {
        if nics.is_empty() {
            return Ok(());
        }
        let operation = self.client.operation();
        let subject = format!("{tag} on {}", Call::Attach(nics));
        let fail = |error: CallError| error.into_error(TAG, &subject);
        let id = id_of(&operation, tag).await.map_err(fail)?;
        match operation.attach_tag(&id, "nic", nics).await {
            // It carries the tag already.
            Err(error) if error.code() == Some(2110) && nics.len() == 1 => Ok(()),
            Err(error) if error.kind() == ErrorKind::Conflict && nics.len() > 1 => {
                one_by_one(&operation, &id, nics).await.map_err(fail)
            }
            result => result.map_err(fail),
        }
    }

    async fn tagged(&self, tags: &[String], nics: &[NicId]) -> Result<BTreeSet<NicId>> {
        let operation = self.client.operation();
        let mut found = BTreeSet::new();
        let rows = with_resources(&operation, tags).await;
        for row in rows.map_err(|error| error.into_error(READ, format_args!("{} NICs", nics.len())))? {
            let carry = row.resource_tag_pairs.iter().filter(|pair| pair.resource_type == "nic");
            let ids: BTreeSet<&str> = carry.map(|pair| pair.resource_id.as_str()).collect();
            found.extend(nics.iter().filter(|nic| ids.contains(nic.as_str())).cloned());
        }
        Ok(found)
    }
}

/// The tags that there are of these, each with what carries it. Whether an unknown one spoils a list is not documented; each
/// is asked for alone then.
async fn with_resources(operation: &Operation<'_>, tags: &[String]) -> Result<Vec<TagRow>, CallError> {
    let mut ids = Vec::new();
    for tag in tags {
        match tag.starts_with(ID) {
            true => ids.push(tag.clone()),
            false => ids.extend(operation.tags_named(tag).await?.into_iter().map(|row| row.tag_id)),
        }
    }
    let mut rows = Vec::new();
    for ids in ids.chunks(PAGE) {
        match operation.tags_with_resources(ids).await {
            Err(error) if error.code() == Some(2100) => {}
            found => {
                rows.extend(found?);
                continue;
            }
        }
        for id in ids {
            match operation.tags_with_resources(std::slice::from_ref(id)).await {
                Err(error) if error.code() == Some(2100) => {}
                found => rows.extend(found?),
            }
        }
    }
    Ok(rows)
}

async fn id_of(operation: &Operation<'_>, tag: &str) -> Result<String, CallError> {
    if tag.starts_with(ID) {
        return Ok(tag.to_owned());
    }
    match operation.tags_named(tag).await?.into_iter().next() {
        Some(row) => Ok(row.tag_id),
        None => operation.create_tag(tag).await,
    }
}

/// Where one of many carries the tag already, the others must get it all the same.
async fn one_by_one(operation: &Operation<'_>, id: &str, nics: &[NicId]) -> Result<(), CallError> {
    for nic in nics {
        match operation.attach_tag(id, "nic", std::slice::from_ref(nic)).await {
            Err(error) if error.code() == Some(2110) => {}
            result => result?,
        }
    }
    Ok(())
}
