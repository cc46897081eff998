//! Settings from the environment.

use std::collections::BTreeMap;

use super::error::SettingsError;
use super::key::{Key, OBSOLETE, SPECS, capitals, variable};
use super::layer::Layer;
use super::notice::Notice;
use super::raw::Raw;
use super::source::Source;

/// The variable that names the configuration file.
pub(super) const CONFIG: &str = "HOSTNIC_CONFIG";

/// What the environment says; `HOSTNIC_*` wins over the earlier programs' bare capitals. An empty variable says nothing.
pub(super) fn read(
    variables: &BTreeMap<String, String>,
    errors: &mut Vec<SettingsError>,
    notices: &mut Vec<Notice>,
) -> Layer {
    let (mut earlier, mut ours) = (Layer::default(), Layer::default());
    let set = |variable: &str| {
        variables.get(variable).map(|text| Raw::text(text)).filter(|raw| *raw != Raw::Nothing)
    };
    let mut take = |layer: &mut Layer, key: Key, variable: String| {
        if let Some(raw) = set(&variable) {
            errors.extend(layer.add(key, raw, Source::Environment { variable }).err());
        }
    };
    for spec in SPECS {
        let mut names: Vec<String> = spec.earlier.iter().map(|s| capitals(s.text)).collect();
        names.sort();
        names.dedup();
        for name in names {
            take(&mut earlier, spec.key, name);
        }
        if let Some(name) = spec.variable {
            take(&mut earlier, spec.key, name.to_owned());
        }
        take(&mut ours, spec.key, variable(spec.name));
    }
    for name in OBSOLETE.iter().map(|text| capitals(text)).filter(|name| variables.contains_key(name)) {
        notices.push(Notice::Obsolete(Source::Environment { variable: name }));
    }
    notices.extend(misspelt(variables));
    earlier.overlay(ours);
    earlier
}

/// Others set variables that begin like ours too, a cluster for its services for one, so only what is nearly one of
/// ours is told.
fn misspelt(variables: &BTreeMap<String, String>) -> Vec<Notice> {
    let known: Vec<String> =
        SPECS.iter().map(|spec| variable(spec.name)).chain([CONFIG.to_owned()]).collect();
    let near = |name: &String| {
        let distances = known.iter().map(|known| (strsim::damerau_levenshtein(known, name), known));
        let (distance, nearest) = distances.min()?;
        (1..=2)
            .contains(&distance)
            .then(|| Notice::UnknownVariable { variable: name.clone(), nearest: nearest.clone() })
    };
    variables.keys().filter(|name| name.starts_with("HOSTNIC_")).filter_map(near).collect()
}
