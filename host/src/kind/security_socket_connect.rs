//! A socket is connected.

use picket_ebpf::Record;
use picket_ebpf::kind::security_socket_connect::Connect;

use super::sockaddr::{self, address_fields};
use super::{Field, Kind, LogSource, Rows, Type};
use crate::slab::{Cell, Slab};

const ADDRESS: [Field; sockaddr::CELLS] = address_fields!("remote_addr", &["DestinationIp"], &["DestinationPort"]);
const FROM: usize = 2;
const SUCCESS: usize = FROM + sockaddr::CELLS + 1;
const INITIATED: usize = SUCCESS + 1;
const LOCAL: usize = INITIATED + 1;

pub(super) static KIND: Kind = Kind {
    name: "security_socket_connect",
    short: "connect",
    line: "{remote_addr.sin_addr}:{remote_addr.sin_port} [{remote_addr.sin6_addr}]:{remote_addr.sin6_port} {remote_addr.sun_path} ({remote_addr.dns_names})",
    doc: "a process makes an outbound connection",
    event_id: 736,
    record: picket_ebpf::Kind::SecuritySocketConnect as u16,
    narrow: picket_ebpf::Interest::NO_UNIX,
    lifecycle: false,
    fields: &FIELDS,
    sources: &[LogSource { category: "network_connection", rows: Rows::Where(is_network) }],
    repeat_key: None,
    decode,
    derive,
};

static FIELDS: [Field; LOCAL + sockaddr::CELLS] = {
    let [a, b, c, d, e, f, g, h] = ADDRESS;
    let [i, j, k, l, m, n, o, p] = address_fields!("local_addr", &["SourceIp"], &["SourcePort"]);
    [
        Field::new("sockfd", Type::Signed, "descriptor; null where the hook does not know it"),
        Field::new("type", Type::Signed, "1 stream, 2 datagram, 5 seqpacket"),
        a,
        b,
        c,
        d,
        e,
        f,
        g,
        h,
        Field::new("remote_addr.dns_names", Type::TextList, "names this address was resolved from")
            .sigma(&["DestinationHostname"])
            .optional(),
        Field::new("Success", Type::Bool, "the call succeeded or is in progress").optional(),
        Field::new("Initiated", Type::Bool, "this host opened the connection").sigma(&["Initiated"]).optional(),
        i,
        j,
        k,
        l,
        m,
        n,
        o,
        p,
    ]
};

/// A unix socket is no network connection.
fn is_network(slab: &Slab, row: usize) -> bool {
    sockaddr::is_inet(slab, &slab.own_cells(row)[FROM..])
}

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<Connect>() else { return };
    if body.fd >= 0 {
        cells[0] = Cell::Signed(i64::from(body.fd));
    }
    cells[1] = Cell::Signed(i64::from(body.type_));
    sockaddr::fill(record.slice(Connect::REMOTE), slab, &mut cells[FROM..FROM + sockaddr::CELLS]);
    let local = &mut cells[LOCAL..];
    sockaddr::fill(record.slice(Connect::LOCAL), slab, local);
    sockaddr::forget_port_0(slab, local);
    if body.result_known == 1 {
        cells[SUCCESS] = Cell::Bool(body.result == 0 || body.result == -libc::EINPROGRESS);
    }
}

fn derive(_: &mut Slab, cells: &mut [Cell]) {
    if cells[INITIATED] == Cell::Absent {
        cells[INITIATED] = Cell::Bool(true);
    }
}
