//! `hostnic-daemon config`: the settings in force, and where each comes from.

use std::ffi::OsStr;

use serde::Serialize;

use super::Output;
use super::in_force::{in_force, say};
use super::list::print;
use super::table::table;
use crate::settings::{Flags, Row};

/// The flags of `hostnic-daemon config`.
#[derive(Debug, clap::Args)]
pub(super) struct Config {
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    pub(super) flags: Flags,
}

#[derive(Serialize)]
struct Shown {
    personality: &'static str,
    file: Option<String>,
    cni_config: Option<String>,
    settings: Vec<Row>,
    notices: Vec<String>,
}

impl Config {
    pub(super) fn run(self, argv0: &OsStr) -> Result<(), String> {
        let (settings, notices) = in_force(argv0, self.flags)?;
        for notice in &notices {
            say(notice);
        }
        let shown = Shown {
            personality: settings.personality.name(),
            file: settings.file.as_ref().map(|file| file.display().to_string()),
            cni_config: settings.cni.file.as_ref().map(|file| file.display().to_string()),
            settings: settings.rows(),
            notices: notices.iter().map(ToString::to_string).collect(),
        };
        print(self.output, &shown, as_table)
    }
}

fn as_table(shown: &Shown) -> String {
    let none = |file: &Option<String>| file.clone().unwrap_or_else(|| "none".to_owned());
    let (file, cni) = (none(&shown.file), none(&shown.cni_config));
    let rows = shown.settings.iter().map(|row| [row.key.to_owned(), row.text(), row.source.to_string()]);
    let settings = table(["SETTING", "VALUE", "SOURCE"], &rows.collect::<Vec<_>>());
    format!("behaves as  {}\nfile        {file}\ncni-config  {cni}\n\n{settings}", shown.personality)
}
