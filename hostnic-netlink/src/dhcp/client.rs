//! What a client says and holds, as RFC 2131 has it. Pure: from what it was, what has happened and when, to what it is and
//! what is to be done.

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;
use tokio::time::Instant;

use super::message::{Answer, Ask, Question, Says, Server, Terms};

/// The first pause before somebody who does not answer is asked again; doubled up to the longest, each half a second longer
/// or shorter, so that nodes that began together do not ask together.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(64);
const JITTER_MILLIS: u32 = 1000;

/// After so many questions in vain, which is half a minute, somebody is to know.
const DESPAIR: u32 = 5;

/// How often an offer is taken before it counts as withdrawn.
const SELECTIONS: u32 = 4;

/// How long nobody is asked after an address turned out to be somebody else's.
const AFTER_DECLINE: Duration = Duration::from_secs(10);

/// No lease counts as longer: those without end are asked about now and then, too.
const LONGEST_LEASE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// While a lease runs, the pause between two requests is half of what is left, but no less than this part of the lease nor,
/// in a long one, a minute.
const SHORTEST_PART: u32 = 16;
const SHORTEST_IN_LONG: Duration = Duration::from_secs(60);

/// An address that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lease {
    address: Ipv4Addr,
    /// Who gave it; not known of one that was found.
    server: Option<Server>,
    /// When it was asked for,
    began: Instant,
    /// when its server is asked again, then everybody,
    renew: Instant,
    rebind: Instant,
    /// and when it is over.
    ends: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No address: whoever gives one is looked for, or will be.
    Selecting,
    /// An offer was taken, and that is not confirmed yet.
    Requesting(Terms),
    Holding(Lease),
}

/// A client, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Client {
    /// No address outside is taken from anybody.
    subnet: Ipv4Net,
    state: State,
    /// What answers are known by.
    xid: u32,
    /// When it was first asked by that.
    asked: Instant,
    /// How often it was asked since it last came to something.
    tries: u32,
    /// When there is something to do though nothing happens.
    due: Instant,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// Nothing, and it is time.
    Due,
    /// A server says something.
    Heard(Answer),
    /// The address that it was to hold is somebody's.
    Taken,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    Say(Question),
    /// Nobody gives an address, and has not for a while. It is looked for further.
    Despair,
    /// The NIC has this address until then, unless it is held again before.
    Hold {
        address: Ipv4Addr,
        until: Instant,
    },
    /// It has this one no more.
    Lose {
        address: Ipv4Addr,
        why: Loss,
    },
}

/// Why an address is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Its time is over, and no server answered.
    Ended,
    /// A server refused it.
    Refused,
    /// A server gave another one in its place.
    Replaced,
}

/// What comes next, and what is to be done in this order.
pub(crate) type Step = (Client, Vec<Effect>);

impl Client {
    /// A client that has something to do at once. An address that the NIC has from before, and for how much longer, is kept
    /// if a server grants it.
    pub(crate) fn new(subnet: Ipv4Net, found: Option<(Ipv4Addr, Duration)>, now: Instant) -> Self {
        let holding = |(address, left): (Ipv4Addr, Duration)| {
            let ends = now + left.min(LONGEST_LEASE);
            State::Holding(Lease { address, server: None, began: now, renew: now, rebind: now, ends })
        };
        let state = found.map_or(State::Selecting, holding);
        Self { subnet, state, xid: 0, asked: now, tries: 0, due: now }
    }

    /// When it wants to be told that it is [due](Event::Due).
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// The address that it holds.
    pub(crate) fn address(&self) -> Option<Ipv4Addr> {
        match self.state {
            State::Holding(lease) => Some(lease.address),
            _ => None,
        }
    }

    /// What becomes of it. `chance` is any number, another one each time.
    pub(crate) fn step(&self, event: &Event, now: Instant, chance: u32) -> Step {
        match event {
            Event::Due if now < self.due => self.unchanged(),
            Event::Due => self.on_time(now, chance),
            Event::Heard(answer) if answer.xid != self.xid || self.tries == 0 => self.unchanged(),
            Event::Heard(answer) => self.heard(&answer.says, now, chance),
            Event::Taken => self.declined(now),
        }
    }

    /// What is said when it ends. Nothing is lost with it: a lease that nobody gives back ends by itself.
    pub(crate) fn farewell(&self, now: Instant, chance: u32) -> Option<Question> {
        match self.state {
            State::Holding(Lease { address, server: Some(server), ends, .. }) if now < ends => {
                let ask = Ask::Release { address, server };
                Some(Question { xid: chance, since: Duration::ZERO, ask })
            }
            _ => None,
        }
    }

    fn unchanged(&self) -> Step {
        (self.clone(), Vec::new())
    }

    fn on_time(&self, now: Instant, chance: u32) -> Step {
        match self.state {
            State::Selecting => self.discover(now, chance, self.tries),
            State::Requesting(terms) if self.tries < SELECTIONS => self.select(terms, now, chance),
            State::Requesting(_) => self.discover(now, chance, 0),
            State::Holding(lease) => self.hold_on(lease, now, chance),
        }
    }

    fn discover(&self, now: Instant, chance: u32, tries: u32) -> Step {
        let asked = if tries == 0 { now } else { self.asked };
        let question = Question { xid: chance, since: now - asked, ask: Ask::Discover };
        let next = Self {
            state: State::Selecting,
            xid: chance,
            asked,
            tries: tries.saturating_add(1),
            due: now + pause(tries, chance),
            ..self.clone()
        };
        let despair = (tries == DESPAIR).then_some(Effect::Despair);
        (next, [Effect::Say(question)].into_iter().chain(despair).collect())
    }

