//! Settings that are understood and have no effect yet. Who relies on one has to hear it.

use crate::settings::{Setting, Settings};

/// One line for each such setting that is in force.
pub(super) fn unfinished(settings: &Settings) -> Vec<String> {
    fn given<T>(setting: &Setting<T>, text: impl FnOnce(&T) -> String) -> Option<String> {
        setting.is_given().then(|| setting.source.line(&text(&setting.value)))
    }
    let iface = given(&settings.iface, |iface| iface.as_ref().map(ToString::to_string).unwrap_or_default());
    let gateway = given(&settings.gateway_name, Clone::clone);
    let gateways = [iface, gateway].into_iter().flatten();
    gateways
        .map(|line| {
            format!(
                "{line} has no effect yet: no NIC of the host is made a gateway, and none but ours is touched"
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Invocation, resolve};

    fn lines(variables: &[(&str, &str)]) -> Vec<String> {
        let environment =
            variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let invocation = Invocation { environment, ..Invocation::default() };
        unfinished(&resolve(&invocation, None).unwrap().0)
    }

    #[test]
    fn each_setting_without_effect_has_a_line_of_its_own() {
        assert_eq!(lines(&[]), [""; 0]);
        let all = [("IFACE", "eth1"), ("GATEWAYNS", "gw")];
        let told = lines(&all);
        for part in ["IFACE=eth1", "GATEWAYNS=gw"] {
            assert_eq!(told.iter().filter(|line| line.contains(part)).count(), 1, "{part}: {told:?}");
        }
    }
}
