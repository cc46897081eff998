//! Which instances there are, and where.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use async_trait::async_trait;
use hostnic_core::Result;
use hostnic_core::capability::{HostMachines, InstanceDirectory};
use hostnic_core::id::InstanceId;

use super::QingCloudProvider;
use crate::api::InstanceRow;
use crate::client::Operation;
use crate::failure::CallError;
use crate::paging::PAGE;

const LOOK: &str = "look for instances";
const MACHINES: &str = "look for the host machines of";

#[async_trait]
impl InstanceDirectory for QingCloudProvider {
    async fn existing(&self, ids: &BTreeSet<InstanceId>) -> Result<BTreeSet<InstanceId>> {
        let operation = self.client.operation();
        let asked: Vec<_> = ids.iter().collect();
        let mut existing = BTreeSet::new();
        for asked in asked.chunks(PAGE) {
            let rows = rows(&operation, asked).await;
            let rows =
                rows.map_err(|error| error.into_error(LOOK, format_args!("{} of them", asked.len())))?;
            let living = rows.into_iter().filter(exists).map(|row| row.instance_id);
            existing.extend(living.filter_map(|id| ids.iter().find(|asked| asked.as_str() == id).cloned()));
        }
        Ok(existing)
    }
}

/// The API tells machines of an AppCenter cluster's nodes only.
#[async_trait]
impl HostMachines for QingCloudProvider {
    async fn host_machines(&self, cluster: &str) -> Result<BTreeMap<IpAddr, String>> {
        let rows = self.client.operation().describe_cluster_nodes(cluster).await;
        let rows = rows.map_err(|error| error.into_error(MACHINES, cluster))?;
        let told = rows.into_iter().filter(|row| !row.host_machine.is_empty());
        Ok(told.filter_map(|row| Some((row.private_ip.parse().ok()?, row.host_machine))).collect())
    }
}

/// Those of `ids` that are listed. Whether one unknown id spoils a list is not documented; each is asked for alone then.
async fn rows(operation: &Operation<'_>, ids: &[&InstanceId]) -> Result<Vec<InstanceRow>, CallError> {
    match operation.describe_instances(ids).await {
        Err(error) if error.code() == Some(2100) => {}
        rows => return rows,
    }
    let mut rows = Vec::new();
    for id in ids {
        rows.extend(operation.describe_instance(id).await?);
    }
    Ok(rows)
}

/// A terminated instance is listed for some hours.
pub(super) fn exists(row: &InstanceRow) -> bool {
    !matches!(row.status.as_str(), "terminated" | "ceased")
}
