//! `cargo demo`: pods on two nodes get NICs of a simulated cloud and talk to each other; then all is given back.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use hostnic_core::Chain;
use hostnic_examples::demo::{self, Launch, Programs, Report, Teller};
use hostnic_netlink::isolation::enter_private_world;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// Where everything is that the demo makes, in a /run that nobody else sees.
const FOLDER: &str = "/run/hostnic-demo";

/// Shows the main job: pods on two nodes get NICs of a cloud, talk through its VPC, and give everything back.
///
/// Everything is real but the cloud, and nothing of this machine is touched: it all happens in network namespaces of
/// the demo's own, as root or as an ordinary user.
#[derive(Debug, Parser)]
#[command(name = "demo", args_conflicts_with_subcommands = true)]
struct Options {
    /// Print one JSON object at the end and nothing else.
    #[arg(long)]
    json: bool,
    /// Stay up when the pods run, and say how to look around, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Use the programs hostnic, hostnic-daemon and hostnic-sim of this folder instead of building them.
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    #[command(subcommand)]
    own: Option<Own>,
}

/// What the demo starts itself for.
#[derive(Debug, Subcommand)]
enum Own {
    #[command(hide = true)]
    Launch(Launch),
}

fn main() -> ExitCode {
    let outcome = match Options::parse() {
        Options { own: Some(Own::Launch(launch)), .. } => launch.run().map(|never| match never {}),
        options => run(&options),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("demo: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool, String> {
    let programs = Programs::find(options.programs.clone())?;
    // Before any thread is started: see there.
    enter_private_world().map_err(|error| error.chain().to_string())?;
    let logs = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "error".into());
    tracing_subscriber::fmt().with_env_filter(logs).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("no runtime could be started: {error}"))?;
    let teller = Teller::new(options.json);
    teller.say("hostnic: pods with NICs of the cloud itself (the cloud is simulated, the packets are not)\n");
    let report = runtime.block_on(tell(&programs, teller, options.keep))?;
    if options.json {
        print_json(&report)?;
    }
    if !report.is_good() {
        show_logs();
    }
    Ok(report.is_good())
}

/// The story, which Ctrl-C ends; the first one where it was to be kept, only the wait.
async fn tell(programs: &Programs, teller: Teller, keep: bool) -> Result<Report, String> {
    let catch = |kind| signal(kind).map_err(|error| format!("signals cannot be caught: {error}"));
    let (mut int, mut term) = (catch(SignalKind::interrupt())?, catch(SignalKind::terminate())?);
    let (kept, enough) = (Notify::new(), Notify::new());
    let wait = keep.then_some(async {
        kept.notify_one();
        enough.notified().await;
    });
    let story = demo::run(programs, Path::new(FOLDER), teller, wait);
    tokio::select! {
        report = story => report.map_err(|error| {
            show_logs();
            Chain(&error).to_string()
        }),
        () = interrupted(&mut int, &kept, &enough) => Err("interrupted; its processes end with it".to_owned()),
        _ = term.recv() => Err("told to end; its processes end with it".to_owned()),
    }
}

/// Ends at a Ctrl-C, but for one that ends the wait.
async fn interrupted(int: &mut Signal, kept: &Notify, enough: &Notify) {
    let mut waits = false;
    loop {
        tokio::select! {
            () = kept.notified() => waits = true,
            _ = int.recv() => match std::mem::take(&mut waits) {
                true => enough.notify_one(),
                false => return,
            },
        }
    }
}

/// What the processes of a story that did not end well said.
fn show_logs() {
    eprint!("{}", demo::logs(Path::new(FOLDER)));
}

#[expect(clippy::print_stdout, reason = "what was asked for goes to standard output")]
fn print_json(report: &Report) -> Result<(), String> {
    println!("{}", serde_json::to_string_pretty(report).map_err(|error| error.to_string())?);
    Ok(())
}
