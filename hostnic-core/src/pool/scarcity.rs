//! When a node counts as short of NICs, for whoever keeps pods away from it: not at every change of its supply.

use std::time::Duration;

use crate::clock::BootTime;

use super::plan::Supply;

/// Whether a node counts as short of NICs: at once when it is, and until there are some for two more pods, or for one for half
/// a minute. Else pods would be sent to and fro with every NIC that comes or goes. Pure: it knows no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scarcity {
    scarce: bool,
    relieved: Option<BootTime>,
}

impl Scarcity {
    /// For so many pods more there must be NICs to end it at once.
    pub const ENOUGH: u32 = 2;

    /// For so long there must be any to end it.
    pub const RELIEF: Duration = Duration::from_secs(30);

    /// That of a node whose mark from before a restart is to be kept until it is known to be wrong.
    pub fn resumed(scarce: bool) -> Self {
        Self { scarce, relieved: None }
    }

    /// Whether the node counts as short of NICs.
    pub fn is_scarce(&self) -> bool {
        self.scarce
    }

    /// Takes note of what is left at this moment. Answers when to do so again at the latest, though nothing changes.
    pub fn step(&mut self, supply: Supply, now: BootTime) -> Option<BootTime> {
        if supply.scarce || !self.scarce {
            *self = Self { scarce: supply.scarce, relieved: None };
            return None;
        }
        let relieved = *self.relieved.get_or_insert(now);
        let ends = relieved.after(Self::RELIEF);
        if supply.free >= Self::ENOUGH || ends <= now {
            *self = Self::default();
            return None;
        }
        Some(ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> BootTime {
        BootTime::new(Duration::from_secs(seconds))
    }

    const NONE: Supply = Supply { scarce: true, free: 0 };
    const ONE: Supply = Supply { scarce: false, free: 1 };
    const TWO: Supply = Supply { scarce: false, free: 2 };

    #[test]
    fn it_begins_at_once_and_ends_with_two_or_after_half_a_minute() {
        let mut scarcity = Scarcity::default();
        let mut step = |supply, now| (scarcity.step(supply, at(now)), scarcity.is_scarce());
        assert_eq!(step(ONE, 0), (None, false));
        assert_eq!(step(NONE, 1), (None, true));
        assert_eq!(step(ONE, 2), (Some(at(32)), true));
        // Another change does not begin it anew, and none does not end it too soon.
        assert_eq!(step(ONE, 20), (Some(at(32)), true));
        assert_eq!(step(ONE, 32), (None, false));
        assert_eq!(step(NONE, 40), (None, true));
        assert_eq!(step(ONE, 41), (Some(at(71)), true));
        // It was taken again: half a minute counts from the next one.
        assert_eq!(step(NONE, 60), (None, true));
        assert_eq!(step(ONE, 70), (Some(at(100)), true));
        assert_eq!(step(TWO, 80), (None, false));
    }

    #[test]
    fn what_was_so_before_a_restart_stays_so_until_it_is_known_to_be_wrong() {
        let mut scarcity = Scarcity::resumed(true);
        let unknown = Supply { scarce: false, free: 0 };
        assert_eq!(scarcity.step(unknown, at(0)), Some(at(30)));
        assert!(scarcity.is_scarce());
        scarcity.step(TWO, at(1));
        assert!(!scarcity.is_scarce());
    }
}
