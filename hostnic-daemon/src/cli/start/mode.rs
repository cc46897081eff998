//! How this node joins its pods to their NICs, and why so.

use hostnic_core::agent::VethConfig;
use hostnic_core::route::Datapath;

use super::services::Services;
use crate::settings::{ModeChoice, Personality, Settings};

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

/// The mode of the settings, where services have these addresses.
pub(super) fn mode(settings: &Settings, services: &Services) -> Mode {
    let (kind, because) = match settings.mode.value {
        ModeChoice::Only(datapath) => (datapath, format!("mode is given, {}", settings.mode.source)),
        ModeChoice::Auto => automatic(settings),
    };
    let kubernetes = Services::are_asked_for(settings);
    let needed = kind == Datapath::Veth || kubernetes;
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
        (Datapath::Veth, Some(wanted)) if wanted != Datapath::Veth => {
            let because = format!("{because}; pods are joined as {} says", settings.pod_type.source);
            Mode { datapath: wanted, veth, because }
        }
        (kind, _) => Mode { datapath: kind, veth, because },
    }
}

/// What suits a node of this kind.
fn automatic(settings: &Settings) -> (Datapath, String) {
    if settings.kubernetes.enabled.value {
        return (Datapath::Veth, "a node of Kubernetes".to_owned());
    }
    let because = match settings.personality {
        Personality::Own | Personality::Node => "no node of Kubernetes".to_owned(),
        earlier => format!("as {earlier}"),
    };
    (Datapath::Passthrough, because)
}

#[cfg(test)]
mod tests {
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

    fn with(variables: &[(&str, &str)]) -> Mode {
        let settings = settings(variables);
        mode(&settings, &Services::of(&settings))
    }

    fn of(variables: &[(&str, &str)]) -> (Datapath, bool, String) {
        let mode = with(variables);
        (mode.datapath, mode.veth.is_some(), mode.because)
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
    fn a_node_of_kubernetes_goes_without_the_addresses_of_services_and_says_so() {
        let (datapath, veth, because) = of(&[KUBERNETES]);
        assert_eq!((datapath, veth), (VETH, true));
        assert!(because.contains("may not reach services") && because.contains("serviceCIDR"), "{because}");
        let told = Services::Told(SERVICES.1.parse().into_iter().collect(), "ConfigMap x".to_owned());
        let mode = mode(&settings(&[KUBERNETES]), &told);
        assert_eq!(mode.veth.unwrap().services, told.prefixes());
        assert_eq!(mode.because, "a node of Kubernetes; services have 10.96.0.0/12, as ConfigMap x says");
        assert!(Services::are_asked_for(&settings(&[KUBERNETES])));
        for not in [vec![KUBERNETES, SERVICES], vec![KUBERNETES, ("MODE", "passthrough")], vec![]] {
            assert!(!Services::are_asked_for(&settings(&not)), "{not:?}");
        }
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
