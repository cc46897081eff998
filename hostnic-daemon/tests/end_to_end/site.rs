//! Two machines in one cloud, with real daemons, and what observers saw of all of it before the first of them.

use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::api::Api;
use crate::machine::{Machine, Running};
use crate::observers::Observation;
use crate::plugin::Call;
use crate::pod::Pod;
use crate::witness::{ip, link_by_mac};

/// The machines' instances, and their names among the observers.
const INSTANCES: [&str; 2] = ["i-node1", "i-node2"];
const NAMES: [&str; 2] = ["node1", "node2"];

/// Which of the earlier systems' configurations a pod comes with; both have a route for services by the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// hostnic-cni 0.x: the default route is by the vxnet's router.
    Hostnic,
    /// qingcloud-cni: everything goes by the node, which masquerades it.
    Qingcni,
}

/// The machines and their cloud.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) machines: [Machine; 2],
    pub(crate) api: Api,
    before: Observation,
}

impl Site {
    /// Machines without daemons, whose own NICs carry their default routes.
    pub(crate) async fn new(vxnets: &[&str]) -> Self {
        let machines = [Machine::new().await, Machine::new().await];
        let flags: Vec<&str> = vxnets.iter().flat_map(|vxnet| ["--vxnet", vxnet]).collect();
        let api = Api::of(&named(INSTANCES, &machines), &flags).await;
        for (instance, machine) in named(INSTANCES, &machines) {
            // Where the daemon shows itself.
            ip(machine.netns(), &["link", "set", "lo", "up"]);
            furnish(&api, instance, machine).await;
        }
        let before = Observation::take(&named(NAMES, &machines), &api).await;
        Self { machines, api, before }
    }

    /// Starts the daemon of a machine with these flags besides those that lead it to its cloud, and waits until it serves.
    pub(crate) async fn start(&self, number: usize, log: &str, flags: &[&str]) -> Running {
        let machine = &self.machines[number];
        let file: PathBuf = self.api.access_file();
        let cloud = ["--access-file", file.to_str().unwrap(), "--instance", INSTANCES[number]];
        let daemon = machine.spawn(machine.start_with(&[&cloud, flags].concat(), &machine.store()), log);
        let ready =
            async || machine.asked(&["status"]).await.is_ok_and(|said| said.contains("node     ready"));
        machine.until(&daemon, "it is ready", ready).await;
        daemon
    }

    /// What the cloud's list says of the NICs of one machine, beside its own.
    pub(crate) async fn nics(&self, number: usize) -> Vec<Value> {
        let name = format!("hostnic_{}", INSTANCES[number]);
        let of_machine = |nic: &Value| {
            let told = nic["name"].as_str().unwrap();
            told == name || told.starts_with(&format!("{name}."))
        };
        self.api.nics().await.into_iter().filter(of_machine).collect()
    }

    /// How many NICs of one machine the cloud has in a vxnet.
    pub(crate) async fn count(&self, number: usize, vxnet: &str) -> usize {
        self.nics(number).await.iter().filter(|nic| nic["subnet"] == vxnet).count()
    }

    /// Ends the daemons, which are to give everything back, and the cloud; nothing may be left that is not allowed.
    pub(crate) async fn end(self, daemons: impl IntoIterator<Item = Running>) {
        for daemon in daemons {
            let (success, said) = daemon.ends_by(Signal::SIGTERM).await;
            assert!(success, "{said}");
        }
        assert_eq!(self.api.nics().await, Vec::<Value>::new(), "NICs are left in the cloud");
        let differences = self.observe().await.assert_allowed_since(&self.before);
        let drops = self.api.police_drops();
        println!("    observers: {differences} differences, all allowed; the cloud dropped {drops} frames");
        self.api.end().await;
    }

    /// All there is now.
    pub(crate) async fn observe(&self) -> Observation {
        Observation::take(&named(NAMES, &self.machines), &self.api).await
    }
}

fn named<'a>(names: [&'a str; 2], machines: &'a [Machine; 2]) -> [(&'a str, &'a Machine); 2] {
    let [one, two] = machines;
    [(names[0], one), (names[1], two)]
}

/// Gives the machine's own NIC its address and the default route, as an operator's system does.
pub(crate) async fn furnish(api: &Api, instance: &str, machine: &Machine) {
    let mac = api.plugged(instance, machine).await;
    let address = api.cloud().await["nics"][&mac]["nic"]["addresses"][0].as_str().unwrap().to_owned();
    let link = link_by_mac(machine.netns(), &mac).unwrap();
    let link = link["ifname"].as_str().unwrap();
    let (network, _) = address.rsplit_once('.').unwrap();
    for command in [
        format!("link set {link} name primary"),
        // An address of its own making would be there, or not yet, as the kernel pleases.
        "link set primary addrgenmode none".to_owned(),
        format!("address add {address}/24 dev primary"),
        "link set primary up".to_owned(),
        format!("route add default via {network}.1"),
    ] {
        ip(machine.netns(), &command.split(' ').collect::<Vec<_>>());
    }
}

impl Kind {
    /// A call for a pod of this machine, with this system's configuration.
    pub(crate) fn call(self, machine: &Machine, command: &str, pod: &Pod) -> Call {
        let routes = json!({"routes": [{"dst": "10.96.0.0/12", "gw": "0.0.0.0"}]});
        let call = machine.call(command, pod).with("ipam", routes);
        match self {
            Self::Hostnic => call,
            Self::Qingcni => call
                .with("cniVersion", json!("0.3.1"))
                .with("type", json!("qingcni"))
                .with("isGateway", json!(true))
                .with("ipMasq", json!(true)),
        }
    }
}
