//! The cloud: credentials, clock, instance and vxnets.

use std::collections::BTreeSet;
use std::fmt::Display;

use hostnic_core::cloud::{Instance, Subnet};
use hostnic_core::id::SubnetId;
use hostnic_core::{Error, ErrorKind, NicProvider};

use super::Finding;

/// From how many seconds on a clock is wrong: the cloud refuses requests that are a minute off.
const CLOCK_TOLERANCE: u64 = 30;

/// What the cloud says about this node.
#[derive(Debug)]
pub struct CloudFacts {
    /// Where the credentials come from, as a person would look for them.
    pub credentials: String,
    /// The instance that this node is.
    pub instance: Result<Instance, Error>,
    /// The vxnets that are configured, and those of them that the cloud described.
    pub subnets: (Vec<SubnetId>, Result<Vec<Subnet>, Error>),
    /// Those that exist and are bound to no router, where the cloud tells them from those that do not exist.
    pub unbound: BTreeSet<SubnetId>,
    /// By how many seconds the cloud's clock is ahead of this machine's; `None` where the cloud did not say.
    pub clock_ahead: Option<i64>,
}

impl CloudFacts {
    /// Asks the cloud: about the instance, and about `subnets` where it answers at all.
    pub async fn ask(provider: &dyn NicProvider, credentials: impl Display, subnets: Vec<SubnetId>) -> Self {
        let instance = provider.instance().await;
        let described = provider.subnets(&subnets).await;
        Self {
            credentials: credentials.to_string(),
            instance,
            subnets: (subnets, described),
            unbound: BTreeSet::new(),
            clock_ahead: None,
        }
    }
}

/// What is wrong in the cloud.
pub fn cloud_findings(facts: &CloudFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(facts.clock_ahead.and_then(clock));
    match &facts.instance {
        Ok(instance) => match &facts.subnets {
            (asked, Ok(subnets)) => findings.extend(asked.iter().flat_map(|id| {
                let described = subnets.iter().find(|subnet| subnet.id == *id);
                match described {
                    Some(subnet) => vxnet(subnet, instance),
                    None => vec![undescribed(id, facts.unbound.contains(id))],
                }
            })),
            (_, Err(error)) => findings.push(failed(error, &facts.credentials)),
        },
        // What else fails then fails for the same reason.
        Err(error) => findings.push(failed(error, &facts.credentials)),
    }
    findings
}

fn failed(error: &Error, credentials: &str) -> Finding {
    let problem = error.chain();
    match error.kind() {
        ErrorKind::Unauthorised => Finding::error(
            format_args!("credentials of {credentials}"),
            problem,
            "compare the access key, its secret and the zone with those of the cloud's console",
        ),
        ErrorKind::NotFound => Finding::error(
            "instance",
            problem,
            "give this machine's instance id by --instance or in /etc/qingcloud/instance-id, and check the zone",
        ),
        ErrorKind::Throttled { .. } => Finding::warning(
            "the account's calls",
            problem,
            "wait; an account may make 2,000 calls an hour: hostnic-daemon status shows what this node makes",
        ),
        _ => Finding::error(
            "the cloud's API",
            problem,
            "check that this machine reaches the API's host and port, and the proxy and certificates between",
        ),
    }
}

fn clock(ahead: i64) -> Option<Finding> {
    let off = ahead.unsigned_abs();
    let side = if ahead > 0 { "behind" } else { "ahead of" };
    (off >= CLOCK_TOLERANCE).then(|| {
        Finding::error(
            "clock",
            format_args!("is {off} s {side} the cloud's: requests are refused, or signed twice"),
            "set it, and run an NTP client: timedatectl set-ntp true",
        )
    })
}

fn undescribed(id: &SubnetId, unbound: bool) -> Finding {
    let object = format!("vxnet {id}");
    if unbound {
        return without_router(object);
    }
    let problem = "does not exist in this zone, or not for this access key";
    Finding::error(object, problem, "correct its id, or the zone")
}

fn without_router(object: String) -> Finding {
    let problem = "is bound to no VPC router: pods in it reach nothing";
    Finding::error(object, problem, "bind it to the VPC of this instance")
}

