//! What parameters an action takes, and the arguments of one request that were checked against that.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::query::Query;
use super::refusal::Refusal;

/// What a value must be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    Text,
    Integer {
        least: i64,
        most: i64,
    },
    OneOf(&'static [&'static str]),
    Address,
    Prefix,
    /// `name.1=…`, `name.2=…`; a plain `name=…` is a list of one.
    List(&'static Form),
    /// `name.1.field=…`
    Objects(&'static [Parameter]),
}

/// A parameter of an action.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameter {
    name: &'static str,
    form: Form,
    required: bool,
}

pub(super) const TEXTS: Form = Form::List(&Form::Text);
pub(super) const FLAG: Form = Form::Integer { least: 0, most: 1 };

pub(super) const fn optional(name: &'static str, form: Form) -> Parameter {
    Parameter { name, form, required: false }
}

pub(super) const fn required(name: &'static str, form: Form) -> Parameter {
    Parameter { name, form, required: true }
}

/// What every request may carry, besides what its action takes. Who reads them is `gate`; `project_id` and
/// `target_user` are accepted and have no effect.
const COMMON: &[&str] = &[
    "access_key_id",
    "action",
    "expires",
    "project_id",
    "req_id",
    "signature",
    "signature_method",
    "signature_version",
    "target_user",
    "time_stamp",
    "token",
    "version",
    "zone",
];

/// What every list may be asked with, besides its own.
const LISTING: &[Parameter] = &[
    optional("limit", Form::Integer { least: 0, most: i64::MAX }),
    optional("offset", Form::Integer { least: 0, most: i64::MAX }),
    optional("owner", Form::Text),
    optional("reverse", FLAG),
    optional("search_word", Form::Text),
    optional("tags", TEXTS),
    optional("verbose", Form::Integer { least: 0, most: 9 }),
];

/// The arguments of one request, in the forms that its action's parameters have.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    scalars: BTreeMap<String, String>,
    lists: BTreeMap<String, BTreeMap<u32, String>>,
    objects: BTreeMap<String, BTreeMap<u32, Arguments>>,
}

impl Arguments {
    /// Checks a request against the parameters of its action.
    pub(super) fn check(query: &Query, action: &str, takes: &[Parameter]) -> Result<Self, Refusal> {
        let listing = if action.starts_with("Describe") { LISTING } else { &[] };
        let find = |name: &str| takes.iter().chain(listing).find(|p| p.name == name);
        let mut arguments = Self::default();
        for (name, value) in query.iter().filter(|(name, _)| !COMMON.contains(name)) {
            let unknown = || Refusal::malformed(format!("parameter [{name}] is unknown to {action}"));
            let mut parts = name.splitn(3, '.');
            let base = parts.next().unwrap_or_default();
            let parameter = find(base).ok_or_else(unknown)?;
            let index = parts.next().map(|index| index.parse::<u32>().map_err(|_| unknown())).transpose()?;
            match (parameter.form, index, parts.next()) {
                (Form::List(each), index, None) => {
                    check(name, value, *each)?;
                    arguments.lists.entry(base.into()).or_default().insert(index.unwrap_or(1), value.into());
                }
                (Form::Objects(fields), Some(index), Some(field)) => {
                    let known = fields.iter().find(|f| f.name == field).ok_or_else(unknown)?;
                    check(name, value, known.form)?;
                    let object = arguments.objects.entry(base.into()).or_default().entry(index).or_default();
                    object.scalars.insert(field.into(), value.into());
                }
                (Form::List(_) | Form::Objects(_), ..) | (_, Some(_), _) => return Err(unknown()),
                (form, None, _) => {
                    check(name, value, form)?;
                    arguments.scalars.insert(base.into(), value.into());
                }
            }
        }
        arguments.check_required(takes, action)?;
        Ok(arguments)
    }

    fn check_required(&self, takes: &[Parameter], action: &str) -> Result<(), Refusal> {
        for parameter in takes {
            let missing = |name: &str| Refusal::malformed(format!("{action} needs parameter [{name}]"));
            let name = parameter.name;
            match parameter.form {
                Form::List(_) if parameter.required && self.texts(name).is_none() => {
                    return Err(missing(name));
                }
                Form::List(_) => {}
                Form::Objects(_) if parameter.required && self.objects(name).next().is_none() => {
                    return Err(missing(name));
                }
                Form::Objects(fields) => {
                    for (index, object) in self.objects.get(name).into_iter().flatten() {
                        let absent = |f: &&Parameter| {
                            f.required && object.scalars.get(f.name).is_none_or(String::is_empty)
                        };
                        if let Some(field) = fields.iter().find(absent) {
                            return Err(missing(&format!("{name}.{index}.{}", field.name)));
                        }
                    }
                }
                _ if parameter.required && self.text(name).is_none() => return Err(missing(name)),
                _ => {}
            }
        }
        Ok(())
    }

