//! The gateways of the settings.

use hostnic_core::gateway::GatewayConfig;

use crate::settings::Settings;

/// Which NICs of the node's own there may be. None is made before a pod needs it.
pub(super) fn gateways(settings: &Settings) -> GatewayConfig {
    GatewayConfig {
        name: settings.gateway_name.value.clone(),
        spare_links: settings.iface.value.iter().cloned().collect(),
        ..GatewayConfig::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Files, Invocation, resolve};

    fn of(variables: &[(&str, &str)]) -> GatewayConfig {
        let environment =
            variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        gateways(&resolve(&Invocation { environment, ..Invocation::default() }, &Files::default()).unwrap().0)
    }

    #[test]
    fn gateways_have_the_name_and_spare_the_interface_that_the_settings_tell() {
        assert_eq!(of(&[]), GatewayConfig::new());
        let told = of(&[("HOSTNIC_IFACE", "eth1"), ("HOSTNIC_GATEWAY_NAME", "gw")]);
        assert_eq!(told.name, "gw");
        assert_eq!(told.spare_links, ["eth1".parse().unwrap()]);
        told.validate().unwrap();
    }
}
