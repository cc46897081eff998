use hostnic_core::id::MacAddr;
use proptest::prelude::*;

use super::*;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 60);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 61);
/// A chance that makes a pause neither longer nor shorter.
const EVEN: u32 = 1500;

fn subnet() -> Ipv4Net {
    "10.1.0.0/24".parse().unwrap()
}

fn server() -> Server {
    let mac = MacAddr::new([0x52, 0x54, 0, 0, 0, 9]).unwrap();
    Server { address: Ipv4Addr::new(10, 1, 0, 2), mac }
}

fn seconds(number: f64) -> Duration {
    Duration::from_secs_f64(number)
}

fn terms(address: Ipv4Addr, lease: f64) -> Terms {
    Terms { address, server: server(), lease: seconds(lease), renew: None, rebind: None }
}

/// A client, and a clock that is where its last step was.
struct Run {
    client: Client,
    begin: Instant,
    now: Instant,
}

impl Run {
    fn new(found: Option<(Ipv4Addr, Duration)>) -> Self {
        let begin = Instant::now();
        Self { client: Client::new(subnet(), found, begin), begin, now: begin }
    }

    fn step(&mut self, event: &Event) -> Vec<Effect> {
        let (next, effects) = self.client.step(event, self.now, EVEN);
        self.client = next;
        effects
    }

    /// What it does when it wants to, and how many seconds after the beginning that is.
    fn due(&mut self) -> (f64, Vec<Effect>) {
        self.now = self.now.max(self.client.due());
        let effects = self.step(&Event::Due);
        ((self.now - self.begin).as_secs_f64(), effects)
    }

    fn hears(&mut self, says: Says) -> Vec<Effect> {
        self.step(&Event::Heard(Answer { xid: self.client.xid, says }))
    }

    fn bound(lease: f64) -> Self {
        let mut run = Self::new(None);
        assert_eq!(asks(&run.due().1), [Ask::Discover]);
        let selects = Ask::Select { address: ADDRESS, server: server().address };
        assert_eq!(asks(&run.hears(Says::Offer(terms(ADDRESS, lease)))), [selects]);
        let until = run.now + seconds(lease);
        let held = run.hears(Says::Ack(terms(ADDRESS, lease)));
        assert_eq!(held, [Effect::Hold { address: ADDRESS, until }]);
        run
    }
}

fn asks(effects: &[Effect]) -> Vec<Ask> {
    let ask = |effect: &Effect| match effect {
        Effect::Say(question) => Some(question.ask),
        _ => None,
    };
    effects.iter().filter_map(ask).collect()
}

const RENEW: fn() -> Ask = || Ask::Renew { address: ADDRESS, server: server() };
const REBIND: Ask = Ask::Rebind { address: ADDRESS };

#[test]
fn a_lease_is_renewed_at_its_half_again_and_again() {
    let mut run = Run::bound(20.0);
    for at in [10.0, 20.0, 30.0] {
        assert_eq!(
            run.due(),
            (at, vec![Effect::Say(Question { xid: EVEN, since: Duration::ZERO, ask: RENEW() })])
        );
        let until = run.now + seconds(20.0);
        assert_eq!(run.hears(Says::Ack(terms(ADDRESS, 20.0))), [Effect::Hold { address: ADDRESS, until }]);
    }
    assert_eq!(
        run.client.farewell(run.now, 1).unwrap().ask,
        Ask::Release { address: ADDRESS, server: server() }
    );
}

#[test]
fn the_servers_own_times_count_where_they_are_in_order() {
    for (renew, rebind, expected) in [
        (Some(4.0), Some(6.0), (4.0, 6.0)),
        (Some(20.0), Some(6.0), (10.0, 17.5)),
        (Some(12.0), Some(11.0), (12.0, 17.5)),
    ] {
        let mut run = Run::new(None);
        run.due();
        run.hears(Says::Offer(terms(ADDRESS, 20.0)));
        let own = Terms { renew: renew.map(seconds), rebind: rebind.map(seconds), ..terms(ADDRESS, 20.0) };
        run.hears(Says::Ack(own));
        let State::Holding(lease) = run.client.state else { panic!("{:?}", run.client) };
        let told = [lease.renew, lease.rebind].map(|at| (at - run.begin).as_secs_f64());
        assert_eq!((told[0], told[1]), expected);
    }
}

