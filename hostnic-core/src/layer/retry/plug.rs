//! Attaching and detaching, with a look at the NICs where an answer was lost.

use tokio::time::sleep;

use crate::cloud::{Nic, NicFilter, Submitted};
use crate::error::{Effect, Error, ErrorKind, Result};
use crate::id::{InstanceId, NicId};
use crate::layer::retry::Retry;
use crate::layer::retry::pace::Verdict;
use crate::provider::NicProvider;

/// Where NICs should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// In this instance.
    Attached,
    /// Attached nowhere, or gone.
    Detached,
}

impl<P: NicProvider> Retry<P> {
    pub(super) async fn plug(&self, nics: &[NicId], goal: Goal) -> Result<Submitted> {
        let mut pace = self.pace();
        let mut doubt = false;
        let mut pending = nics.to_vec();
        loop {
            let result = match goal {
                Goal::Attached => self.inner().attach_nics(&pending).await,
                Goal::Detached => self.inner().detach_nics(&pending).await,
            };
            let error = match result {
                Ok(submitted) => return Ok(submitted),
                Err(error) => error,
            };
            doubt |= error.effect() == Effect::Unknown;
            if !doubt {
                pace.pause(error).await?;
                continue;
            }
            pending = self.look_at(nics, goal).await.map_err(Error::effect_unknown)?;
            if pending.is_empty() {
                return Ok(Submitted::Complete);
            }
            // A conflict may come of the earlier attempt's own work, which is still under way.
            let verdict = match error.kind() {
                ErrorKind::Conflict => Verdict::Again(None),
                kind => Verdict::of(kind),
            };
            pace.pause_as(verdict, error).await.map_err(Error::effect_unknown)?;
        }
    }

    /// Those of `nics` that are not yet where they should be; none where every look says so.
    ///
    /// One look is not enough: a list that lags may show where a NIC was before it came to where it is now.
    async fn look_at(&self, nics: &[NicId], goal: Goal) -> Result<Vec<NicId>> {
        for _ in 0..self.config.looks().get() {
            sleep(self.config.visibility_delay()).await;
            let pending = self.pending(nics, goal).await?;
            if !pending.is_empty() {
                return Ok(pending);
            }
        }
        Ok(Vec::new())
    }

    /// Those of `nics` that are listed elsewhere than where they should be.
    async fn pending(&self, nics: &[NicId], goal: Goal) -> Result<Vec<NicId>> {
        let filter = NicFilter { ids: Some(nics.to_vec()), ..NicFilter::default() };
        let listed = self.list_nics(&filter).await?;
        let here = match goal {
            Goal::Attached => Some(self.instance().await?.id),
            Goal::Detached => None,
        };
        Ok(not_yet(nics, &listed, here.as_ref()))
    }
}

/// Those of `nics` that are not attached to `goal`, or for no goal those that are attached anywhere. What is not listed
/// is attached nowhere.
fn not_yet(nics: &[NicId], listed: &[Nic], goal: Option<&InstanceId>) -> Vec<NicId> {
    let place =
        |id: &NicId| listed.iter().find(|nic| nic.id == *id).and_then(|nic| nic.attachment.instance());
    nics.iter().filter(|id| place(id) != goal).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::NicAttachment;
    use crate::id::SubnetId;

    fn nic(id: &str, instance: Option<&str>) -> Nic {
        Nic {
            id: NicId::new(id).unwrap(),
            mac: "52:54:00:00:00:01".parse().unwrap(),
            name: String::new(),
            subnet: SubnetId::new("vxnet-a").unwrap(),
            addresses: Vec::new(),
            attachment: instance.map_or(NicAttachment::Available, |i| NicAttachment::Attached {
                instance: InstanceId::new(i).unwrap(),
                primary: false,
            }),
        }
    }

    #[test]
    fn what_is_elsewhere_or_missing_is_not_yet_attached_and_what_is_missing_is_detached() {
        let ids: Vec<NicId> = ["here", "there", "nowhere", "gone"].map(|id| NicId::new(id).unwrap()).into();
        let listed = [nic("here", Some("i-1")), nic("there", Some("i-2")), nic("nowhere", None)];
        let here = InstanceId::new("i-1").unwrap();
        assert_eq!(not_yet(&ids, &listed, Some(&here)), ids[1..]);
        assert_eq!(not_yet(&ids, &listed, None), ids[..2]);
    }
}
