//! The simulated cloud as a value that can be written down, and made anew from.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::job::{Jobs, Work};
use super::reserve::Reservation;
use super::seed::{Names, Random};
use super::service::Service;
use super::state::{InstanceState, Port, State, SubnetState};
use super::view::LaggingView;
use crate::id::{InstanceId, NicId, SubnetId};

/// The state of a [`Cloud`](super::Cloud) at one moment. What it looks like when written down may change with the
/// version of this crate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SavedCloud {
    pub(super) now: Duration,
    instances: BTreeMap<InstanceId, InstanceState>,
    subnets: BTreeMap<SubnetId, SubnetState>,
    nics: BTreeMap<NicId, Port>,
    reservations: BTreeMap<String, Reservation>,
    rules: BTreeMap<String, BTreeSet<IpNet>>,
    jobs: Jobs,
    view: LaggingView,
    names: Names,
    random: Random,
}

impl SavedCloud {
    pub(super) fn of(service: &Service, now: Duration) -> Self {
        let state = &service.state;
        Self {
            now,
            instances: state.instances.clone(),
            subnets: state.subnets.clone(),
            nics: state.nics.clone(),
            reservations: state.reservations.clone(),
            rules: state.rules.clone(),
            jobs: state.jobs.clone(),
            view: state.view.clone(),
            names: state.names.clone(),
            random: service.random.clone(),
        }
    }

    /// Puts all of it into `state`, and has links plugged in again where somebody plugs.
    pub(super) fn restore(self, state: &mut State) -> Random {
        state.instances = self.instances;
        state.subnets = self.subnets;
        state.nics = self.nics;
        state.reservations = self.reservations;
        state.rules.extend(self.rules);
        state.jobs = self.jobs;
        state.view = self.view;
        state.names = self.names;
        state.jobs.begin_again(self.now);
        if state.has_plug {
            // In the order of their positions, so that a primary NIC is its instance's first link again.
            let mut ports: Vec<&Port> = state.nics.values().collect();
            ports.sort_by_key(|port| port.sequence);
            let attached = ports.into_iter().filter_map(|port| {
                let nic = port.nic.clone();
                let instance = nic.attachment.instance()?.clone();
                Some(Work::Plug { instance, sources: state.sources(&nic), nic })
            });
            let attached: Vec<_> = attached.collect();
            state.work.extend(attached);
        }
        self.random
    }
}

/// Maps whose keys are no text, as lists of pairs.
pub(super) mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<K, V, S>(map: &BTreeMap<K, V>, serializer: S) -> Result<S::Ok, S::Error>
    where
        K: Serialize,
        V: Serialize,
        S: Serializer,
    {
        serializer.collect_seq(map)
    }

    pub(crate) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(deserializer)?.into_iter().collect())
    }
}
