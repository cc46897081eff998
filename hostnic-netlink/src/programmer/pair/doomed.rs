//! Veths whose pods are gone: deleted together, since one after the other each takes the kernel some 20 ms.

use hostnic_core::{ErrorKind, Result};

use super::super::alias::Alias;
use super::super::node::Node;
use crate::connection::Connection;
use crate::link::{Link, LinkChange, LinkIndex};

/// The group of the nodes' ends of such veths, "hnx" in the bytes of its number.
const DOOMED: u32 = u32::from_be_bytes(*b"\0hnx");

/// What a link is called whose name another one takes, before its number in the node.
const ASIDE: &str = "hnx";

/// The name of the link with that number when its own name is to be free.
fn aside(link: LinkIndex) -> String {
    format!("{ASIDE}{}", link.0)
}

/// Whether the link is to be deleted.
pub(in crate::programmer) fn is_doomed(link: &Link) -> bool {
    link.group == DOOMED || Alias::of(link).is_some_and(|alias| alias.silenced)
}

/// Ends what passes by a veth and frees the name of its node's end, which gets this alias.
pub(in crate::programmer) async fn doom(connection: &Connection, link: &Link, alias: &Alias) -> Result<()> {
    let (name, alias) = (aside(link.index), alias.to_string());
    // Two messages: kernels before 6.2 do not rename a link that is up.
    let down = connection.change_link(link.index, LinkChange::new().down());
    let doomed = LinkChange::new().rename(&name).group(DOOMED).alias(&alias);
    let doomed = connection.change_link(link.index, doomed);
    let (down, doomed) = futures::join!(down, doomed);
    unless_gone(down.and(doomed))
}

/// Deletes a veth that is to be, and all others that are. Nothing to do where another pod's end came first; to see that
/// takes less than the list of a full node's links.
pub(in crate::programmer) async fn delete_with_doomed(node: &Node, host_end: LinkIndex) -> Result<()> {
    match node.connection().await?.link(host_end).await {
        Ok(link) if is_doomed(&link) => delete_doomed(node).await,
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Deletes the veths that are to be, all at once. Others' links are taken out of the group before.
pub(in crate::programmer) async fn delete_doomed(node: &Node) -> Result<()> {
    let apart = node.connect_apart(node.netns()).await?;
    let deleted = delete_all(&apart).await;
    apart.close().await;
    deleted
}

async fn delete_all(connection: &Connection) -> Result<()> {
    let links = connection.links().await?;
    let is_ours =
        |link: &&Link| Alias::of(link).is_some_and(|alias| alias.part.is_host_end() && alias.silenced);
    let (ours, foreign): (Vec<_>, Vec<_>) =
        links.iter().filter(|link| link.group == DOOMED).partition(is_ours);
    if ours.is_empty() {
        return Ok(());
    }
    for link in foreign {
        tracing::warn!(
            link = link.name,
            "somebody else's link is taken out of the group of ours to be deleted"
        );
        unless_gone(connection.change_link(link.index, LinkChange::new().group(0)).await)?;
    }
    connection.delete_group(DOOMED).await
}

/// Ends an older attachment's use of a veth's name. Its own teardown is still to come.
pub(in crate::programmer) async fn put_aside(node: &Node, older: Link) -> Result<()> {
    tracing::warn!(link = older.name, "a newer pod takes the name of a link from an older one");
    let name = aside(older.index);
    // Two messages: kernels before 6.2 do not rename a link that is up.
    node.change(older.index, LinkChange::new().down()).await?;
    node.change(older.index, LinkChange::new().rename(&name)).await
}

pub(in crate::programmer) fn unless_gone(done: Result<()>) -> Result<()> {
    match done {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
