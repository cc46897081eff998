//! Making NICs.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hostnic_core::cloud::Nic;
use hostnic_core::layer::Call;
use hostnic_core::provider::{CreateNics, NicAddresses};
use hostnic_core::{Error, ErrorKind, QuotaScope, Result};

use super::{CREATE_BATCH, NICS_PER_VXNET, QingCloudProvider, failed, failed_as, refused};
use crate::api::{CreatedNic, NewNics, NicQuery};
use crate::client::Operation;
use crate::convert;
use crate::failure::CallError;

impl QingCloudProvider {
    pub(super) async fn create(&self, request: &CreateNics) -> Result<Vec<Nic>> {
        let call = Call::Create(request);
        check(request)?;
        let operation = self.client.operation();
        let (private_ips, without_address) = match &request.addresses {
            NicAddresses::Fixed(addresses) => (addresses.as_slice(), false),
            NicAddresses::Assigned(0) | NicAddresses::None => (&[][..], true),
            NicAddresses::Assigned(_) => (&[][..], false),
        };
        let name = request.name.to_string();
        let new = NewNics {
            vxnet: request.subnet.as_str(),
            count: request.count,
            name: &name,
            private_ips,
            without_address,
        };
        match operation.create_nics(&new).await {
            Ok(rows) => answer(request, &rows),
            Err(error) => Err(explained(&operation, request, error, call).await),
        }
    }
}

/// Refuses what the cloud would, or would take in another way than it is meant.
fn check(request: &CreateNics) -> Result<()> {
    let invalid = |detail: &str| Err(refused(ErrorKind::Invalid, Call::Create(request)).detail(detail));
    if !(1..=CREATE_BATCH).contains(&request.count) {
        return invalid("one call makes 1 to 252 NICs");
    }
    match &request.addresses {
        NicAddresses::Assigned(2..) => invalid("a NIC of this cloud has one address at most"),
        NicAddresses::Fixed(addresses) if u32::try_from(addresses.len()) != Ok(request.count) => {
            invalid("there must be as many addresses as NICs")
        }
        NicAddresses::Fixed(addresses) if addresses.iter().any(IpAddr::is_ipv6) => {
            invalid("this cloud gives NICs no chosen IPv6 address")
        }
        _ => Ok(()),
    }
}

/// Checks that all was made that was asked for, and puts fixed addresses in the order of the request.
fn answer(request: &CreateNics, rows: &[CreatedNic]) -> Result<Vec<Nic>> {
    let call = Call::Create(request);
    let odd = |detail: String| {
        refused(ErrorKind::Internal, call)
            .detail(format_args!("{detail}; list NICs by this name before creating again"))
            .effect_unknown()
    };
    if u32::try_from(rows.len()) != Ok(request.count) {
        return Err(odd(format!("the cloud answers with {} NICs", rows.len())));
    }
    let nics = rows.iter().map(|row| convert::created(row, request)).collect::<Result<Vec<_>, _>>();
    let nics = nics.map_err(|error| odd("the cloud answers with what is no NIC".to_owned()).source(error))?;
    let NicAddresses::Fixed(addresses) = &request.addresses else { return Ok(nics) };
    let mut by_address: BTreeMap<IpAddr, Nic> =
        nics.into_iter().filter_map(|nic| Some((*nic.addresses.first()?, nic))).collect();
    let in_order: Vec<Nic> = addresses.iter().filter_map(|address| by_address.remove(address)).collect();
    if in_order.len() == rows.len() {
        Ok(in_order)
    } else {
        Err(odd("the cloud answers with other addresses than were asked for".to_owned()))
    }
}

/// Finds out what a refusal means where its code has several meanings.
async fn explained(
    operation: &Operation<'_>,
    request: &CreateNics,
    error: CallError,
    call: Call<'_>,
) -> Error {
    let fixed = matches!(request.addresses, NicAddresses::Fixed(_));
    match (error.code(), error.kind()) {
        // A vxnet that is not ours is not found; so what is denied is the address, which somebody has.
        (Some(1400), _) if fixed => failed_as(ErrorKind::Conflict, call, error),
        (Some(1400 | 2500), ErrorKind::Unauthorised | ErrorKind::Quota(_)) => {
            match is_full(operation, request).await {
                Ok(true) => failed_as(ErrorKind::Quota(QuotaScope::Subnet), call, error),
                Ok(false) => failed(call, error),
                Err(cause) => {
                    tracing::debug!(error = %hostnic_core::Chain(&cause), "whether the vxnet is full cannot be told");
                    failed(call, error)
                }
            }
        }
        _ => failed(call, error),
    }
}

/// Whether the vxnet has too little room: too few addresses, or too many NICs already.
async fn is_full(operation: &Operation<'_>, request: &CreateNics) -> Result<bool, CallError> {
    let rows = operation.describe_vxnets(std::slice::from_ref(&request.subnet)).await?;
    let left = rows.iter().find(|row| row.vxnet_id == request.subnet.as_str());
    let left = left.and_then(|row| row.available_ip_count);
    if left.is_some_and(|left| left < i64::from(request.count)) {
        return Ok(true);
    }
    let query = NicQuery { vxnets: vec![request.subnet.to_string()], ..NicQuery::default() };
    let there = operation.describe_nics(&query).await?.len();
    Ok(u32::try_from(there).unwrap_or(u32::MAX).saturating_add(request.count) > NICS_PER_VXNET)
}
