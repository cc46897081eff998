//! A block: some neighbouring addresses of a vxnet, and whose each is.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use ipnet::Ipv4Net;

use crate::ipam::name::BlockName;
use crate::ipam::resources::{Attribute, IpamBlockSpec};

/// The handle of addresses that are no pod's: outside the range of the pool.
pub(in crate::ipam) const RESERVED: &str = "kubesphere-reserved-handle";

/// Blocks longer than this would be objects that the API server refuses.
const LARGEST: u8 = 16;

/// Somebody who has addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// By what its addresses are found and given back together.
    pub handle: String,
    /// For a person, and for who asks whose an address is.
    pub attributes: BTreeMap<String, String>,
}

impl Holder {
    fn reserved() -> Self {
        let note = ("note".to_owned(), "kubesphere reserved".to_owned());
        Self { handle: RESERVED.to_owned(), attributes: BTreeMap::from([note]) }
    }

    /// Somebody of whom no more is known: the block says that an address is taken, and not by whom.
    fn unknown() -> Self {
        Self { handle: String::new(), attributes: BTreeMap::new() }
    }

    fn is_reserved(&self) -> bool {
        self.handle.eq_ignore_ascii_case(RESERVED)
    }
}

/// Something in a block's object that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// An address that is somebody's and nobody's.
    #[error("{address} is free and belongs to {handle:?} at the same time; it stays {handle:?}'s")]
    Doubled {
        /// The address.
        address: Ipv4Addr,
        /// Whose it is.
        handle: String,
    },
    /// An address that is neither.
    #[error("{0} is neither free nor anybody's; it becomes free")]
    Leaked(Ipv4Addr),
    /// An address whose holder is not told.
    #[error("{0} is taken, and the block does not say by whom; it stays taken")]
    Unowned(Ipv4Addr),
    /// A free address that is told twice, or is none of the block's.
    #[error("the list of free addresses has the number {0} once too often")]
    Stray(u32),
    /// Allocations of addresses that the block does not have.
    #[error("the block tells of {told} addresses and has {size}")]
    Length {
        /// Of how many it tells.
        told: usize,
        /// How many it has.
        size: usize,
    },
}

/// Why an address cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not in the block.
    #[error("it is not in block {0}")]
    Outside(BlockName),
    /// It is no pod's.
    #[error("it is reserved")]
    Reserved,
    /// It is somebody's.
    #[error("{0} has it")]
    Taken(String),
    /// The block is about to be removed.
    #[error("block {0} is being removed")]
    Removed(BlockName),
}

/// How many addresses are whose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// All that there are.
    pub capacity: u32,
    /// No pod's, ever.
    pub reserved: u32,
    /// Pods', or in stock.
    pub allocated: u32,
    /// Nobody's.
    pub free: u32,
}

/// A block that does not contradict itself. An address is taken from the front of the free ones and comes back at their end, so
/// that it rests as long as it can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    name: BlockName,
    /// By the address's distance from the first one.
    holders: Vec<Option<Holder>>,
    free: VecDeque<u32>,
    removed: bool,
}

impl Block {
    /// A block of a pool whose addresses for pods are `usable`; `None` for more addresses than an object can tell of.
    pub fn new(name: BlockName, usable: &RangeInclusive<Ipv4Addr>) -> Option<Self> {
        let size = size(name.cidr())?;
        let mut block = Self { name, holders: vec![None; size], free: VecDeque::new(), removed: false };
        for (number, holder) in (0..).zip(&mut block.holders) {
            if usable.contains(&address(name, number)) {
                block.free.push_back(number);
            } else {
                *holder = Some(Holder::reserved());
            }
        }
        Some(block)
    }

    /// What an object says, and where it contradicts itself. An address that may be somebody's is never free. `None` when
    /// the object tells of no block at all.
    pub(crate) fn read(spec: &IpamBlockSpec) -> Option<(Self, Vec<Flaw>)> {
        let cidr: Ipv4Net = spec.cidr.parse().ok()?;
        let name = BlockName::new(spec.id, cidr);
        let size = size(name.cidr())?;
        let mut flaws = Vec::new();
        if spec.allocations.len() != size {
            flaws.push(Flaw::Length { told: spec.allocations.len(), size });
        }
        let told = spec.allocations.iter().copied().chain(std::iter::repeat(None));
        let mut holders = Vec::with_capacity(size);
        for (number, index) in (0..).zip(told.take(size)) {
            holders.push(index.map(|index| {
                holder(&spec.attributes, index).unwrap_or_else(|| {
                    flaws.push(Flaw::Unowned(address(name, number)));
                    Holder::unknown()
                })
            }));
        }
        let free = free(name, &holders, &spec.unallocated, &mut flaws);
        Some((Self { name, holders, free, removed: spec.deleted }, flaws))
    }

    /// The object that says the same.
    pub(crate) fn write(&self) -> IpamBlockSpec {
        let mut attributes: Vec<Attribute> = Vec::new();
        let mut index = |holder: &Holder| {
            let attribute = Attribute { handle: holder.handle.clone(), secondary: holder.attributes.clone() };
            let known = attributes.iter().position(|known| *known == attribute);
            let position = known.unwrap_or_else(|| {
                attributes.push(attribute);
                attributes.len() - 1
            });
            // There are no more holders than addresses.
            u32::try_from(position).unwrap_or(u32::MAX)
        };
        let allocations = self.holders.iter().map(|holder| holder.as_ref().map(&mut index)).collect();
        IpamBlockSpec {
            id: self.name.id(),
            cidr: self.name.cidr().to_string(),
            allocations,
            unallocated: self.free.iter().copied().collect(),
            attributes,
            deleted: self.removed,
        }
    }

    /// Its name.
    pub fn name(&self) -> BlockName {
        self.name
    }

