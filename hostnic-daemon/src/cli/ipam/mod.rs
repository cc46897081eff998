//! `hostnic-daemon ipam`: the cluster's addresses, asked of its API server without any daemon.

mod check;
mod show;

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::Subcommand;
use hostnic_core::Chain;
use hostnic_kube::Access;
use hostnic_kube::ipam::IpamTools;

use super::Output;

#[derive(Debug, Subcommand)]
pub(super) enum Ipam {
    /// Show how much of each vxnet and block is whose, and which namespace has which block.
    Show(Asked),
    /// Find what is wrong with blocks, handles and pods, compared with each other; with --repair put it right.
    Check(check::Check),
    /// Give addresses back that somebody has: by the handle, or one by one.
    Release(Release),
}

/// What every command here takes.
#[derive(Debug, clap::Args)]
pub(super) struct Asked {
    /// How to reach the cluster [default: the service account of this pod].
    #[arg(long, value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// The flags of `hostnic-daemon ipam release`.
#[derive(Debug, clap::Args)]
pub(super) struct Release {
    /// Everything that this handle has, such as default-web-0-0123456789ab.
    #[arg(long, value_name = "HANDLE", required_unless_present = "address", conflicts_with = "address")]
    handle: Option<String>,
    /// This address, whoever has it. A pod that still uses it loses it to the next one.
    #[arg(long, value_name = "ADDRESS")]
    address: Option<Ipv4Addr>,
    #[command(flatten)]
    asked: Asked,
}

impl Ipam {
    pub(super) fn run(self) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("no runtime could be started: {error}"))?;
        runtime.block_on(async {
            match self {
                Self::Show(asked) => show::run(&asked).await,
                Self::Check(check) => check.run().await,
                Self::Release(release) => release.run().await,
            }
        })
    }
}

impl Asked {
    async fn tools(&self) -> Result<IpamTools, String> {
        let access = self.kubeconfig.clone().map_or(Access::InCluster, Access::Kubeconfig);
        IpamTools::connect(&access).await.map_err(|error| format!("{}; see --kubeconfig", Chain(&error)))
    }
}

impl Release {
    async fn run(&self) -> Result<(), String> {
        let tools = self.asked.tools().await?;
        let told = |error: hostnic_core::Error| error.chain().to_string();
        if let Some(handle) = &self.handle {
            let count = tools.release_handle(handle).await.map_err(told)?;
            eprintln!("{handle} had {count} addresses; they are free");
        }
        if let Some(address) = self.address {
            match tools.release_address(address).await.map_err(told)? {
                Some(handle) => eprintln!("{address} was {handle}'s; it is free"),
                None => eprintln!("{address} is nobody's: there is nothing to release"),
            }
        }
        Ok(())
    }
}
