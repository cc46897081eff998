//! How a record is written: its text as JSON, after a checksum that also covers where it stands.
//!
//! JSON, because a later version may add fields that this one passes over, because a person can read what is left of
//! a damaged file, and because a node's records are a few hundred kilobytes at the most.

use redb::TableDefinition;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ledger::Write;

use super::failure::Failure;

pub(super) type Table = TableDefinition<'static, &'static str, &'static [u8]>;

/// The table of what concerns the store as a whole.
pub(super) const STORE: Table = TableDefinition::new("store");

/// The tables of records, one for each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Intent,
    Nic,
    Lease,
    Tombstone,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Intent, Self::Nic, Self::Lease, Self::Tombstone];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Intent => "intents",
            Self::Nic => "nics",
            Self::Lease => "leases",
            Self::Tombstone => "tombstones",
        }
    }

    pub(super) fn table(self) -> Table {
        TableDefinition::new(self.name())
    }
}

/// One change of one table.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) kind: Kind,
    pub(super) key: String,
    /// The new value; `None` removes the record.
    pub(super) value: Option<Vec<u8>>,
}

impl Change {
    /// The change that a write asks for.
    pub(super) fn of(write: &Write) -> Result<Self, Failure> {
        match write {
            Write::PutIntent(intent) => Self::put(Kind::Intent, intent.token.as_str(), intent),
            Write::DropIntent(token) => Ok(Self::drop(Kind::Intent, token.as_str())),
            Write::PutNic(nic) => Self::put(Kind::Nic, nic.id.as_str(), nic),
            Write::DropNic(id) => Ok(Self::drop(Kind::Nic, id.as_str())),
            Write::PutLease(lease) => Self::put(Kind::Lease, lease.mark.as_str(), lease),
            Write::DropLease(mark) => Ok(Self::drop(Kind::Lease, mark.as_str())),
            Write::PutTombstone(mark, at) => Self::put(Kind::Tombstone, mark.as_str(), at),
            Write::DropTombstone(mark) => Ok(Self::drop(Kind::Tombstone, mark.as_str())),
        }
    }

    fn put(kind: Kind, key: &str, record: &impl Serialize) -> Result<Self, Failure> {
        Ok(Self { kind, key: key.to_owned(), value: Some(seal(kind.name(), key, record)?) })
    }

    fn drop(kind: Kind, key: &str) -> Self {
        Self { kind, key: key.to_owned(), value: None }
    }
}

/// The write that made the record under `key`.
pub(super) fn read(kind: Kind, key: &str, value: &[u8]) -> Result<Write, Failure> {
    let table = kind.name();
    let write = match kind {
        Kind::Intent => Write::PutIntent(unseal(table, key, value)?),
        Kind::Nic => Write::PutNic(unseal(table, key, value)?),
        Kind::Lease => Write::PutLease(Box::new(unseal(table, key, value)?)),
        Kind::Tombstone => {
            let at = unseal(table, key, value)?;
            let mark = key
                .parse()
                .map_err(|error| Failure::Damage(format!("a key of {table} is wrong: {error}")))?;
            Write::PutTombstone(mark, at)
        }
    };
    let own_key = match &write {
        Write::PutIntent(intent) => intent.token.as_str(),
        Write::PutNic(nic) => nic.id.as_str(),
        Write::PutLease(lease) => lease.mark.as_str(),
        _ => key,
    };
    if own_key == key {
        Ok(write)
    } else {
        Err(Failure::Damage(format!("the record {key} of {table} is about {own_key}")))
    }
}

/// The bytes of one record.
pub(super) fn seal(table: &str, key: &str, record: &impl Serialize) -> Result<Vec<u8>, Failure> {
    let json = serde_json::to_vec(record).map_err(Failure::Unwritable)?;
    let mut bytes = checksum(table, key, &json).to_le_bytes().to_vec();
    bytes.extend(json);
    Ok(bytes)
}

/// The text of one record, which nothing has changed since it was sealed for this place.
pub(super) fn check<'a>(table: &str, key: &str, bytes: &'a [u8]) -> Result<&'a [u8], Failure> {
    match bytes.split_first_chunk() {
        Some((sum, json)) if u32::from_le_bytes(*sum) == checksum(table, key, json) => Ok(json),
        _ => Err(Failure::Damage(format!("the checksum of {key} in {table} is wrong"))),
    }
}

pub(super) fn unseal<T: DeserializeOwned>(table: &str, key: &str, bytes: &[u8]) -> Result<T, Failure> {
    let json = check(table, key, bytes)?;
    serde_json::from_slice(json).map_err(Failure::unreadable(&format!("the record {key} of {table}")))
}

fn checksum(table: &str, key: &str, json: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    for part in [table.as_bytes(), &[0], key.as_bytes(), &[0], json] {
        sum.update(part);
    }
    sum.finalize()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::BootTime;
    use crate::ledger::{CreateIntent, NicRole};

    fn intent(token: &str) -> CreateIntent {
        CreateIntent {
            token: token.parse().unwrap(),
            subnet: "vxnet-1".parse().unwrap(),
            count: 3,
            since: BootTime::new(Duration::from_millis(1)),
            role: NicRole::Pods,
        }
    }

    #[test]
    fn any_changed_byte_is_found() {
        let bytes = seal("intents", "abcdefgh", &intent("abcdefgh")).unwrap();
        assert!(read(Kind::Intent, "abcdefgh", &bytes).is_ok());
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert!(matches!(read(Kind::Intent, "abcdefgh", &changed), Err(Failure::Damage(_))));
            }
            assert!(read(Kind::Intent, "abcdefgh", &bytes[..at]).is_err());
        }
        assert!(read(Kind::Intent, "abcdefgh", &vec![0; bytes.len()]).is_err());
    }

    #[test]
    fn a_record_in_another_place_is_damage() {
        let bytes = seal("intents", "abcdefgh", &intent("abcdefgh")).unwrap();
        assert!(read(Kind::Intent, "abcdefgi", &bytes).is_err());
        assert!(read(Kind::Nic, "abcdefgh", &bytes).is_err());
        let about_another = seal("intents", "abcdefgi", &intent("abcdefgh")).unwrap();
        assert!(read(Kind::Intent, "abcdefgi", &about_another).is_err());
    }

    #[test]
    fn a_field_of_a_later_version_is_passed_over() {
        let mut json = serde_json::to_value(intent("abcdefgh")).unwrap();
        json["later"] = "field".into();
        let bytes = seal("intents", "abcdefgh", &json).unwrap();
        assert_eq!(read(Kind::Intent, "abcdefgh", &bytes).unwrap(), Write::PutIntent(intent("abcdefgh")));
    }
}
