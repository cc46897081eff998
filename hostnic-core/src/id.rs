//! Identifiers: checked once when parsed, trusted from then on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A value that breaks the rule of its type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} is not valid: it must be {rule}")]
pub struct InvalidValue {
    /// What the value was meant to be, as a person would call it.
    pub what: &'static str,
    /// The value as it was given.
    pub value: String,
    /// The rule that it breaks, to be read after "it must be".
    pub rule: &'static str,
}

impl InvalidValue {
    /// An error about `value`, which was meant to be a `what` and breaks `rule`.
    pub fn new(what: &'static str, value: impl Into<String>, rule: &'static str) -> Self {
        Self { what, value: value.into(), rule }
    }
}

/// Defines a string newtype with the traits that every identifier here has.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            #[doc = concat!("Checks and takes a ", $what, ".")]
            ///
            /// # Errors
            #[doc = concat!("[`InvalidValue`](crate::id::InvalidValue) unless it is ", $rule, ".")]
            pub fn new(value: impl Into<String>) -> Result<Self, $crate::id::InvalidValue> {
                let value = value.into();
                let valid: fn(&str) -> bool = $valid;
                if valid(&value) { Ok(Self(value)) } else {
                    Err($crate::id::InvalidValue::new($what, value, $rule))
                }
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::id::InvalidValue;
            fn from_str(value: &str) -> Result<Self, Self::Err> {
                Self::new(value)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::id::InvalidValue;
            fn try_from(value: String) -> Result<Self, Self::Error> {
                Self::new(value)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}
pub(crate) use text_type;

fn is_cloud_id(value: &str) -> bool {
    (1..=128).contains(&value.len())
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
}

text_type! {
    /// The cloud's name for a NIC. For QingCloud it is the MAC address in lower case.
    NicId, "NIC id", "1 to 128 letters, digits, '-', '_', '.' or ':'", is_cloud_id
}
text_type! {
    /// The cloud's name for a subnet (QingCloud's vxnet).
    SubnetId, "subnet id", "1 to 128 letters, digits, '-', '_', '.' or ':'", is_cloud_id
}
text_type! {
    /// The cloud's name for the virtual machine that NICs are attached to.
    InstanceId, "instance id", "1 to 128 letters, digits, '-', '_', '.' or ':'", is_cloud_id
}
text_type! {
    /// The cloud's name for a VPC router.
    RouterId, "router id", "1 to 128 letters, digits, '-', '_', '.' or ':'", is_cloud_id
}
text_type! {
    /// The cloud's name for work that goes on after a call was answered.
    JobId, "job id", "1 to 128 letters, digits, '-', '_', '.' or ':'", is_cloud_id
}
text_type! {
    /// Names one create call for ever, so that what it made can be found when its answer was lost.
    ///
    /// It is part of the name of every NIC that the call makes (see [`crate::cloud::NicName`]).
    CreateToken, "create token", "8 to 32 lower-case letters and digits",
    |v| (8..=32).contains(&v.len()) && v.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

impl CreateToken {
    /// A token made of 80 bits, written as 16 characters of base 32.
    ///
    /// The caller supplies the randomness, so that tests can repeat it.
    pub fn from_bits(bits: [u8; 10]) -> Self {
        Self(data_encoding::BASE32_NOPAD.encode(&bits).to_ascii_lowercase())
    }
}

/// An Ethernet address that one interface can have: neither all zeros nor a group address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr([u8; 6]);

impl MacAddr {
    const RULE: &'static str =
        "six hexadecimal bytes parted by ':', of one interface (not zero, not a group)";

    /// Checks and takes the six bytes.
    ///
    /// # Errors
    /// [`InvalidValue`] for a group address and for zero.
    pub fn new(bytes: [u8; 6]) -> Result<Self, InvalidValue> {
        if bytes == [0; 6] || bytes[0] & 1 == 1 {
            return Err(InvalidValue::new("MAC address", Self(bytes).to_string(), Self::RULE));
        }
        Ok(Self(bytes))
    }

    /// The bytes in the order in which they are sent.
    pub fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddr {
    type Err = InvalidValue;

    fn from_str(value: &str) -> Result<Self, InvalidValue> {
        let invalid = || InvalidValue::new("MAC address", value, Self::RULE);
        let mut bytes = [0u8; 6];
        let mut parts = value.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(invalid)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        if parts.next().is_some() {
            return Err(invalid());
        }
        Self::new(bytes).map_err(|_| invalid())
    }
}

impl TryFrom<String> for MacAddr {
    type Error = InvalidValue;
    fn try_from(value: String) -> Result<Self, InvalidValue> {
        value.parse()
    }
}

impl From<MacAddr> for String {
    fn from(value: MacAddr) -> String {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_address_is_read_and_written_the_same_way() {
        let mac: MacAddr = "52:54:00:AB:cd:01".parse().unwrap();
        assert_eq!(mac.to_string(), "52:54:00:ab:cd:01");
    }

    #[test]
    fn what_no_interface_can_have_is_refused() {
        for text in [
            "",
            "52:54:00:ab:cd",
            "52:54:00:ab:cd:01:02",
            "00:00:00:00:00:00",
            "01:00:5e:00:00:01",
            "+2:54:00:ab:cd:1",
        ] {
            assert!(text.parse::<MacAddr>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_id_that_could_break_a_name_or_a_path_is_refused() {
        for text in ["", "a b", "a/b", "a\n", &"x".repeat(129)] {
            assert!(NicId::new(text).is_err(), "{text:?}");
        }
        let error = SubnetId::new("vxnet a").unwrap_err().to_string();
        assert!(error.starts_with("subnet id \"vxnet a\" is not valid"), "{error}");
    }

    #[test]
    fn a_token_from_bits_is_a_valid_token() {
        let token = CreateToken::from_bits([7; 10]);
        assert_eq!(CreateToken::new(token.as_str()).unwrap(), token);
    }
}
