//! What QingCloud's SDKs read to find the simulator.

use std::net::SocketAddr;

/// The text of a client.yaml.
pub(super) fn client_yaml(address: SocketAddr, zone: &str, access_key: &str, secret_key: &str) -> String {
    let lines = [
        ("qy_access_key_id", quoted(access_key)),
        ("qy_secret_access_key", quoted(secret_key)),
        ("zone", quoted(zone)),
        ("host", quoted(&address.ip().to_string())),
        ("port", address.port().to_string()),
        ("protocol", "http".to_owned()),
        ("uri", "/iaas".to_owned()),
    ];
    lines.iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
}

/// A text that YAML takes as it is, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_odd_letters_stay_what_they_are() {
        let yaml = client_yaml("127.0.0.1:7777".parse().unwrap(), "sim1", "A: #", "it's");
        assert!(yaml.starts_with("qy_access_key_id: 'A: #'\nqy_secret_access_key: 'it''s'\nzone: 'sim1'\n"));
        assert!(yaml.contains("host: '127.0.0.1'\nport: 7777\n"));
    }
}
