//! As which program the daemon behaves, and what follows from it.

use super::*;

#[test]
fn a_statement_wins_over_the_name_over_flags_over_the_file() {
    let file = |said: Said| said.file("QingAgent.yaml", "");
    let cases = [
        (line("hostnic-daemon start"), Personality::Own),
        (file(line("hostnic-daemon start")), Personality::QingAgent),
        (file(line("hostnic-daemon start --PoolSize 3")), Personality::Daemon),
        (file(line("qingagent start --PoolSize 3")), Personality::QingAgent),
        (file(line("/usr/bin/daemon start")), Personality::Daemon),
        (file(line("qingagent start --compat daemon")), Personality::Daemon),
        (file(line("qingagent start").variable("HOSTNIC_COMPAT", "hostnic-daemon")), Personality::Own),
        (line("hostnic-daemon start --gatewayns gw"), Personality::QingAgent),
        (line("hostnic-daemon start --QYAccessFilePath /a"), Personality::QingAgent),
        (line("hostnic-daemon start --QyAccessFilePath /a"), Personality::Daemon),
        (line("hostnic-daemon start --bindAddr :1"), Personality::Daemon),
        (line("hostnic-daemon start --bindaddr :1"), Personality::QingAgent),
        // Spellings that are ours too, or of both, tell nothing.
        (
            line("hostnic-daemon start --policy Random --zone gd1 --vxnet vxnet-a --iface e --loglevel info"),
            Personality::Own,
        ),
    ];
    for (said, want) in cases {
        assert_eq!(said.settings().personality, want, "{said:?}");
    }
}

#[test]
fn whoever_did_not_say_so_hears_as_what_the_daemon_behaves() {
    assert!(line("hostnic-daemon start").notices().is_empty());
    let by_flag = line("hostnic-daemon start --PoolSize 3").notices();
    assert!(by_flag[0].starts_with("behaving as daemon did, because of --PoolSize"), "{by_flag:?}");
    let by_file = line("hostnic-daemon start").file("/root/.daemon.yaml", "").notices();
    assert!(by_file[0].contains("because of /root/.daemon.yaml"), "{by_file:?}");
    let by_name = line("daemon start").notices();
    assert!(!by_name.iter().any(|notice| notice.contains("behaving")), "{by_name:?}");
}

#[test]
fn flags_of_both_programs_need_a_word() {
    let both = line("hostnic-daemon start --PoolSize 3 --gatewayns gw");
    let error = both.errors().concat();
    assert!(error.contains("--PoolSize is a flag of daemon") && error.contains("--compat"), "{error}");
    assert_eq!(
        line("hostnic-daemon start --PoolSize 3 --gatewayns gw --compat daemon").shown("pool-low").0,
        "3"
    );
}

#[test]
fn the_policy_is_the_one_that_the_program_had() {
    for (start, policy) in
        [("hostnic-daemon", "FailRotate"), ("daemon", "Random"), ("qingagent", "FailRotate")]
    {
        assert_eq!(line(&format!("{start} start")).shown("policy").0, policy);
        assert_eq!(line(&format!("{start} start --policy ROUNDROTATE")).shown("policy").0, "RoundRotate");
    }
}

#[test]
fn a_zone_that_was_given_wins_over_the_access_files_which_wins_over_pek3a() {
    let zone = |said: Said| said.settings().zone.value;
    let given = zone(line("qingagent start --zone gd1"));
    assert_eq!(given.choose(Some("sha1")), Some("gd1"));
    let by_file = zone(line("qingagent start").file("QingAgent.yaml", "zone: gd2a"));
    assert_eq!(by_file.choose(Some("sha1")), Some("gd2a"));
    let silent = zone(line("qingagent start"));
    assert_eq!((silent.choose(Some("sha1")), silent.choose(None)), (Some("sha1"), Some("pek3a")));
    assert_eq!(zone(line("daemon start")).choose(None), None);
    assert_eq!(zone(line("hostnic-daemon start")).choose(None), None);
}

#[test]
fn files_are_looked_for_where_each_program_did() {
    let home = std::path::Path::new("/root");
    let places = |said: Said| match said.invocation().places(Some(home)).settings {
        SettingsPlace::Named(path) => vec![path.display().to_string()],
        SettingsPlace::Search(places) => {
            let yaml = |path: &&PathBuf| path.extension().is_some_and(|ending| ending == "yaml");
            places.iter().filter_map(|place| Some(place.iter().find(yaml)?.display().to_string())).collect()
        }
    };
    let (own, daemon, agent) = ("/etc/hostnic/hostnic-daemon.yaml", "/root/.daemon.yaml", "QingAgent.yaml");
    let node = "/etc/hostnic/hostnic.yaml";
    assert_eq!(places(line("hostnic-daemon start")), [own, daemon, agent, node]);
    assert_eq!(places(line("daemon start")), [daemon]);
    assert_eq!(places(line("qingagent start")), [agent]);
    assert_eq!(places(line("hostnic-daemon start --PoolSize 1")), [daemon]);
    assert_eq!(places(line("daemon start --compat hostnic-daemon")), [own]);
    assert_eq!(places(line("daemon start --config /etc/a.yaml")), ["/etc/a.yaml"]);
    assert_eq!(places(line("daemon --config /etc/a.yaml start")), ["/etc/a.yaml"]);
    assert_eq!(places(line("daemon start").variable("HOSTNIC_CONFIG", "/etc/b.yaml")), ["/etc/b.yaml"]);
}

#[test]
fn bare_variables_are_told_of_where_nobody_expects_them() {
    let stray = line("hostnic-daemon start").variable("ZONE", "gd1").notices();
    assert_eq!(stray.len(), 1, "{stray:?}");
    assert!(stray[0].contains("ZONE sets zone"), "{stray:?}");
    let expected =
        line("qingagent start --bindaddr localhost:31080 --manage-addr off").variable("ZONE", "gd1");
    assert_eq!(expected.notices(), [""; 0]);
}

#[test]
fn what_means_nothing_any_more_is_told() {
    let flag = line("daemon start --WorkInAppCenterCluser --bindAddr off --manageAddr off").notices();
    assert_eq!(flag, ["flag: --WorkInAppCenterCluser has no effect any more; take it out"]);
    let quiet = || line("daemon start --bindAddr off --manageAddr off");
    let file = quiet().file("/root/.daemon.yaml", "workinappcentercluser: true").notices();
    assert!(file[0].contains("workinappcentercluser has no effect any more"), "{file:?}");
    let variable = quiet().variable("WORKINAPPCENTERCLUSER", "1").notices();
    assert!(variable[0].contains("WORKINAPPCENTERCLUSER has no effect any more"), "{variable:?}");
}
