//! The instance, its subnets, and lists of NICs.

use std::collections::BTreeMap;

use hostnic_core::cloud::{Instance, Nic, NicFilter, Subnet};
use hostnic_core::id::{NicId, RouterId, SubnetId};
use hostnic_core::layer::Call;
use hostnic_core::{ErrorKind, Result};

use super::directory::exists;
use super::{NIC_LIMIT, QingCloudProvider, failed, refused};
use crate::api::{InstanceRow, NicQuery};
use crate::client::Operation;
use crate::convert;
use crate::failure::CallError;
use crate::paging::PAGE;

impl QingCloudProvider {
    pub(super) async fn describe_instance(&self) -> Result<Instance> {
        let operation = self.client.operation();
        let fail = |error| failed(Call::Instance, error);
        let row = operation.describe_instance(&self.instance).await.map_err(fail)?;
        let row = row.filter(exists).ok_or_else(|| {
            refused(ErrorKind::NotFound, Call::Instance).detail(format_args!(
                "there is no instance {} in zone {}; check both, and whose access key it is",
                self.instance,
                self.client.zone()
            ))
        })?;
        let router = match own_vxnet(&row) {
            Some(vxnet) => router_of(&operation, vxnet).await.map_err(fail)?,
            None => None,
        };
        Ok(Instance { id: self.instance.clone(), router, nic_limit: NIC_LIMIT })
    }

    pub(super) async fn describe_subnets(&self, ids: &[SubnetId]) -> Result<Vec<Subnet>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.client.operation().describe_vxnets(ids).await;
        let rows = rows.map_err(|error| failed(Call::Subnets(ids), error))?;
        let subnets: BTreeMap<_, _> =
            rows.iter().filter_map(convert::subnet).map(|subnet| (subnet.id.clone(), subnet)).collect();
        Ok(ids.iter().filter_map(|id| subnets.get(id).cloned()).collect())
    }

    pub(super) async fn list(&self, filter: &NicFilter) -> Result<Vec<Nic>> {
        let operation = self.client.operation();
        let mut found = BTreeMap::new();
        for query in queries(filter) {
            let rows = operation.describe_nics(&query).await;
            let rows = rows.map_err(|error| failed(Call::List(filter), error))?;
            found.extend(convert::nics(rows).into_iter().map(|nic| (nic.id.clone(), nic)));
        }
        // Names may be matched in part, and what the cloud does with several conditions at once is its own
        // business.
        found.retain(|_, nic| filter.matches(nic));
        Ok(found.into_values().collect())
    }
}

/// The requests that together list all that `filter` can match: one for each hundred ids, or each hundred
/// subnets.
///
/// Conditions that are not in a request are checked on its answer.
fn queries(filter: &NicFilter) -> Vec<NicQuery> {
    let common = NicQuery {
        name: filter.name.as_ref().map(ToString::to_string),
        status: filter.available.then_some("available"),
        instance: filter.instance.as_ref().map(ToString::to_string),
        ..NicQuery::default()
    };
    let texts = |ids: &[String]| ids.to_vec();
    let split = |ids: Vec<String>| ids.chunks(PAGE).map(texts).collect::<Vec<_>>();
    let subnets = filter.subnets.as_ref().map(|ids| ids.iter().map(ToString::to_string).collect::<Vec<_>>());
    match (&filter.ids, subnets) {
        // An empty list on the wire is no condition, and would list everything.
        (Some(ids), _) if ids.is_empty() => Vec::new(),
        (_, Some(subnets)) if subnets.is_empty() => Vec::new(),
        (Some(ids), _) => split(ids.iter().map(ToString::to_string).collect())
            .into_iter()
            .map(|nics| NicQuery { nics, ..common.clone() })
            .collect(),
        (None, Some(subnets)) => {
            split(subnets).into_iter().map(|vxnets| NicQuery { vxnets, ..common.clone() }).collect()
        }
        (None, None) => vec![common],
    }
}

/// The NICs with these ids that exist, by id.
pub(super) async fn look(
    operation: &Operation<'_>,
    nics: &[NicId],
) -> Result<BTreeMap<NicId, Nic>, CallError> {
    let mut found = BTreeMap::new();
    for nics in nics.chunks(PAGE) {
        let query = NicQuery { nics: nics.iter().map(ToString::to_string).collect(), ..NicQuery::default() };
        let rows = operation.describe_nics(&query).await?;
        found.extend(convert::nics(rows).into_iter().map(|nic| (nic.id.clone(), nic)));
    }
    Ok(found)
}

/// The vxnet of the primary NIC.
fn own_vxnet(row: &InstanceRow) -> Option<&str> {
    let primary = row.vxnets.iter().find(|nic| nic.role == Some(1)).or(row.vxnets.first());
    primary.map(|nic| nic.vxnet_id.as_str()).filter(|id| !id.is_empty())
}

async fn router_of(operation: &Operation<'_>, vxnet: &str) -> Result<Option<RouterId>, CallError> {
    let rows = operation.describe_vxnets(&[vxnet]).await?;
    let row = rows.into_iter().find(|row| row.vxnet_id == vxnet);
    let ids = row.map(|row| [row.vpc_router_id, row.router.map(|r| r.router_id).unwrap_or_default()]);
    Ok(ids.into_iter().flatten().find_map(|id| RouterId::new(id).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_with_an_empty_list_asks_nothing_and_a_long_one_is_split() {
        let nics = |count: u32| (0..count).map(|n| NicId::new(format!("nic-{n}")).unwrap()).collect();
        let subnets = |count: u32| (0..count).map(|n| SubnetId::new(format!("vxnet-{n}")).unwrap()).collect();
        let ids = |count| NicFilter { ids: Some(nics(count)), ..NicFilter::default() };
        assert_eq!(queries(&ids(0)).len(), 0);
        assert_eq!(queries(&NicFilter { subnets: Some(Vec::new()), ..ids(1) }).len(), 0);
        let sizes = |filter: &NicFilter| queries(filter).iter().map(|q| q.nics.len()).collect::<Vec<_>>();
        assert_eq!(sizes(&ids(201)), [100, 100, 1]);
        assert_eq!(sizes(&NicFilter { subnets: Some(subnets(101)), ..ids(100) }), [100]);
        let in_subnets = NicFilter { subnets: Some(subnets(101)), ..NicFilter::default() };
        assert_eq!(queries(&in_subnets).iter().map(|q| q.vxnets.len()).collect::<Vec<_>>(), [100, 1]);
        assert_eq!(queries(&NicFilter::default()).len(), 1);
    }
}
