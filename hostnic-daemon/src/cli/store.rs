//! `hostnic-daemon store`: what a node remembers, without asking the daemon.

use std::path::PathBuf;

use clap::Subcommand;
use hostnic_core::store::RedbStore;

use crate::settings::DEFAULT_STORE;

#[derive(Debug, Subcommand)]
pub(super) enum Store {
    /// Print the records as text, one a line; also of a store in use, and of a damaged one that was kept aside.
    Dump(Dump),
}

#[derive(Debug, clap::Args)]
pub(super) struct Dump {
    /// The store's file.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_STORE)]
    store: PathBuf,
}

impl Store {
    #[expect(clippy::print_stdout, reason = "what a person asked for goes to standard output")]
    pub(super) fn run(&self) -> Result<(), String> {
        let Self::Dump(Dump { store }) = self;
        let dump = RedbStore::dump(store).map_err(|error| error.chain().to_string())?;
        print!("{dump}");
        if dump.is_sound() {
            Ok(())
        } else {
            Err(format!("some records of {} are damaged; they are marked above", store.display()))
        }
    }
}
