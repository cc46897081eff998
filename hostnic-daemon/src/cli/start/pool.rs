//! The pool of the settings.

use hostnic_core::id::SubnetId;
use hostnic_core::pool::PoolConfig;

use crate::settings::Settings;

/// The pool over these subnets.
pub(super) fn pool(settings: &Settings, subnets: Vec<SubnetId>) -> PoolConfig {
    let usual = PoolConfig::new(subnets);
    let cooling = settings.cooling.value;
    PoolConfig {
        low: settings.pool_low.value,
        high: settings.pool_high.value,
        max_nics: settings.max_nics.value,
        policy: settings.policy.value,
        cooling,
        tag: settings.nic_tag.value.clone(),
        free_period: settings.free_period.value,
        lent_tags: settings.kubernetes.annotation_nic_tags.value.clone(),
        job_poll_first: usual.job_poll_first.min(settings.job_poll.value),
        job_poll: settings.job_poll.value,
        least_cooling: usual.least_cooling.min(cooling),
        ..usual
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::settings::{Files, Invocation, resolve};

    #[test]
    fn addresses_rest_no_longer_than_told_when_pods_wait() {
        for (cooling, least) in [("60", 5), ("2", 2)] {
            let environment = [("HOSTNIC_COOLING".to_owned(), cooling.to_owned())].into();
            let invocation = Invocation { environment, ..Invocation::default() };
            let pool = pool(&resolve(&invocation, &Files::default()).unwrap().0, Vec::new());
            assert_eq!(pool.cooling, Duration::from_secs(cooling.parse().unwrap()));
            assert_eq!(pool.least_cooling, Duration::from_secs(least));
        }
    }
}
