//! `hostnic-daemon config` as a program: where files are looked for, under which name, and what is printed.

#![allow(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// A machine's home and working directory, with these files.
struct Place(tempfile::TempDir);

impl Place {
    fn new(files: &[(&str, &str)]) -> Self {
        let place = tempfile::tempdir().unwrap();
        for folder in ["home", "work"] {
            std::fs::create_dir(place.path().join(folder)).unwrap();
        }
        for (path, text) in files {
            std::fs::write(place.path().join(path), text).unwrap();
        }
        Self(place)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hostnic-daemon"));
        command.arg0(program).args(arguments).current_dir(self.path().join("work"));
        command.env_clear().env("HOME", self.path().join("home"));
        command.output().unwrap()
    }

    /// What `config -o json` prints.
    fn json(&self, program: &str, arguments: &[&str]) -> Value {
        let output = self.run(program, &[&["config", "-o", "json"], arguments].concat());
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn setting<'a>(shown: &'a Value, key: &str) -> &'a Value {
    shown["settings"].as_array().unwrap().iter().find(|row| row["key"] == key).unwrap()
}

#[test]
fn each_name_reads_its_own_file() {
    let place = Place::new(&[
        ("home/.daemon.yaml", "PoolSize: 7\n"),
        ("work/QingAgent.toml", "iface = 'eth7'\n"),
        ("other.yaml", "pool-low: 9\n"),
    ]);
    let daemon = place.json("/opt/bin/daemon", &[]);
    assert_eq!(daemon["personality"], "daemon");
    assert_eq!(daemon["file"], place.path().join("home/.daemon.yaml").to_str().unwrap());
    assert_eq!(setting(&daemon, "pool-low")["value"], "7");
    assert_eq!(setting(&daemon, "pool-low")["source"]["key"], "PoolSize");
    assert_eq!(setting(&daemon, "policy")["source"]["kind"], "default");
    let agent = place.json("qingagent", &[]);
    assert_eq!((&agent["personality"], &agent["file"]), (&"qingagent".into(), &"QingAgent.toml".into()));
    assert_eq!(setting(&agent, "iface")["value"], "eth7");
    let other = place.path().join("other.yaml");
    let named = place.json("hostnic-daemon", &["--config", other.to_str().unwrap()]);
    assert_eq!(
        (&named["personality"], &setting(&named, "pool-low")["value"]),
        (&"hostnic-daemon".into(), &"9".into())
    );
}

#[test]
fn people_get_a_table_and_notes_beside_it() {
    let place = Place::new(&[("home/.daemon.yaml", "PoolSize: 7\ncolour: red\n")]);
    let output = place.run("daemon", &["config", "--loglevel", "debug"]);
    let (table, notes) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let row = |key: &str| {
        let line = table.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{table}"));
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(row("behaves as"), ["behaves", "as", "daemon"]);
    assert_eq!(row("log-level"), ["log-level", "debug", "flag:", "--loglevel"]);
    assert_eq!(row("policy"), ["policy", "Random", "default", "as", "daemon"]);
    assert!(notes.contains("warning: ") && notes.contains("colour"), "{notes}");
}

#[test]
fn everything_that_is_wrong_is_printed_and_nothing_else() {
    let place = Place::new(&[("own.json", r#"{"policy":"fast","pool_low":1}"#)]);
    let own = place.path().join("own.json");
    let output = place.run("hostnic-daemon", &["config", "--config", own.to_str().unwrap(), "--zone", "a/b"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{told}");
    for part in ["policy", "pool-low", "a/b"] {
        assert!(told.contains(part), "{told}");
    }
    let missing = place.run("hostnic-daemon", &["config", "--config", "/nowhere.yaml"]);
    let told = String::from_utf8(missing.stderr).unwrap();
    assert!(told.contains("the configuration file /nowhere.yaml cannot be read: name another one"), "{told}");
    assert!(told.contains("No such file"), "{told}");
}

#[test]
fn the_help_shows_our_spelling_and_hides_the_earlier_ones() {
    let place = Place::new(&[]);
    for program in ["hostnic-daemon", "daemon", "qingagent"] {
        let output = place.run(program, &["config", "--help"]);
        let help = String::from_utf8(output.stdout).unwrap();
        for ours in ["--pool-size", "--bind-addr", "--access-file", "--vxnet", "--config"] {
            assert!(help.contains(ours), "{ours}: {help}");
        }
        for earlier in
            ["--PoolSize", "--bindAddr", "--bindaddr", "--QyAccessFilePath", "--gatewayns", "--loglevel"]
        {
            assert!(!help.contains(earlier), "{earlier}: {help}");
        }
    }
}

const SAMPLE: &str = include_str!("../../deploy/systemd/hostnic-daemon.yaml");

#[test]
fn the_sample_file_is_refused_by_its_placeholder_alone() {
    let place = Place::new(&[
        ("hostnic-daemon.yaml", SAMPLE),
        ("filled-in.yaml", &SAMPLE.replace("vxnet-xxxxxxx", "vxnet-oca1g0z").replace("# iface", "iface")),
    ]);
    let run = |file: &str| {
        let file = place.path().join(file);
        place.run("hostnic-daemon", &["config", "--config", file.to_str().unwrap()])
    };
    let (as_it_is, filled_in) = (run("hostnic-daemon.yaml"), run("filled-in.yaml"));
    let complaint = String::from_utf8(as_it_is.stderr).unwrap();
    assert!(!as_it_is.status.success() && complaint.contains("vxnet-xxxxxxx"), "{complaint}");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    let notes = String::from_utf8(filled_in.stderr).unwrap();
    assert!(filled_in.status.success() && notes.is_empty(), "{notes}");
}
