//! Cluster mode: addresses of vxnets, cut into blocks that namespaces have.
//!
//! [`PoolController`] makes the blocks, and [`BlockAddresses`] draws addresses from them on a node; what they decide is decided in
//! plain functions beside them, without a cluster.
//!
//! # What the controller may do in the cluster
//!
//! Cluster-wide, for its own service account:
//!
//! | group | resource | verbs | for |
//! |---|---|---|---|
//! | `network.qingcloud.com` | `vxnetpools` | get, list, watch | what is wanted |
//! | `network.qingcloud.com` | `vxnetpools/status` | patch | what became of it |
//! | `network.qingcloud.com` | `ippools/status` | patch | how much of a pool is whose |
//! | `network.qingcloud.com` | `ippools` | get, list, watch, create, update, delete | a pool of each vxnet |
//! | `network.qingcloud.com` | `ipamblocks` | get, list, watch, create, update, delete | the blocks of each pool |
//! | (core) | `namespaces` | list, watch | which namespaces are to have blocks |
//! | `network.qingcloud.com` | `ipamhandles` | delete | addresses of nodes that are gone ([`GoneNodes`]) |
//! | (core) | `nodes` | list | the same: which nodes there are |
//! | (core) | `nodes` | watch, patch | the label of the machine that a node runs on ([`HostLabels`](crate::HostLabels)) |
//! | (core) | `pods` | list | the same: which pods are left of such a node; and which have addresses of blocks that are gone |
//! | `coordination.k8s.io` | `leases` | get | the same: whether its kubelet still says that it lives |
//! | (core) | `events` | create, patch | what a person must act on |
//!
//! In the namespace `kube-system`:
//!
//! | group | resource | verbs | for |
//! |---|---|---|---|
//! | (core) | `configmaps`, only `hostnic-ipam-config` | get, list, watch, update | which have which |
//! | `coordination.k8s.io` | `leases` | create | that one controller works, the first time |
//! | `coordination.k8s.io` | `leases`, only `hostnic-controller` | get, update | that one controller works ([`Leader`](crate::Leader)) |

mod addresses;
mod assign;
mod block;
mod controller;
mod cut;
pub(crate) mod mapping;
mod name;
pub(crate) mod resources;
mod tools;

pub use addresses::{AddressCounts, AddressFailures, AddressFigures, AddressUsage, BlockAddresses};
pub use block::{Block, Flaw, Holder, Refusal, Usage};
pub use controller::{ClusterGroup, PoolCloud, PoolController};
pub use name::{BlockName, LOCAL, NoBlockName};
pub use resources::definitions;
pub use tools::{
    Finding, GONE_FOR, GivenBack, GoneNodes, Inventory, IpamTools, Numbers, Part, Utilisation, VxnetUse,
};
