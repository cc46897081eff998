//! How one pod gets its address: out of the stock, or by an order for one of the blocks, again and again until there is one.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use hostnic_core::attachment::AttachmentMark;
use hostnic_core::ipam::{AddressRequest, ClaimedAddress};
use hostnic_core::{Error, ErrorKind, Refusal, Result};
use ipnet::{IpNet, Ipv4Net};
use tokio::time::sleep;

use super::batch::{Outcome, Wish};
use super::choose::{Choice, Place, block_of, choose, place_of};
use super::desk::{Order, order};
use super::shelf::Held;
use super::write::passes_with_time;
use super::{CLAIM, Inner, handle};
use crate::ipam::mapping::Mapping;
use crate::ipam::name::BlockName;

/// How long to wait at most before it is tried again where no address was free.
const AGAIN: Duration = Duration::from_secs(1);

impl Inner {
    /// Claims an address, however long that takes. `trouble` says why there is none yet.
    pub(super) async fn claim(
        &self,
        request: &AddressRequest,
        trouble: &mut Option<Error>,
    ) -> Result<ClaimedAddress> {
        let mark = request.key.mark();
        let mut missing = false;
        loop {
            let claimed = self.try_to_claim(request, &mark, missing).await;
            let error = match claimed {
                Ok(claimed) => return Ok(claimed),
                Err(error) => error,
            };
            self.failures.note(&error, &request.pod.namespace, &self.view.last());
            match error.refusal() {
                // What is wrong with the wish stays so.
                Some(Refusal::CandidatesForeign { .. }) => return Err(error),
                Some(Refusal::MissingBlocks { .. }) => {
                    self.tell_once(request, &error, trouble);
                    missing = true;
                }
                Some(Refusal::NoBlock { .. }) => missing = true,
                Some(_) => {}
                None if passes_with_time(&error) => {}
                None => return Err(error),
            }
            *trouble = Some(error);
            sleep(AGAIN / 4 + self.writer.counts.part(AGAIN * 3 / 4)).await;
        }
    }

    /// Tells the pod what is wrong while it waits, unless that was its trouble before.
    fn tell_once(&self, request: &AddressRequest, error: &Error, before: &Option<Error>) {
        let known = before.as_ref().is_some_and(|before| before.refusal() == error.refusal());
        if let Some(pods) = self.pods.as_ref().filter(|_| !known) {
            pods.failed(&request.pod, error);
        }
    }

    async fn try_to_claim(
        &self,
        request: &AddressRequest,
        mark: &AttachmentMark,
        missing: bool,
    ) -> Result<ClaimedAddress> {
        let places = self.pools.places(missing).await?;
        if let Some(address) =
            self.writer.shelf.held(mark).filter(|held| !held.leaving).and_then(|held| held.address)
        {
            return claimed(address, &places, request);
        }
        let mapping = if missing { self.view.ask().await? } else { self.view.fresh().await? };
        let choice = choose(&request.pod.namespace, &mapping, &places, self.start)
            .map_err(|refusal| refusal.into_error(CLAIM, &request.key))?;
        let ask = Ask { request, mark, mapping: &mapping, choice: &choice };
        let address = match request.candidates.as_slice() {
            [] => match self.take_stock(&ask) {
                Some(address) => address,
                None => self.any(&ask).await?,
            },
            candidates => self.one_of(&ask, candidates).await?,
        };
        claimed(address, &places, request)
    }

    /// An address of the stock. That the pod has it is written afterwards.
    fn take_stock(&self, ask: &Ask<'_>) -> Option<Ipv4Addr> {
        let held = |block, address| ask.held(Some(block), Some(address));
        let choice = ask.choice;
        let (block, address) = self.writer.shelf.take(ask.mark, &choice.owner, &choice.blocks, held)?;
        self.hand_over(ask, block, address);
        Some(address)
    }

    /// Takes this address, where it is in stock, and answers whether it was.
    fn take_this(&self, ask: &Ask<'_>, block: BlockName, address: Ipv4Addr) -> bool {
        let held = ask.held(Some(block), Some(address));
        let had = self.writer.shelf.take_this(ask.mark, &ask.choice.owner, (block, address), held);
        if had {
            self.hand_over(ask, block, address);
        }
        had
    }

