//! The pool in JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::facts::Facts;
use crate::stock::Stock;

/// The settings of the pool and what it has.
#[derive(Debug, Serialize)]
pub(super) struct Pool {
    mode: &'static str,
    policy: String,
    low: u32,
    high: u32,
    max_nics: u32,
    subnets: Vec<Subnet>,
}

#[derive(Debug, Serialize)]
struct Subnet {
    subnet: String,
    nics: BTreeMap<&'static str, u32>,
    addresses: BTreeMap<&'static str, u32>,
}

impl Pool {
    pub(super) fn of(facts: &Facts) -> Self {
        let subnet = |(id, stock): (hostnic_core::id::SubnetId, Stock)| Subnet {
            subnet: id.to_string(),
            nics: stock.nics().into(),
            addresses: stock.addresses().into(),
        };
        Self {
            mode: facts.mode_name(),
            policy: facts.pool.policy.to_string(),
            low: facts.pool.low,
            high: facts.pool.high,
            max_nics: facts.pool.max_nics,
            subnets: facts.stock().into_iter().map(subnet).collect(),
        }
    }
}
