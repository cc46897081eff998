//! `cargo bench-cni`: ADD and DEL of the plugin beside the CNI project's plugins.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use hostnic_core::Chain;
use hostnic_examples::bench::{Bench, GAUGE, Mode, Programs, Report, gauge, table};
use hostnic_examples::programs::{DAEMON, PLUGIN};
use hostnic_netlink::isolation::enter_private_world;

/// Where distributions put the plugins of the CNI project.
const FOLDERS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];

/// Measures ADD and DEL as whole processes, with a warm pool, by turns with a plugin of the CNI project: host-device, which
/// moves the same kind of NIC, or with --veth ptp, which makes a veth.
///
/// Nothing of this machine is touched: it all happens in network namespaces of the benchmark's own. For numbers that
/// mean something, let the machine do nothing else.
#[derive(Debug, Parser)]
#[command(name = "bench-cni")]
struct Options {
    /// How often ADD and DEL are measured.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    iterations: u32,
    /// Measure pods behind veths, without hairpin and then with it, instead of pods that NICs are moved into.
    #[arg(long)]
    veth: bool,
    /// Print one JSON list of reports at the end and nothing else.
    #[arg(long)]
    json: bool,
    /// End with status 1 when a bar is not met.
    #[arg(long)]
    check: bool,
    /// Use this plugin instead of building it.
    #[arg(long, value_name = "PATH")]
    plugin: Option<PathBuf>,
    /// Use this daemon instead of building it.
    #[arg(long, value_name = "PATH")]
    daemon: Option<PathBuf>,
    /// The plugin to compare with; its helper `static` must be beside it.
    #[arg(long, value_name = "PATH", conflicts_with = "veth")]
    host_device: Option<PathBuf>,
    /// The plugin to compare veths with; its helper `host-local` must be beside it.
    #[arg(long, value_name = "PATH", requires = "veth")]
    ptp: Option<PathBuf>,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if let (Some(first), Some(program)) = (arguments.next(), arguments.next())
        && first == GAUGE
    {
        return ended(gauge(Path::new(&program)).map(|()| true).map_err(|error| error.to_string()));
    }
    ended(run(&Options::parse()))
}

fn ended(done: Result<bool, String>) -> ExitCode {
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("bench-cni: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool, String> {
    let modes: &[Mode] = if options.veth { &Mode::VETH } else { &[Mode::Passthrough] };
    let named = if options.veth { &options.ptp } else { &options.host_device };
    let programs = Programs {
        rival: named.clone().map_or_else(|| find(modes[0].rival()), Ok)?,
        plugin: options.plugin.clone().map_or_else(|| PLUGIN.deployed(), Ok)?,
        daemon: options.daemon.clone().map_or_else(|| DAEMON.deployed(), Ok)?,
    };
    // Before any thread is started: see there.
    enter_private_world().map_err(|error| error.chain().to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("no runtime could be started: {error}"))?;
    let mut reports = Vec::new();
    for mode in modes {
        let bench = Bench {
            mode: *mode,
            programs: programs.clone(),
            iterations: usize::try_from(options.iterations).unwrap_or(usize::MAX),
            folder: PathBuf::from(format!("/run/hostnic-bench/{}", reports.len())),
        };
        reports.push(runtime.block_on(bench.run()).map_err(|error| Chain(&error).to_string())?);
    }
    print(&reports, options.json)?;
    Ok(reports.iter().all(Report::is_good) || !options.check)
}

#[expect(clippy::print_stdout, reason = "what was asked for goes to standard output")]
fn print(reports: &[Report], json: bool) -> Result<(), String> {
    if json {
        println!("{}", serde_json::to_string_pretty(reports).map_err(|error| error.to_string())?);
        return Ok(());
    }
    for report in reports {
        println!("{}\n", table(report));
    }
    Ok(())
}

fn find(name: &str) -> Result<PathBuf, String> {
    let plugins = FOLDERS.map(|folder| Path::new(folder).join(name));
    plugins.into_iter().find(|plugin| plugin.exists()).ok_or_else(|| {
        format!(
            "there is no {name} in {}; install it, on Debian with `apt-get install containernetworking-plugins`, or name \
             one with --{name}",
            FOLDERS.join(", ")
        )
    })
}
