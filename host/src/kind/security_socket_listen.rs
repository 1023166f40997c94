//! A socket starts to listen.

use picket_ebpf::Record;
use picket_ebpf::kind::security_socket_listen::Listen;

use super::sockaddr::{self, address_fields};
use super::{Field, Kind, Type, derive_nothing};
use crate::slab::{Cell, Slab};

const LOCAL: usize = 1;
const BACKLOG: usize = LOCAL + sockaddr::CELLS;
const TYPE: usize = BACKLOG + 1;
const SUCCESS: usize = TYPE + 1;

pub(super) static KIND: Kind = Kind {
    name: "security_socket_listen",
    short: "listen",
    line: "{local_addr.sin_addr}:{local_addr.sin_port} [{local_addr.sin6_addr}]:{local_addr.sin6_port} {local_addr.sun_path}",
    doc: "a process starts to listen on a socket",
    event_id: 735,
    record: picket_ebpf::Kind::SecuritySocketListen as u16,
    narrow: 0,
    lifecycle: false,
    fields: &FIELDS,
    sources: &[],
    repeat_key: None,
    decode,
    derive: derive_nothing,
};

static FIELDS: [Field; SUCCESS + 1] = {
    let [a, b, c, d, e, f, g, h] = address_fields!("local_addr", &[], &[]);
    [
        Field::new("sockfd", Type::Signed, "descriptor"),
        a,
        b,
        c,
        d,
        e,
        f,
        g,
        h,
        Field::new("backlog", Type::Signed, "connections that may wait, as asked for"),
        Field::new("type", Type::Signed, "1 stream, 5 seqpacket").optional(),
        Field::new("Success", Type::Bool, "the call succeeded").optional(),
    ]
};

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<Listen>() else { return };
    cells[0] = Cell::Signed(i64::from(body.fd));
    sockaddr::fill(record.slice(Listen::LOCAL), slab, &mut cells[LOCAL..BACKLOG]);
    cells[BACKLOG] = Cell::Signed(i64::from(body.backlog));
    cells[TYPE] = Cell::Signed(i64::from(body.type_));
    if body.result_known == 1 {
        cells[SUCCESS] = Cell::Bool(body.result == 0);
    }
}
