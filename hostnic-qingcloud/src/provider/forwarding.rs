//! NICs that route for others.

use async_trait::async_trait;
use hostnic_core::Result;
use hostnic_core::capability::NicForwarding;
use hostnic_core::id::NicId;

use super::QingCloudProvider;
use crate::api::NicChange;

const FORWARD: &str = "let NICs forward";

/// The cloud's anti-spoofing is switched off for them, one NIC a call.
#[async_trait]
impl NicForwarding for QingCloudProvider {
    async fn allow_forwarding(&self, nics: &[NicId]) -> Result<()> {
        let change = NicChange { anti_spoofing: Some(false), ..NicChange::default() };
        for nic in nics {
            let changed = self.client.operation().modify_nic(nic, &change).await;
            changed.map_err(|error| error.into_error(FORWARD, nic))?;
        }
        Ok(())
    }
}
