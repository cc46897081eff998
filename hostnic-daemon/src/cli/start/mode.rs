//! How this node joins its pods to their NICs, and why so.

use hostnic_core::agent::VethConfig;
use hostnic_core::ledger::{LeaseRecord, LeaseState};
use hostnic_core::route::{Datapath, PodDatapath};

use super::services::Services;
use crate::settings::{ModeChoice, Personality, Settings, datapath_name};

/// How pods are joined to their NICs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mode {
    /// How those are that ask for neither way.
    pub(super) datapath: Datapath,
    /// What those behind veths have in common; `None` where there can be none.
    pub(super) veth: Option<VethConfig>,
    /// Why it is this mode, for whoever asks.
    pub(super) because: String,
}

/// The mode of the settings, where services have these addresses and these leases are on record. `v_pool` says whether the cluster has
/// vxnets whose NICs pods share.
pub(super) fn mode(settings: &Settings, services: &Services, leases: &[LeaseRecord], v_pool: bool) -> Mode {
    let (kind, because) = match settings.mode.value {
        ModeChoice::Only(datapath) => (datapath, format!("mode is given, {}", settings.mode.source)),
        ModeChoice::Auto => kept(automatic(settings, v_pool), leases),
    };
    let kubernetes = Services::are_asked_for(settings);
    let needed = kind != Datapath::Passthrough || kubernetes;
    let because = match needed {
        true => format!("{because}{services}"),
        false => because,
    };
    // Where services' addresses are known, pods may ask for a veth, or for a way to services beside their NIC.
    let config = || VethConfig {
        services: services.prefixes().to_vec(),
        ..settings.veth.config(settings.iface.value.clone())
    };
    let veth = (needed || !services.prefixes().is_empty()).then(config);
    match (kind, settings.pod_type.value) {
        // What pods of a node in veth mode are unless they say otherwise; hostNicType has no effect where NICs are shared.
        (Datapath::Veth, Some(wanted)) if wanted != Datapath::Veth => {
            let because = format!("{because}; pods are joined as {} says", settings.pod_type.source);
            Mode { datapath: wanted, veth, because }
        }
        (kind, _) => Mode { datapath: kind, veth, because },
    }
}

/// What suits a node of this kind.
fn automatic(settings: &Settings, v_pool: bool) -> (Datapath, String) {
    if settings.kubernetes.enabled.value && v_pool {
        return (Datapath::Shared, "the cluster has a VxNetPool v-pool".to_owned());
    }
    if settings.kubernetes.enabled.value {
        return (Datapath::Veth, "a node of Kubernetes".to_owned());
    }
    let because = match settings.personality {
        Personality::Own | Personality::Node => "no node of Kubernetes".to_owned(),
        earlier => format!("as {earlier}"),
    };
    (Datapath::Passthrough, because)
}

/// The same, unless pods run that this node joined to their NICs in the other way, and none that it joined in this one: a
/// node does not change its mode by itself while it has pods.
fn kept((suits, because): (Datapath, String), leases: &[LeaseRecord]) -> (Datapath, String) {
    let ways: Vec<Datapath> = leases.iter().filter_map(mode_then).collect();
    match ways.first() {
        Some(before) if !ways.contains(&suits) => {
            let (count, otherwise) = (ways.len(), datapath_name(suits));
            let pods = if count == 1 {
                "1 pod runs that was".to_owned()
            } else {
                format!("{count} pods run that were")
            };
            let because = format!(
                "{pods} joined so, and a node keeps its mode while it has such pods; a start without them, or with \
                 --mode {otherwise}, takes {otherwise}: {because}"
            );
            (*before, because)
        }
        _ => (suits, because),
    }
}