#[test]
fn a_server_that_is_gone_is_asked_then_everybody_until_the_lease_is_over() {
    let mut run = Run::bound(20.0);
    let mut said = Vec::new();
    let lost = loop {
        let (at, effects) = run.due();
        match effects.first() {
            Some(Effect::Lose { address: ADDRESS, why: Loss::Ended }) => break (at, asks(&effects)),
            _ => said.extend(asks(&effects).into_iter().map(|ask| (at, ask == REBIND))),
        }
        assert!(said.len() < 20, "{said:?}");
    };
    let expected = [
        (10.0, false),
        (13.75, false),
        (15.625, false),
        (16.875, false),
        (17.5, true),
        (18.75, true),
        (20.0, true),
    ];
    assert_eq!(said[..6], expected[..6]);
    assert_eq!(lost, (20.0, vec![Ask::Discover]));
    // It goes on with longer and longer pauses, and takes what it is given then.
    let steps: Vec<(f64, Vec<Effect>)> = (0..9).map(|_| run.due()).collect();
    let told = steps.iter().filter(|step| step.1.contains(&Effect::Despair));
    assert_eq!(told.map(|step| step.0).collect::<Vec<f64>>(), [51.0], "it is told once");
    let later: Vec<f64> = steps.into_iter().map(|step| step.0).collect();
    assert_eq!(later, [21.0, 23.0, 27.0, 35.0, 51.0, 83.0, 147.0, 211.0, 275.0]);
    assert_eq!(asks(&run.hears(Says::Offer(terms(OTHER, 20.0)))).len(), 1);
    assert!(matches!(run.hears(Says::Ack(terms(OTHER, 20.0)))[..], [Effect::Hold { address: OTHER, .. }]));
}

#[test]
fn what_is_refused_is_given_up_at_once_and_another_address_looked_for() {
    let mut run = Run::bound(20.0);
    run.due();
    let refused = run.hears(Says::Nak);
    assert_eq!(refused[0], Effect::Lose { address: ADDRESS, why: Loss::Refused });
    assert_eq!(asks(&refused), [Ask::Discover]);
    assert_eq!(run.client.farewell(run.now, 1), None);
    // A server that offers and then refuses is not asked without a pause.
    run.hears(Says::Offer(terms(OTHER, 20.0)));
    assert_eq!(run.hears(Says::Nak), []);
    assert_eq!(
        run.due(),
        (12.0, vec![Effect::Say(Question { xid: EVEN, since: seconds(2.0), ask: Ask::Discover })])
    );
}

#[test]
fn an_address_that_was_there_is_kept_if_anybody_grants_it() {
    let mut run = Run::new(Some((ADDRESS, seconds(8.0))));
    assert_eq!(asks(&run.due().1), [REBIND]);
    assert!(matches!(
        run.hears(Says::Ack(terms(ADDRESS, 20.0)))[..],
        [Effect::Hold { address: ADDRESS, .. }]
    ));
    assert_eq!((run.due().0, run.client.due() > run.now), (10.0, true));
    let mut nobody = Run::new(Some((ADDRESS, seconds(8.0))));
    nobody.due();
    while nobody.due().1[0] != (Effect::Lose { address: ADDRESS, why: Loss::Ended }) {}
    assert_eq!(nobody.now - nobody.begin, seconds(8.0));
}

#[test]
fn a_server_may_give_another_address_in_place_of_the_one_that_is_held() {
    let mut run = Run::bound(20.0);
    run.due();
    let changed = run.hears(Says::Ack(terms(OTHER, 20.0)));
    assert_eq!(changed[0], Effect::Lose { address: ADDRESS, why: Loss::Replaced });
    assert!(matches!(changed[1..], [Effect::Hold { address: OTHER, .. }]), "{changed:?}");
}

#[test]
fn an_address_that_is_somebodys_is_declined_and_nobody_asked_for_a_while() {
    let mut run = Run::bound(20.0);
    let declines = Ask::Decline { address: ADDRESS, server: server().address };
    assert_eq!(asks(&run.step(&Event::Taken)), [declines]);
    assert_eq!(run.hears(Says::Offer(terms(ADDRESS, 20.0))), [], "nobody was asked");
    assert_eq!(asks(&run.due().1), [Ask::Discover]);
    assert_eq!(run.now - run.begin, seconds(10.0));
}