    /// Takes an offer, by the number that it was made by.
    fn select(&self, terms: Terms, now: Instant, chance: u32) -> Step {
        let ask = Ask::Select { address: terms.address, server: terms.server.address };
        let question = Question { xid: self.xid, since: now - self.asked, ask };
        let next = Self {
            state: State::Requesting(terms),
            tries: self.tries + 1,
            due: now + pause(self.tries, chance),
            ..self.clone()
        };
        (next, vec![Effect::Say(question)])
    }

    /// Asks for more time for a lease, as late as it is.
    fn hold_on(&self, lease: Lease, now: Instant, chance: u32) -> Step {
        if now >= lease.ends {
            let lost = Effect::Lose { address: lease.address, why: Loss::Ended };
            return first(lost, self.discover(now, chance, 0));
        }
        if now < lease.renew {
            return (Self { state: State::Holding(lease), due: lease.renew, ..self.clone() }, Vec::new());
        }
        let (ask, until) = match lease.server.filter(|_| now < lease.rebind) {
            Some(server) => (Ask::Renew { address: lease.address, server }, lease.rebind),
            None => (Ask::Rebind { address: lease.address }, lease.ends),
        };
        let shortest = ((lease.ends - lease.began) / SHORTEST_PART).min(SHORTEST_IN_LONG);
        let question = Question { xid: chance, since: now.saturating_duration_since(lease.renew), ask };
        let next = Self {
            state: State::Holding(lease),
            // A number of its own each time: what is granted counts from when it was asked for.
            xid: chance,
            asked: now,
            tries: self.tries.saturating_add(1),
            due: (now + ((until - now) / 2).max(shortest)).min(until),
            ..self.clone()
        };
        (next, vec![Effect::Say(question)])
    }

    fn heard(&self, says: &Says, now: Instant, chance: u32) -> Step {
        match (self.state, says) {
            (State::Selecting, Says::Offer(terms)) if self.is_fit(terms) => {
                let taken = Self { asked: now, tries: 0, ..self.clone() };
                taken.select(*terms, now, chance)
            }
            (State::Requesting(offer), Says::Ack(terms)) if terms.address == offer.address => {
                self.hold(terms, now, chance)
            }
            (State::Requesting(_), Says::Nak) => {
                let due = now + pause(self.tries, chance);
                (Self { state: State::Selecting, xid: chance, due, ..self.clone() }, Vec::new())
            }
            (State::Holding(lease), Says::Ack(terms)) if self.is_fit(terms) => {
                let held = self.hold(terms, now, chance);
                if terms.address == lease.address {
                    return held;
                }
                // Before: of two addresses of one prefix the kernel takes away both with the first.
                first(Effect::Lose { address: lease.address, why: Loss::Replaced }, held)
            }
            (State::Holding(lease), Says::Nak) => {
                let lost = Effect::Lose { address: lease.address, why: Loss::Refused };
                first(lost, self.discover(now, chance, 0))
            }
            _ => self.unchanged(),
        }
    }

    /// Whether the NIC can have the address for any time at all.
    fn is_fit(&self, terms: &Terms) -> bool {
        let ends = [self.subnet.network(), self.subnet.broadcast()];
        self.subnet.contains(&terms.address) && !ends.contains(&terms.address) && !terms.lease.is_zero()
    }

    fn hold(&self, terms: &Terms, now: Instant, chance: u32) -> Step {
        let length = terms.lease.min(LONGEST_LEASE);
        let (half, most) = (length / 2, length * 7 / 8);
        // The server's wishes, where they are in their order.
        let renew = terms.renew.filter(|renew| *renew < length).unwrap_or(half);
        let rebind = terms.rebind.filter(|rebind| (renew..length).contains(rebind));
        let rebind = rebind.unwrap_or(most.max(renew));
        let lease = Lease {
            address: terms.address,
            server: Some(terms.server),
            began: self.asked,
            renew: self.asked + renew,
            rebind: self.asked + rebind,
            ends: self.asked + length,
        };
        let held = Effect::Hold { address: lease.address, until: lease.ends };
        let next = Self { state: State::Holding(lease), xid: chance, tries: 0, ..self.clone() };
        first(held, next.hold_on(lease, now, chance))
    }

    fn declined(&self, now: Instant) -> Step {
        let State::Holding(Lease { address, server: Some(server), .. }) = self.state else {
            return self.unchanged();
        };
        let ask = Ask::Decline { address, server: server.address };
        let question = Question { xid: self.xid, since: Duration::ZERO, ask };
        let next = Self { state: State::Selecting, tries: 0, due: now + AFTER_DECLINE, ..self.clone() };
        (next, vec![Effect::Say(question)])
    }
}

fn first(effect: Effect, (next, mut effects): Step) -> Step {
    effects.insert(0, effect);
    (next, effects)
}

/// How long to wait for an answer after so many tries before this one.
fn pause(tries: u32, chance: u32) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(tries)).min(LONGEST_PAUSE);
    whole + Duration::from_millis((chance % JITTER_MILLIS).into())
        - Duration::from_millis(JITTER_MILLIS as u64 / 2)
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
