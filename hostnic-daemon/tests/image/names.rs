//! A name server that knows one name.

use std::net::{Ipv4Addr, UdpSocket};

use hostnic_netlink::Netns;

/// The name of the cloud's API.
pub(crate) const API: &str = "api.hostnic.test";

/// Answers questions for [`API`] with `address`, at port 53 of a network's loopback, for as long as the process lasts.
pub(crate) async fn serve(netns: Netns, address: Ipv4Addr) {
    let socket = netns.run(|| UdpSocket::bind("127.0.0.1:53")).await.unwrap().unwrap();
    std::thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((length, asker)) = socket.recv_from(&mut packet) {
            if let Some(answer) = answer(&packet[..length], address) {
                let _ = socket.send_to(&answer, asker);
            }
        }
    });
}

/// The question is repeated, and answered where it is for an address of that name.
fn answer(asked: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    let name = asked.get(HEADER..)?;
    let end = name.iter().position(|byte| *byte == 0)? + 1;
    let question = name.get(..end + 4)?;
    let labels: Vec<u8> = API
        .split('.')
        .flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat())
        .collect();
    let known = labels == question[..end - 1];
    let wants_address = question[end..] == [0, 1, 0, 1];
    let answers = u8::from(known && wants_address);
    let mut answer = asked[..2].to_vec();
    // An answer with recursion; "no such name" where it is another.
    answer.extend([0x81, if known { 0x80 } else { 0x83 }, 0, 1, 0, answers, 0, 0, 0, 0]);
    answer.extend(question);
    if answers == 1 {
        // The name in the question, an address of the internet, for 5 s, 4 bytes.
        answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}
