//! The page that lists every setting is made of the same list as the flags.

use std::path::Path;

use super::super::key::{SPECS, capitals, variable};

/// Set to write the table anew instead of comparing it.
const UPDATE: &str = "HOSTNIC_UPDATE_GENERATED";
const BEGIN: &str = "<!-- settings -->\n";
const END: &str = "<!-- /settings -->\n";

fn table() -> String {
    let mut table =
        "| setting | default | what it says | earlier spellings | in `hostnic-cfg-cm` | environment |\n|---|---|---|---|---|---|\n"
            .to_owned();
    for spec in SPECS {
        let mut earlier: Vec<&str> = spec.earlier.iter().map(|s| s.text).collect();
        let mut bare: Vec<String> = earlier.iter().map(|text| capitals(text)).collect();
        bare.dedup();
        earlier.retain(|text| *text != spec.name);
        let code =
            |names: Vec<String>| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let earlier = code(earlier.into_iter().map(str::to_owned).collect());
        bare.extend(spec.variable.map(str::to_owned));
        bare.insert(0, variable(spec.name));
        let guide = code(spec.guide.iter().map(|guide| guide.place()).collect());
        table += &format!(
            "| `{}` | {} | {} | {earlier} | {guide} | {} |\n",
            spec.name,
            spec.default,
            spec.help,
            code(bare)
        );
    }
    table
}

#[test]
fn the_page_lists_every_setting() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let (head, rest) = text.split_once(BEGIN).unwrap();
    let (present, tail) = rest.split_once(END).unwrap();
    let table = table();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&page, [head, BEGIN, &table, END, tail].concat()).unwrap();
        return;
    }
    let hint = format!("run `{UPDATE}=1 cargo test -p hostnic-daemon --lib reference`");
    assert!(present == table, "{} is out of date; {hint}", page.display());
}
