//! Lists that come in pages, and calls that take only so many ids.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::client::Operation;
use crate::failure::{CallError, Failure};
use crate::request::Request;
use crate::wire::integer;

/// The longest page, and the most ids that we put in one request. The API cuts longer pages without a word;
/// for lists of ids its limit is not documented.
pub(crate) const PAGE: usize = 100;

/// No account has this many pages; an API that turns in a circle would.
const MOST_PAGES: usize = 2000;

/// How often a list that changed while it was read is read again.
const ROUNDS: usize = 3;

/// A row with an id of its own.
pub(crate) trait Row: DeserializeOwned {
    /// The field of the answer that holds the rows.
    const SET: &'static str;

    /// What tells it from other rows.
    fn id(&self) -> &str;
}

impl Operation<'_> {
    /// All rows that a request lists.
    ///
    /// What is deleted while pages are read moves others from the next page to one that was read already. So
    /// the list is read again when its length changed meanwhile; what any round showed is part of the answer.
    pub(crate) async fn all<T: Row>(&self, request: &Request) -> Result<Vec<T>, CallError> {
        let mut rows = BTreeMap::new();
        for _ in 0..ROUNDS {
            if self.round(request, &mut rows).await? {
                break;
            }
        }
        Ok(rows.into_values().collect())
    }

    /// Reads every page once. Whether the list kept its length.
    async fn round<T: Row>(
        &self,
        request: &Request,
        rows: &mut BTreeMap<String, T>,
    ) -> Result<bool, CallError> {
        let mut first_total = None;
        let mut offset = 0;
        for _ in 0..MOST_PAGES {
            let paged = request.clone().with("offset", offset).with("limit", PAGE);
            let page: Page<T> = read_page(self.call(&paged).await?)
                .map_err(|failure| CallError::new(request.action(), failure))?;
            let count = page.rows.len();
            offset += count;
            rows.extend(page.rows.into_iter().map(|row| (row.id().to_owned(), row)));
            let steady = *first_total.get_or_insert(page.total) == page.total;
            // Without a total only a page that is not full tells the end.
            let more = page.total.map_or(count == PAGE, |total| offset < total);
            if count == 0 || !more {
                return Ok(steady);
            }
        }
        Err(CallError::new(request.action(), Failure::Garbled("its pages have no end".to_owned())))
    }
}

struct Page<T> {
    rows: Vec<T>,
    total: Option<usize>,
}

/// Reads one page. A row that cannot be read fails the call: leaving it out would be taken as its absence.
fn read_page<T: Row>(mut answer: Map<String, Value>) -> Result<Page<T>, Failure> {
    let rows = match answer.remove(T::SET) {
        None | Some(Value::Null) => Vec::new(),
        Some(rows) => serde_json::from_value(rows)
            .map_err(|error| Failure::Garbled(format!("{} cannot be read: {error}", T::SET)))?,
    };
    let total = answer.get("total_count").and_then(integer).and_then(|total| usize::try_from(total).ok());
    Ok(Page { rows, total })
}
