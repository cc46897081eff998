//! Which cloud.

use std::fmt;
use std::str::FromStr;

use hostnic_core::id::InvalidValue;

/// The clouds that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// QingCloud, public or private.
    QingCloud,
    /// A cloud simulated by this process, with links and packets of this kernel.
    Sim,
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::QingCloud => "qingcloud",
            Self::Sim => "sim",
        })
    }
}

impl FromStr for Provider {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let known = [Self::QingCloud, Self::Sim].into_iter().find(|provider| provider.to_string() == text);
        known.ok_or_else(|| InvalidValue::new("provider", text, "qingcloud or sim"))
    }
}
