//! News of a namespace's links.

use futures::StreamExt;
use hostnic_core::{Error, ErrorKind, Result};
use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::MulticastGroup;

use crate::link::{Link, LinkIndex};
use crate::listener::{Events, Listener};
use crate::netns::Netns;
use crate::visitor::Visitor;

/// What became of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// It appeared, or something about it changed; this is what it is like now.
    Changed(Link),
    /// It is gone from the namespace.
    Gone(LinkIndex),
    /// Events were lost, because too many came at once: list the links again.
    Missed,
}

/// The events of a namespace's links, from the moment of subscription on.
///
/// To know the links at every moment: subscribe, then list them, then follow the events. The namespace stays alive
/// until this is dropped.
#[derive(Debug)]
pub struct LinkEvents {
    events: Events,
    _listener: Listener,
}

impl LinkEvents {
    /// Begins to listen in `netns`.
    ///
    /// # Errors
    /// As [`crate::Connection::open`].
    pub async fn subscribe(netns: &Netns) -> Result<Self> {
        let (listener, events) = Listener::start(netns, MulticastGroup::Link).await?;
        Ok(Self { events, _listener: listener })
    }

    /// The same, by a thread that many share.
    pub(crate) async fn subscribe_by(visitor: &Visitor, netns: &Netns) -> Result<Self> {
        let (listener, events) = Listener::share(visitor, netns, MulticastGroup::Link).await?;
        Ok(Self { events, _listener: listener })
    }

    /// The next event. A dropped future loses none.
    ///
    /// # Errors
    /// `Transient` when the socket is closed; subscribe again.
    pub async fn next(&mut self) -> Result<LinkEvent> {
        loop {
            let (message, _) = self.events.next().await.ok_or_else(|| {
                Error::new(ErrorKind::Transient, "listen to", "link events")
                    .detail("the netlink socket was closed")
            })?;
            match message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                    return Ok(LinkEvent::Changed(Link::read(link)));
                }
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => {
                    return Ok(LinkEvent::Gone(LinkIndex(link.header.index)));
                }
                NetlinkPayload::Overrun(_) => return Ok(LinkEvent::Missed),
                _ => {}
            }
        }
    }
}

/// The comings and goings of a namespace's addresses of IPv4, from the moment of subscription on.
#[derive(Debug)]
pub struct AddressEvents {
    events: Events,
    _listener: Listener,
}

/// What became of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressEvent {
    /// One of the link with this name came, went or changed; the name is empty where the kernel does not tell it.
    Changed(String),
    /// Events were lost, because too many came at once: list the addresses again.
    Missed,
}

impl AddressEvents {
    /// Begins to listen in `netns`.
    ///
    /// # Errors
    /// As [`crate::Connection::open`].
    pub async fn subscribe(netns: &Netns) -> Result<Self> {
        let (listener, events) = Listener::start(netns, MulticastGroup::Ipv4Ifaddr).await?;
        Ok(Self { events, _listener: listener })
    }

    /// The same, by a thread that many share.
    pub(crate) async fn subscribe_by(visitor: &Visitor, netns: &Netns) -> Result<Self> {
        let (listener, events) = Listener::share(visitor, netns, MulticastGroup::Ipv4Ifaddr).await?;
        Ok(Self { events, _listener: listener })
    }

    /// The next event. A dropped future loses none.
    ///
    /// # Errors
    /// `Transient` when the socket is closed; subscribe again.
    pub async fn next(&mut self) -> Result<AddressEvent> {
        loop {
            let (message, _) = self.events.next().await.ok_or_else(|| {
                Error::new(ErrorKind::Transient, "listen to", "address events")
                    .detail("the netlink socket was closed")
            })?;
            match message.payload {
                NetlinkPayload::InnerMessage(
                    RouteNetlinkMessage::NewAddress(address) | RouteNetlinkMessage::DelAddress(address),
                ) => return Ok(AddressEvent::Changed(link_name(&address))),
                NetlinkPayload::Overrun(_) => return Ok(AddressEvent::Missed),
                _ => {}
            }
        }
    }
}

/// The label of an address is the name that its link had when it was given.
fn link_name(address: &AddressMessage) -> String {
    let label = address.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Label(label) => Some(label.clone()),
        _ => None,
    });
    label.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::NetlinkMessage;
    use netlink_packet_route::link::LinkMessage;
    use netlink_sys::SocketAddr;

    use super::*;

    #[tokio::test]
    async fn lost_events_are_told_in_their_place() {
        let (sender, events) = futures::channel::mpsc::unbounded();
        let mut link = LinkMessage::default();
        link.header.index = 7;
        let gone = NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link));
        for payload in [NetlinkPayload::Overrun(Vec::new()), NetlinkPayload::Noop, gone] {
            let message = NetlinkMessage::new(Default::default(), payload);
            sender.unbounded_send((message, SocketAddr::new(0, 0))).unwrap();
        }
        drop(sender);

        let mut events = LinkEvents { events, _listener: Listener::of_nothing() };
        assert_eq!(events.next().await.unwrap(), LinkEvent::Missed);
        assert_eq!(events.next().await.unwrap(), LinkEvent::Gone(LinkIndex(7)));
        assert_eq!(events.next().await.unwrap_err().kind(), ErrorKind::Transient);
    }
}
