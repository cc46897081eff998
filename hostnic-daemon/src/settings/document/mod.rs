//! A configuration file as a list of keys with values, whatever it is written in.

mod tree;
mod xml;

use std::fmt;
use std::path::Path;

use serde::Deserialize;

use super::raw::Raw;
use tree::Top;

/// What a file is written in, by its ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `.json`.
    Json,
    /// `.toml`.
    Toml,
    /// `.yaml` or `.yml`.
    Yaml,
    /// `.xml`: a root with any name, in it one element per key; an element that comes again, or that has elements of its
    /// own, is a list.
    Xml,
}

impl Format {
    /// The endings, in the order in which files are looked for.
    pub const ENDINGS: [(&'static str, Self); 5] = [
        ("json", Self::Json),
        ("toml", Self::Toml),
        ("yaml", Self::Yaml),
        ("yml", Self::Yaml),
        ("xml", Self::Xml),
    ];

    /// The format of a file by its ending.
    pub fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?;
        Self::ENDINGS.iter().find(|(known, _)| ending.eq_ignore_ascii_case(known)).map(|(_, format)| *format)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "JSON",
            Self::Toml => "TOML",
            Self::Yaml => "YAML",
            Self::Xml => "XML",
        })
    }
}

/// Where a file stops being one: line and column from 1, 0 where nobody knows. The parsers' own words are left out, as
/// they may quote what is nobody's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadSyntax {
    pub(super) line: u64,
    pub(super) column: u64,
}

/// The keys of a file in their order, repeated ones too.
pub(super) fn read(format: Format, text: &str) -> Result<Vec<(String, Raw)>, BadSyntax> {
    // Some editors write a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    match format {
        Format::Json => json(text),
        Format::Toml => toml(text),
        Format::Yaml => yaml(text),
        Format::Xml => xml::read(text),
    }
}

fn json(text: &str) -> Result<Vec<(String, Raw)>, BadSyntax> {
    serde_json::from_str(text).map(|Top(entries)| entries).map_err(|error| BadSyntax {
        line: u64::try_from(error.line()).unwrap_or(0),
        column: u64::try_from(error.column()).unwrap_or(0),
    })
}

fn toml(text: &str) -> Result<Vec<(String, Raw)>, BadSyntax> {
    let read = toml::Deserializer::parse(text).and_then(Top::deserialize);
    read.map(|Top(entries)| entries).map_err(|error| {
        error.span().map_or(BadSyntax { line: 0, column: 0 }, |span| position(text, span.start))
    })
}

fn yaml(text: &str) -> Result<Vec<(String, Raw)>, BadSyntax> {
    // A file of comments is no document, which is fine.
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Vec::new());
    }
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).map(|Top(entries)| entries).map_err(|error| {
        let place = error.location();
        BadSyntax {
            line: place.map_or(0, |place| place.line()),
            column: place.map_or(0, |place| place.column()),
        }
    })
}

