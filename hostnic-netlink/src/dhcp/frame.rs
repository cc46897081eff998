//! Ethernet, IPv4 and UDP around a message.

use std::net::Ipv4Addr;

use hostnic_core::id::MacAddr;

use super::message::Ask;

const ETHERNET: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
/// The length of an IPv4 header without options, and of a UDP header.
const IP: usize = 20;
const UDP: usize = 8;
const UDP_NUMBER: u8 = 17;
/// The ports of client and server.
pub(super) const CLIENT: u16 = 68;
const SERVER: u16 = 67;
const EVERYBODY: [u8; 6] = [0xff; 6];

/// A frame that carries a client's message to whom it is for.
pub(super) fn wrap(mac: MacAddr, ask: &Ask, message: &[u8]) -> Vec<u8> {
    let (to, server) =
        ask.server().map_or((EVERYBODY, Ipv4Addr::BROADCAST), |server| (server.mac.octets(), server.address));
    // Clouds let a client send from no address, and who has one from that.
    let from = ask.own().unwrap_or(Ipv4Addr::UNSPECIFIED);
    let udp = udp(from, server, message);
    [&to[..], &mac.octets(), &IPV4, &ip(from, server, udp.len()), &udp].concat()
}

fn ip(from: Ipv4Addr, to: Ipv4Addr, length: usize) -> Vec<u8> {
    let total = u16::try_from(IP + length).unwrap_or(u16::MAX).to_be_bytes();
    let mut header =
        [&[0x45, 0][..], &total, &[0, 0, 0, 0, 64, UDP_NUMBER, 0, 0], &from.octets(), &to.octets()].concat();
    let sum = checksum(&[&header]).to_be_bytes();
    header.splice(10..12, sum);
    header
}

fn udp(from: Ipv4Addr, to: Ipv4Addr, message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(UDP + message.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut datagram = [&CLIENT.to_be_bytes()[..], &SERVER.to_be_bytes(), &length, &[0, 0], message].concat();
    let pseudo = [&from.octets()[..], &to.octets(), &[0, UDP_NUMBER], &length].concat();
    // Zero would say that there is none.
    let sum = match checksum(&[&pseudo, &datagram]) {
        0 => u16::MAX,
        sum => sum,
    };
    datagram.splice(6..8, sum.to_be_bytes());
    datagram
}

/// The sum of the internet protocols over parts of which all but the last have even lengths.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let word = |pair: &[u8]| {
        u32::from(pair.first().copied().unwrap_or(0)) << 8 | u32::from(pair.get(1).copied().unwrap_or(0))
    };
    let mut sum: u32 = words.map(word).sum();
    while sum > u32::from(u16::MAX) {
        sum = (sum >> 16) + (sum & u32::from(u16::MAX));
    }
    !u16::try_from(sum).unwrap_or(0)
}

/// The message to a client in a frame, and from which MAC address it came; `None` for any other frame. Sums are not looked
/// at: a sender on the same machine leaves them to the hardware, which there is none of.
pub(super) fn unwrap(frame: &[u8]) -> Option<(MacAddr, &[u8])> {
    let (ethernet, packet) = frame.split_at_checked(ETHERNET)?;
    if ethernet.get(12..14)? != IPV4 {
        return None;
    }
    let first = *packet.first()?;
    let header = usize::from(first & 0xf) * 4;
    if first >> 4 != 4 || header < IP || *packet.get(9)? != UDP_NUMBER {
        return None;
    }
    let datagram = packet.get(header..)?;
    let number = |at| Some(u16::from_be_bytes([*datagram.get(at)?, *datagram.get(at + 1)?]));
    if number(2)? != CLIENT {
        return None;
    }
    // What comes after it only fills the frame.
    let message = datagram.get(UDP..number(4)?.into())?;
    let sender = <[u8; 6]>::try_from(ethernet.get(6..12)?).ok()?;
    Some((MacAddr::new(sender).ok()?, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dhcp::message::Server;

    fn mac(last: u8) -> MacAddr {
        MacAddr::new([0x52, 0x54, 0, 0, 0, last]).unwrap()
    }

    #[test]
    fn who_has_no_address_asks_everybody_from_none() {
        let frame = wrap(mac(1), &Ask::Discover, b"odd");
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = concat!(
            "ffffffffffff5254000000010800",
            // Sums that were worked out elsewhere.
            "4500001f000000004011",
            "7acf",
            "00000000ffffffff",
            "00440043000b",
            "2bed",
            "6f6464"
        );
        assert_eq!(hex, expected);
    }

    #[test]
    fn who_has_one_asks_the_server_that_gave_it() {
        let own = Ipv4Addr::new(10, 1, 0, 60);
        let server = Server { address: Ipv4Addr::new(10, 1, 0, 2), mac: mac(9) };
        let frame = wrap(mac(1), &Ask::Renew { address: own, server }, b"even");
        assert_eq!((&frame[..6], &frame[6..12]), (&mac(9).octets()[..], &mac(1).octets()[..]));
        assert_eq!((&frame[26..30], &frame[30..34]), (&[10, 1, 0, 60][..], &[10, 1, 0, 2][..]));
        // A sum over what has the right sum in it is none.
        assert_eq!(checksum(&[&frame[14..34]]), 0);
        let pseudo = [&frame[26..34], &[0, UDP_NUMBER], &frame[38..40]].concat();
        assert_eq!(checksum(&[&pseudo, &frame[34..]]), 0);
    }

    #[test]
    fn a_message_is_found_behind_options_and_before_what_fills_the_frame() {
        let frame = |header: u8, port: u8, length: u8| {
            let mut frame = [&mac(1).octets()[..], &mac(9).octets(), &IPV4, &[0x40 | header]].concat();
            frame.resize(ETHERNET + usize::from(header) * 4, 0);
            frame[23] = UDP_NUMBER;
            frame.extend([0, 67, 0, port, 0, length, 0, 0]);
            frame.extend(b"message, and more");
            frame
        };
        for header in [5, 6, 15] {
            assert_eq!(unwrap(&frame(header, 68, 15)), Some((mac(9), &b"message"[..])));
        }
        for (header, port, length) in [(4, 68, 15), (5, 67, 15), (5, 68, 7), (5, 68, 200)] {
            assert_eq!(unwrap(&frame(header, port, length)), None, "{header} {port} {length}");
        }
        for cut in 0..43 {
            assert_eq!(unwrap(&frame(5, 68, 15)[..cut]), None);
        }
    }
}
