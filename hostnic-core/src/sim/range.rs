//! The addresses of one subnet: which are taken, and which comes next.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Hands out the lowest free address after the last one given, so that a freed one rests as long as possible.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AddressRange {
    first: IpAddr,
    last: IpAddr,
    taken: BTreeSet<IpAddr>,
    cursor: IpAddr,
}

impl AddressRange {
    /// `range`, whose ends are of one family; `gateway` is never given.
    pub(super) fn new(range: &RangeInclusive<IpAddr>, gateway: IpAddr) -> Self {
        Self {
            first: *range.start(),
            last: *range.end(),
            taken: BTreeSet::from([gateway]),
            cursor: *range.start(),
        }
    }

    /// The gateway, which is the first address of `prefix`, and all the others that hosts can have.
    pub(super) fn usual(prefix: IpNet) -> (IpAddr, RangeInclusive<IpAddr>) {
        let gateway = after(prefix.network(), 1);
        let first = after(gateway, 1);
        let last = match prefix {
            IpNet::V4(net) => IpAddr::V4(Ipv4Addr::from(u32::from(net.broadcast()).saturating_sub(1))),
            IpNet::V6(net) => IpAddr::V6(net.broadcast()),
        };
        (gateway, first..=last)
    }

    pub(super) fn is_taken(&self, address: IpAddr) -> bool {
        self.taken.contains(&address)
    }

    /// Whether the address lies in the range that is given out.
    pub(super) fn holds(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && (self.first..=self.last).contains(&address)
    }

    /// How many can still be given.
    pub(super) fn free(&self) -> u32 {
        let size = number(self.last).saturating_sub(number(self.first)).saturating_add(1);
        let taken = self.taken.range(self.first..=self.last).count();
        u32::try_from(size.saturating_sub(taken as u128)).unwrap_or(u32::MAX)
    }

    /// Takes one that was chosen; false where it is taken already.
    pub(super) fn take(&mut self, address: IpAddr) -> bool {
        self.taken.insert(address)
    }

    /// Takes the next `count`, or none where there are not as many.
    pub(super) fn take_next(&mut self, count: u32) -> Option<Vec<IpAddr>> {
        if self.free() < count {
            return None;
        }
        let mut given = Vec::new();
        for _ in 0..count {
            let address = self.peek()?;
            self.taken.insert(address);
            self.cursor = if address == self.last { self.first } else { after(address, 1) };
            given.push(address);
        }
        Some(given)
    }

    pub(super) fn give_back(&mut self, address: IpAddr) {
        self.taken.remove(&address);
    }

    /// The one that comes next.
    pub(super) fn peek(&self) -> Option<IpAddr> {
        self.next_free(self.cursor).or_else(|| self.next_free(self.first))
    }

    fn next_free(&self, from: IpAddr) -> Option<IpAddr> {
        let mut candidate = from;
        for taken in self.taken.range(from..=self.last) {
            if *taken != candidate {
                break;
            }
            candidate = after(candidate, 1);
        }
        (candidate <= self.last).then_some(candidate)
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// The address `by` after this one.
fn after(address: IpAddr, by: u32) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from(u32::from(v4).saturating_add(by))),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6).saturating_add(u128::from(by)))),
    }
}

/// Every address from `first` to `last`; none where they are not in order or of different families.
pub(super) fn between(first: IpAddr, last: IpAddr) -> impl Iterator<Item = IpAddr> {
    let ordered = first.is_ipv4() == last.is_ipv4() && first <= last;
    std::iter::successors(ordered.then_some(first), move |address| {
        (*address < last).then(|| after(*address, 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(prefix: &str) -> AddressRange {
        let (gateway, range) = AddressRange::usual(prefix.parse().unwrap());
        AddressRange::new(&range, gateway)
    }

    #[test]
    fn a_freed_address_is_not_reused_before_the_others() {
        let mut range = range("10.0.0.0/29");
        let given = range.take_next(2).unwrap();
        assert_eq!(given, ["10.0.0.2", "10.0.0.3"].map(|a| a.parse::<IpAddr>().unwrap()));
        range.give_back(given[0]);
        let rest: Vec<_> = (0..4).map(|_| range.take_next(1).unwrap()[0].to_string()).collect();
        assert_eq!(rest, ["10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2"]);
        assert_eq!(range.take_next(1), None);
    }

    #[test]
    fn what_does_not_fit_wholly_takes_nothing() {
        let mut range = range("10.0.0.0/29");
        assert_eq!(range.free(), 5);
        assert_eq!(range.take_next(6), None);
        assert_eq!(range.free(), 5);
    }

    #[test]
    fn between_holds_both_ends_and_stops_at_the_end_of_the_family() {
        let ends = |a: &str, b: &str| between(a.parse().unwrap(), b.parse().unwrap()).count();
        assert_eq!(ends("10.0.0.1", "10.0.0.3"), 3);
        assert_eq!(ends("255.255.255.254", "255.255.255.255"), 2);
        assert_eq!(ends("10.0.0.3", "10.0.0.1"), 0);
        assert_eq!(ends("10.0.0.3", "::1"), 0);
    }
}
