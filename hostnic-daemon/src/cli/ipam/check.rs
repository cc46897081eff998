//! `hostnic-daemon ipam check`.

use std::collections::BTreeSet;
use std::time::Duration;

use hostnic_kube::ipam::Finding;

use super::Asked;
use crate::cli::list::print;

/// How long what is under way takes at most: what is found twice, so far apart, is wrong.
const APART: Duration = Duration::from_secs(15);

/// The flags of `hostnic-daemon ipam check`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Check {
    /// Put right what can be; otherwise it is only told.
    #[arg(long)]
    repair: bool,
    /// How long to wait before the second look, in seconds: only what is found at both is wrong.
    #[arg(long, value_name = "SECONDS", default_value_t = APART.as_secs())]
    apart: u64,
    #[command(flatten)]
    asked: Asked,
}

impl Check {
    pub(super) async fn run(&self) -> Result<(), String> {
        let tools = self.asked.tools().await?;
        let told = |error: hostnic_core::Error| error.chain().to_string();
        let look = async || Ok::<_, String>(tools.inventory().await.map_err(told)?.check());
        let first: BTreeSet<Finding> = look().await?.into_iter().collect();
        let mut found = Vec::new();
        if !first.is_empty() {
            tokio::time::sleep(Duration::from_secs(self.apart)).await;
            found = look().await?;
            found.retain(|finding| first.contains(finding));
        }
        print(self.asked.output, &found, |found| as_text(found))?;
        let to_repair = found.iter().filter(|finding| finding.can_be_repaired()).count();
        if self.repair && to_repair > 0 {
            let done = tools.repair(&found).await.map_err(told)?;
            eprintln!("{done} things are put right");
        } else if to_repair > 0 {
            eprintln!("{to_repair} of them can be put right with --repair");
        }
        let left = if self.repair { found.len() - to_repair } else { found.len() };
        if left > 0 { Err(format!("{left} things are not as they should be")) } else { Ok(()) }
    }
}

fn as_text(found: &[Finding]) -> String {
    if found.is_empty() {
        return "blocks, handles, pods and nodes agree".to_owned();
    }
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
