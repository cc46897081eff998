//! What Kubernetes says of a node and its pods, and what they are told by it.
//!
//! [`Cluster`] speaks to the API server on behalf of one node. It follows the node's own object and the pods that are bound
//! to it, so that an ADD of a pod that is known asks the API server for nothing, and it tells: node conditions, taints,
//! a resource, events. The API server may be away when it starts and at any time later; everything goes on when it is back.
//!
//! What a controller does for the whole cluster is in [`ipam`] and [`admission`], with the rights that it takes.
//!
//! No type of the crates that speak to the API server leaves this one.
//!
//! # What it may do in the cluster
//! The least rules that it works with. The tests do all that the crate can do with exactly these, and find each of them used in
//! the API server's audit log.
//!
//! Cluster-wide, for the service account of the node daemon:
//!
//! | group | resource | verbs | for |
//! |---|---|---|---|
//! | (core) | `pods` | list, watch | the pods of this node (`spec.nodeName`), their annotations |
//! | (core) | `pods` | get | a pod that the watch has not shown within a second; whether a pod is gone |
//! | (core) | `nodes` | list, watch | the own node; all nodes, when a vxnet is chosen |
//! | (core) | `nodes` | patch | the own node's taints, and the annotation of a vxnet that was chosen |
//! | (core) | `nodes/status` | patch | the condition `NetworkUnavailable`, the resource `hostnic.network.kubesphere.io/nic` |
//! | (core) | `events` | create, patch | events on pods and on the node |
//! | (core) | `namespaces`, only `kube-system` | get | its uid, which is the cluster's identity |
//! | `networking.k8s.io` | `servicecidrs` | list | the addresses of services, where nobody gave them |
//! | `network.qingcloud.com` | `vxnetpools` | list, watch | whether the cluster's nodes share NICs |
//! | `network.qingcloud.com` | `ippools` | list | cluster mode: the vxnets that addresses are of |
//! | `network.qingcloud.com` | `ipamblocks` | get, list, watch, update | cluster mode: addresses of pods ([`ipam::BlockAddresses`]) |
//! | `network.qingcloud.com` | `ipamhandles` | list, create, delete | cluster mode: the same, for tools; list for [`ipam::IpamTools`] |
//! | (core) | `pods` | patch | **only with** [`Telling::nic_annotation`] or [`Cluster::calico`] |
//!
//! In the namespace `kube-system`:
//!
//! | group | resource | verbs | for |
//! |---|---|---|---|
//! | (core) | `configmaps`, only `kube-proxy` | get | whether kube-proxy uses IPVS, where that is how it is configured |
//! | (core) | `configmaps`, only `kubeadm-config` | get | the addresses of services, where no `servicecidrs` tell them |
//! | (core) | `configmaps`, only `hostnic-ipam-config` | get, list, watch | cluster mode: which namespace has which block |
//! | `coordination.k8s.io` | `leases` | create | the choice of a vxnet ([`ChoiceRules`]), the first time |
//! | `coordination.k8s.io` | `leases`, only `hostnic-vxnets` | get, update | the choice of a vxnet |

pub mod admission;
pub mod annotation;
mod choice;
mod client;
mod cluster;
mod config;
mod error;
mod events;
mod facts;
mod follow;
mod host_machine;
pub mod ipam;
mod leader;
mod node;
mod pods;
mod services;
mod v_pool;

pub use choice::{ChoiceRules, NoSubnet, NodeSubnet};
pub use client::Reach;
pub use cluster::Cluster;
pub use config::{Access, ClusterConfig, Deadlines, NodeName, Telling};
pub use error::ConnectError;
pub use events::{Notice, Severity};
pub use facts::{ClusterUid, ProxyMode};
pub use host_machine::HostLabels;
pub use leader::{Candidate, Leader};
pub use node::Readiness;
pub use pods::{Calico, PodRules, Pods};
pub use services::{ServiceRange, ToldBy};
pub use v_pool::VPool;
