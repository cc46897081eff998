//! Reading answers that are not quite as documented: absent fields, null, and numbers written as text.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Text; empty where it is absent, null or a structure. Numbers and truth values are taken as written.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => String::new(),
    })
}

/// A number, which may be written as text; `None` where there is none.
pub(crate) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Ok(integer(&Value::deserialize(deserializer)?))
}

/// The number in a value, which may be written as text.
pub(crate) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(truth) => Some(i64::from(*truth)),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A list; empty where it is absent or null.
pub(crate) fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// An object; `None` where it is absent, null, or an empty text, as which some answers write "none".
pub(crate) fn object<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    match Value::deserialize(deserializer)? {
        value @ Value::Object(_) => serde_json::from_value(value).map(Some).map_err(serde::de::Error::custom),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Row {
        #[serde(deserialize_with = "text")]
        name: String,
        #[serde(deserialize_with = "number")]
        role: Option<i64>,
        #[serde(deserialize_with = "list")]
        ids: Vec<u8>,
        #[serde(deserialize_with = "object")]
        inner: Option<Box<Self>>,
    }

    fn row(json: &str) -> Row {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn odd_answers_are_read_as_meant() {
        let usual = Row { name: "7".to_owned(), role: Some(1), ids: vec![1], inner: Some(Box::default()) };
        assert_eq!(row(r#"{"name":"7","role":1,"ids":[1],"inner":{}}"#), usual);
        assert_eq!(row(r#"{"name":7,"role":"1","ids":[1],"inner":{"new":[]},"unknown":{}}"#), usual);
        for nothing in [
            "{}",
            r#"{"name":null,"role":null,"ids":null,"inner":null}"#,
            r#"{"name":"","role":"","ids":[],"inner":""}"#,
            r#"{"name":[],"role":{},"inner":[]}"#,
        ] {
            assert_eq!(row(nothing), Row::default(), "{nothing}");
        }
    }
}