/// The line and column of a byte.
fn position(text: &str, offset: usize) -> BadSyntax {
    let before = text.get(..offset.min(text.len())).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    BadSyntax { line: u64::try_from(line).unwrap_or(0), column: u64::try_from(column).unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(format: Format, text: &str) -> Vec<(String, Raw)> {
        read(format, text).unwrap_or_else(|error| panic!("{format} {text:?}: {error:?}"))
    }

    #[test]
    fn the_same_settings_are_read_from_every_format() {
        let yaml =
            "# a comment\nPoolSize: 3\nvxnets: [vxnet-a, vxnet-b]\nClean: true\nzone: 'pek3a'\nbind: off\n";
        let json =
            r#"{"PoolSize":3,"vxnets":["vxnet-a","vxnet-b"],"Clean":true,"zone":"pek3a","bind":"off"}"#;
        let toml =
            "PoolSize = 3\nvxnets = ['vxnet-a', 'vxnet-b']\nClean = true\nzone = 'pek3a'\nbind = 'off'\n";
        let xml = "<?xml version=\"1.0\"?>\n<config><!-- a comment --><PoolSize>3</PoolSize><vxnets>vxnet-a</vxnets>\
                   <vxnets>vxnet-b</vxnets><Clean>true</Clean><zone>pek3a</zone><bind><![CDATA[off]]></bind></config>";
        let text = |text: &str| Raw::Text(text.into());
        let want = [
            ("PoolSize".to_owned(), text("3")),
            ("vxnets".into(), Raw::List(vec!["vxnet-a".into(), "vxnet-b".into()])),
            ("Clean".into(), text("true")),
            ("zone".into(), text("pek3a")),
            ("bind".into(), text("off")),
        ];
        for (format, file) in
            [(Format::Yaml, yaml), (Format::Json, json), (Format::Toml, toml), (Format::Xml, xml)]
        {
            let mut read = keys(format, file);
            // TOML's parser sorts.
            read.sort_by_key(|(key, _)| want.iter().position(|(wanted, _)| wanted == key));
            assert_eq!(read, want, "{format}");
        }
    }

    #[test]
    fn what_is_empty_is_nothing() {
        let empty = ["", " \n", "\u{feff}", "# only\n  # comments\n"];
        for format in [Format::Yaml, Format::Toml] {
            for text in empty {
                assert_eq!(keys(format, text), [], "{format} {text:?}");
            }
        }
        assert_eq!(keys(Format::Json, "{}"), []);
        assert_eq!(keys(Format::Xml, "<a/>"), []);
        let nothing = [("zone".to_owned(), Raw::Nothing)];
        assert_eq!(keys(Format::Yaml, "zone:\n"), nothing);
        assert_eq!(keys(Format::Yaml, "zone: ''\n"), nothing);
        assert_eq!(keys(Format::Json, r#"{"zone":null}"#), nothing);
        assert_eq!(keys(Format::Xml, "<a><zone/></a>"), nothing);
    }

    #[test]
    fn what_is_nested_is_told_from_a_value() {
        let section = [("a".to_owned(), Raw::Keys(vec![("b".to_owned(), Raw::Text("1".into()))]))];
        assert_eq!(keys(Format::Yaml, "a:\n  b: 1\n"), section);
        assert_eq!(keys(Format::Json, r#"{"a":{"b":1}}"#), section);
        assert_eq!(keys(Format::Toml, "[a]\nb = 1\n"), section);
        assert_eq!(keys(Format::Json, r#"{"a":[{"b":1}]}"#), [("a".to_owned(), Raw::Nested)]);
        assert!(matches!(keys(Format::Toml, "a = 2026-01-01\n").as_slice(), [(_, Raw::Keys(_))]));
    }

    #[test]
    fn a_key_that_comes_again_is_kept_or_refused_but_never_lost() {
        assert_eq!(keys(Format::Json, r#"{"a":1,"a":2}"#).len(), 2);
        assert!(read(Format::Yaml, "a: 1\na: 2\n").is_err());
        assert!(read(Format::Toml, "a = 1\na = 2\n").is_err());
    }

    #[test]
    fn a_broken_file_says_where() {
        let broken = [
            (Format::Yaml, "zone: pek3a\nvxnet: [a\n", 2..=3),
            (Format::Yaml, "just text\n", 1..=1),
            (Format::Json, "{\n\"zone\" 1}", 2..=2),
            (Format::Json, "[1]", 1..=1),
            (Format::Toml, "zone = 'a'\nvxnet\n", 2..=3),
            (Format::Xml, "<a>\n<b></a>", 2..=2),
        ];
        for (format, text, lines) in broken {
            let error = read(format, text).unwrap_err();
            assert!(lines.contains(&error.line), "{format} {text:?}: {error:?}");
        }
    }

    #[test]
    fn depth_and_aliases_have_an_end() {
        let deep = |open: &str, close: &str| format!("{}{}", open.repeat(3_000), close.repeat(3_000));
        assert!(read(Format::Json, &format!("{{\"a\":{}}}", deep("[", "]"))).is_err());
        assert!(read(Format::Toml, &format!("a = {}", deep("[", "]"))).is_err());
        assert!(read(Format::Yaml, &format!("a: {}", deep("[", "]"))).is_err());
        assert_eq!(keys(Format::Xml, &format!("<r><a>{}</a></r>", deep("<i>", "</i>"))).len(), 1);
        let mut laughs = "a: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 0..12 {
            let next = i + 1;
            laughs +=
                &format!("b{next}: &a{next} [*a{i}, *a{i}, *a{i}, *a{i}, *a{i}, *a{i}, *a{i}, *a{i}]\n");
        }
        assert!(read(Format::Yaml, &laughs).is_err());
    }
}
