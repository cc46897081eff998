//! Creating without ever making more than was asked for.

use tokio::time::sleep;

use crate::cloud::{Nic, NicFilter};
use crate::error::{Effect, Error, ErrorKind, Result};
use crate::layer::call::Operation;
use crate::layer::retry::Retry;
use crate::provider::{CreateNics, NicAddresses, NicProvider};

impl<P: NicProvider> Retry<P> {
    pub(super) async fn create(&self, request: &CreateNics) -> Result<Vec<Nic>> {
        let mut pace = self.pace();
        let mut doubt = false;
        loop {
            let error = match self.inner().create_nics(request).await {
                Ok(nics) => return Ok(nics),
                Err(error) => error,
            };
            doubt |= error.effect() == Effect::Unknown;
            if !doubt {
                pace.pause(error).await?;
                continue;
            }
            // In doubt even a quota or a conflict is no answer yet: what is in the way may be what was asked for.
            if let Some(nics) = self.look_up(request).await? {
                return Ok(nics);
            }
            pace.pause(error).await.map_err(Error::effect_unknown)?;
        }
    }

    /// What an earlier attempt made: all of it, or `None` for nothing at all.
    async fn look_up(&self, request: &CreateNics) -> Result<Option<Vec<Nic>>> {
        let filter = NicFilter { name: Some(request.name.clone()), ..NicFilter::default() };
        let wanted = usize::try_from(request.count).unwrap_or(usize::MAX);
        let mut found = 0;
        for _ in 0..self.config.looks().get() {
            sleep(self.config.visibility_delay()).await;
            let nics = self.list_nics(&filter).await.map_err(|e| lost_sight(request, e))?;
            found = nics.len();
            if found == wanted {
                tracing::info!(name = %request.name, count = found, "a create whose answer was lost was carried out");
                return Ok(Some(in_order(request, nics)));
            }
        }
        if found == 0 { Ok(None) } else { Err(wrong_number(request, found)) }
    }
}

/// The answer to a create gives fixed addresses in the order of the request; a list has no order.
fn in_order(request: &CreateNics, mut nics: Vec<Nic>) -> Vec<Nic> {
    if let NicAddresses::Fixed(addresses) = &request.addresses {
        nics.sort_by_key(|nic| addresses.iter().position(|a| nic.addresses.first() == Some(a)));
    }
    nics
}

fn lost_sight(request: &CreateNics, cause: Error) -> Error {
    Error::new(cause.kind(), Operation::CreateNics.phrase(), &request.name)
        .detail("its answer was lost and its NICs could not be looked up; list them by this name before creating again")
        .effect_unknown()
        .source(cause)
}

fn wrong_number(request: &CreateNics, found: usize) -> Error {
    Error::new(ErrorKind::Transient, Operation::CreateNics.phrase(), &request.name)
        .detail(format_args!(
            "its answer was lost, and {found} NICs of this name exist where {} were asked for; use or delete those",
            request.count
        ))
        .effect_unknown()
}
