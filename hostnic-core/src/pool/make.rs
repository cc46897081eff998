//! A NIC for one pod: made where, and with the address, that it asks for.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::attachment::AttachmentMark;
use crate::cloud::{Instance, NicFilter, NicName, Subnet};
use crate::error::{Effect, Error, ErrorKind, QuotaScope, Result};
use crate::id::SubnetId;
use crate::ledger::CreateIntent;
use crate::pods::NicWish;
use crate::point::Point;
use crate::provider::NicAddresses;
use crate::refusal::{AddressHolder, Refusal};

use super::wish::{Refused, Wish, holder};
use super::{Shared, create};

/// How often the cloud is asked who has an address; some are no NIC's.
const LOOKS: u32 = 3;

/// Carries the create out.
pub(super) async fn make(shared: &Shared, intent: &CreateIntent, mark: &AttachmentMark) -> Result<()> {
    let result = ask(shared, intent, mark).await;
    shared.inflight().creates.remove(&intent.token);
    result
}

async fn ask(shared: &Shared, intent: &CreateIntent, mark: &AttachmentMark) -> Result<()> {
    let (instance, wish) = {
        let inflight = shared.inflight();
        (inflight.instance.clone(), inflight.wishes.get(mark).map(|wish| wish.nic().clone()))
    };
    let (Some(instance), Some(NicWish::Made { subnet: chosen, address })) = (instance, wish) else {
        // Whoever waited has given up since the plan.
        create::unintended(shared, intent);
        return Ok(());
    };
    let subnet = match subnet(shared, &instance, &intent.subnet, address).await {
        Ok(subnet) => subnet,
        Err(refused) => {
            create::unintended(shared, intent);
            shared.inflight().wishes.refuse(mark, refused, shared.now());
            return Ok(());
        }
    };
    let addresses = match address {
        Some(address) => NicAddresses::Fixed(vec![address]),
        None => NicAddresses::Assigned(1),
    };
    match create::order(shared, intent, instance.id, addresses).await? {
        Ok(nics) => {
            shared.inflight().create_succeeded(&intent.subnet);
            create::record(shared, intent, &subnet, &nics).await
        }
        Err(error) => {
            let named = chosen.is_some() || address.is_some();
            refused(shared, intent, mark, address, named, &error).await
        }
    }
}

/// The subnet, if a pod of this node can have that address in it.
pub(super) async fn subnet(
    shared: &Shared,
    instance: &Instance,
    id: &SubnetId,
    address: Option<IpAddr>,
) -> Result<Subnet, Refused> {
    let described = create::describe(shared, id).await.map_err(|error| Refused::by_cloud(&error))?;
    let subnet = described.ok_or_else(|| Refused::at_last(Refusal::UnknownSubnet(id.clone())))?;
    if instance.router.is_some() && subnet.router != instance.router {
        return Err(Refused::at_last(Refusal::ForeignSubnet(id.clone())));
    }
    match address {
        Some(address) if !is_for_hosts(&subnet, address) => {
            let (subnet, prefix) = (id.clone(), subnet.prefix);
            Err(Refused::at_last(Refusal::AddressOutside { address, subnet, prefix }))
        }
        _ => Ok(subnet),
    }
}

fn is_for_hosts(subnet: &Subnet, address: IpAddr) -> bool {
    let ends = match subnet.prefix {
        IpNet::V4(net) => net.prefix_len() < 31 && (address == net.network() || address == net.broadcast()),
        IpNet::V6(net) => address == net.network(),
    };
    subnet.prefix.contains(&address) && address != subnet.gateway && !ends
}

async fn refused(
    shared: &Shared,
    intent: &CreateIntent,
    mark: &AttachmentMark,
    address: Option<IpAddr>,
    named: bool,
    error: &Error,
) -> Result<()> {
    tracing::warn!(error = %error.chain(), subnet = %intent.subnet, "a NIC for one pod could not be created");
    let why = why(shared, intent, mark, address, error).await;
    {
        let (now, mut inflight) = (shared.now(), shared.inflight());
        inflight.room_came(&intent.subnet, intent.count);
        // What concerns us as a whole stops the pool, too; a subnet that one pod has named is that pod's affair.
        let for_all = matches!(
            error.kind(),
            ErrorKind::Quota(QuotaScope::Account | QuotaScope::Instance)
                | ErrorKind::Unauthorised
                | ErrorKind::Throttled { .. }
        );
        if for_all || !named {
            inflight.create_failed(&intent.subnet, error, now, &shared.config);
            create::quota(shared, &mut inflight, error);
        }
        if named || for_all {
            inflight.wishes.refuse(mark, why, now);
        }
    }
    match error.effect() {
        // The NIC may exist: the intent stays until it was looked up.
        Effect::Unknown => Ok(()),
        Effect::None => create::forget(shared, &intent.token).await,
    }
}

async fn why(
    shared: &Shared,
    intent: &CreateIntent,
    mark: &AttachmentMark,
    address: Option<IpAddr>,
    error: &Error,
) -> Refused {
    match (error.kind(), address) {
        (ErrorKind::Conflict, Some(address)) => taken(shared, intent, mark, address).await,
        (ErrorKind::Quota(QuotaScope::Subnet), _) => {
            Refused::at_last(Refusal::SubnetFull(intent.subnet.clone()))
        }
        (ErrorKind::NotFound, _) => {
            shared.inflight().subnets.remove(&intent.subnet);
            Refused::at_last(Refusal::UnknownSubnet(intent.subnet.clone()))
        }
        _ => Refused::by_cloud(error),
    }
}

/// Who has the address. A NIC of ours may be on its way out, as when a pod has moved here; another's is not.
async fn taken(shared: &Shared, intent: &CreateIntent, mark: &AttachmentMark, address: IpAddr) -> Refused {
    let (tries, known) = {
        let inflight = shared.inflight();
        let wish = inflight.wishes.get(mark);
        (wish.map_or(0, Wish::tries), wish.and_then(|wish| wish.refused().cloned()))
    };
    if let Some(known) = known.filter(|known| known.holder().is_some() || tries >= LOOKS) {
        return known;
    }
    let there = NicFilter { subnets: Some(vec![intent.subnet.clone()]), ..NicFilter::default() };
    let listed = shared.parts.provider.at(Point::FindHolder, |cloud| cloud.list_nics(&there)).await;
    let listed = listed.unwrap_or_else(|error| {
        tracing::debug!(error = %error.chain(), %address, "who has an address cannot be told");
        Vec::new()
    });
    let Some(nic) = holder(&listed, address) else {
        return Refused::for_now(Refusal::AddressTaken { address, by: None });
    };
    let ours = NicName::parse(&nic.name).is_some();
    let by = AddressHolder { nic: nic.id.clone(), instance: nic.attachment.instance().cloned() };
    let taken = Refusal::AddressTaken { address, by: Some(by) };
    if ours { Refused::for_now(taken) } else { Refused::at_last(taken) }
}
