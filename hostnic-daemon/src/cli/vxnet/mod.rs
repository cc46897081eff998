//! `hostnic-daemon vxnet`: the vxnets of pods that share NICs.

mod clear_vips;
mod show;

use std::ffi::OsStr;

use clap::Subcommand;

use super::Ask;

#[derive(Debug, Subcommand)]
pub(super) enum Vxnet {
    /// Show the vxnets that this node has a NIC in for pods that share it: the NIC, its routing table, its pods.
    Show(Ask),
    /// Give back the addresses of a vxnet that were claimed for pods and that nobody uses any more; takes the flags of start.
    ClearVips(Box<clear_vips::ClearVips>),
}

impl Vxnet {
    pub(super) fn run(self, argv0: &OsStr) -> Result<(), String> {
        match self {
            Self::Show(ask) => show::run(&ask),
            Self::ClearVips(clear) => clear.run(argv0),
        }
    }
}
