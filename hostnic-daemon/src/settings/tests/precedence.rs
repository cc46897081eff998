//! Flags over the environment over the file over defaults, for every setting.

use super::super::key::{Key, SPECS, Spec, Takes, capitals, variable};
use super::*;

/// Values of a setting, one for each source.
fn values(key: Key) -> [&'static str; 4] {
    match key {
        Key::Vxnet => ["vxnet-f", "vxnet-e", "vxnet-o", "vxnet-c"],
        Key::Policy => ["RoundRotate", "Random", "FailRotate", "RoundRotate"],
        Key::PoolLow => ["1", "2", "4", "5"],
        Key::PoolHigh => ["6", "7", "8", "9"],
        Key::MaxNics => ["10", "11", "12", "13"],
        Key::Cooling => ["14", "15", "16", "17"],
        Key::Iface => ["eth1", "eth2", "eth3", "eth4"],
        Key::GatewayName => ["gw1", "gw2", "gw3", "gw4"],
        Key::Provider => ["sim", "qingcloud", "sim", "qingcloud"],
        Key::AccessFile => ["/a", "/b", "/c", "/d"],
        Key::Zone => ["gd1", "gd2a", "sha1", "pek3b"],
        Key::Instance => ["i-1", "i-2", "i-3", "i-4"],
        Key::Socket | Key::Store => ["/e", "/f", "/g", "/h"],
        Key::BindAddr | Key::ManageAddr => ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4"],
        Key::AllowRemote
        | Key::CleanupCacheOnExit
        | Key::Hairpin
        | Key::NicAnnotation
        | Key::PolicyFailOpen => ["true", "false", "true", "false"],
        Key::LogLevel => ["warn", "debug", "error", "trace"],
        Key::LogFormat => ["json", "text", "json", "text"],
        Key::Mode => ["passthrough", "auto", "passthrough", "auto"],
        Key::PodType => ["veth", "passthrough", "veth", "passthrough"],
        Key::ServiceCidr => ["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16", "fd00::/108"],
        Key::VethPrefix => ["a", "b", "c", "d"],
        Key::Mtu => ["1400", "auto", "1300", "9000"],
        Key::NatMark => ["0x1", "0x2", "0x4", "0x8"],
        Key::PodTable => ["254", "100", "101", "102"],
        Key::FirstTable => ["300", "301", "302", "303"],
        Key::JobPoll | Key::NodeSync | Key::FreePeriod => ["18", "19", "20", "21"],
        // A node of Kubernetes needs more than this.
        Key::Kubernetes => ["false", "false", "false", "false"],
        Key::NodeName => ["n1", "n2", "n3", "n4"],
        Key::Kubeconfig | Key::CniConfDir | Key::LogFile => ["/i", "/j", "/k", "/l"],
        Key::AnnotationVxnet => ["vxnet-1", "vxnet-2", "vxnet-3", "vxnet-4"],
        Key::NicTag | Key::AnnotationNicTag => ["tag-1", "tag-2", "tag-3", "tag-4"],
        Key::NetworkPolicy => ["calico", "none", "calico", "none"],
        Key::Compat | Key::PoolSize | Key::CniConfig => ["", "", "", ""],
    }
}

/// One source that says a setting: how, and as what it is shown.
type Saying = (fn(Said, &str, &str) -> Said, String, String);

/// The sources of a setting, the winning one last.
fn sources(spec: &Spec) -> Vec<Saying> {
    let file: fn(Said, &str, &str) -> Said =
        |said, key, value| said.file("/etc/hostnic/hostnic-daemon.yaml", &format!("{key}: '{value}'\n"));
    let environment: fn(Said, &str, &str) -> Said = |said, name, value| said.variable(name, value);
    let flag: fn(Said, &str, &str) -> Said = |mut said, flag, value| {
        said.line += &format!(" --{flag}={value}");
        said
    };
    let name = spec.name.to_owned();
    let mut sources = vec![(file, name.clone(), format!("/etc/hostnic/hostnic-daemon.yaml: {name}"))];
    if let Some(earlier) = spec.earlier.first() {
        let bare = capitals(earlier.text);
        sources.push((environment, bare.clone(), format!("environment: {bare}")));
    }
    let ours = variable(spec.name);
    sources.push((environment, ours.clone(), format!("environment: {ours}")));
    sources.push((flag, name, format!("flag: --{}", spec.name)));
    sources
}

