use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;

fn rules(subnets: &[&str], max_nic: u32) -> ChoiceRules {
    ChoiceRules {
        subnets: subnets.iter().map(|id| id.parse().unwrap()).collect(),
        max_nic: NonZeroU32::new(max_nic).unwrap(),
    }
}

fn node(name: &str, age: i64, annotation: Option<&str>) -> Member {
    Member {
        name: name.to_owned(),
        uid: format!("uid of {name}"),
        created: Some(Timestamp::from_second(1_700_000_000 - age).unwrap()),
        annotation: annotation.map(str::to_owned),
        version: None,
    }
}

fn waits(node: &Member, since: u64) -> (String, Claim) {
    (node.name.clone(), Claim { uid: node.uid.clone(), what: Claimed::Waits(since) })
}

fn has(node: &Member, subnet: &str) -> (String, Claim) {
    (node.name.clone(), Claim { uid: node.uid.clone(), what: Claimed::Subnet(subnet.parse().unwrap()) })
}

#[test]
fn an_annotation_outside_of_what_there_is_to_choose_counts_as_missing() {
    let some = rules(&["a", "b"], 63);
    assert_eq!(read(Some("b"), &some), Reading::Use("b".parse().unwrap()));
    assert_eq!(read(Some(" b "), &some), Reading::Use("b".parse().unwrap()));
    for missing in [None, Some(""), Some("c"), Some("no id")] {
        assert_eq!(read(missing, &some), Reading::Choose, "{missing:?}");
    }
    let none = rules(&[], 63);
    assert_eq!(read(Some("c"), &none), Reading::Use("c".parse().unwrap()));
    assert_eq!(read(None, &none), Reading::None(NoSubnet::Unset));
    assert_eq!(read(Some("no id"), &none), Reading::None(NoSubnet::Invalid { value: "no id".to_owned() }));
}

#[test]
fn a_vxnet_has_room_for_252_nics() {
    for (max_nic, nodes) in [(63, 4), (60, 4), (50, 5), (25, 10), (1, 252), (300, 1)] {
        assert_eq!(rules(&[], max_nic).nodes_per_subnet(), nodes, "{max_nic}");
    }
}

#[test]
fn the_emptiest_is_taken_and_then_the_first() {
    let rules = rules(&["a", "b"], 63);
    let me = node("me", 0, None);
    let nodes = [node("n1", 0, Some("a")), me.clone()];
    assert_eq!(settle(&Claims::new(), &nodes, &me, &rules, 0).subnet, Some("b".parse().unwrap()));
    let nodes = [node("n1", 0, Some("a")), node("n2", 0, Some("b")), me.clone()];
    assert_eq!(settle(&Claims::new(), &nodes, &me, &rules, 0).subnet, Some("a".parse().unwrap()));
}

#[test]
fn a_claim_counts_until_it_is_an_annotation_or_its_node_is_gone() {
    let rules = rules(&["a"], 252);
    let (me, other) = (node("me", 0, None), node("other", 0, None));
    let claims = Claims::from([has(&other, "a")]);
    assert_eq!(settle(&claims, &[me.clone(), other.clone()], &me, &rules, 0).subnet, None);
    // The annotation counts in its place, once.
    let annotated = Member { annotation: Some("a".to_owned()), ..other.clone() };
    let settled = settle(&claims, &[me.clone(), annotated], &me, &rules, 7);
    assert_eq!(settled.subnet, None);
    assert_eq!(settled.claims, Claims::from([waits(&me, 7)]));
    // Gone, and gone and come again.
    assert!(settle(&claims, std::slice::from_ref(&me), &me, &rules, 0).subnet.is_some());
    let again = Member { uid: "another".to_owned(), ..other };
    assert!(settle(&claims, &[me.clone(), again], &me, &rules, 0).subnet.is_some());
}

#[test]
fn a_node_that_died_over_its_choice_keeps_it_while_there_is_room() {
    let rules = rules(&["a", "b"], 252);
    let me = node("me", 0, None);
    let claims = Claims::from([has(&me, "b")]);
    let settled = settle(&claims, std::slice::from_ref(&me), &me, &rules, 0);
    assert_eq!((settled.subnet, settled.claims), (Some("b".parse().unwrap()), claims.clone()));
    let nodes = [me.clone(), node("by-hand", 0, Some("b"))];
    assert_eq!(settle(&claims, &nodes, &me, &rules, 0).subnet, Some("a".parse().unwrap()));
}

