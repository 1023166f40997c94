//! Socket addresses as Tracee writes them: every value a string, ports decimal.

use std::net::{Ipv4Addr, Ipv6Addr};

use picket_ebpf::Slice;

use crate::slab::{Cell, Slab};

/// The address fields of a kind, in the order in which [`fill`] writes their cells.
macro_rules! address_fields {
    ($prefix:literal, $ip:expr, $port:expr) => {
        [
            Field::new(concat!($prefix, ".sa_family"), Type::Text, "address family").optional(),
            Field::new(concat!($prefix, ".sin_addr"), Type::Text, "IPv4 address").sigma($ip).optional(),
            Field::new(concat!($prefix, ".sin_port"), Type::Text, "port, decimal").sigma($port).optional(),
            Field::new(concat!($prefix, ".sin6_addr"), Type::Text, "IPv6 address").sigma($ip).optional(),
            Field::new(concat!($prefix, ".sin6_port"), Type::Text, "port, decimal").sigma($port).optional(),
            Field::new(concat!($prefix, ".sin6_flowinfo"), Type::Text, "flow label").optional(),
            Field::new(concat!($prefix, ".sin6_scopeid"), Type::Text, "scope").optional(),
            Field::new(concat!($prefix, ".sun_path"), Type::Text, "path; @name = abstract, empty = unnamed").optional(),
        ]
    };
}
pub(super) use address_fields;

/// Number of cells an address takes.
pub(super) const CELLS: usize = 8;

const UNIX: u16 = 1;
const INET: u16 = 2;
const INET6: u16 = 10;

/// Fills the [`CELLS`] cells of an address from a kernel `sockaddr`.
pub(super) fn fill(slice: Slice<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(bytes) = slice.present() else { return };
    let Some((family, rest)) = bytes.split_first_chunk::<2>() else { return };
    let family = u16::from_ne_bytes(*family);
    let port = |b: &[u8]| b.first_chunk::<2>().map(|p| u16::from_be_bytes(*p));
    match family {
        INET => {
            cells[0] = slab.text(b"AF_INET");
            if let (Some(port), Some(ip)) = (port(rest), rest.get(2..6).and_then(<[u8]>::first_chunk::<4>)) {
                cells[1] = slab.format(format_args!("{}", Ipv4Addr::from(*ip)));
                cells[2] = slab.format(format_args!("{port}"));
            }
        }
        INET6 => {
            cells[0] = slab.text(b"AF_INET6");
            if let (Some(port), Some(ip)) = (port(rest), rest.get(6..22).and_then(<[u8]>::first_chunk::<16>)) {
                let ip = Ipv6Addr::from(*ip);
                // A mapped IPv4 address reads as IPv4, as in the model: a rule on 10.0.0.0/8 sees it.
                cells[3] = match ip.to_ipv4_mapped() {
                    Some(v4) => slab.format(format_args!("{v4}")),
                    None => slab.format(format_args!("{ip}")),
                };
                cells[4] = slab.format(format_args!("{port}"));
                let number = |at: usize, big: bool| {
                    rest.get(at..)
                        .and_then(<[u8]>::first_chunk::<4>)
                        .map_or(0, |b| if big { u32::from_be_bytes(*b) } else { u32::from_ne_bytes(*b) })
                };
                cells[5] = slab.format(format_args!("{}", number(2, true)));
                cells[6] = slab.format(format_args!("{}", number(22, false)));
            }
        }
        UNIX => {
            cells[0] = slab.text(b"AF_UNIX");
            let mut path = Vec::new();
            unix_name(rest, &mut path);
            cells[7] = slab.text(&path);
        }
        0 => cells[0] = slab.text(b"AF_UNSPEC"),
        other => cells[0] = slab.format(format_args!("AF_{other}")),
    }
}

/// An address of a socket of `family` in one text: `ip:port`, `[ip]:port`, `unix:path`. Absent when there is no
/// socket, or one without a peer.
pub(super) fn text(slice: Slice<'_>, family: u16, slab: &mut Slab) -> Cell {
    let rest = slice.present().and_then(|b| b.get(2..)).unwrap_or_default();
    let port = rest.first_chunk::<2>().map_or(0, |p| u16::from_be_bytes(*p));
    match family {
        0 => Cell::Absent,
        INET | INET6 if port == 0 => Cell::Absent,
        INET => match rest.get(2..6).and_then(<[u8]>::first_chunk::<4>) {
            Some(ip) => slab.format(format_args!("{}:{port}", Ipv4Addr::from(*ip))),
            None => Cell::Absent,
        },
        INET6 => match rest.get(6..22).and_then(<[u8]>::first_chunk::<16>) {
            Some(ip) => match Ipv6Addr::from(*ip).to_ipv4_mapped() {
                Some(v4) => slab.format(format_args!("{v4}:{port}")),
                None => slab.format(format_args!("[{}]:{port}", Ipv6Addr::from(*ip))),
            },
            None => Cell::Absent,
        },
        UNIX => {
            let mut text = b"unix:".to_vec();
            unix_name(rest, &mut text);
            slab.text(&text)
        }
        other => slab.format(format_args!("AF_{other}")),
    }
}