    /// Has it written that a pod has an address of the stock.
    fn hand_over(&self, ask: &Ask<'_>, block: BlockName, address: Ipv4Addr) {
        let (holder, owner) = (self.holder(ask.request), &ask.choice.owner);
        self.handle_holds(&holder.handle, block);
        self.order_later(block, Wish::HandOver { holder, address }, owner.clone(), ask.mapping);
        self.order_later(block, Wish::Restock, owner.clone(), ask.mapping);
    }

    /// Any address of the blocks.
    async fn any(&self, ask: &Ask<'_>) -> Result<Ipv4Addr> {
        let holder = self.holder(ask.request);
        for block in self.writer.shelf.in_order(&ask.choice.blocks) {
            if let Some(Outcome::Claimed(address)) =
                self.ordered(ask, block, Wish::Any { holder: holder.clone() }).await?
            {
                self.handle_holds(&holder.handle, block);
                return Ok(address);
            }
        }
        let namespace = ask.request.pod.namespace.clone();
        let refusal = match ask.choice.missing.as_slice() {
            [] => Refusal::NoAddressLeft { namespace },
            missing => Refusal::MissingBlocks {
                namespace,
                blocks: missing.iter().map(ToString::to_string).collect(),
            },
        };
        Err(refusal.into_error(CLAIM, &ask.request.key))
    }

    /// The first of the candidates that is free.
    async fn one_of(&self, ask: &Ask<'_>, candidates: &[IpAddr]) -> Result<Ipv4Addr> {
        let inside: Vec<(BlockName, Ipv4Addr)> =
            candidates.iter().filter_map(|address| block_of(*address, &ask.choice.blocks)).collect();
        let candidates = candidates.to_vec();
        if inside.is_empty() {
            let namespace = ask.request.pod.namespace.clone();
            return Err(
                Refusal::CandidatesForeign { candidates, namespace }.into_error(CLAIM, &ask.request.key)
            );
        }
        let holder = self.holder(ask.request);
        for (block, address) in inside {
            if self.take_this(ask, block, address) {
                return Ok(address);
            }
            let wish = Wish::This { holder: holder.clone(), address };
            if let Some(Outcome::Claimed(address)) = self.ordered(ask, block, wish).await? {
                self.handle_holds(&holder.handle, block);
                return Ok(address);
            }
        }
        Err(Refusal::CandidatesTaken { candidates }.into_error(CLAIM, &ask.request.key))
    }

    /// Gives an order for the attachment, and waits for what comes of it.
    async fn ordered(&self, ask: &Ask<'_>, block: BlockName, wish: Wish) -> Result<Option<Outcome>> {
        let owner = ask.choice.owner.clone();
        let several = self.writer.shelf.has_pods(&owner, ask.mapping, Some(ask.mark));
        // From here on a release finds the block in which there may be something to release.
        self.writer.shelf.hold(ask.mark, ask.held(Some(block), None));
        let mark = Some(ask.mark.clone());
        order(&self.orders, |done| Order { block, wish, owner, several, mark, done }).await
    }
}

/// Who asks, and what the answer may be.
struct Ask<'a> {
    request: &'a AddressRequest,
    mark: &'a AttachmentMark,
    mapping: &'a Mapping,
    choice: &'a Choice,
}

impl Ask<'_> {
    fn held(&self, block: Option<BlockName>, address: Option<Ipv4Addr>) -> Held {
        let AddressRequest { pod, key, .. } = self.request;
        Held {
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            handle: Some(handle::handle(pod, &key.container)),
            block,
            address,
            leaving: false,
        }
    }
}

/// An address, with what a pod must know of its subnet.
fn claimed(address: Ipv4Addr, places: &[Place], request: &AddressRequest) -> Result<ClaimedAddress> {
    let gone = || {
        Error::new(ErrorKind::Transient, CLAIM, &request.key)
            .detail(format_args!("there is no IPPool any more that {address} is of"))
    };
    let place = place_of(address, places).ok_or_else(gone)?;
    let net = Ipv4Net::new(address, place.cidr.prefix_len()).map_err(|_| gone())?;
    Ok(ClaimedAddress {
        address: IpNet::V4(net),
        subnet: place.subnet.clone(),
        gateway: place.gateway.into(),
    })
}
