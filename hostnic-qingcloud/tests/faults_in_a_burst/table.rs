//! What came of each fault at each action.

use std::collections::BTreeMap;
use std::fmt;

use crate::cell::Seen;
use crate::expected::{ACTIONS, Cell, Moment};

/// Row by row.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: BTreeMap<usize, Row>,
}

#[derive(Debug)]
struct Row {
    fault: &'static str,
    seen: BTreeMap<(&'static str, Moment), String>,
}

impl Table {
    pub(crate) fn note(&mut self, cell: Cell, (outcomes, wrong): &Seen) {
        let mut text = outcomes.get("ok").copied().unwrap_or_default().to_string();
        for (sign, count) in outcomes.iter().filter(|(sign, _)| **sign != "ok") {
            text.push_str(&format!("+{count}{sign}"));
        }
        if !wrong.is_empty() {
            text.push('!');
        }
        let row = self.rows.entry(cell.row);
        let row = row.or_insert_with(|| Row { fault: cell.fault, seen: BTreeMap::new() });
        row.seen.insert((cell.action, cell.moment), text);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "ADDs of 30 that ended well, with the fault at the first call/the last/all for a while; others:"
        )?;
        writeln!(
            f,
            "t transient, r throttled, u unauthorised, e exhausted, qa qi qs quota of account, instance, vxnet"
        )?;
        writeln!(f, "! not as expected, . not run\n")?;
        write!(f, "{:20}", "")?;
        for action in ACTIONS {
            write!(f, " {action:18}")?;
        }
        for Row { fault, seen } in self.rows.values() {
            write!(f, "\n{fault:20}")?;
            for action in ACTIONS {
                let of = |moment| seen.get(&(action, moment)).map_or(".", String::as_str);
                write!(f, " {:18}", Moment::ALL.map(|(moment, _)| of(moment)).join("/"))?;
            }
        }
        writeln!(f)
    }
}
