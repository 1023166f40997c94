//! A socket becomes standard input, output or error: the heart of most reverse shells.

use picket_ebpf::Record;
use picket_ebpf::kind::socket_dup::Dup;

use super::sockaddr::{self, address_fields};
use super::{Field, Kind, Type, derive_nothing};
use crate::slab::{Cell, Slab};

const FROM: usize = 2;

pub(super) static KIND: Kind = Kind {
    name: "socket_dup",
    short: "dup",
    line: "fd={newfd} {remote_addr.sin_addr}:{remote_addr.sin_port} [{remote_addr.sin6_addr}]:{remote_addr.sin6_port} {remote_addr.sun_path}",
    doc: "a socket becomes standard input, output or error of its process",
    event_id: 758,
    record: picket_ebpf::Kind::SocketDup as u16,
    narrow: 0,
    lifecycle: false,
    fields: &FIELDS,
    sources: &[],
    repeat_key: None,
    decode,
    derive: derive_nothing,
};

static FIELDS: [Field; FROM + sockaddr::CELLS + 1] = {
    let [a, b, c, d, e, f, g, h] = address_fields!("remote_addr", &["DestinationIp"], &["DestinationPort"]);
    [
        Field::new("oldfd", Type::Signed, "descriptor that is copied"),
        Field::new("newfd", Type::Signed, "the copy: 0, 1 or 2"),
        a,
        b,
        c,
        d,
        e,
        f,
        g,
        h,
        Field::new("type", Type::Signed, "1 stream, 2 datagram, 5 seqpacket").optional(),
    ]
};

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<Dup>() else { return };
    cells[0] = Cell::Signed(i64::from(body.old_fd));
    cells[1] = Cell::Signed(i64::from(body.new_fd));
    sockaddr::fill(record.slice(Dup::REMOTE), slab, &mut cells[FROM..FROM + sockaddr::CELLS]);
    cells[FROM + sockaddr::CELLS] = Cell::Signed(i64::from(body.type_));
}
