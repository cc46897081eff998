//! Ids that look like the real ones and never come twice.

use hostnic_core::sim::Random;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in super::super) struct Names {
    start: u64,
    given: u64,
}

impl Names {
    /// Coprime to 36, so that multiplying by it modulo a power of 36 maps no two numbers to one.
    const STRIDE: u128 = 0x9e37_79b9_7f4a_7c15;

    pub(super) fn new(seed: u64) -> Self {
        Self { start: Random::new(seed).next(), given: 0 }
    }

    /// `vxnet-` and the like with seven or eight lower-case letters and digits behind it.
    pub(in super::super) fn id(&mut self, prefix: &str) -> String {
        const DIGITS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let length = if prefix == "vxnet" { 7 } else { 8 };
        let mut rest = u128::from(self.given) * Self::STRIDE + u128::from(self.start);
        self.given += 1;
        let mut id = format!("{prefix}-");
        for _ in 0..length {
            let digit = usize::try_from(rest % 36).unwrap_or_default();
            id.extend(DIGITS.get(digit).map(|digit| char::from(*digit)));
            rest /= 36;
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_have_the_real_shape_and_do_not_repeat() {
        let mut names = Names::new(1);
        let ids: BTreeSet<String> = (0..10_000).map(|_| names.id("sgr")).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.len() == "sgr-vgiw8cv8".len()));
        assert_eq!(names.id("vxnet").len(), "vxnet-f3y0h3q".len());
    }
}
