//! A DNS server that knows a few names, for a stimulus that looks one up: it ends with the stage.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::thread;

const A: [u8; 2] = [0, 1];
const TXT: [u8; 2] = [0, 16];

/// Answers on the loopback address from now on.
pub fn start(names: Vec<(String, Ipv4Addr)>) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 53))?;
    thread::Builder::new().name("resolver".to_owned()).spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            if let Some(answer) = answer(&buffer[..length], &names) {
                // The asker may have gone.
                let _ = socket.send_to(&answer, peer);
            }
        }
    })?;
    Ok(())
}

/// The answer to a request about one name: its address, a text, or that it does not exist.
fn answer(request: &[u8], names: &[(String, Ipv4Addr)]) -> Option<Vec<u8>> {
    let (mut at, mut name) = (12, String::new());
    loop {
        let length = usize::from(*request.get(at)?);
        let label = request.get(at + 1..at + 1 + length)?;
        at += 1 + length;
        if length == 0 {
            break;
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(&String::from_utf8_lossy(label).to_lowercase());
    }
    let question = request.get(12..at + 4)?;
    let asked: [u8; 2] = request.get(at..at + 2)?.try_into().ok()?;
    let known = names.iter().find(|(n, _)| *n == name).map(|(_, address)| *address);
    let data: Option<Vec<u8>> = match (known, asked) {
        (Some(address), A) => Some(address.octets().to_vec()),
        (Some(_), TXT) => Some(b"\x05hello".to_vec()),
        _ => None,
    };
    let code = if known.is_some() { 0 } else { 3 };
    let mut message = request.get(..2)?.to_vec();
    message.extend([0x81, 0x80 | code, 0, 1, 0, u8::from(data.is_some()), 0, 0, 0, 0]);
    message.extend(question);
    if let Some(data) = data {
        // The name is the question's; class IN; five minutes.
        message.extend([0xc0, 12]);
        message.extend(asked);
        message.extend([0, 1, 0, 0, 1, 44]);
        message.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        message.extend(data);
    }
    Some(message)
}
