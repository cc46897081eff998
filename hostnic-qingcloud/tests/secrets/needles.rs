//! What a secret may look like when it is told after all.

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// A text that nobody may hear, in every form that it may be told in.
pub(crate) struct Needles {
    name: &'static str,
    forms: Vec<(&'static str, String)>,
}

impl Needles {
    pub(crate) fn new(name: &'static str, secret: &str) -> Self {
        let json = serde_json::to_string(secret).unwrap();
        let debug = format!("{secret:?}");
        let bytes = format!("{:?}", secret.as_bytes());
        let percent = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
        let mut forms = vec![
            ("plain", secret.to_owned()),
            ("in JSON", json[1..json.len() - 1].to_owned()),
            (
                "in JSON in JSON",
                serde_json::to_string(&json).unwrap().replace("\"\\\"", "").replace("\\\"\"", ""),
            ),
            ("in Debug", debug[1..debug.len() - 1].to_owned()),
            ("as bytes", bytes[1..bytes.len() - 1].to_owned()),
            ("as hexadecimal digits", HEXLOWER.encode(secret.as_bytes())),
            ("URL-encoded", percent.clone()),
            ("as in a form", percent.replace("%20", "+")),
            ("URL-encoded in small letters", percent.to_lowercase()),
            ("in base64", BASE64.encode(secret.as_bytes())),
        ];
        // Inside a longer text its letters depend on how many bytes stand before it.
        for before in 0..3 {
            let whole = [vec![b' '; before], secret.as_bytes().to_vec()].concat();
            let from = (before * 8).div_ceil(6);
            let to = whole.len() * 8 / 6;
            forms.push(("within base64", BASE64_NOPAD.encode(&whole)[from..to].to_owned()));
            forms.push(("within base64 for URLs", BASE64URL_NOPAD.encode(&whole)[from..to].to_owned()));
        }
        Self { name, forms }
    }

    /// Where the text tells it, and in which form; the place is shown without it.
    pub(crate) fn told_by(&self, text: &str) -> Option<String> {
        self.forms.iter().find_map(|(form, needle)| {
            let line = text.lines().find(|line| line.contains(needle))?;
            Some(format!("{} {form}: {}", self.name, line.replace(needle, "########")))
        })
    }
}

#[test]
fn a_secret_is_found_in_every_form() {
    let secret = "a+b/c \"d\"=\u{4e2d}?";
    let needles = Needles::new("the secret", secret);
    let pair = format!("user:{secret}");
    for told in [
        format!("-{secret}-"),
        serde_json::json!({"secret": secret}).to_string(),
        serde_json::json!({"text": serde_json::json!({"secret": secret}).to_string()}).to_string(),
        format!("{:?}", Some(secret)),
        format!("{:?}", secret.as_bytes()),
        "secret_key=a%2Bb%2Fc%20%22d%22%3D%E4%B8%AD%3F&zone=z".to_owned(),
        "secret_key=a%2Bb%2Fc+%22d%22%3D%E4%B8%AD%3F&zone=z".to_owned(),
        "secret_key=a%2bb%2fc%20%22d%22%3d%e4%b8%ad%3f&zone=z".to_owned(),
        BASE64.encode(secret.as_bytes()),
        BASE64.encode(pair.as_bytes()),
        BASE64URL_NOPAD.encode(format!("{pair} and more").as_bytes()),
    ] {
        assert!(needles.told_by(&told).is_some(), "{told}");
    }
    assert_eq!(needles.told_by("nothing of it"), None);
}
