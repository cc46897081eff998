//! How large the pool is to be, and how patient.

use std::time::Duration;

use crate::id::{InvalidValue, SubnetId};
use crate::policy::PolicyName;

/// The settings of a [`Pool`](super::Pool). Make one with [`PoolConfig::new`] and change what is to differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolConfig {
    /// The subnets that NICs come from at first, in the order of preference. Without any, nothing is made but what a
    /// pod asks for by the name of a subnet. See [`Pool::set_subnets`](super::Pool::set_subnets).
    pub subnets: Vec<SubnetId>,
    /// Fewer free addresses than this, and more NICs are made. Default 3.
    pub low: u32,
    /// More free addresses than this, and NICs are given back. Default 5; at least `low`.
    pub high: u32,
    /// The most NICs of ours in this node. Default and limit 63, as an instance carries 64 with its primary one.
    pub max_nics: u32,
    /// How many addresses each NIC carries. Default 1.
    pub addresses_per_nic: u32,
    /// How the subnet of the next NIC is chosen. Default FailRotate.
    pub policy: PolicyName,
    /// How long an address rests between two holders. Default 60 s, longer than conntrack keeps a half-open flow.
    pub cooling: Duration,
    /// An address that rested this long is given when a pod would otherwise wait or fail. Default 5 s.
    pub least_cooling: Duration,
    /// How long requests are gathered before NICs are made for them, so that one call serves many. Default 20 ms.
    pub gather: Duration,
    /// The same while other NICs are on their way in already, as for pods that come one after the other: a call uses up
    /// quota, and the attach takes seconds anyway. Default 1 s.
    pub gather_more: Duration,
    /// How long NICs that exist wait for others that are being made, so that one attach serves all. Default 250 ms.
    pub attach_gather: Duration,
    /// How long a subnet that is full, or the whole cloud when it refuses us, is left alone. Default 60 s.
    pub set_aside: Duration,
    /// The time before the first look at a pending job. Default 1 s.
    pub job_poll_first: Duration,
    /// The longest time between two looks at pending jobs. Default 3 s.
    pub job_poll: Duration,
    /// How long a job may take before the NICs themselves are looked at. Default 5 min.
    pub job_deadline: Duration,
    /// How long after an attach the NIC's link may take to appear in the node. Default 60 s.
    pub link_deadline: Duration,
    /// How long the cloud's lists may lag behind its writes. Default 5 s.
    pub visibility: Duration,
    /// How long a NIC that was made for one pod, or lent to it, is kept for that pod's next try when its ADD has failed.
    /// Default 20 s.
    pub left_grace: Duration,
    /// How long a NIC that pods shared is kept when none has it any more: the next pod of its subnet then need not wait.
    /// Default 12 h.
    pub free_period: Duration,
    /// Tags that let a pod borrow a NIC that carries one of them, as the cloud knows them (ids). Default none: only NICs
    /// with a name of ours are lent.
    pub lent_tags: Vec<String>,
    /// A tag that each NIC we make is given, where the cloud has tags. It is put on in a call of its own, and again where
    /// that fails; nothing waits for it. Default none.
    pub tag: Option<String>,
}

impl PoolConfig {
    /// The most NICs of ours that an instance can carry.
    pub const NIC_LIMIT: u32 = 63;

    /// The defaults over these subnets.
    pub fn new(subnets: Vec<SubnetId>) -> Self {
        Self {
            subnets,
            low: 3,
            high: 5,
            max_nics: Self::NIC_LIMIT,
            addresses_per_nic: 1,
            policy: PolicyName::FailRotate,
            cooling: Duration::from_secs(60),
            least_cooling: Duration::from_secs(5),
            gather: Duration::from_millis(20),
            gather_more: Duration::from_secs(1),
            attach_gather: Duration::from_millis(250),
            set_aside: Duration::from_secs(60),
            job_poll_first: Duration::from_secs(1),
            job_poll: Duration::from_secs(3),
            job_deadline: Duration::from_secs(300),
            link_deadline: Duration::from_secs(60),
            visibility: Duration::from_secs(5),
            left_grace: Duration::from_secs(20),
            free_period: Duration::from_secs(12 * 3600),
            lent_tags: Vec::new(),
            tag: None,
        }
    }

    /// Whether the settings make sense together.
    ///
    /// # Errors
    /// [`InvalidValue`] naming the setting, its value and what it must be.
    pub fn validate(&self) -> Result<(), InvalidValue> {
        let refuse = |what, value: &dyn ToString, rule| Err(InvalidValue::new(what, value.to_string(), rule));
        if self.low > self.high {
            return refuse("low watermark", &self.low, "at most the high watermark");
        }
        if !(1..=Self::NIC_LIMIT).contains(&self.max_nics) {
            return refuse("largest number of NICs", &self.max_nics, "1 to 63");
        }
        if self.addresses_per_nic == 0 {
            return refuse("number of addresses per NIC", &self.addresses_per_nic, "at least 1");
        }
        Ok(())
    }
}
