//! Tags on NICs.

use async_trait::async_trait;
use hostnic_core::capability::Tagging;
use hostnic_core::id::NicId;
use hostnic_core::layer::Call;
use hostnic_core::{ErrorKind, Result};

use super::QingCloudProvider;
use crate::client::Operation;
use crate::failure::CallError;

const TAG: &str = "tag NICs";

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
}

async fn id_of(operation: &Operation<'_>, tag: &str) -> Result<String, CallError> {
    if tag.starts_with("tag-") {
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
