//! Looks through all blocks for what this node has in them: its stock of an earlier run, and addresses of pods that are no more.

use std::net::Ipv4Addr;

use hostnic_core::Result;
use hostnic_core::attachment::{AttachmentMark, PodRef};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ListParams};

use super::batch::Wish;
use super::choose::Owner;
use super::stock::{NAMESPACE, NODE, is_stock};
use super::{Inner, POD, handle};
use crate::error::api_error;
use crate::ipam::block::{Block, Holder};
use crate::ipam::name::BlockName;
use crate::ipam::resources::IpamBlock;

/// How many blocks are read at a time.
const PAGE: u32 = 500;

/// What was found of this node in one block.
struct Found {
    block: BlockName,
    stock: bool,
    /// Pods that have addresses of the stock, which nobody wrote before an earlier run ended.
    heirs: Vec<(Holder, Ipv4Addr)>,
    /// Who has addresses and is no attachment of ours.
    strangers: Vec<Holder>,
}

impl Inner {
    /// Takes the stock of an earlier run over, and gives back the addresses of pods that this node no longer has. Notes whether
    /// there are pods that hold addresses and are no attachments: when they go, only another scan finds that.
    pub(super) async fn scan(&self) -> Result<()> {
        let mapping = self.view.ask().await?;
        let blocks: Api<IpamBlock> = Api::all(self.writer.asker.client.clone());
        let mut stay = false;
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let answer = self.writer.asker.ask(blocks.list(&page)).await;
            let list = answer.map_err(|error| api_error("list", "IPAMBlocks", error))?;
            for found in list.items.iter().filter_map(|object| self.found(object)) {
                let owner = Owner::of_block(found.block, &mapping);
                for (holder, address) in found.heirs {
                    self.handle_holds(&holder.handle, found.block);
                    let wish = Wish::HandOver { holder, address };
                    self.order_later(found.block, wish, owner.clone(), &mapping);
                }
                if found.stock {
                    self.order_later(found.block, Wish::Restock, owner.clone(), &mapping);
                }
                for stranger in found.strangers {
                    let is_gone = self.is_gone(&stranger).await?;
                    stay |= !is_gone && stranger.attributes.contains_key(POD);
                    if is_gone {
                        tracing::info!(handle = stranger.handle, block = %found.block, "an address of a pod that is no more is given back");
                        let wish = Wish::Release { handle: stranger.handle.clone() };
                        self.order_later(found.block, wish, owner.clone(), &mapping);
                        self.handle_gone(&stranger.handle);
                    }
                }
            }
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => break,
            }
        }
        self.strangers.send_replace(stay);
        Ok(())
    }

    fn found(&self, object: &IpamBlock) -> Option<Found> {
        let (block, _) = Block::read(&object.spec)?;
        let node =
            |holder: &Holder| holder.attributes.get(NODE).is_some_and(|node| **node == *self.writer.node);
        let stock: Vec<Ipv4Addr> = block.held_by(&self.own_stock()).collect();
        let heirs = stock.iter().filter_map(|address| self.heir(block.name(), *address)).collect();
        let mut strangers = Vec::new();
        for (address, holder) in block.held() {
            if !node(holder) || is_stock(&holder.handle) {
                continue;
            }
            self.writer.shelf.identify(block.name(), address, holder);
            if !self.writer.shelf.knows(&holder.handle, address) {
                strangers.push(holder.clone());
            }
        }
        let stock = !stock.is_empty();
        (stock || !strangers.is_empty()).then(|| Found { block: block.name(), stock, heirs, strangers })
    }

    /// The pod that has an address of the stock since an earlier run.
    fn heir(&self, block: BlockName, address: Ipv4Addr) -> Option<(Holder, Ipv4Addr)> {
        // The sandbox's own id is not known any more.
        let holder = |mark: &AttachmentMark, pod: &PodRef| {
            handle::holder(pod, mark, &self.writer.node, Timestamp::now())
        };
        Some((self.writer.shelf.heir(block, address, holder)?, address))
    }

    /// Whether a pod that has an address is certainly no more, has another one by now, or is another one on another node.
    async fn is_gone(&self, holder: &Holder) -> Result<bool> {
        let told = |name: &str| holder.attributes.get(name).map(String::as_str);
        let (Some(namespace), Some(name)) = (told(NAMESPACE), told(POD)) else { return Ok(false) };
        if self.writer.shelf.has_pod(namespace, name) {
            return Ok(true);
        }
        let pods: Api<Pod> = Api::namespaced(self.writer.asker.client.clone(), namespace);
        let found = self.writer.asker.ask(pods.get_opt(name)).await;
        let found =
            found.map_err(|error| api_error("look for", format_args!("pod {namespace}/{name}"), error))?;
        let node = found.as_ref().and_then(|pod| pod.spec.as_ref()?.node_name.as_deref());
        Ok(node != Some(&*self.writer.node))
    }
}
