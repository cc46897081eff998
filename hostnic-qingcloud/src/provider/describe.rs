//! The instance, its subnets, and lists of NICs.

use std::collections::BTreeMap;

use hostnic_core::cloud::{Instance, Nic, NicAttachment, NicFilter, Subnet, Survey};
use hostnic_core::id::{InstanceId, NicId, RouterId, SubnetId};
use hostnic_core::layer::Call;
use hostnic_core::{ErrorKind, Result};

use super::directory::exists;
use super::{NIC_LIMIT, QingCloudProvider, failed, refused};
use crate::api::{InstanceRow, NicQuery, VxnetRow};
use crate::client::Operation;
use crate::convert;
use crate::failure::CallError;
use crate::paging::PAGE;

/// The vxnet that all accounts share.
const BASE_NETWORK: &str = "vxnet-0";

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
            Some(vxnet) => router_of(&operation.describe_vxnets(&[vxnet]).await.map_err(fail)?, vxnet),
            None => None,
        };
        Ok(Instance { id: self.instance.clone(), router, nic_limit: NIC_LIMIT })
    }

    pub(super) async fn describe_subnets(&self, ids: &[SubnetId]) -> Result<Vec<Subnet>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.client.operation().describe_vxnets(ids).await;
        Ok(subnets(ids, &rows.map_err(|error| failed(Call::Subnets(ids), error))?))
    }

    /// The instance, its NICs and the vxnets, by two requests: its primary NIC says that the instance exists and which
    /// vxnet it is in, and that vxnet is described with the others.
    pub(super) async fn describe_node(&self, ids: &[SubnetId]) -> Result<Survey> {
        let operation = self.client.operation();
        let fail = |error| failed(Call::Survey(ids), error);
        let Some(attached) = carried(&operation, &self.instance).await.map_err(fail)? else {
            // Either there is no such instance, or its primary NIC is not listed: the instance's own list tells.
            let instance = self.describe_instance().await?;
            let here = NicFilter { instance: Some(self.instance.clone()), ..NicFilter::default() };
            let (subnets, attached) = (self.describe_subnets(ids).await?, self.list(&here).await?);
            return Ok(Survey { instance, subnets, attached });
        };
        let is_primary = |nic: &&Nic| matches!(nic.attachment, NicAttachment::Attached { primary: true, .. });
        let own = attached.iter().find(is_primary).map(|nic| &nic.subnet);
        // The base network has no router.
        let own = own.filter(|vxnet| vxnet.as_str() != BASE_NETWORK);
        let mut asked: Vec<&SubnetId> = ids.iter().collect();
        asked.extend(own.filter(|vxnet| !ids.contains(vxnet)));
        let rows = if asked.is_empty() {
            Vec::new()
        } else {
            operation.describe_vxnets(&asked).await.map_err(fail)?
        };
        let router = own.and_then(|vxnet| router_of(&rows, vxnet.as_str()));
        let instance = Instance { id: self.instance.clone(), router, nic_limit: NIC_LIMIT };
        Ok(Survey { instance, subnets: subnets(ids, &rows), attached })
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

/// The router that a vxnet is bound to, by the rows.
fn router_of(rows: &[VxnetRow], vxnet: &str) -> Option<RouterId> {
    let row = rows.iter().find(|row| row.vxnet_id == vxnet)?;
    let joined = row.router.as_ref().map(|router| &router.router_id);
    std::iter::once(&row.vpc_router_id).chain(joined).find_map(|id| RouterId::new(id).ok())
}

/// The usable ones of these vxnets, in that order.
fn subnets(ids: &[SubnetId], rows: &[VxnetRow]) -> Vec<Subnet> {
    let row = |id: &SubnetId| rows.iter().find(|row| row.vxnet_id == id.as_str());
    ids.iter().filter_map(|id| convert::subnet(row(id)?)).collect()
}

/// The NICs of an instance; `None` where its primary one is not among them.
async fn carried(operation: &Operation<'_>, instance: &InstanceId) -> Result<Option<Vec<Nic>>, CallError> {
    let query = NicQuery { instance: Some(instance.to_string()), ..NicQuery::default() };
    let rows = match operation.describe_nics(&query).await {
        Err(error) if error.code() == Some(2100) => return Ok(None),
        rows => rows?,
    };
    let mut nics = convert::nics(rows);
    nics.retain(|nic| nic.attachment.instance() == Some(instance));
    let has_primary =
        nics.iter().any(|nic| matches!(nic.attachment, NicAttachment::Attached { primary: true, .. }));
    Ok(has_primary.then_some(nics))
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
