//! The parameters of a request as they came, from the query or the form.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

use super::refusal::Refusal;

/// Parameters by name, decoded; each comes once.
#[derive(Debug, Clone, Default)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    /// Adds what a query or a form says. `+` is a space in both, as web servers have it.
    pub(super) fn read(&mut self, text: &str) -> Result<(), Refusal> {
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if self.0.contains_key(&name) {
                return Err(Refusal::malformed(format!("parameter [{name}] is given twice")));
            }
            self.0.insert(name, value);
        }
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// As [`Query::get`], of a parameter that every request has.
    pub(super) fn required(&self, name: &str) -> Result<&str, Refusal> {
        let given = self.get(name).filter(|value| !value.is_empty());
        given.ok_or_else(|| Refusal::malformed(format!("parameter [{name}] is missing")))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

fn decode(text: &str) -> Result<String, Refusal> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| Refusal::malformed(format!("[{text}] is not percent-encoded UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_names_and_values_are_read_and_nothing_comes_twice() {
        let mut query = Query::default();
        query.read("nic_name=a%20b%2Bc+d%E4%B8%AD&empty=&nics.1=52%3A54").unwrap();
        assert_eq!(query.get("nic_name"), Some("a b+c d中"));
        assert_eq!(query.get("empty"), Some(""));
        assert_eq!(query.get("nics.1"), Some("52:54"));
        assert_eq!(query.read("empty=1").unwrap_err().code(), 1100);
        assert_eq!(query.read("name=%FF").unwrap_err().code(), 1100);
    }
}
