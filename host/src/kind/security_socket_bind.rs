//! A socket is bound to an address.

use picket_ebpf::Record;
use picket_ebpf::kind::security_socket_bind::Bind;

use super::sockaddr::{self, address_fields};
use super::{Field, Kind, Type, derive_nothing};
use crate::slab::{Cell, Slab};

const FROM: usize = 1;

pub(super) static KIND: Kind = Kind {
    name: "security_socket_bind",
    short: "bind",
    line: "{local_addr.sin_addr}:{local_addr.sin_port} [{local_addr.sin6_addr}]:{local_addr.sin6_port} {local_addr.sun_path}",
    doc: "a process binds a socket to an address",
    event_id: 738,
    record: picket_ebpf::Kind::SecuritySocketBind as u16,
    narrow: 0,
    lifecycle: false,
    fields: &FIELDS,
    sources: &[],
    repeat_key: None,
    decode,
    derive: derive_nothing,
};

static FIELDS: [Field; FROM + sockaddr::CELLS + 2] = {
    let [a, b, c, d, e, f, g, h] = address_fields!("local_addr", &[], &[]);
    [
        Field::new("sockfd", Type::Signed, "descriptor; null where the hook does not know it"),
        a,
        b,
        c,
        d,
        e,
        f,
        g,
        h,
        Field::new("type", Type::Signed, "1 stream, 2 datagram, 5 seqpacket").optional(),
        Field::new("Success", Type::Bool, "the call succeeded").optional(),
    ]
};

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<Bind>() else { return };
    if body.fd >= 0 {
        cells[0] = Cell::Signed(i64::from(body.fd));
    }
    sockaddr::fill(record.slice(Bind::LOCAL), slab, &mut cells[FROM..=sockaddr::CELLS]);
    cells[FROM + sockaddr::CELLS] = Cell::Signed(i64::from(body.type_));
    if body.result_known == 1 {
        cells[FROM + sockaddr::CELLS + 1] = Cell::Bool(body.result == 0);
    }
}