fn vxnet(subnet: &Subnet, instance: &Instance) -> Vec<Finding> {
    let object = format!("vxnet {}", subnet.id);
    let finding = |problem: String, remedy: &str| Finding::error(&object, problem, remedy);
    let mut findings = Vec::new();
    if subnet.dhcp.is_none() {
        findings.push(finding(
            "has DHCP off: the cloud gives its NICs no address".to_owned(),
            "switch DHCP on for the vxnet in its VPC's settings",
        ));
    }
    match (&subnet.router, &instance.router) {
        (None, _) => findings.push(without_router(object.clone())),
        (Some(theirs), Some(ours)) if theirs != ours => findings.push(finding(
            format!("is bound to router {theirs}, and this instance's VPC is {ours}"),
            "use a vxnet of this instance's VPC",
        )),
        _ => {}
    }
    if subnet.room == Some(0) {
        findings.push(finding(
            "is full: it takes no more NICs".to_owned(),
            "give NICs back (hostnic-daemon nic sweep lists those that nobody uses), or configure another vxnet",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use hostnic_core::cloud::Carrier;

    use super::*;

    fn sound() -> CloudFacts {
        let instance = Instance { id: "i-1".parse().unwrap(), router: "rtr-1".parse().ok(), nic_limit: 63 };
        let subnet = Subnet {
            id: "vxnet-1".parse().unwrap(),
            prefix: "10.0.0.0/24".parse().unwrap(),
            gateway: "10.0.0.1".parse().unwrap(),
            router: "rtr-1".parse().ok(),
            dhcp: Some("10.0.0.2".parse().unwrap()..="10.0.0.254".parse().unwrap()),
            carrier: Carrier::Vxlan,
            room: Some(7),
        };
        CloudFacts {
            credentials: "/etc/qingcloud/client.yaml".to_owned(),
            instance: Ok(instance),
            subnets: (vec![subnet.id.clone()], Ok(vec![subnet])),
            unbound: BTreeSet::new(),
            clock_ahead: Some(2),
        }
    }

    fn only(change: impl FnOnce(&mut CloudFacts)) -> Finding {
        let mut facts = sound();
        change(&mut facts);
        let mut findings = cloud_findings(&facts);
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings.remove(0)
    }

    fn only_in_vxnet(change: impl FnOnce(&mut Subnet)) -> Finding {
        only(|facts| change(&mut facts.subnets.1.as_mut().unwrap()[0]))
    }

    fn error(kind: ErrorKind) -> Error {
        Error::new(kind, "describe", "it")
    }

    #[test]
    fn a_sound_cloud_has_no_finding() {
        assert_eq!(cloud_findings(&sound()), []);
    }

    #[test]
    fn a_wrong_secret_names_the_file_and_is_told_once() {
        let finding = only(|facts| {
            facts.instance = Err(error(ErrorKind::Unauthorised));
            facts.subnets.1 = Err(error(ErrorKind::Unauthorised));
        });
        assert_eq!(finding.object, "credentials of /etc/qingcloud/client.yaml");
    }

    #[test]
    fn a_clock_that_is_off_says_by_how_much_and_which_way() {
        let finding = only(|facts| facts.clock_ahead = Some(120));
        assert!(finding.object == "clock" && finding.problem.contains("120 s behind"), "{finding:?}");
        let finding = only(|facts| facts.clock_ahead = Some(-120));
        assert!(finding.problem.contains("120 s ahead of"), "{finding:?}");
    }

    #[test]
    fn each_defect_of_a_vxnet_names_it() {
        let findings = [
            ("DHCP off", only_in_vxnet(|subnet| subnet.dhcp = None)),
            ("no VPC router", only_in_vxnet(|subnet| subnet.router = None)),
            ("router rtr-2", only_in_vxnet(|subnet| subnet.router = "rtr-2".parse().ok())),
            ("is full", only_in_vxnet(|subnet| subnet.room = Some(0))),
            ("does not exist", only(|facts| facts.subnets.1 = Ok(Vec::new()))),
            (
                "no VPC router",
                only(|facts| {
                    facts.subnets.1 = Ok(Vec::new());
                    facts.unbound = facts.subnets.0.iter().cloned().collect();
                }),
            ),
        ];
        for (words, finding) in findings {
            assert_eq!(finding.object, "vxnet vxnet-1");
            assert!(finding.problem.contains(words), "{words}: {finding:?}");
        }
    }

    #[test]
    fn failures_are_told_by_what_can_be_done() {
        let of = |kind| only(|facts| facts.instance = Err(error(kind))).object;
        assert_eq!(of(ErrorKind::NotFound), "instance");
        assert_eq!(of(ErrorKind::Throttled { retry_after: None }), "the account's calls");
        assert_eq!(of(ErrorKind::Transient), "the cloud's API");
    }
}