    /// Whether it gives no addresses any more.
    pub fn is_closed(&self) -> bool {
        self.removed
    }

    /// Gives `holder` the address that has been free longest; `None` when there is none.
    pub fn claim(&mut self, holder: &Holder) -> Option<Ipv4Addr> {
        if self.removed {
            return None;
        }
        let number = self.free.pop_front()?;
        *self.holder_mut(number)? = Some(holder.clone());
        Some(address(self.name, number))
    }

    /// Gives `holder` this address. That it has it already is success.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn claim_this(&mut self, wanted: Ipv4Addr, holder: &Holder) -> Result<(), Refusal> {
        let outside = Refusal::Outside(self.name);
        let number = self.number(wanted).ok_or_else(|| outside.clone())?;
        let removed = self.removed.then_some(Refusal::Removed(self.name));
        let place = self.holder_mut(number).ok_or(outside)?;
        match place {
            Some(present) if present.handle == holder.handle => return Ok(()),
            Some(present) if present.is_reserved() => return Err(Refusal::Reserved),
            Some(present) => return Err(Refusal::Taken(present.handle.clone())),
            None => {}
        }
        if let Some(removed) = removed {
            return Err(removed);
        }
        *place = Some(holder.clone());
        self.free.retain(|free| *free != number);
        Ok(())
    }

    /// Makes `holder` the one who has an address that `handle` has; false when `handle` does not have it.
    pub fn hand_over(&mut self, address: Ipv4Addr, handle: &str, holder: &Holder) -> bool {
        let place = self.number(address).and_then(|number| self.holder_mut(number));
        match place {
            Some(Some(present)) if present.handle == handle => {
                *present = holder.clone();
                true
            }
            _ => false,
        }
    }

    /// Takes all addresses of a handle back, and says which they were. What is reserved stays so.
    pub fn release(&mut self, handle: &str) -> Vec<Ipv4Addr> {
        let released: Vec<Ipv4Addr> = self.held_by(handle).collect();
        for address in &released {
            self.release_this(*address, handle);
        }
        released
    }

    /// Takes one address of a handle back; false when the handle does not have it.
    pub fn release_this(&mut self, address: Ipv4Addr, handle: &str) -> bool {
        let Some(number) = self.number(address) else { return false };
        match self.holder_mut(number) {
            Some(place) if place.as_ref().is_some_and(|h| h.handle == handle && !h.is_reserved()) => {
                *place = None;
                self.free.push_back(number);
                true
            }
            _ => false,
        }
    }

    /// The addresses of a handle.
    pub fn held_by(&self, handle: &str) -> impl Iterator<Item = Ipv4Addr> {
        self.held().filter(move |(_, holder)| holder.handle == handle).map(|(address, _)| address)
    }

    /// The addresses that are pods' or in stock, and whose.
    pub fn held(&self) -> impl Iterator<Item = (Ipv4Addr, &Holder)> {
        let told = (0..).zip(&self.holders).filter_map(|(number, holder)| Some((number, holder.as_ref()?)));
        told.filter(|(_, holder)| !holder.is_reserved())
            .map(|(number, holder)| (address(self.name, number), holder))
    }

    /// How many of its addresses are whose.
    pub fn usage(&self) -> Usage {
        let count = |numbers: usize| u32::try_from(numbers).unwrap_or(u32::MAX);
        let reserved = self.holders.iter().flatten().filter(|holder| holder.is_reserved()).count();
        Usage {
            capacity: count(self.holders.len()),
            reserved: count(reserved),
            allocated: count(self.held().count()),
            free: count(self.free.len()),
        }
    }

    /// An address's distance from the first one.
    fn number(&self, address: Ipv4Addr) -> Option<u32> {
        let first = self.name.cidr().network();
        self.name.cidr().contains(&address).then(|| u32::from(address) - u32::from(first))
    }

    fn holder_mut(&mut self, number: u32) -> Option<&mut Option<Holder>> {
        self.holders.get_mut(usize::try_from(number).ok()?)
    }
}

/// How many addresses a block of this prefix has; `None` for more than an object can tell of.
fn size(cidr: Ipv4Net) -> Option<usize> {
    let bits = cidr.max_prefix_len() - cidr.prefix_len();
    (bits <= LARGEST).then(|| 1_usize << bits)
}

fn address(name: BlockName, number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(name.cidr().network()).saturating_add(number))
}

fn holder(attributes: &[Attribute], index: u32) -> Option<Holder> {
    let attribute = attributes.get(usize::try_from(index).ok()?)?;
    Some(Holder { handle: attribute.handle.clone(), attributes: attribute.secondary.clone() })
}

/// The numbers of the free addresses, in the order in which they are told.
fn free(name: BlockName, holders: &[Option<Holder>], told: &[u32], flaws: &mut Vec<Flaw>) -> VecDeque<u32> {
    let mut seen = vec![false; holders.len()];
    let mut free = VecDeque::with_capacity(told.len());
    for &number in told {
        let place =
            usize::try_from(number).ok().and_then(|place| Some((seen.get_mut(place)?, holders.get(place)?)));
        match place {
            Some((seen, holder)) if !*seen => {
                *seen = true;
                match holder {
                    None => free.push_back(number),
                    Some(holder) => {
                        let handle = holder.handle.clone();
                        flaws.push(Flaw::Doubled { address: address(name, number), handle });
                    }
                }
            }
            _ => flaws.push(Flaw::Stray(number)),
        }
    }
    for (number, (seen, holder)) in (0..).zip(seen.iter().zip(holders)) {
        if !seen && holder.is_none() {
            flaws.push(Flaw::Leaked(address(name, number)));
            free.push_back(number);
        }
    }
    free
}

#[cfg(test)]
mod tests;