/// The mode of the node when it gave this lease to a pod that runs; `None` where that does not tell.
fn mode_then(lease: &LeaseRecord) -> Option<Datapath> {
    match &lease.plan.datapath {
        _ if lease.by_wish || lease.state != LeaseState::Active => None,
        PodDatapath::Passthrough => Some(Datapath::Passthrough),
        PodDatapath::Veth(_) => Some(Datapath::Veth),
        PodDatapath::Shared(_) => Some(Datapath::Shared),
        // That is of a node in veth mode, where something else than the mode has it so.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use hostnic_core::attachment::{AttachmentMark, NetnsPath, Sandbox};
    use hostnic_core::clock::BootTime;
    use hostnic_core::ipam::Lease;
    use hostnic_core::route::{Hairpin, NicTable, PodPlan, PodsTable, ServiceVeth, VethPlan};

    use super::*;
    use crate::settings::{Files, Invocation, resolve};

    const SERVICES: (&str, &str) = ("SERVICE_CIDR", "10.96.0.0/12");
    const KUBERNETES: (&str, &str) = ("KUBERNETES", "true");
    const VETH: Datapath = Datapath::Veth;
    const PASSTHROUGH: Datapath = Datapath::Passthrough;

    fn settings(variables: &[(&str, &str)]) -> Settings {
        let environment =
            variables.iter().map(|(name, value)| (format!("HOSTNIC_{name}"), value.to_string())).collect();
        let invocation = Invocation { environment, ..Invocation::default() };
        resolve(&invocation, &Files::default()).unwrap().0
    }

    fn with(variables: &[(&str, &str)], leases: &[LeaseRecord]) -> Mode {
        let settings = settings(variables);
        mode(&settings, &Services::of(&settings), leases, false)
    }

    fn of(variables: &[(&str, &str)]) -> (Datapath, bool, String) {
        let mode = with(variables, &[]);
        (mode.datapath, mode.veth.is_some(), mode.because)
    }

    /// The lease of a pod that runs.
    fn lease(datapath: PodDatapath, by_wish: bool) -> LeaseRecord {
        let mark: AttachmentMark = "aaaaaaaaaaaaaaaaaaaa".parse().unwrap();
        let (mac, address) = ("52:54:00:00:00:01".parse().unwrap(), "192.168.1.2/24".parse().unwrap());
        let gateway = "192.168.1.1".parse().unwrap();
        LeaseRecord {
            mark: mark.clone(),
            key: None,
            pod: None,
            started: BootTime::default(),
            state: LeaseState::Active,
            lease: Lease {
                nic: "nic-1".parse().unwrap(),
                mac,
                subnet: "vxnet-a".parse().unwrap(),
                address,
                gateway,
            },
            plan: PodPlan {
                datapath,
                mark,
                netns: NetnsPath::new("/run/netns/a").unwrap(),
                sandbox: Sandbox { device: 1, inode: 1 },
                ifname: "eth0".parse().unwrap(),
                mac,
                address,
                gateway,
                routes: Vec::new(),
                mtu: None,
            },
            link: None,
            since: BootTime::default(),
            by_wish,
        }
    }

    fn behind_veth() -> PodDatapath {
        PodDatapath::Veth(VethPlan {
            table: NicTable::FIRST,
            pods: PodsTable::OWN,
            host_ifname: "vnic1".parse().unwrap(),
            source: "192.168.1.9".parse().unwrap(),
            hairpin: Hairpin::Off,
            mtu_at_most: None,
        })
    }

    #[test]
    fn auto_is_what_suits_the_kind_of_node_and_a_given_mode_is_that() {
        assert_eq!(of(&[]), (PASSTHROUGH, false, "no node of Kubernetes".into()));
        assert_eq!(of(&[("COMPAT", "qingagent")]), (PASSTHROUGH, false, "as qingagent".into()));
        assert_eq!(of(&[KUBERNETES, SERVICES]), (VETH, true, "a node of Kubernetes".into()));
        let given = "mode is given, environment: HOSTNIC_MODE".to_owned();
        assert_eq!(of(&[("MODE", "veth"), SERVICES]), (VETH, true, given.clone()));
        assert_eq!(of(&[("MODE", "passthrough"), KUBERNETES]), (PASSTHROUGH, false, given));
    }

    #[test]
    fn a_cluster_with_vxnets_of_its_own_has_its_nodes_share_nics() {
        let mode_of = |variables: &[(&str, &str)], leases: &[LeaseRecord]| {
            let settings = settings(variables);
            let mode = mode(&settings, &Services::of(&settings), leases, true);
            (mode.datapath, mode.veth.is_some())
        };
        assert_eq!(mode_of(&[KUBERNETES, SERVICES], &[]), (Datapath::Shared, true));
        assert_eq!(mode_of(&[SERVICES], &[]).0, PASSTHROUGH, "no node of Kubernetes");
        assert_eq!(mode_of(&[KUBERNETES, SERVICES, ("MODE", "veth")], &[]).0, VETH);
        let pods = [lease(behind_veth(), false)];
        assert_eq!(mode_of(&[KUBERNETES, SERVICES], &pods).0, VETH, "it has pods of the other kind");
        assert_eq!(mode_of(&[KUBERNETES, SERVICES, ("POD_TYPE", "passthrough")], &[]).0, Datapath::Shared);
    }

    #[test]
    fn a_node_of_kubernetes_goes_without_the_addresses_of_services_and_says_so() {
        let (datapath, veth, because) = of(&[KUBERNETES]);
        assert_eq!((datapath, veth), (VETH, true));
        assert!(because.contains("may not reach services") && because.contains("serviceCIDR"), "{because}");
        let told = Services::Told(SERVICES.1.parse().into_iter().collect(), "ConfigMap x".to_owned());
        let mode = mode(&settings(&[KUBERNETES]), &told, &[], false);
        assert_eq!(mode.veth.unwrap().services, told.prefixes());
        assert_eq!(mode.because, "a node of Kubernetes; services have 10.96.0.0/12, as ConfigMap x says");
        assert!(Services::are_asked_for(&settings(&[KUBERNETES])));
        for not in [vec![KUBERNETES, SERVICES], vec![KUBERNETES, ("MODE", "passthrough")], vec![]] {
            assert!(!Services::are_asked_for(&settings(&not)), "{not:?}");
        }
    }

    #[test]
    fn a_node_keeps_its_mode_while_pods_run_that_were_joined_so() {
        let passthrough = || lease(PodDatapath::Passthrough, false);
        let kept = with(&[KUBERNETES, SERVICES], &[passthrough(), passthrough()]);
        assert_eq!(kept.datapath, PASSTHROUGH);
        assert!(kept.veth.is_some(), "pods may ask for a veth all the same");
        assert!(kept.because.starts_with("2 pods run that were joined so"), "{}", kept.because);
        assert!(kept.because.contains("takes veth: a node of Kubernetes"), "{}", kept.because);
        let kept = with(&[], &[lease(behind_veth(), false)]);
        assert_eq!((kept.datapath, kept.veth.is_some()), (VETH, true));
    }

    #[test]
    fn what_pods_asked_for_and_what_ends_keeps_no_mode_and_a_given_one_is_that() {
        let node = [KUBERNETES, SERVICES];
        let passthrough = |by_wish| lease(PodDatapath::Passthrough, by_wish);
        let services = ServiceVeth { host_ifname: "vnic2".parse().unwrap(), services: Vec::new() };
        for leases in [
            vec![passthrough(true)],
            vec![passthrough(false), lease(behind_veth(), false)],
            vec![LeaseRecord { state: LeaseState::Releasing, ..passthrough(false) }],
            vec![lease(PodDatapath::PassthroughWithServices(services), false)],
        ] {
            assert_eq!(with(&node, &leases).datapath, VETH, "{leases:?}");
        }
        let given = [KUBERNETES, SERVICES, ("MODE", "veth")];
        assert_eq!(with(&given, &[passthrough(false)]).datapath, VETH);
    }

    #[test]
    fn pods_of_a_node_in_veth_mode_may_be_passthrough_unless_they_say_otherwise() {
        let node = [("KUBERNETES", "true"), ("SERVICE_CIDR", "10.96.0.0/12"), ("POD_TYPE", "passthrough")];
        let (datapath, veth, because) = of(&node);
        assert_eq!((datapath, veth), (Datapath::Passthrough, true));
        assert!(because.contains("HOSTNIC_POD_TYPE"), "{because}");
        assert_eq!(of(&[("POD_TYPE", "veth")]).0, Datapath::Passthrough);
    }
}
