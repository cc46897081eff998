//! What the account owns, beyond what the simulated cloud keeps, and the actions on it.
//!
//! NICs, their addresses, VIPs and the course of jobs are the cloud's
//! ([`ControlPlane`]); all that only this API knows is here. There is a file for
//! each kind of resource, with its state, its actions and its JSON.

pub(super) mod access_key;
pub(super) mod cluster;
mod found;
pub(super) mod instance;
pub(super) mod job;
mod names;
pub(super) mod nic;
pub(super) mod quota;
pub(super) mod router;
mod rows;
pub(super) mod rule;
pub(super) mod security_group;
pub(super) mod tag;
pub(super) mod vip;
pub(super) mod vxnet;

use std::collections::BTreeMap;
use std::time::Duration;

use hostnic_core::sim::{ControlPlane, Fate};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::parameter::Arguments;
use super::refusal::Refusal;
use super::timestamp;
use access_key::KeyStatus;
use cluster::Cluster;
use instance::InstanceNote;
use job::{JobNote, Pending};
use names::Names;
use router::Router;
use security_group::Group;
use tag::Tag;
use vxnet::Vxnet;

/// The answer to an action: the fields of its body, or a refusal.
pub(super) type Answer = Result<Map<String, Value>, Refusal>;

/// All that only the API knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) owner: String,
    /// When the cloud's time began, since 1970.
    pub(super) epoch: Duration,
    pub(super) names: Names,
    pub(super) keys: BTreeMap<String, KeyStatus>,
    pub(super) vxnets: BTreeMap<String, Vxnet>,
    pub(super) routers: BTreeMap<String, Router>,
    pub(super) instances: BTreeMap<String, InstanceNote>,
    pub(super) jobs: BTreeMap<String, JobNote>,
    pub(super) pending: Vec<Pending>,
    pub(super) tags: BTreeMap<String, Tag>,
    pub(super) groups: BTreeMap<String, Group>,
    pub(super) clusters: BTreeMap<String, Cluster>,
}

impl Account {
    /// An account without anything.
    pub(super) fn new(owner: &str, epoch: Duration, seed: u64) -> Self {
        Self {
            owner: owner.to_owned(),
            epoch,
            names: Names::new(seed),
            keys: BTreeMap::new(),
            vxnets: BTreeMap::new(),
            routers: BTreeMap::new(),
            instances: BTreeMap::new(),
            jobs: BTreeMap::new(),
            pending: Vec::new(),
            tags: BTreeMap::new(),
            groups: BTreeMap::new(),
            clusters: BTreeMap::new(),
        }
    }
}

/// How much an account may own, besides what the cloud counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) vxnets: usize,
    pub(super) security_group_rules: usize,
    pub(super) tags: usize,
}

/// How long the jobs take that the cloud does not know of.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct JobTimes {
    pub(super) router: Duration,
    pub(super) security_group: Duration,
}

/// One action on its way: who asks for what, of whom, and how it is to go.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) account: &'a mut Account,
    pub(super) control: &'a ControlPlane,
    pub(super) action: &'static str,
    pub(super) arguments: &'a Arguments,
    pub(super) zone: &'a str,
    pub(super) limits: Limits,
    pub(super) times: JobTimes,
    /// How the job goes that it begins.
    pub(super) fate: Fate,
    /// Whether a list shows what was some time ago.
    pub(super) stale: bool,
    /// The cloud's time.
    pub(super) now: Duration,
}

impl Call<'_> {
    /// A moment of the cloud's time, as the API writes it.
    pub(super) fn time(&self, since: Duration) -> String {
        timestamp::at(self.account.epoch, since)
    }
}

/// A body of these fields.
pub(super) fn body<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