#[test]
fn of_all_that_say_a_setting_the_last_one_wins() {
    let mut checked = 0;
    for spec in SPECS.iter().filter(|spec| !matches!(spec.key, Key::Compat | Key::PoolSize | Key::CniConfig))
    {
        let sources = sources(spec);
        let values = values(spec.key);
        for subset in 1..(1_u32 << sources.len()) {
            let mut said = line("hostnic-daemon start");
            let mut want = None;
            for (place, (say, name, shown)) in sources.iter().enumerate() {
                if subset & (1 << place) != 0 {
                    said = say(said, name, values[place]);
                    want = Some((values[place].to_owned(), shown.clone()));
                }
            }
            assert_eq!(Some(said.shown(spec.name)), want, "{said:?}");
            checked += 1;
        }
        let nobody = line("hostnic-daemon start").shown(spec.name);
        assert_eq!(nobody.1, "default", "{}", spec.name);
    }
    assert!(checked > 200, "{checked} combinations only");
}

#[test]
fn every_spelling_of_a_flag_and_of_a_variable_is_understood() {
    for spec in SPECS.iter().filter(|spec| !matches!(spec.key, Key::Compat | Key::PoolSize | Key::CniConfig))
    {
        let value = values(spec.key)[0];
        for earlier in spec.earlier {
            let flag = earlier.text;
            let by_flag = line(&format!("hostnic-daemon start --{flag}={value}"));
            assert_eq!(by_flag.shown(spec.name), (value.to_owned(), format!("flag: --{flag}")));
            let name = capitals(flag);
            let by_variable = line("hostnic-daemon start").variable(&name, value);
            assert_eq!(by_variable.shown(spec.name), (value.to_owned(), format!("environment: {name}")));
            for key in [flag.to_owned(), flag.to_uppercase(), flag.to_lowercase()] {
                let by_file = line("daemon start").file("/root/.daemon.yaml", &format!("{key}: '{value}'\n"));
                let want = (value.to_owned(), format!("/root/.daemon.yaml: {key}"));
                assert_eq!(by_file.shown(spec.name), want);
            }
        }
    }
}

#[test]
fn a_switch_needs_no_value_and_a_list_may_be_repeated() {
    for spec in SPECS.iter().filter(|spec| spec.takes == Takes::Switch && spec.key != Key::Kubernetes) {
        assert_eq!(line(&format!("x start --{}", spec.name)).shown(spec.name).0, "true");
    }
    assert_eq!(line("daemon start --CleanUpCacheOnExit").shown("cleanup-cache-on-exit").0, "true");
    let list = line("daemon start --vxnets vxnet-a,vxnet-b --vxnets vxnet-c");
    assert_eq!(list.shown("vxnet").0, "vxnet-a,vxnet-b,vxnet-c");
    let last = line("daemon start --loglevel debug --loglevel warn");
    assert_eq!(last.shown("log-level").0, "warn");
}

#[test]
fn a_list_in_the_environment_is_parted_by_commas_or_blanks() {
    for value in ["vxnet-a vxnet-b", "vxnet-a,vxnet-b", " vxnet-a, vxnet-b "] {
        assert_eq!(line("daemon start").variable("VXNETS", value).shown("vxnet").0, "vxnet-a,vxnet-b");
    }
}

#[test]
fn an_empty_variable_says_nothing() {
    let said = line("hostnic-daemon start").variable("ZONE", "").variable("HOSTNIC_ZONE", " ");
    assert_eq!(said.shown("zone").1, "default");
}

#[test]
fn one_source_that_says_two_things_is_refused() {
    let same = line("daemon start").variable("VXNET", "vxnet-a").variable("VXNETS", "vxnet-a");
    assert_eq!(same.shown("vxnet").0, "vxnet-a");
    let variables = line("daemon start").variable("VXNET", "vxnet-a").variable("VXNETS", "vxnet-b");
    assert!(variables.errors()[0].contains("VXNET and environment: VXNETS"), "{:?}", variables.errors());
    let flags = line("daemon start --loglevel debug --log-level info");
    assert!(flags.errors()[0].contains("--log-level and flag: --loglevel"), "{:?}", flags.errors());
    let file = line("daemon start").file("/root/.daemon.json", r#"{"PoolSize":1,"poolsize":2}"#);
    assert!(file.errors()[0].contains("PoolSize and /root/.daemon.json: poolsize"), "{:?}", file.errors());
}
