//! The guide's lines, with what stands in them for a reader's own.

pub(in crate::installed) const FORWARD: &str = "iptables -t filter -P FORWARD ACCEPT";

/// Our file has another name.
pub(in crate::installed) const APPLY: &str = "kubectl apply -f deploy/hostnic-node.yaml";

/// Behind it, the guide has a backquote too many.
pub(in crate::installed) const ANNOTATE: &str =
    r#"kubectl  annotate nodes i-xrwbww35  "hostnic.network.kubesphere.io/vxnet"="vxnet-cfn58ev""#;
/// The annotation in it.
pub(in crate::installed) const NODE_KEY: &str = "hostnic.network.kubesphere.io/vxnet";
pub(in crate::installed) const NODE: &str = "i-xrwbww35";
pub(in crate::installed) const VXNET: &str = "vxnet-cfn58ev";
pub(in crate::installed) const IP: &str = "172.22.0.88";

pub(in crate::installed) const POD: &str = "apiVersion: v1
kind: Pod
metadata:
  name: testnginx
  annotations:
    hostnic.network.kubesphere.io/vxnet: vxnet-cfn58ev
  labels:
    env: test
spec:
  containers:
    - name: nginx
      image: nginx:latest
      tty: true
";

pub(in crate::installed) const POD_WITH_IP: &str = "apiVersion: v1
kind: Pod
metadata:
  name: testnginx
  annotations:
    hostnic.network.kubesphere.io/vxnet: vxnet-cfn58ev
    hostnic.network.kubesphere.io/ip: 172.22.0.88
  labels:
    env: test
spec:
  containers:
    - name: nginx
      image: nginx:latest
      tty: true
";

pub(in crate::installed) const EXPOSE: &str = "kubectl expose deployment nginx --port 80";
pub(in crate::installed) const RULE: &str = "ip rule | grep ${PodIP} | grep hostnic_";

pub(in crate::installed) const CLEAN_UP: &str = "rm -fr /var/lib/hostnic/*";
