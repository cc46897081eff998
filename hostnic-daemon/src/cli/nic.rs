//! `hostnic-daemon nic`: NICs of the whole account, without asking a daemon.

use std::ffi::OsStr;
use std::sync::Arc;

use clap::Subcommand;
use hostnic_core::id::NicId;
use hostnic_core::layer::{Deadline, Stack};
use hostnic_core::sweep::{self, BATCH, Orphan, PAUSE};
use hostnic_core::{Chain, Result};
use serde::Serialize;

use super::Output;
use super::access::Access;
use super::in_force::{in_force, say};
use super::list::print;
use super::table::table;
use crate::settings::{Flags, Provider};

#[derive(Debug, Subcommand)]
pub(super) enum Nic {
    /// List the NICs with a name of ours whose instance no longer exists, in the whole account; with --delete remove them.
    Sweep(Box<Sweep>),
}

/// The flags of `hostnic-daemon nic sweep`.
#[derive(Debug, clap::Args)]
pub(super) struct Sweep {
    /// Delete them, at most 20 a minute.
    #[arg(long)]
    delete: bool,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Serialize)]
struct Row {
    nic: String,
    subnet: String,
    addresses: Vec<String>,
    instance: String,
}

impl From<&Orphan> for Row {
    fn from(Orphan { nic, instance }: &Orphan) -> Self {
        Self {
            nic: nic.id.to_string(),
            subnet: nic.subnet.to_string(),
            addresses: nic.addresses.iter().map(ToString::to_string).collect(),
            instance: instance.to_string(),
        }
    }
}

impl Nic {
    pub(super) fn run(self, argv0: &OsStr) -> std::result::Result<(), String> {
        let Self::Sweep(sweep) = self;
        let Sweep { delete, output, flags } = *sweep;
        let (settings, notices) = in_force(argv0, flags)?;
        for notice in notices.iter().filter(|notice| notice.is_warning()) {
            say(notice);
        }
        if settings.provider.value == Provider::Sim {
            return Err(
                "a simulated cloud ends with its daemon, and its NICs with it; there is nothing to sweep"
                    .to_owned(),
            );
        }
        let access = Access::read(&settings).map_err(|error| Chain(&error).to_string())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("no runtime could be started: {error}"))?;
        runtime.block_on(run(access, delete, output))
    }
}

async fn run(access: Access, delete: bool, output: Output) -> std::result::Result<(), String> {
    let told = |error: hostnic_core::Error| error.chain().to_string();
    let directory = access.connect().await.map_err(told)?;
    let provider = Stack::new().deadline(Deadline::default()).around(Arc::new(directory.clone()));
    let orphans = sweep::orphans(&*provider, &directory).await.map_err(told)?;
    let rows: Vec<Row> = orphans.iter().map(Row::from).collect();
    print(output, &rows, |rows| as_table(rows))?;
    if delete && !orphans.is_empty() {
        let batches = orphans.len().div_ceil(BATCH);
        if batches > 1 {
            eprintln!(
                "{BATCH} NICs are deleted at a time, with {} s between: {batches} times",
                PAUSE.as_secs()
            );
        }
        let deleted: Result<()> = sweep::delete(&*provider, &directory, &orphans, say_deleted).await;
        deleted.map_err(told)?;
    }
    Ok(())
}

/// Beside the list, so that a program reads nothing but that.
fn say_deleted(nics: &[NicId]) {
    let ids: Vec<_> = nics.iter().map(ToString::to_string).collect();
    match ids.as_slice() {
        [] => eprintln!("nothing deleted: they are gone, or in use by now"),
        ids => eprintln!("deleted {}", ids.join(" ")),
    }
}

fn as_table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no NIC of ours has outlived its instance".to_owned();
    }
    let row = |row: &Row| {
        let addresses = if row.addresses.is_empty() { "-".to_owned() } else { row.addresses.join(",") };
        [row.nic.clone(), row.subnet.clone(), addresses, row.instance.clone()]
    };
    table(["NIC", "SUBNET", "ADDRESS", "INSTANCE"], &rows.iter().map(row).collect::<Vec<_>>())
}
