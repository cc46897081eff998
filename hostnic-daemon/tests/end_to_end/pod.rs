//! A pod's namespace, as a container runtime makes it, and what is in it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use hostnic_examples::sandbox::Sandbox;
use serde_json::Value;

use crate::witness::{self, ip};

/// An empty namespace for one container; removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Pod {
    sandbox: Sandbox,
    path: PathBuf,
}

/// The parts of an ADD's result that trials ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) mac: String,
    pub(crate) address: Ipv4Addr,
    /// The number of its veth's end in the node, where it is behind one.
    pub(crate) host_end: Option<u64>,
}

/// Whom pods behind veths send everything to.
const NODE: &str = "169.254.1.1";

impl Pod {
    pub(crate) async fn create(folder: &Path, id: &str) -> Self {
        let sandbox = Sandbox::create(folder, id).await.unwrap();
        let path = sandbox.path();
        Self { sandbox, path }
    }

    pub(crate) fn id(&self) -> &str {
        &self.sandbox.id
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) async fn ping(&self, target: Ipv4Addr) {
        if let Err(error) = self.sandbox.ping(target, 7).await {
            panic!("{}", error.chain());
        }
    }

    /// Ends the namespace, with what is in it.
    pub(crate) fn end(self) {
        self.sandbox.remove().unwrap();
    }

    /// The pod's link of that name; `None` when it has none.
    pub(crate) fn link(&self, name: &str) -> Option<Value> {
        let links = ip(&self.path, &["address", "show"]);
        links.as_array().unwrap().iter().find(|link| link["ifname"] == name).cloned()
    }

    /// Makes sure that the pod has nothing but its loopback.
    pub(crate) fn is_empty(&self) {
        let links = ip(&self.path, &["link", "show"]);
        let names: Vec<&Value> = links.as_array().unwrap().iter().map(|link| &link["ifname"]).collect();
        assert_eq!(names, ["lo"]);
    }

    /// Makes sure that the pod's kernel has what the result of its ADD says, and nothing more.
    pub(crate) fn agrees_with(&self, result: &Value) -> Given {
        let told = &result["interfaces"][0];
        let link = self.link(told["name"].as_str().unwrap()).unwrap();
        assert_eq!(link["address"], told["mac"]);
        // Results have it from version 1.1.0 of CNI on.
        if result["cniVersion"] == "1.1.0" {
            assert_eq!(link["mtu"], told["mtu"]);
        }
        assert!(link["flags"].as_array().unwrap().contains(&"UP".into()), "{link:#}");
        let of_ipv4 = |info: &&Value| info["family"] == "inet";
        let has: Vec<String> = link["addr_info"]
            .as_array()
            .unwrap()
            .iter()
            .filter(of_ipv4)
            .map(|info| format!("{}/{}", info["local"].as_str().unwrap(), info["prefixlen"]))
            .collect();
        let told_address = result["ips"][0]["address"].as_str().unwrap();
        let address = told_address.split('/').next().unwrap();
        // Of its subnet such a pod is told, and its kernel knows nothing of it.
        let behind_veth = has == [format!("{address}/32")];
        if behind_veth {
            let mut routes = witness::routes(&self.path);
            routes.sort();
            assert_eq!(routes, [format!("{NODE} via the link"), format!("default via {NODE}")]);
        } else {
            assert_eq!(has, [told_address]);
            self.routes_agree(result);
        }
        Given {
            mac: told["mac"].as_str().unwrap().to_owned(),
            address: address.parse().unwrap(),
            host_end: behind_veth.then(|| link["link_index"].as_u64().unwrap()),
        }
    }

    fn routes_agree(&self, result: &Value) {
        let told = result["routes"].as_array().unwrap().iter().map(|route| {
            let destination = route["dst"].as_str().unwrap();
            let destination = if destination == "0.0.0.0/0" { "default" } else { destination };
            format!("{destination} via {}", route["gw"].as_str().unwrap())
        });
        let mut told: Vec<String> = told.collect();
        let mut has = witness::routes(&self.path);
        // The subnet itself comes with the address, and a way to services beside the NIC is no part of the answer.
        let beside = |route: &str| route.ends_with(&format!(" via {NODE}")) && !route.starts_with("default");
        has.retain(|route| !route.ends_with("via the link") && !beside(route));
        told.sort();
        has.sort();
        assert_eq!(has, told);
    }
}