#[test]
fn of_those_that_wait_the_oldest_comes_first() {
    let rules = rules(&["a"], 252);
    let (me, older) = (node("me", 10, None), node("older", 20, None));
    let nodes = [me.clone(), older.clone()];
    let claims = Claims::from([waits(&older, 1000)]);
    assert_eq!(settle(&claims, &nodes, &me, &rules, 1001).subnet, None);
    assert!(settle(&claims, &nodes, &older, &rules, 1001).subnet.is_some());
    // One that says no more that it waits holds nobody up.
    assert!(settle(&claims, &nodes, &me, &rules, 1000 + WAITS_FOR).subnet.is_some());
}

/// What happens to one of the nodes of the model.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// It does what it does next: reads the claims, lists the nodes, writes its claim, annotates itself.
    Step,
    /// Its daemon dies, and begins anew.
    Die,
    /// It leaves the cluster.
    Leave,
}

/// How far a node has come.
#[derive(Debug, Clone, Default)]
enum Memory {
    #[default]
    Nothing,
    Read(u64, Claims),
    Listed(u64, Claims, Vec<Member>),
    Claimed(SubnetId),
}

/// The cluster as its API server has it: claims with a version, and nodes.
struct Model {
    version: u64,
    claims: Claims,
    nodes: Vec<Member>,
    memories: Vec<Memory>,
    rules: ChoiceRules,
}

impl Model {
    fn act(&mut self, who: usize, act: Act) {
        let name = format!("n{who}");
        let Some(here) = self.nodes.iter().position(|node| node.name == name) else { return };
        let memory = std::mem::take(&mut self.memories[who]);
        self.memories[who] = match (act, memory) {
            (Act::Step, Memory::Nothing) => Memory::Read(self.version, self.claims.clone()),
            (Act::Step, Memory::Read(version, claims)) => Memory::Listed(version, claims, self.nodes.clone()),
            (Act::Step, Memory::Listed(version, claims, nodes)) => {
                let me = nodes.iter().find(|node| node.name == name).unwrap();
                self.claim(version, &claims, &nodes, me)
            }
            (Act::Step, Memory::Claimed(subnet)) => {
                self.nodes[here].annotation = Some(subnet.to_string());
                Memory::Nothing
            }
            (Act::Die, _) => Memory::Nothing,
            (Act::Leave, _) => {
                self.nodes.remove(here);
                Memory::Nothing
            }
        };
    }

    fn claim(&mut self, version: u64, claims: &Claims, nodes: &[Member], me: &Member) -> Memory {
        if me.takes(&self.rules).is_some() {
            return Memory::Nothing;
        }
        let settled = settle(claims, nodes, me, &self.rules, 0);
        if settled.claims != *claims {
            // As the API server refuses a version that is not the last.
            if version != self.version {
                return Memory::Nothing;
            }
            self.version += 1;
            self.claims = settled.claims;
        }
        settled.subnet.map_or(Memory::Nothing, Memory::Claimed)
    }

    fn fullest(&self) -> usize {
        let of = |id: &SubnetId| self.nodes.iter().filter(|node| node.takes(&self.rules) == Some(id)).count();
        self.rules.subnets.iter().map(of).max().unwrap_or(0)
    }
}

proptest! {
    /// However their steps mix, and whoever dies or leaves in the middle: no vxnet has more nodes than it has room for.
    #[test]
    fn no_vxnet_has_too_many_nodes(steps in proptest::collection::vec((0usize..7, 0u8..20), 1..200)) {
        let rules = rules(&["a", "b"], 126);
        let nodes = (0..7).map(|n| node(&format!("n{n}"), n, None)).collect();
        let memories = vec![Memory::default(); 7];
        let mut model = Model { version: 0, claims: Claims::new(), nodes, memories, rules };
        for (who, act) in steps {
            let act = match (who, act) {
                (_, 0) => Act::Die,
                // Not all of them: the model would soon be empty.
                (0 | 1, 1) => Act::Leave,
                _ => Act::Step,
            };
            model.act(who, act);
            prop_assert!(model.fullest() <= 2, "{:?}", model.nodes);
        }
    }
}