    /// A value; an empty one counts as absent.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.scalars.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A value that may be empty.
    pub(super) fn raw(&self, name: &str) -> Option<&str> {
        self.scalars.get(name).map(String::as_str)
    }

    /// A required text; its presence was checked.
    pub(super) fn needed(&self, name: &str) -> &str {
        self.text(name).unwrap_or_default()
    }

    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }

    pub(super) fn parsed<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }

    /// The values of a list in the order of their numbers, empty ones left out; `None` where there are none.
    pub(super) fn texts(&self, name: &str) -> Option<Vec<&str>> {
        let values: Vec<_> =
            self.lists.get(name)?.values().map(String::as_str).filter(|value| !value.is_empty()).collect();
        (!values.is_empty()).then_some(values)
    }

    pub(super) fn objects(&self, name: &str) -> impl Iterator<Item = &Self> {
        self.objects.get(name).into_iter().flatten().map(|(_, object)| object)
    }
}

/// Checks one value; an empty one is always well-formed, as SDKs send them for what is not set.
fn check(name: &str, value: &str, form: Form) -> Result<(), Refusal> {
    let malformed =
        |what: &str| Refusal::malformed(format!("parameter [{name}] must be {what}, not [{value}]"));
    if value.is_empty() {
        return Ok(());
    }
    match form {
        Form::Text => Ok(()),
        Form::Integer { least, most } => {
            let number: i64 = value.parse().map_err(|_| malformed("an integer"))?;
            if (least..=most).contains(&number) {
                return Ok(());
            }
            let range = format!("parameter [{name}] must be from {least} to {most}, not [{value}]");
            Err(Refusal::wrong_value(range))
        }
        Form::OneOf(words) if words.contains(&value) => Ok(()),
        Form::OneOf(words) => Err(Refusal::wrong_value(format!(
            "parameter [{name}] must be one of {}, not [{value}]",
            words.join(", ")
        ))),
        Form::Address => value.parse::<IpAddr>().map(drop).map_err(|_| malformed("an IP address")),
        Form::Prefix => {
            value.parse::<IpNet>().map(drop).map_err(|_| malformed("a network such as 10.0.0.0/24"))
        }
        Form::List(_) | Form::Objects(_) => Err(malformed("plain")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAKES: &[Parameter] = &[
        required("vxnet", Form::Text),
        optional("count", Form::Integer { least: 1, most: 252 }),
        optional("private_ips", Form::List(&Form::Address)),
        optional("rules", Form::Objects(&[required("protocol", Form::Text), optional("val1", Form::Text)])),
    ];

    fn checked(text: &str) -> Result<Arguments, Refusal> {
        let mut query = Query::default();
        query.read(text)?;
        Arguments::check(&query, "CreateNics", TAKES)
    }

    #[test]
    fn lists_are_read_in_the_order_of_their_numbers() {
        let many: String = (1..=11).rev().map(|n| format!("&private_ips.{n}=10.0.0.{n}")).collect();
        let arguments = checked(&format!("zone=z&vxnet=v{many}")).unwrap();
        let read = arguments.texts("private_ips").unwrap();
        assert_eq!(read[..3], ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        assert_eq!(read[10], "10.0.0.11");
    }

    #[test]
    fn what_is_wrong_is_refused_by_name() {
        for (text, code, name) in [
            ("count=1", 1100, "[vxnet]"),
            ("vxnet=", 1100, "[vxnet]"),
            ("vxnet=v&colour=red", 1100, "[colour]"),
            ("vxnet.1=v", 1100, "[vxnet.1]"),
            ("vxnet=v&limit=1", 1100, "[limit]"),
            ("vxnet=v&count=many", 1100, "[count]"),
            ("vxnet=v&count=253", 1101, "[count]"),
            ("vxnet=v&private_ips.1=10.0.0.300", 1100, "[private_ips.1]"),
            ("vxnet=v&rules.1.val1=1", 1100, "[rules.1.protocol]"),
            ("vxnet=v&rules.1.protocol=tcp&rules.1.shape=round", 1100, "[rules.1.shape]"),
        ] {
            let refusal = checked(text).unwrap_err();
            assert_eq!(refusal.code(), code, "{text}");
            let message = refusal.body()["message"].to_string();
            assert!(message.contains(name), "{text}: {message}");
        }
    }
}
