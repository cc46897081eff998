//! `cargo demo`: pods on two nodes get NICs of a simulated cloud and talk to each other; then all is given back.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use hostnic_core::Chain;
use hostnic_examples::demo::{self, Report, Teller};
use hostnic_examples::programs::PLUGIN;
use hostnic_netlink::isolation::enter_private_world;

/// Shows the main job: pods on two nodes get NICs of a cloud, talk through its VPC, and give everything back.
///
/// Everything is real but the cloud, and nothing of this machine is touched: it all happens in network namespaces of
/// the demo's own, as root or as an ordinary user.
#[derive(Debug, Parser)]
#[command(name = "demo")]
struct Options {
    /// Print one JSON object at the end and nothing else.
    #[arg(long)]
    json: bool,
    /// Stay up when the pods run, and say how to look around, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Use this plugin instead of building it.
    #[arg(long, value_name = "PATH")]
    plugin: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("demo: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool, String> {
    let plugin = match &options.plugin {
        Some(plugin) => plugin.clone(),
        None => PLUGIN.built()?,
    };
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
    let keep = options.keep.then_some(async {
        // Without a handler for it Ctrl-C ends the demo anyway.
        let _ = tokio::signal::ctrl_c().await;
    });
    let report = runtime
        .block_on(demo::run(&plugin, Path::new("/run/hostnic-demo"), teller, keep))
        .map_err(|error| Chain(&error).to_string())?;
    if options.json {
        print_json(&report)?;
    }
    Ok(report.is_good())
}

#[expect(clippy::print_stdout, reason = "what was asked for goes to standard output")]
fn print_json(report: &Report) -> Result<(), String> {
    println!("{}", serde_json::to_string_pretty(report).map_err(|error| error.to_string())?);
    Ok(())
}
