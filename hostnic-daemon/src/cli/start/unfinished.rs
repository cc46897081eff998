//! Settings that are understood and have no effect yet. Who relies on one has to hear it.

use crate::settings::{Setting, Settings};

/// One line for each such setting that is in force.
pub(super) fn unfinished(settings: &Settings) -> Vec<String> {
    fn given<T>(setting: &Setting<T>, text: impl FnOnce(&T) -> String) -> Option<String> {
        setting.is_given().then(|| setting.source.line(&text(&setting.value)))
    }
    let socket = settings.socket.value.display();
    let bind = settings.bind_addr.value.as_ref().map(|address| {
        format!("bind-addr {address} has no effect yet: the CNI plugin reaches this daemon at {socket} only")
    });
    let manage = settings.manage_addr.value.as_ref().filter(|_| settings.manage_addr.is_given());
    let manage =
        manage.map(|address| format!("manage-addr {address} has no effect yet: nothing is shown by HTTP"));
    let iface = given(&settings.iface, |iface| iface.as_ref().map(ToString::to_string).unwrap_or_default());
    let gateway = given(&settings.gateway_name, Clone::clone);
    let gateways = [iface, gateway].into_iter().flatten();
    let gateways = gateways.map(|line| {
        format!(
            "{line} has no effect yet: no NIC of the host is made a gateway, and none but ours is touched"
        )
    });
    [bind, manage].into_iter().flatten().chain(gateways).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Invocation, Personality, resolve};

    fn lines(program: Option<Personality>, variables: &[(&str, &str)]) -> Vec<String> {
        let environment =
            variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let invocation = Invocation { program, environment, ..Invocation::default() };
        unfinished(&resolve(&invocation, None).unwrap().0)
    }

    #[test]
    fn each_setting_without_effect_has_a_line_of_its_own() {
        assert_eq!(lines(None, &[]), [""; 0]);
        let all = [("IFACE", "eth1"), ("GATEWAYNS", "gw"), ("BINDADDR", ":1"), ("MANAGEADDR", ":2")];
        let told = lines(None, &all);
        for part in ["IFACE=eth1", "GATEWAYNS=gw", "bind-addr 127.0.0.1:1", "manage-addr 127.0.0.1:2"] {
            assert_eq!(told.iter().filter(|line| line.contains(part)).count(), 1, "{part}: {told:?}");
        }
        // What the earlier programs did by themselves is relied on too.
        assert_eq!(lines(Some(Personality::Daemon), &[]).len(), 1);
    }
}
