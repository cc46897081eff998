//! Every command line and configuration snippet of the earlier daemons' documents that is about the daemon, as it is there
//! but for its placeholders, and what comes of it here. The table is committed beside this file.

use std::fmt::Write;
use std::path::Path;

use clap::error::ErrorKind;

use super::*;

/// Set to write the table anew instead of comparing it.
const UPDATE: &str = "HOSTNIC_UPDATE_GENERATED";

/// A heading, and the lines and files under it.
type Part = (&'static str, Vec<Said>);

const START: &str =
    "./bin/daemon start --bindAddr :31080 --vxnets vxnet-xxxxxxx,vxnet-xxxxxxx --PoolSize 3 --loglevel debug";

fn qingagent_yaml(breaks: &str, vxnet: &str) -> String {
    [
        "QYAccessFilePath: '/etc/qingcloud/client.yaml'",
        &format!("vxnet: '{vxnet}'"),
        "iface: 'eth0'",
        "loglevel: 'debug'",
    ]
    .join(breaks)
}

fn lines(all: &[&str]) -> Vec<Said> {
    all.iter().map(|text| line(text)).collect()
}

fn document_000() -> Vec<Part> {
    let filled =
        START.replacen("vxnet-xxxxxxx", "vxnet-oca1g0z", 1).replacen("vxnet-xxxxxxx", "vxnet-oilq879", 1);
    let flags = [
        "daemon start",
        "daemon start --CleanUpCacheOnExit",
        "daemon start --PoolSize 3",
        "daemon start --QyAccessFilePath /etc/qingcloud/client.yaml",
        "daemon start --vxnets vxnet-oca1g0z",
        "daemon start --bindAddr :31080",
        "daemon start --bindAddr 127.0.0.1:31080",
        "daemon start --bindAddr [fe80::1%lo0]:80",
        "daemon start --loglevel info",
        "daemon start --manageAddr :31081",
        "daemon start --manageAddr 127.0.0.1:31080",
        "daemon start --manageAddr [fe80::1%lo0]:80",
        "daemon --bindAddr :31080 --manageAddr :31081 --loglevel info start",
    ];
    let placeholders = ["hostip or 0.0.0.0", "192.168.0.3:31080", "0.0.0.0:31080"]
        .map(|address| line("daemon start").variable("BINDADDR", address));
    let file = "CleanUpCacheOnExit: false\nPoolSize: 3\nQyAccessFilePath: /etc/qingcloud/client.yaml\n\
                vxnets: [vxnet-oca1g0z, vxnet-oilq879]\nbindAddr: ':31080'\nloglevel: info\nmanageAddr: ':31081'";
    vec![
        ("000, the example, its placeholders left in and filled", lines(&[START, &filled])),
        ("000, each flag of the help, with its default or its example", lines(&flags)),
        ("000, the address of the host or 0.0.0.0", placeholders.to_vec()),
        ("000, the same settings in the file", vec![line("daemon start").file("/root/.daemon.yaml", file)]),
        ("000, help and version", lines(&["./daemon start -h", "daemon --version"])),
    ]
}

fn document_001() -> Vec<Part> {
    let flags = [
        "qingagent start",
        "qingagent start --QYAccessFilePath /etc/qingcloud/client.yaml",
        "qingagent start --bindaddr 0.0.0.0:31080",
        "qingagent start --bindaddr 0.0.0.0:31080 --allow-remote",
        "qingagent start --bindaddr 127.0.0.1:31080",
        "qingagent start --gatewayns hostnic",
        "qingagent start --iface eth0",
        "qingagent start --policy FailRotate",
        "qingagent start --policy RoundRotate",
        "qingagent start --policy Random",
        "qingagent start --vxnet vxnet-xxxxxxx",
        "qingagent start --vxnet vxnet-oca1g0z",
        "qingagent start --zone pek3a",
        "qingagent start --loglevel info",
    ];
    let (file, agent) = ("QingAgent.yaml", || line("qingagent start"));
    let filled = qingagent_yaml("\n", "vxnet-oca1g0z");
    let others = [
        (
            "QingAgent.json",
            r#"{"QYAccessFilePath":"/etc/qingcloud/client.yaml","vxnet":"vxnet-oca1g0z","iface":"eth0","loglevel":"debug"}"#,
        ),
        (
            "QingAgent.toml",
            "QYAccessFilePath = '/etc/qingcloud/client.yaml'\nvxnet = 'vxnet-oca1g0z'\niface = 'eth0'\nloglevel = 'debug'",
        ),
        (
            "QingAgent.xml",
            "<config>\n<QYAccessFilePath>/etc/qingcloud/client.yaml</QYAccessFilePath>\n<vxnet>vxnet-oca1g0z</vxnet>\n\
             <iface>eth0</iface>\n<loglevel>debug</loglevel>\n</config>",
        ),
    ];
    vec![
        ("001, each flag of the help, with its default", lines(&flags)),
        (
            "001, the file, its placeholder left in",
            vec![agent().file(file, &qingagent_yaml("\n", "vxnet-xxxxxxx"))],
        ),
        ("001, the file", vec![agent().file(file, &filled)]),
        ("001, the file under our own name", vec![line("hostnic-daemon start").file(file, &filled)]),
        ("001, the file in the other formats", others.map(|(path, text)| agent().file(path, text)).to_vec()),
        ("001, help", lines(&["./bin/qingagent start -h"])),
    ]
}

/// The same text as document 001, without its line breaks.
fn document_003() -> Vec<Part> {
    let agent =
        |breaks| line("qingagent start").file("QingAgent.yaml", &qingagent_yaml(breaks, "vxnet-oca1g0z"));
    vec![
        ("003, the file on one line, as it is printed there", vec![agent(" ")]),
        ("003, the file, its line breaks put back", vec![agent("\n")]),
    ]
}

fn told(said: &Said) -> String {
    let words: Vec<&str> = said.line.split_whitespace().collect();
    match crate::cli::flags_of(&words).map_err(|shown| shown.kind()) {
        Ok(_) => {}
        Err(ErrorKind::DisplayHelp) => return "    the help\n".to_owned(),
        Err(ErrorKind::DisplayVersion) => return "    the version\n".to_owned(),
        Err(refused) => return format!("    REFUSED: {refused}\n"),
    }
    match said.resolve() {
        Ok((settings, notices)) => in_force(&settings, &notices),
        Err(refused) => {
            let lines = refused.errors.iter().map(|error| Chain(error).to_string().replace('\n', "\n    "));
            lines.map(|line| format!("    REFUSED: {line}\n")).collect()
        }
    }
}

/// What was given and what is told of it; defaults and what is told of them only where nothing was given.
fn in_force(settings: &Settings, notices: &[Notice]) -> String {
    let rows = settings.rows();
    let is_default = |source: &Source| matches!(source, Source::Default { .. });
    let all = rows.iter().all(|row| is_default(&row.source));
    let mut text = String::new();
    for row in rows.iter().filter(|row| all || !is_default(&row.source)) {
        let _ = writeln!(text, "    {:<22} {:<59} {}", row.key, row.text(), row.source);
    }
    let of_default =
        |notice: &&Notice| matches!(notice, Notice::OnLoopback { origin, .. } if is_default(origin));
    for notice in notices.iter().filter(|notice| all || !of_default(notice)) {
        let _ = writeln!(text, "    {}: {notice}", if notice.is_warning() { "warning" } else { "note" });
    }
    text
}

fn table() -> String {
    let mut table = String::new();
    for (heading, said) in [document_000(), document_001(), document_003()].concat() {
        let _ = writeln!(table, "## {heading}\n");
        for said in said {
            for (name, value) in &said.environment {
                let _ = write!(table, "{name}='{value}' ");
            }
            let _ = writeln!(table, "{}", said.line);
            if let Some(file) = &said.files.settings {
                let _ = writeln!(
                    table,
                    "  {}:\n    | {}",
                    file.path.display(),
                    file.text.replace('\n', "\n    | ")
                );
            }
            let _ = writeln!(table, "{}", told(&said));
        }
    }
    table
}

#[test]
fn every_line_of_the_documents_gives_what_the_table_says() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/settings/tests/documents.txt");
    let table = table();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&committed, &table).unwrap();
    }
    let present = std::fs::read_to_string(&committed).unwrap_or_default();
    let hint =
        format!("run `{UPDATE}=1 cargo test -p hostnic-daemon --lib documents` and look at the difference");
    for (number, (present, now)) in present.lines().zip(table.lines()).enumerate() {
        assert_eq!(present, now, "{}, line {}: {hint}", committed.display(), number + 1);
    }
    assert!(present == table, "{} is shorter or longer than it should be: {hint}", committed.display());
}
