//! How this node joins its pods to their NICs, and why so.

use hostnic_core::agent::VethConfig;
use hostnic_core::route::Datapath;

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

/// The mode of the settings.
pub(super) fn mode(settings: &Settings) -> Mode {
    let (kind, because) = match settings.mode.value {
        ModeChoice::Only(datapath) => (datapath, format!("mode is given, {}", settings.mode.source)),
        ModeChoice::Auto if settings.kubernetes.enabled.value => {
            (Datapath::Veth, "a node of Kubernetes".to_owned())
        }
        ModeChoice::Auto => match settings.personality {
            Personality::Own | Personality::Node => {
                (Datapath::Passthrough, "no node of Kubernetes".to_owned())
            }
            earlier => (Datapath::Passthrough, format!("as {earlier}")),
        },
    };
    // Where services' addresses are known, pods may ask for a veth, or for a way to services beside their NIC.
    let veth = settings.veth.services.is_given().then(|| settings.veth.config(settings.iface.value.clone()));
    match (kind, settings.pod_type.value) {
        (Datapath::Veth, Some(wanted)) if wanted != Datapath::Veth => {
            let because = format!("{because}; pods are joined as {} says", settings.pod_type.source);
            Mode { datapath: wanted, veth, because }
        }
        (kind, _) => Mode { datapath: kind, veth, because },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Files, Invocation, resolve};

    fn of(variables: &[(&str, &str)]) -> (Datapath, bool, String) {
        let environment =
            variables.iter().map(|(name, value)| (format!("HOSTNIC_{name}"), value.to_string())).collect();
        let invocation = Invocation { environment, ..Invocation::default() };
        let mode = mode(&resolve(&invocation, &Files::default()).unwrap().0);
        (mode.datapath, mode.veth.is_some(), mode.because)
    }

    #[test]
    fn auto_is_what_suits_the_kind_of_node_and_a_given_mode_is_that() {
        let services = ("SERVICE_CIDR", "10.96.0.0/12");
        let (veth, passthrough) = (Datapath::Veth, Datapath::Passthrough);
        assert_eq!(of(&[]), (passthrough, false, "no node of Kubernetes".into()));
        assert_eq!(of(&[("COMPAT", "qingagent")]), (passthrough, false, "as qingagent".into()));
        assert_eq!(of(&[("KUBERNETES", "true"), services]), (veth, true, "a node of Kubernetes".into()));
        let given = "mode is given, environment: HOSTNIC_MODE".to_owned();
        assert_eq!(of(&[("MODE", "veth"), services]), (veth, true, given.clone()));
        assert_eq!(of(&[("MODE", "passthrough"), ("KUBERNETES", "true")]), (passthrough, false, given));
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
