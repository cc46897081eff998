//! Settings from the command line: ours in the help, and the earlier programs' spellings hidden beside them.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches, value_parser};

use super::error::SettingsError;
use super::key::{Key, OBSOLETE, OBSOLETE_FLAG, SPECS, Spec, Takes};
use super::layer::Layer;
use super::notice::Notice;
use super::personality::Personality;
use super::raw::Raw;
use super::source::Source;

/// The flags that the earlier programs took before the subcommand as well.
const ANYWHERE: [&str; 4] = ["bindAddr", "manageAddr", "loglevel", CONFIG];
const CONFIG: &str = "config";

/// The flags that were given, as they were given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// The file of `--config`.
    pub config: Option<PathBuf>,
    given: Vec<(&'static str, Vec<String>)>,
}

impl Flags {
    /// What was given for a flag, spelt so.
    fn get(&self, flag: &str) -> Option<&[String]> {
        self.given.iter().find(|(given, _)| *given == flag).map(|(_, values)| values.as_slice())
    }

    /// What `--compat` says.
    pub(super) fn compat(&self) -> Option<&str> {
        self.get(Key::Compat.name())?.last().map(String::as_str)
    }

    /// The file of `--cni-config`.
    pub(super) fn network(&self) -> Option<PathBuf> {
        self.get(Key::CniConfig.name())?.last().map(PathBuf::from)
    }

    /// The flags that only one program had.
    pub(super) fn telling(&self) -> impl Iterator<Item = (&'static str, Personality)> {
        let tells = |spec: &'static Spec| spec.earlier.iter().filter_map(|s| Some((s.text, s.tells?)));
        SPECS.iter().flat_map(tells).filter(|(flag, _)| self.get(flag).is_some())
    }

    /// What the flags say.
    pub(super) fn read(&self, errors: &mut Vec<SettingsError>, notices: &mut Vec<Notice>) -> Layer {
        let mut layer = Layer::default();
        for spec in SPECS {
            for flag in spellings(spec) {
                if let Some(values) = self.get(flag) {
                    let raw = raw(spec.takes, values);
                    errors.extend(layer.add(spec.key, raw, Source::Flag { flag }).err());
                }
            }
        }
        let obsolete = OBSOLETE.iter().chain([&OBSOLETE_FLAG]).filter(|flag| self.get(flag).is_some());
        notices.extend(obsolete.map(|flag| Notice::Obsolete(Source::Flag { flag })));
        layer
    }
}

fn raw(takes: Takes, values: &[String]) -> Raw {
    match takes {
        Takes::List(_) => Raw::list(values.iter().cloned()),
        Takes::One(_) | Takes::Switch => values.last().map_or(Raw::Nothing, |value| Raw::text(value)),
    }
}

/// Every spelling of a setting as a flag, ours first.
fn spellings(spec: &'static Spec) -> impl Iterator<Item = &'static str> {
    let earlier = spec.earlier.iter().map(|s| s.text).filter(|text| *text != spec.name);
    std::iter::once(spec.name).chain(earlier)
}

fn arg(flag: &'static str, takes: Takes) -> Arg {
    let arg = Arg::new(flag).long(flag);
    match takes {
        // The last one counts, as it did for the earlier programs.
        Takes::One(value) => arg.value_name(value).overrides_with(flag),
        Takes::List(value) => arg.value_name(value).action(ArgAction::Append),
        Takes::Switch => arg
            .value_name("BOOL")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .overrides_with(flag),
    }
}

fn config() -> Arg {
    Arg::new(CONFIG)
        .long(CONFIG)
        .value_name("PATH")
        .value_parser(value_parser!(PathBuf))
        .overrides_with(CONFIG)
}

/// The arguments of a setting, of which ours is shown.
fn args(spec: &'static Spec) -> impl Iterator<Item = Arg> {
    let help = match spec.default {
        "" => spec.help.to_owned(),
        default => format!("{} [default: {default}]", spec.help),
    };
    spellings(spec).map(move |flag| {
        let ours = flag == spec.name;
        arg(flag, spec.takes).help(help.clone()).hide(!ours)
    })
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        let help = "The configuration file [default: /etc/hostnic/hostnic-daemon.yaml, $HOME/.daemon.yaml, \
                    ./QingAgent.yaml or /etc/hostnic/hostnic.json]";
        let obsolete = OBSOLETE.iter().map(|flag| arg(flag, Takes::Switch).hide(true));
        let path = arg(OBSOLETE_FLAG, Takes::One("PATH")).hide(true);
        command.arg(config().help(help)).args(SPECS.iter().flat_map(args)).args(obsolete).arg(path)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.config = matches.get_one::<PathBuf>(CONFIG).cloned();
        let known = SPECS.iter().flat_map(spellings).chain(OBSOLETE.iter().copied()).chain([OBSOLETE_FLAG]);
        let given = |flag| Some((flag, matches.get_many::<String>(flag)?.cloned().collect()));
        self.given = known.filter_map(given).collect();
        Ok(())
    }
}

/// Lets a program take the flags that the earlier ones took before the subcommand there too.
pub(crate) fn anywhere(command: Command) -> Command {
    let takes = |flag: &str| match SPECS.iter().find(|spec| spellings(spec).any(|s| s == flag)) {
        Some(spec) => spec.takes,
        None => Takes::One("PATH"),
    };
    ANYWHERE.iter().fold(command, |command, flag| {
        let arg = if *flag == CONFIG { config() } else { arg(flag, takes(flag)) };
        command.arg(arg.global(true).hide(true))
    })
}
