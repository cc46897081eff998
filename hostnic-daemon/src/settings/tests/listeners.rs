//! Where the daemon listens, and where it refuses to.

use super::*;

#[test]
fn a_bare_address_is_loopback_and_is_told() {
    for flag in [":31080", "31080", "--", ""] {
        let said = match flag {
            "--" => line("daemon start --manageAddr off"),
            flag => line(&format!("daemon start --manageAddr off --bindAddr={flag}")),
        };
        assert_eq!(said.shown("bind-addr").0, "127.0.0.1:31080", "{flag}");
        let notices = said.notices();
        assert_eq!(notices.len(), 1, "{flag}: {notices:?}");
        assert!(
            notices[0].starts_with("bind-addr is 127.0.0.1:31080, reached from this machine only"),
            "{notices:?}"
        );
    }
}

#[test]
fn a_bare_port_needs_no_quotes_in_a_file() {
    for written in [":31080", "31080", "':31080'"] {
        let said = line("daemon start").file("/root/.daemon.yaml", &format!("bindAddr: {written}\n"));
        let want = ("127.0.0.1:31080".to_owned(), "/root/.daemon.yaml: bindAddr".to_owned());
        assert_eq!(said.shown("bind-addr"), want, "{written}");
    }
}

#[test]
fn the_earlier_programs_listen_and_ours_does_not() {
    assert_eq!(line("hostnic-daemon start").shown("bind-addr").0, "off");
    assert_eq!(line("qingagent start").shown("bind-addr").0, "127.0.0.1:31080");
    assert_eq!(
        line("hostnic-daemon start").file("/root/.daemon.yaml", "").shown("bind-addr").0,
        "127.0.0.1:31080"
    );
    assert_eq!(line("qingagent start --bindaddr off").shown("bind-addr").0, "off");
    for program in ["hostnic-daemon", "daemon", "qingagent"] {
        assert_eq!(line(&format!("{program} start")).shown("manage-addr").0, "127.0.0.1:31081");
    }
}

#[test]
fn commands_from_other_machines_are_refused_with_the_line_that_works() {
    let file = "BindAddr: 0.0.0.0:31080\n";
    let cases = [
        (line("qingagent start --bindaddr 0.0.0.0:31080"), "--bindaddr 127.0.0.1:31080"),
        (line("daemon start --bindAddr 192.168.0.2:5"), "--bindAddr 127.0.0.1:5"),
        (line("daemon start --bindAddr [::]:31080"), "--bindAddr 127.0.0.1:31080"),
        (line("daemon start --bindAddr [fe80::1%lo0]:80"), "--bindAddr 127.0.0.1:80"),
        (line("daemon start").variable("BINDADDR", "0.0.0.0:31080"), "BINDADDR=127.0.0.1:31080"),
        (line("daemon start").file("/root/.daemon.yaml", file), "BindAddr: \"127.0.0.1:31080\""),
    ];
    for (said, works) in cases {
        let errors = said.errors();
        assert_eq!(errors.len(), 1, "{errors:?}");
        let lines: Vec<&str> = errors[0].lines().map(str::trim).collect();
        assert!(lines.contains(&works) && errors[0].contains("--allow-remote"), "{errors:?}");
        let mut allowed = said.clone();
        allowed.line += " --allow-remote";
        assert!(allowed.settings().bind_addr.value.is_some());
    }
    // Where the line is a flag, it does work.
    assert_eq!(line("qingagent start --bindaddr 127.0.0.1:31080").shown("bind-addr").0, "127.0.0.1:31080");
}

#[test]
fn two_listeners_at_one_address_are_refused() {
    let errors = line("daemon start --manageAddr 127.0.0.1:31080").errors();
    let told = "bind-addr (default as daemon) and manage-addr (flag: --manageAddr) are both 127.0.0.1:31080";
    assert!(errors.len() == 1 && errors[0].starts_with(told), "{errors:?}");
    for fine in
        ["--manageAddr 127.0.0.1:31080 --bindAddr off", "--bindAddr :31081", "--manageAddr :0 --bindAddr :0"]
    {
        assert!(line(&format!("daemon start {fine}")).settings().manage_addr.value.is_some(), "{fine}");
    }
}

#[test]
fn names_are_left_to_whoever_binds_them() {
    let named = line("daemon start --bindAddr node-1.example:31080").settings().bind_addr.value.unwrap();
    assert_eq!(named.is_loopback(), None);
    assert_eq!(line("daemon start --bindAddr localhost:31080").shown("bind-addr").0, "localhost:31080");
}

#[test]
fn what_only_shows_things_may_be_anywhere() {
    let spelt = line("daemon start --bindAddr off --manageAddr 0.0.0.0:31081");
    assert_eq!(spelt.shown("manage-addr").0, "0.0.0.0:31081");
    assert_eq!(spelt.notices(), [""; 0]);
    let bare = line("daemon start --bindAddr off --manageAddr :9191");
    assert_eq!(bare.shown("manage-addr").0, "127.0.0.1:9191");
    assert_eq!(bare.notices().len(), 1);
    // The port alone that hostnic-cni 1.x was given.
    assert_eq!(line("hostnic-node start --metrics-port 9191").shown("manage-addr").0, "127.0.0.1:9191");
    // Where nobody ever was on all addresses, loopback is no news.
    assert_eq!(line("hostnic-daemon start").notices(), [""; 0]);
}
