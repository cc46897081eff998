//! Cluster mode: addresses of vxnets, cut into blocks that namespaces have.
//!
//! [`PoolController`] makes the blocks; what it decides is decided in plain functions beside it, without a cluster. Nodes do not
//! draw addresses from them yet.
//!
//! # What the controller may do in the cluster
//!
//! | group | resource | verbs | for |
//! |---|---|---|---|
//! | `network.qingcloud.com` | `vxnetpools` | list, watch, get | what is wanted |
//! | `network.qingcloud.com` | `vxnetpools/status`, `ippools/status` | patch | what became of it |
//! | `network.qingcloud.com` | `ippools`, `ipamblocks` | list, watch, get, create, update, delete | a pool, with its blocks, of each vxnet |
//! | (core) | `namespaces` | list | which namespaces are to have blocks |
//! | (core), in `kube-system` | `configmaps`, only `hostnic-ipam-config` | get, update | which have which |

mod assign;
mod block;
mod controller;
mod cut;
pub(crate) mod mapping;
mod name;
pub(crate) mod resources;

pub use block::{Block, Flaw, Holder, Refusal, Usage};
pub use controller::{PoolCloud, PoolController};
pub use name::{BlockName, LOCAL, NoBlockName};
pub use resources::definitions;
