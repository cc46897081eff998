//! Putting right what a check found, each thing looked at once more just before.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use hostnic_core::{Error, ErrorKind, Result};
use kube::api::{Api, DeleteParams, PostParams};

use super::IpamTools;
use super::check::Finding;
use crate::error::api_error;
use crate::ipam::addresses::handle_object;
use crate::ipam::block::Block;
use crate::ipam::resources::{IpamBlock, IpamHandle};

/// How often a block is written that somebody else changes.
const TRIES: u32 = 20;

impl IpamTools {
    /// Puts right what can be, and tells how much of it was still to be done. Repeating it does no harm.
    ///
    /// An address goes back only while its block says that the same handle has it.
    ///
    /// # Errors
    /// Of the first request that failed; what came before is done.
    pub async fn repair(&self, findings: &[Finding]) -> Result<usize> {
        let mut done = 0;
        let mut blocks: BTreeMap<&str, Vec<(Ipv4Addr, &str)>> = BTreeMap::new();
        for finding in findings {
            match finding {
                Finding::Leaked { block, address, handle, .. } => {
                    blocks.entry(block).or_default().push((*address, handle));
                }
                // Writing a block puts it right.
                Finding::Broken { block, .. } => {
                    blocks.entry(block).or_default();
                }
                _ => {}
            }
        }
        for (block, leaked) in blocks {
            done += self
                .change(block, |block| {
                    leaked.iter().filter(|(address, handle)| block.release_this(*address, handle)).count()
                })
                .await?;
        }
        let handles: Api<IpamHandle> = Api::all(self.asker.client.clone());
        for finding in findings {
            let written = match finding {
                Finding::HandleAlone { handle } => {
                    self.asker.ask(handles.delete(handle, &DeleteParams::default())).await.map(drop)
                }
                Finding::Leaked { handle, .. } => {
                    match self.asker.ask(handles.delete(handle, &DeleteParams::default())).await {
                        Ok(_) => continue,
                        Err(error) => Err(error),
                    }
                }
                Finding::HandleMissing { handle, block } => {
                    let Ok(block) = block.parse() else { continue };
                    let object = handle_object(handle, block);
                    self.asker.ask(handles.create(&PostParams::default(), &object)).await.map(drop)
                }
                _ => continue,
            };
            match written {
                Ok(()) => done += 1,
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(error) => return Err(api_error("repair", finding, error)),
            }
        }
        Ok(done)
    }

    /// Gives back what a handle has, in all blocks; how many addresses that were.
    ///
    /// # Errors
    /// Of the first request that failed; what came before is done.
    pub async fn release_handle(&self, handle: &str) -> Result<usize> {
        let mut released = 0;
        let inventory = self.inventory().await?;
        for (name, seen) in &inventory.blocks {
            if seen.block.as_ref().is_some_and(|block| block.held_by(handle).next().is_some()) {
                released += self.change(name, |block| block.release(handle).len()).await?;
            }
        }
        self.repair(&[Finding::HandleAlone { handle: handle.to_owned() }]).await?;
        Ok(released)
    }

    /// Gives an address back, whoever has it; whose it was.
    ///
    /// # Errors
    /// Of the first request that failed.
    pub async fn release_address(&self, address: Ipv4Addr) -> Result<Option<String>> {
        let inventory = self.inventory().await?;
        let holder = inventory.blocks.iter().find_map(|(name, seen)| {
            let mut held = seen.block.as_ref()?.held();
            held.find(|(held, _)| *held == address).map(|(_, holder)| (name, holder.handle.clone()))
        });
        let Some((name, handle)) = holder else { return Ok(None) };
        self.change(name, |block| usize::from(block.release_this(address, &handle))).await?;
        Ok(Some(handle))
    }

    /// Changes a block, however often others do at the same time; 0 where it is gone.
    async fn change(&self, name: &str, change: impl Fn(&mut Block) -> usize) -> Result<usize> {
        let blocks: Api<IpamBlock> = Api::all(self.asker.client.clone());
        let failed = |error| api_error("change", format_args!("IPAMBlock {name}"), error);
        for _ in 0..TRIES {
            let Some(mut object) = self.asker.ask(blocks.get_opt(name)).await.map_err(failed)? else {
                return Ok(0);
            };
            let Some((mut block, _)) = Block::read(&object.spec) else { return Ok(0) };
            let changed = change(&mut block);
            let spec = block.write();
            if spec == object.spec {
                return Ok(changed);
            }
            object.spec = spec;
            match self.asker.ask(blocks.replace(name, &PostParams::default(), &object)).await {
                Ok(_) => return Ok(changed),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(Error::new(ErrorKind::Conflict, "change", format_args!("IPAMBlock {name}"))
            .detail("others change it all the time; try again"))
    }
}
