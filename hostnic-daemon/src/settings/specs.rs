//! The list of all settings.

use super::key::{Guide, Key, Spec, Spelling, Takes};
use super::personality::Personality::{self, Daemon, Node, QingAgent};

const fn only(text: &'static str, tells: Personality) -> Spelling {
    Spelling { text, tells: Some(tells) }
}

const fn shared(text: &'static str) -> Spelling {
    Spelling { text, tells: None }
}

/// A setting that is spelt in our way alone.
const PLAIN: Spec = Spec {
    key: Key::Compat,
    name: "",
    takes: Takes::Switch,
    earlier: &[],
    variable: None,
    guide: &[],
    default: "",
    help: "",
};

/// In the order of the help.
pub(super) const SPECS: &[Spec] = &[
    Spec {
        key: Key::Vxnet,
        name: "vxnet",
        takes: Takes::List("ID"),
        earlier: &[shared("vxnet"), only("vxnets", Daemon)],
        guide: &[Guide::Pool("vxNets")],
        default: "",
        help: "A vxnet that pods get their NICs from, the preferred one first; may be repeated, or list several with commas",
        ..PLAIN
    },
    Spec {
        key: Key::Policy,
        name: "policy",
        takes: Takes::One("NAME"),
        earlier: &[shared("policy")],
        default: "FailRotate; Random as daemon",
        help: "How the subnet of the next NIC is chosen: FailRotate, RoundRotate or Random",
        ..PLAIN
    },
    Spec {
        key: Key::PoolLow,
        name: "pool-low",
        takes: Takes::One("N"),
        guide: &[Guide::Pool("poolLow")],
        default: "3",
        help: "Fewer free NICs than this, and more are made",
        ..PLAIN
    },
    Spec {
        key: Key::PoolHigh,
        name: "pool-high",
        takes: Takes::One("N"),
        guide: &[Guide::Pool("poolHigh")],
        default: "two more than --pool-low",
        help: "More free NICs than this, and some are given back",
        ..PLAIN
    },
    Spec {
        key: Key::PoolSize,
        name: "pool-size",
        takes: Takes::One("N"),
        earlier: &[only("PoolSize", Daemon)],
        default: "",
        help: "In place of the two marks: --pool-low N --pool-high N+2",
        ..PLAIN
    },
    Spec {
        key: Key::MaxNics,
        name: "max-nics",
        takes: Takes::One("N"),
        guide: &[Guide::Pool("maxNic")],
        default: "63",
        help: "The most NICs of this node beside its primary one, at most 63",
        ..PLAIN
    },
    Spec {
        key: Key::Cooling,
        name: "cooling",
        takes: Takes::One("SECONDS"),
        default: "60",
        help: "How many seconds an address rests before another pod gets it; less, but at least 5, when a pod would otherwise fail",
        ..PLAIN
    },
    Spec {
        key: Key::CleanupCacheOnExit,
        name: "cleanup-cache-on-exit",
        takes: Takes::Switch,
        earlier: &[only("CleanUpCacheOnExit", Daemon)],
        default: "false",
        help: "Give the NICs that no pod has back to the cloud when told to stop",
        ..PLAIN
    },
    Spec {
        key: Key::Iface,
        name: "iface",
        takes: Takes::One("NAME"),
        earlier: &[shared("iface")],
        guide: &[Guide::Network("interface")],
        default: "that of the default route; eth0 as qingagent",
        help: "The node's own interface, which is never touched and whose address the node sends to pods from; that of the default route is never touched either",
        ..PLAIN
    },
    Spec {
        key: Key::GatewayName,
        name: "gateway-name",
        takes: Takes::One("NAME"),
        earlier: &[only("gatewayns", QingAgent)],
        default: "hostnic",
        help: "What the names of the host's own interfaces in pods' subnets begin with, where such are made; at most 13 bytes",
        ..PLAIN
    },
    Spec {
        key: Key::Mode,
        name: "mode",
        takes: Takes::One("NAME"),
        default: "auto",
        help: "How pods are joined to their NICs: passthrough, veth, or auto, which is veth on Kubernetes and passthrough elsewhere",
        ..PLAIN
    },
    Spec {
        key: Key::PodType,
        name: "pod-type",
        takes: Takes::One("NAME"),
        guide: &[Guide::Network("hostNicType")],
        default: "veth",
        help: "How pods of a node in veth mode are joined whose annotation says nothing: veth or passthrough",
        ..PLAIN
    },
    Spec {
        key: Key::ServiceCidr,
        name: "service-cidr",
        takes: Takes::List("CIDR"),
        guide: &[Guide::Network("serviceCIDR")],
        default: "none; on Kubernetes what the cluster says",
        help: "The addresses of services, which pods behind veths reach by the node; may be repeated, or list several with commas",
        ..PLAIN
    },
    Spec {
        key: Key::Hairpin,
        name: "hairpin",
        takes: Takes::Switch,
        guide: &[Guide::Network("hairpin")],
        default: "false",
        help: "Send what pods of one node say to each other by their NICs, so that the cloud sees it; only with kube-proxy in iptables mode",
        ..PLAIN
    },
    Spec {
        key: Key::VethPrefix,
        name: "veth-prefix",
        takes: Takes::One("TEXT"),
        guide: &[Guide::Network("vethPrefix")],
        default: "vnic",
        help: "What the names of veths' ends in the node begin with; 1 to 4 bytes",
        ..PLAIN
    },
    Spec {
        key: Key::Mtu,
        name: "mtu",
        takes: Takes::One("BYTES"),
        guide: &[Guide::Network("mtu")],
        default: "1500, or the NIC's where that is smaller",
        help: "The MTU of interfaces of pods behind veths, 68 to 65535; auto is the NIC's",
        ..PLAIN
    },
    Spec {
        key: Key::NatMark,
        name: "nat-mark",
        takes: Takes::One("BITS"),
        guide: &[Guide::Network("natMark")],
        default: "0x10000",
        help: "The bits of packets' marks that flows by the node's own routes have, as of services and node ports",
        ..PLAIN
    },
    Spec {
        key: Key::PodTable,
        name: "pod-table",
        takes: Takes::One("NUMBER"),
        guide: &[Guide::Network("rt2Pod")],
        default: "10000000",
        help: "The routing table with the routes to pods behind veths; 254 is the main one",
        ..PLAIN
    },
    Spec {
        key: Key::FirstTable,
        name: "first-table",
        takes: Takes::One("NUMBER"),
        guide: &[Guide::Pool("routeTableBase")],
        default: "260",
        help: "The lowest routing table that a NIC of a pod behind a veth may have; its link is named after it",
        ..PLAIN
    },
    Spec {
        key: Key::JobPoll,
        name: "job-poll",
        takes: Takes::One("SECONDS"),
        guide: &[Guide::Pool("sync")],
        default: "3",
        help: "The longest time between two looks at jobs of the cloud that are under way, in seconds",
        ..PLAIN
    },
    Spec {
        key: Key::NodeSync,
        name: "node-sync",
        takes: Takes::One("SECONDS"),
        guide: &[Guide::Pool("nodeSync")],
        default: "60",
        help: "The time between two comparisons of the records with the kernel, in seconds",
        ..PLAIN
    },
    Spec {
        key: Key::NicTag,
        name: "nic-tag",
        takes: Takes::One("TAG"),
        guide: &[Guide::Pool("tag")],
        default: "none",
        help: "The tag that is put on each NIC that is made, by its id or its name",
        ..PLAIN
    },
    Spec {
        key: Key::FreePeriod,
        name: "free-period",
        takes: Takes::One("MINUTES"),
        guide: &[Guide::Pool("freePeriod")],
        default: "720",
        help: "How many minutes a NIC that pods share is kept without a pod",
        ..PLAIN
    },
    Spec {
        key: Key::Provider,
        name: "provider",
        takes: Takes::One("NAME"),
        default: "qingcloud",
        help: "The cloud: qingcloud, or sim, simulated by this process with links and packets of this kernel",
        ..PLAIN
    },
    Spec {
        key: Key::AccessFile,
        name: "access-file",
        takes: Takes::One("PATH"),
        earlier: &[only("QYAccessFilePath", QingAgent), only("QyAccessFilePath", Daemon)],
        default: "/etc/qingcloud/client.yaml, then ~/.qingcloud/config.yaml",
        help: "The file with the access key and where the API is, in the form of QingCloud's SDKs",
        ..PLAIN
    },
    Spec {
        key: Key::Zone,
        name: "zone",
        takes: Takes::One("ZONE"),
        earlier: &[shared("zone")],
        default: "pek3a as qingagent, where the access file has none",
        help: "The zone, in place of the access file's",
        ..PLAIN
    },
    Spec {
        key: Key::Instance,
        name: "instance",
        takes: Takes::One("ID"),
        default: "what /etc/qingcloud/instance-id or the metadata service says; i-sim with --provider sim",
        help: "The cloud's id of this machine",
        ..PLAIN
    },
    Spec {
        key: Key::Socket,
        name: "socket",
        takes: Takes::One("PATH"),
        guide: &[Guide::Server("serverPath"), Guide::Network("socket")],
        default: "/run/hostnic/hostnic.sock",
        help: "Where to listen for the CNI plugin",
        ..PLAIN
    },
    Spec {
        key: Key::Store,
        name: "store",
        takes: Takes::One("PATH"),
        default: "/run/hostnic/state.redb",
        help: "Where to keep records. They must survive the daemon, not the machine: a tmpfs is best",
        ..PLAIN
    },
    Spec {
        key: Key::BindAddr,
        name: "bind-addr",
        takes: Takes::One("ADDRESS"),
        earlier: &[only("bindaddr", QingAgent), only("bindAddr", Daemon)],
        default: "off; 127.0.0.1:31080 as daemon or qingagent",
        help: "Where else to listen for the CNI plugin, by TCP; off, or an address as in 127.0.0.1:31080",
        ..PLAIN
    },
    Spec {
        key: Key::ManageAddr,
        name: "manage-addr",
        takes: Takes::One("ADDRESS"),
        earlier: &[only("manageAddr", Daemon), only("metrics-port", Node)],
        default: "127.0.0.1:31081",
        help: "Where to show metrics and health, by HTTP; off, or an address",
        ..PLAIN
    },
    Spec {
        key: Key::AllowRemote,
        name: "allow-remote",
        takes: Takes::Switch,
        default: "false",
        help: "Let --bind-addr take commands from other machines, from anybody who reaches it",
        ..PLAIN
    },
    Spec {
        key: Key::Kubernetes,
        name: "kubernetes",
        takes: Takes::Switch,
        default: "false; true as hostnic-node",
        help: "Be a node of Kubernetes: ask its API what pods and the node are to have, and tell it how the node is",
        ..PLAIN
    },
    Spec {
        key: Key::NodeName,
        name: "node-name",
        takes: Takes::One("NAME"),
        variable: Some("MY_NODE_NAME"),
        default: "the machine's host name",
        help: "What Kubernetes calls this node",
        ..PLAIN
    },
    Spec {
        key: Key::Kubeconfig,
        name: "kubeconfig",
        takes: Takes::One("PATH"),
        default: "what Kubernetes gives each pod",
        help: "The file that says where Kubernetes' API is, and who this node is there",
        ..PLAIN
    },
    Spec {
        key: Key::CniConfig,
        name: "cni-config",
        takes: Takes::One("PATH"),
        default: "/etc/hostnic/hostnic-cni.json as hostnic-node",
        help: "The CNI configuration that settings are read from and that the CNI file is made of; always JSON",
        ..PLAIN
    },
    Spec {
        key: Key::CniConfDir,
        name: "cni-conf-dir",
        takes: Takes::One("PATH"),
        default: "/etc/cni/net.d on Kubernetes, else off",
        help: "The folder of runtimes for CNI configurations, where to write 10-hostnic.conf once pods can be served; off, or a folder",
        ..PLAIN
    },
    Spec {
        key: Key::AnnotationVxnet,
        name: "annotation-vxnet",
        takes: Takes::List("ID"),
        guide: &[Guide::Pool("annotationVxNets")],
        default: "any",
        help: "The vxnets that pods' annotations may name",
        ..PLAIN
    },
    Spec {
        key: Key::AnnotationNicTag,
        name: "annotation-nic-tag",
        takes: Takes::List("TAG"),
        guide: &[Guide::Pool("annotationNicTags")],
        default: "none",
        help: "NICs with such a tag may be named by pods' annotations, beside those with a name of ours",
        ..PLAIN
    },
    Spec {
        key: Key::NicAnnotation,
        name: "nic-annotation",
        takes: Takes::Switch,
        default: "false",
        help: "Write on each pod, by the annotation …/nic, which NIC it was given; the daemon must then be allowed to patch pods",
        ..PLAIN
    },
    Spec {
        key: Key::NetworkPolicy,
        name: "network-policy",
        takes: Takes::One("NAME"),
        guide: &[Guide::Server("networkPolicy")],
        default: "none",
        help: "Who enforces network policies, and is to be told pods' addresses before these run: none or calico",
        ..PLAIN
    },
    Spec {
        key: Key::PolicyFailOpen,
        name: "policy-fail-open",
        takes: Takes::Switch,
        guide: &[Guide::Server("policyFailOpen")],
        default: "false",
        help: "Start pods also where whoever enforces network policies could not be told their addresses within 5 s; told later",
        ..PLAIN
    },
    Spec {
        key: Key::LogLevel,
        name: "log-level",
        takes: Takes::One("LEVEL"),
        earlier: &[shared("loglevel")],
        guide: &[Guide::Network("logLevel")],
        default: "info",
        help: "What to log: a level, by its name or by its number in logrus (4 is info), or directives such as warn,hostnic_core::pool=debug",
        ..PLAIN
    },
    Spec {
        key: Key::LogFormat,
        name: "log-format",
        takes: Takes::One("FORM"),
        default: "text",
        help: "The form of a log line: text or json",
        ..PLAIN
    },
    Spec {
        key: Key::LogFile,
        name: "log-file",
        takes: Takes::One("PATH"),
        guide: &[Guide::Network("logFile")],
        default: "none",
        help: "A file that the log is written to as well",
        ..PLAIN
    },
    Spec {
        key: Key::Compat,
        name: "compat",
        takes: Takes::One("PROGRAM"),
        default: "by name, flags and file",
        help: "Whose defaults and files hold: hostnic-daemon, daemon (hostnic-cni 0.x), qingagent (qingcloud-cni) or hostnic-node (hostnic-cni on Kubernetes)",
        ..PLAIN
    },
];
