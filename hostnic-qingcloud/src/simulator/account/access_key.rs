//! Access keys: which there are and whether they are good. Secrets are not here, so that they are never saved.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::rows::{Listing, Rows};
use super::{Account, Answer, Call};
use crate::simulator::parameter::{Form, Parameter, TEXTS, optional};

/// Whether a key is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in super::super) enum KeyStatus {
    Active,
    Inactive,
}

impl KeyStatus {
    fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
        }
    }
}

impl Account {
    /// Makes a key good or bad. False where there is no such key.
    pub(in super::super) fn set_key(&mut self, key: &str, status: KeyStatus) -> bool {
        self.keys.get_mut(key).map(|known| *known = status).is_some()
    }
}

pub(in super::super) const DESCRIBE: &[Parameter] = &[
    optional("access_keys", TEXTS),
    optional("status", Form::List(&Form::OneOf(&["active", "inactive", "disabled"]))),
];

pub(in super::super) fn describe(call: &mut Call<'_>) -> Answer {
    let made = call.time(std::time::Duration::ZERO);
    let rows = call.account.keys.iter().map(|(id, status)| {
        json!({
            "access_key_id": id,
            "access_key_name": "simulated",
            "owner": call.account.owner,
            "root_user_id": call.account.owner,
            "status": status.word(),
            "ip_white_list": "",
            "console_id": "qingcloud",
            "controller": "self",
            "description": Value::Null,
            "create_time": made,
            "status_time": made,
        })
    });
    let rows = Rows::new(rows)
        .only("access_key_id", call.arguments.texts("access_keys"))
        .only("status", call.arguments.texts("status"));
    let listing = Listing { set: "access_key_set", id: "access_key_id", name: "access_key_name" };
    rows.page(call.arguments, &call.account.owner, listing)
}