#[test]
fn what_does_not_fit_is_passed_over() {
    let outside = Ipv4Addr::new(10, 2, 0, 9);
    let ends = [Ipv4Addr::new(10, 1, 0, 0), Ipv4Addr::new(10, 1, 0, 255)];
    let mut run = Run::new(None);
    run.due();
    for address in [outside, Ipv4Addr::UNSPECIFIED, ends[0], ends[1]] {
        assert_eq!(run.hears(Says::Offer(terms(address, 20.0))), [], "{address}");
    }
    assert_eq!(run.hears(Says::Offer(terms(ADDRESS, 0.0))), []);
    let strange = Answer { xid: run.client.xid + 1, says: Says::Offer(terms(ADDRESS, 20.0)) };
    assert_eq!(run.step(&Event::Heard(strange)), []);
    run.hears(Says::Offer(terms(ADDRESS, 20.0)));
    assert_eq!(run.hears(Says::Ack(terms(OTHER, 20.0))), [], "it was promised another one");
    // Nobody confirms it: it is looked for anew.
    let asked: Vec<Ask> = (0..4).flat_map(|_| asks(&run.due().1)).collect();
    assert_eq!(asked.last(), Some(&Ask::Discover), "{asked:?}");
    // A lease without end is asked about after half a month.
    let mut endless = Run::bound(f64::from(u32::MAX).min(LONGEST_LEASE.as_secs_f64()));
    assert_eq!(endless.due().0, 15.0 * 24.0 * 3600.0);
}

/// One thing that can happen, some time after the one before.
#[derive(Debug, Clone)]
enum Happens {
    Nothing,
    Offer(u8, u32),
    Ack(u8, u32, Option<u32>, Option<u32>),
    Nak,
    Taken,
}

fn happens() -> impl Strategy<Value = (u64, bool, Happens)> {
    let lease = || prop_oneof![Just(0_u32), 1..40_u32, Just(u32::MAX)];
    let time = || proptest::option::of(0..40_u32);
    let what = prop_oneof![
        4 => Just(Happens::Nothing),
        2 => (0..4_u8, lease()).prop_map(|(last, lease)| Happens::Offer(last, lease)),
        3 => (0..4_u8, lease(), time(), time()).prop_map(|(last, lease, t1, t2)| Happens::Ack(last, lease, t1, t2)),
        1 => Just(Happens::Nak),
        1 => Just(Happens::Taken),
    ];
    (0..9000_u64, proptest::bool::weighted(0.9), what)
}

proptest! {
    /// Whatever comes, and whenever: an address is held only within its time, and given up before another step is waited for;
    /// it is never due in the past, nor asks twice without a pause.
    #[test]
    fn no_address_is_held_beyond_its_time(all in proptest::collection::vec(happens(), 1..60), chance in any::<u32>()) {
        let mut now = Instant::now();
        let mut client = Client::new(subnet(), None, now);
        let mut held: Option<(Ipv4Addr, Instant)> = None;
        for (number, (later, known, what)) in all.into_iter().enumerate() {
            let terms = |last: u8, lease: u32, t1: Option<u32>, t2: Option<u32>| Terms {
                address: Ipv4Addr::new(10, 1, 0, last), server: server(), lease: Duration::from_secs(lease.into()),
                renew: t1.map(|t| Duration::from_secs(t.into())), rebind: t2.map(|t| Duration::from_secs(t.into())),
            };
            let heard = |says| Event::Heard(Answer { xid: if known { client.xid } else { client.xid.wrapping_add(1) }, says });
            let event = match what {
                Happens::Nothing => Event::Due,
                Happens::Offer(last, lease) => heard(Says::Offer(terms(last, lease, None, None))),
                Happens::Ack(last, lease, t1, t2) => heard(Says::Ack(terms(last, lease, t1, t2))),
                Happens::Nak => heard(Says::Nak),
                Happens::Taken => Event::Taken,
            };
            let mut events = vec![event];
            now += Duration::from_millis(later);
            if now >= client.due() {
                // Whoever waits for it is told before anything else.
                now = now.max(client.due());
                events.insert(0, Event::Due);
            }
            for event in events {
                let (next, effects) = client.step(&event, now, chance.wrapping_add(number as u32));
                if event == Event::Taken && next != client {
                    held = None;
                }
                client = next;
                for effect in &effects {
                    match effect {
                        Effect::Despair => prop_assert!(held.is_none()),
                        Effect::Say(question) => prop_assert!(question.ask.own().is_none_or(|own| held.is_some_and(|(held, _)| held == own))),
                        Effect::Hold { address, until } => {
                            prop_assert!(subnet().contains(address) && address.octets()[3] != 0);
                            held = Some((*address, *until));
                        }
                        // The one before, where another came in its place.
                        Effect::Lose { address, .. } => held = held.filter(|(other, _)| other != address),
                    }
                }
                prop_assert!(effects.iter().filter(|effect| matches!(effect, Effect::Say(_))).count() <= 1);
                prop_assert!(client.due() > now || event != Event::Due, "{client:?}");
                if let Some((_, until)) = held {
                    prop_assert!(client.due() <= until);
                }
            }
        }
    }
}
