//! When a node counts as short of NICs, for whoever keeps pods away from it: not at every change of its supply.

use std::time::Duration;

use crate::clock::BootTime;

use super::plan::Supply;

/// Whether a node counts as short of NICs: at once when it is, and until there have been some for two more pods for a second, or
/// for one for half a minute. Else pods would be sent to and fro with every NIC that comes or goes. Pure: it knows no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scarcity {
    scarce: bool,
    relieved: Option<BootTime>,
    plenty: Option<BootTime>,
}

impl Scarcity {
    /// For so many pods more there must be NICs to end it soon.
    pub const ENOUGH: u32 = 2;

    /// For so long there must be enough to end it: what is known of pods on their way is a moment older, or younger, than what is
    /// known of NICs.
    pub const SETTLED: Duration = Duration::from_secs(1);

    /// For so long there must be any to end it.
    pub const RELIEF: Duration = Duration::from_secs(30);

    /// That of a node whose mark from before a restart is to be kept until it is known to be wrong.
    pub fn resumed(scarce: bool) -> Self {
        Self { scarce, ..Self::default() }
    }

    /// Whether the node counts as short of NICs.
    pub fn is_scarce(&self) -> bool {
        self.scarce
    }

    /// Takes note of what is left at this moment. Answers when to do so again at the latest, though nothing changes.
    pub fn step(&mut self, supply: Supply, now: BootTime) -> Option<BootTime> {
        if supply.is_scarce() || !self.scarce {
            *self = Self { scarce: supply.is_scarce(), ..Self::default() };
            return None;
        }
        let relieved = *self.relieved.get_or_insert(now);
        self.plenty = (supply.free >= Self::ENOUGH).then(|| self.plenty.unwrap_or(now));
        let soon = self.plenty.map(|since| since.after(Self::SETTLED));
        let ends = soon.unwrap_or(BootTime::new(Duration::MAX)).min(relieved.after(Self::RELIEF));
        if ends <= now {
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

    const NONE: Supply = Supply { free: 0, firm: true };
    const ONE: Supply = Supply { free: 1, firm: true };
    const TWO: Supply = Supply { free: 2, firm: true };

    #[test]
    fn it_begins_at_once_and_ends_a_second_after_there_are_two_or_after_half_a_minute() {
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
        assert_eq!(step(TWO, 80), (Some(at(81)), true));
        assert_eq!(step(ONE, 81), (Some(at(100)), true));
        assert_eq!(step(TWO, 82), (Some(at(83)), true));
        assert_eq!(step(TWO, 83), (None, false));
    }

    #[test]
    fn pods_that_are_on_their_way_count_as_if_they_had_their_nics() {
        assert!(TWO.after(2).is_scarce() && TWO.after(3).is_scarce() && !TWO.after(1).is_scarce());
        // More may come.
        assert!(!Supply { firm: false, ..TWO }.after(2).is_scarce());
    }

    #[test]
    fn what_was_so_before_a_restart_stays_so_until_it_is_known_to_be_wrong() {
        let mut scarcity = Scarcity::resumed(true);
        assert_eq!(scarcity.step(Supply::default(), at(0)), Some(at(30)));
        assert!(scarcity.is_scarce());
        scarcity.step(TWO, at(1));
        scarcity.step(TWO, at(2));
        assert!(!scarcity.is_scarce());
    }
}
