//! Lists of the API: filtered, in a constant order, and one page of them.

use serde_json::{Map, Value, json};

use super::Answer;
use crate::simulator::parameter::Arguments;

/// The items of a list, each an object.
#[derive(Debug)]
pub(super) struct Rows(Vec<Value>);

/// Where a list is in its answer, and by which fields `search_word` finds its items.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listing {
    pub(super) set: &'static str,
    pub(super) id: &'static str,
    pub(super) name: &'static str,
}

impl Rows {
    /// A page is at most this long, whatever is asked for.
    const MOST: usize = 100;
    /// How long it is when nothing or 0 is asked for.
    const USUAL: usize = 20;

    pub(super) fn new(rows: impl IntoIterator<Item = Value>) -> Self {
        Self(rows.into_iter().collect())
    }

    /// Keeps the items whose `field` is one of these; all where `wanted` is `None`.
    pub(super) fn only(mut self, field: &str, wanted: Option<Vec<&str>>) -> Self {
        if let Some(wanted) = wanted {
            self.0.retain(|row| match &row[field] {
                Value::String(text) => wanted.contains(&text.as_str()),
                Value::Number(number) => wanted.contains(&number.to_string().as_str()),
                _ => false,
            });
        }
        self
    }

    /// One page, after the filters that every list has.
    pub(super) fn page(mut self, arguments: &Arguments, owner: &str, listing: Listing) -> Answer {
        if arguments.text("owner").is_some_and(|asked| asked != owner) {
            self.0.clear();
        }
        if let Some(word) = arguments.text("search_word") {
            let holds =
                |row: &Value, field: &str| row[field].as_str().is_some_and(|text| text.contains(word));
            self.0.retain(|row| holds(row, listing.id) || holds(row, listing.name));
        }
        if let Some(tags) = arguments.texts("tags") {
            let tagged = |row: &Value| {
                let own = row["tags"].as_array().into_iter().flatten();
                own.filter_map(|tag| tag["tag_id"].as_str()).any(|tag| tags.contains(&tag))
            };
            self.0.retain(|row| tagged(row) || tags.contains(&row["tag_id"].as_str().unwrap_or_default()));
        }
        if arguments.integer("reverse") == Some(1) {
            self.0.reverse();
        }
        let number = |name| arguments.integer(name).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        let limit = match number("limit") {
            0 => Self::USUAL,
            limit => limit.min(Self::MOST),
        };
        let mut answer = Map::new();
        answer.insert("total_count".into(), json!(self.0.len()));
        let page: Vec<Value> = self.0.into_iter().skip(number("offset")).take(limit).collect();
        answer.insert(listing.set.into(), page.into());
        Ok(answer)
    }
}