/// Appends the name of an AF_UNIX socket: its path, `@` and an abstract name, or nothing.
fn unix_name(rest: &[u8], to: &mut Vec<u8>) {
    match rest.split_first() {
        Some((0, name)) if !name.is_empty() => {
            to.push(b'@');
            to.extend_from_slice(name);
        }
        _ => to.extend_from_slice(rest.split(|&b| b == 0).next().unwrap_or_default()),
    }
}

/// Port 0 of a socket's own address means that none is chosen yet: absent then.
pub(super) fn forget_port_0(slab: &Slab, cells: &mut [Cell]) {
    for cell in [2, 4] {
        if matches!(cells[cell], Cell::Text(s) if &slab.arena[s.range()] == b"0") {
            cells[cell] = Cell::Absent;
        }
    }
}

/// Whether the address cells of a row hold an internet address.
pub(super) fn is_inet(slab: &Slab, cells: &[Cell]) -> bool {
    matches!(cells[0], Cell::Text(s) if matches!(&slab.arena[s.range()], b"AF_INET" | b"AF_INET6"))
}

#[cfg(test)]
mod tests {
    use picket_ebpf::{SliceFlags, Status};

    use super::*;
    use crate::slab::Value;

    fn texts(bytes: &[u8]) -> Vec<Option<String>> {
        let slice = Slice { bytes, original: bytes.len() as u32, status: Status::Ok, flags: SliceFlags(0) };
        let (mut slab, mut cells) = (Slab::default(), [Cell::Absent; CELLS]);
        fill(slice, &mut slab, &mut cells);
        let text = |c: &Cell| match slab.cell_value(*c) {
            Value::Text(t) => Some(String::from_utf8_lossy(t).into_owned()),
            _ => None,
        };
        cells.iter().map(text).collect()
    }

    #[test]
    fn one_text_for_an_address() {
        let said = |family: u16, bytes: &[u8]| {
            let status = if bytes.is_empty() { Status::Absent } else { Status::Ok };
            let slice = Slice { bytes, original: bytes.len() as u32, status, flags: SliceFlags(0) };
            let mut slab = Slab::default();
            match text(slice, family, &mut slab) {
                Cell::Text(s) => Some(String::from_utf8_lossy(&slab.arena[s.range()]).into_owned()),
                _ => None,
            }
        };
        let some = |s: &str| Some(s.to_owned());
        assert_eq!(said(INET, &[2, 0, 0x11, 0x5c, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0]), some("192.0.2.1:4444"));
        assert_eq!(said(INET, &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        let six = |ip: Ipv6Addr| [&[10, 0, 0, 22, 0, 0, 0, 0][..], &ip.octets(), &[0; 4]].concat();
        assert_eq!(said(INET6, &six(Ipv6Addr::LOCALHOST)), some("[::1]:22"));
        assert_eq!(said(INET6, &six(Ipv4Addr::LOCALHOST.to_ipv6_mapped())), some("127.0.0.1:22"));
        assert_eq!(said(UNIX, b"\x01\x00/run/x\0"), some("unix:/run/x"));
        assert_eq!(said(UNIX, b"\x01\x00\0name"), some("unix:@name"));
        assert_eq!(said(UNIX, b""), some("unix:"));
        assert_eq!(said(16, b""), some("AF_16"));
        assert_eq!(said(0, b""), None);
    }

    #[test]
    fn reads_every_family() {
        let some = |s: &str| Some(s.to_owned());
        let v4 = texts(&[2, 0, 0, 22, 192, 168, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(v4[..3], [some("AF_INET"), some("192.168.1.1"), some("22")]);
        let mut v6 = vec![10, 0, 0x11, 0x5c, 0, 0, 0, 0];
        v6.extend(std::net::Ipv6Addr::LOCALHOST.octets());
        v6.extend(3u32.to_ne_bytes());
        let v6 = texts(&v6);
        assert_eq!(v6[0], some("AF_INET6"));
        assert_eq!(v6[3..7], [some("::1"), some("4444"), some("0"), some("3")]);
        assert_eq!(texts(b"\x01\x00/run/x\0junk")[7], some("/run/x"));
        assert_eq!(texts(b"\x01\x00\0abstract")[7], some("@abstract"));
        assert_eq!(texts(b"\x01\x00")[7], some(""));
        assert_eq!(texts(b"\x02"), vec![None; CELLS]);
    }
}
