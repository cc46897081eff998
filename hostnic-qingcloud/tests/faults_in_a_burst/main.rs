//! Every fault at every action of a burst of 30 ADDs and 30 DELs: the burst ends right or with the errors that the
//! table in `expected.rs` says, the node recovers by itself, and nothing is left over or made twice.
//!
//! Each cell is a test, named `FAULT::ACTION::MOMENT`, with a cloud, a node and a paused clock of its own.
//! HOSTNIC_SCALE says how many of a row's cells are run: a tenth unless told, which takes each fault and each action at
//! least once.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says by panicking that it failed, and prints its table"
)]

mod aftermath;
mod burst;
mod cell;
mod door;
mod expected;
mod node;
#[path = "../support/mod.rs"]
mod support;
mod table;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::cell::Seen;
use crate::expected::{ACTIONS, Cell};
use crate::table::Table;

/// A cell that has not ended after this much of its own time does not end.
const LIMIT: Duration = Duration::from_secs(12 * 3600);

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let (clean, calls) = in_paused_time(cell::without_faults());
    let table = Arc::new(Mutex::new(Table::default()));
    let mut trials = vec![Trial::test("none", move || verdict(clean))];
    trials.push(Trial::test("no_other_action_is_called", {
        let calls = calls.clone();
        move || all_actions_are_known(&calls)
    }));
    trials.extend(sample(expected::cells(), scale()).into_iter().map(|cell| {
        let (table, calls) = (table.clone(), calls.get(cell.action).copied().unwrap_or_default());
        Trial::test(cell.to_string(), move || {
            let seen = in_paused_time(cell::run(cell, calls));
            table.lock().unwrap().note(cell, &seen);
            verdict(seen)
        })
    }));
    let listed = arguments.list;
    let code = libtest_mimic::run(&arguments, trials).exit_code();
    if !listed {
        println!("{}", table.lock().unwrap());
    }
    code
}

fn in_paused_time<T>(cell: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async { tokio::time::timeout(LIMIT, cell).await.unwrap() })
}

fn verdict((_, wrong): Seen) -> Result<(), Failed> {
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// A call that the table knows nothing of would be one that no fault was tried at.
fn all_actions_are_known(calls: &BTreeMap<String, u64>) -> Result<(), Failed> {
    let mut known: Vec<&str> = ACTIONS.to_vec();
    known.sort_unstable();
    if calls.keys().eq(known.iter()) { Ok(()) } else { Err(format!("{calls:?} are called").into()) }
}

fn scale() -> f64 {
    std::env::var("HOSTNIC_SCALE").map_or(0.1, |scale| scale.parse().unwrap())
}

/// So much of every row, and at least one cell. Rows begin at different actions and moments, so that a part of the
/// table has them all.
fn sample(cells: Vec<Cell>, scale: f64) -> Vec<Cell> {
    let mut rows: BTreeMap<usize, Vec<Cell>> = BTreeMap::new();
    for cell in cells {
        rows.entry(cell.row).or_default().push(cell);
    }
    let part = |(row, cells): (usize, Vec<Cell>)| {
        let count = (cells.len() as f64 * scale).ceil().max(1.0) as usize;
        // 7 has no factor in common with the lengths of rows, so each cell comes once.
        let order = (0..cells.len()).map(|n| (row + 7 * n) % cells.len()).take(count);
        order.map(|n| cells[n]).collect::<Vec<_>>()
    };
    rows.into_iter().flat_map(part).collect()
}
