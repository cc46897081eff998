//! Keys of files: known, unknown, misspelt, of the wrong shape.

use super::*;

const OURS: &str = "/etc/hostnic/hostnic-daemon.yaml";
const EARLIER: &str = "/root/.daemon.yaml";

#[test]
fn an_unknown_key_is_an_error_in_our_file_and_a_warning_in_theirs() {
    let text = "pool_low: 3\ncolour: red\n";
    let ours = line("hostnic-daemon start").file(OURS, text).errors();
    assert_eq!(
        ours,
        [
            format!("{OURS}: the key \"pool_low\" is not known; the nearest known one is \"pool-low\""),
            format!("{OURS}: the key \"colour\" is not known"),
        ]
    );
    let theirs = line("daemon start --bindAddr off --manageAddr off").file(EARLIER, text).notices();
    assert_eq!(
        theirs,
        [
            format!(
                "{EARLIER}: the key \"pool_low\" is not known and has no effect; the nearest known one is \"pool-low\""
            ),
            format!("{EARLIER}: the key \"colour\" is not known and has no effect"),
        ]
    );
}

#[test]
fn a_file_with_a_name_of_its_own_is_read_as_its_program_would() {
    let text = "POOLSIZE: 7\n";
    assert_eq!(line("daemon start").file("/srv/pods.yaml", text).shown("pool-low").0, "7");
    let strict = line("hostnic-daemon start").file("/srv/pods.yaml", text).errors();
    assert!(strict[0].contains("the nearest known one is \"pool-size\""), "{strict:?}");
    // Ours stays ours under any name.
    assert!(!line("daemon start").file(OURS, text).errors().is_empty());
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let file =
        "policy: fast\nvxnet: [vxnet-xxxxxxx]\npool-low: -1\nsocket: {a: b}\nbind-addr: 1.2.3.4:5\nnope: 1\n";
    let errors =
        line("hostnic-daemon start --zone a/b").variable("HOSTNIC_COOLING", "1h").file(OURS, file).errors();
    let wanted =
        ["nope", "a/b", "fast", "vxnet-xxxxxxx", "\"-1\"", ": socket", "1.2.3.4:5", "HOSTNIC_COOLING"];
    for want in wanted {
        assert!(errors.iter().any(|error| error.contains(want)), "{want}: {errors:#?}");
    }
    assert_eq!(errors.len(), wanted.len(), "{errors:#?}");
}

#[test]
fn a_value_that_is_replaced_later_is_not_looked_at() {
    let sample = "vxnet: vxnet-xxxxxxx\nbind-addr: 0.0.0.0:31080\n";
    let said = line("hostnic-daemon start --vxnet vxnet-a --bind-addr off").file(OURS, sample);
    assert_eq!(said.shown("vxnet").0, "vxnet-a");
}

#[test]
fn every_placeholder_is_refused_by_name() {
    for placeholder in ["vxnet-xxxxxxx", "kubernetes service cidr", "hostip or 0.0.0.0", "Your access key id"]
    {
        for key in ["vxnet", "bind-addr", "access-file", "gateway-name"] {
            let errors = line("x start").file(OURS, &format!("{key}: '{placeholder}'\n")).errors();
            let want = format!("{OURS}: {key}: {placeholder:?} is a placeholder");
            assert!(errors[0].starts_with(&want) && errors.len() == 1, "{errors:?}");
        }
    }
}

#[test]
fn a_key_without_a_value_says_nothing() {
    let said = line("hostnic-daemon start").file(OURS, "zone:\npolicy: ''\nvxnet: []\n");
    for key in ["zone", "policy", "vxnet"] {
        assert_eq!(said.shown(key).1, "default", "{key}");
    }
}

#[test]
fn a_broken_file_says_where_and_quotes_nothing() {
    let errors = line("x start").file(OURS, "zone: gd1\nqy_secret_access_key: 'top secret\n").errors();
    assert!(errors[0].starts_with(&format!("{OURS}, line ")), "{errors:?}");
    assert!(errors[0].ends_with("this is not YAML made of keys and their values"), "{errors:?}");
    let errors = line("x start").file("/etc/hostnic.conf", "zone = gd1").errors();
    assert!(errors[0].contains("must end in .yaml"), "{errors:?}");
}

#[test]
fn values_of_unknown_keys_are_never_shown() {
    let text = "qy_secret_access_key: hunter2\n";
    let shown = line("daemon start").file(EARLIER, text).notices().concat();
    let refused = line("x start").file(OURS, text).errors().concat();
    assert!(shown.contains("qy_secret_access_key") && !shown.contains("hunter2"), "{shown}");
    assert!(refused.contains("qy_secret_access_key") && !refused.contains("hunter2"), "{refused}");
}

#[test]
fn a_file_beside_the_one_that_is_read_is_told_of() {
    let mut said = line("daemon start --bindAddr off --manageAddr off").file("/root/.daemon.json", "{}");
    said.files.settings.as_mut().unwrap().beside.push(EARLIER.into());
    assert_eq!(said.notices(), [format!("{EARLIER} is not read, as /root/.daemon.json is")]);
}

#[test]
fn a_misspelt_variable_of_ours_is_told_and_a_clusters_is_not() {
    let said = line("hostnic-daemon start")
        .variable("HOSTNIC_POOL_LO", "1")
        .variable("HOSTNIC_SERVICE_HOST", "10.96.0.1")
        .variable("HOSTNIC_PORT", "tcp://10.96.0.1:80");
    assert_eq!(
        said.notices(),
        ["environment: HOSTNIC_POOL_LO is not known and has no effect; HOSTNIC_POOL_LOW is"]
    );
}
