//! Texts of the documentation that were copied and not filled in.

use super::raw::Raw;

const TEXTS: [&str; 4] =
    ["kubernetes service cidr", "hostip or 0.0.0.0", "your access key id", "your secret access key"];

/// The placeholder that a value is or holds.
pub(super) fn within(raw: &Raw) -> Option<&str> {
    let whole = match raw {
        Raw::Text(text) => std::slice::from_ref(text),
        Raw::List(list) => list,
        Raw::Nothing | Raw::Keys(_) | Raw::Nested => &[],
    };
    let known = |text: &&str| TEXTS.iter().any(|known| known.eq_ignore_ascii_case(text)) || is_subnet(text);
    whole.iter().map(String::as_str).chain(raw.items()).find(known)
}

/// `vxnet-xxxxxxx`, with any number of x.
fn is_subnet(text: &str) -> bool {
    let rest = text.get(..6).filter(|head| head.eq_ignore_ascii_case("vxnet-")).and_then(|_| text.get(6..));
    rest.is_some_and(|rest| rest.len() >= 3 && rest.bytes().all(|byte| byte.eq_ignore_ascii_case(&b'x')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_known_wherever_they_are_in_a_list() {
        let found = |text: &str| within(&Raw::text(text)).map(str::to_owned);
        assert_eq!(found("vxnet-xxxxxxx").as_deref(), Some("vxnet-xxxxxxx"));
        assert_eq!(found("vxnet-a,vxnet-xxxxxxx").as_deref(), Some("vxnet-xxxxxxx"));
        assert_eq!(found("hostip or 0.0.0.0").as_deref(), Some("hostip or 0.0.0.0"));
        assert_eq!(found("Kubernetes Service CIDR").as_deref(), Some("Kubernetes Service CIDR"));
        for real in ["vxnet-x1", "vxnet-oca1g0z", "vxnet-", "0.0.0.0", "vxnet-xx", "vxnét-xxx"] {
            assert_eq!(found(real), None, "{real}");
        }
    }
}
