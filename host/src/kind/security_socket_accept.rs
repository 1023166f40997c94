//! A connection is accepted.

use picket_ebpf::Record;
use picket_ebpf::kind::security_socket_accept::Accept;

use super::sockaddr::{self, address_fields};
use super::{Field, Kind, LogSource, Rows, Type};
use crate::slab::{Cell, Slab};

const LOCAL: usize = 1;
const REMOTE: usize = LOCAL + sockaddr::CELLS;
const TYPE: usize = REMOTE + sockaddr::CELLS;
const SUCCESS: usize = TYPE + 1;
const INITIATED: usize = SUCCESS + 1;

pub(super) static KIND: Kind = Kind {
    name: "security_socket_accept",
    short: "accept",
    line: "{remote_addr.sin_addr}:{remote_addr.sin_port} [{remote_addr.sin6_addr}]:{remote_addr.sin6_port} {remote_addr.sun_path} {local_addr.sin_port?|local_addr.sin6_port?}",
    doc: "a process accepts a connection",
    event_id: 737,
    record: picket_ebpf::Kind::SecuritySocketAccept as u16,
    narrow: picket_ebpf::Interest::NO_UNIX,
    lifecycle: false,
    fields: &FIELDS,
    sources: &[LogSource { category: "network_connection", rows: Rows::Where(is_network) }],
    repeat_key: None,
    decode,
    derive,
};

/// For Sigma the source of a connection is who opened it: here the peer.
static FIELDS: [Field; INITIATED + 1] = {
    let [a, b, c, d, e, f, g, h] = address_fields!("local_addr", &["DestinationIp"], &["DestinationPort"]);
    let [i, j, k, l, m, n, o, p] = address_fields!("remote_addr", &["SourceIp"], &["SourcePort"]);
    [
        Field::new("sockfd", Type::Signed, "descriptor of the listening socket; null where the hook does not know it"),
        a,
        b,
        c,
        d,
        e,
        f,
        g,
        h,
        i,
        j,
        k,
        l,
        m,
        n,
        o,
        p,
        Field::new("type", Type::Signed, "1 stream, 5 seqpacket").optional(),
        Field::new("Success", Type::Bool, "the call succeeded").optional(),
        Field::new("Initiated", Type::Bool, "this host opened the connection").sigma(&["Initiated"]).optional(),
    ]
};

/// A unix socket is no network connection. An event of the model says nothing about the peer, but the family.
fn is_network(slab: &Slab, row: usize) -> bool {
    sockaddr::is_inet(slab, &slab.own_cells(row)[LOCAL..])
}

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<Accept>() else { return };
    if body.fd >= 0 {
        cells[0] = Cell::Signed(i64::from(body.fd));
    }
    sockaddr::fill(record.slice(Accept::LOCAL), slab, &mut cells[LOCAL..REMOTE]);
    sockaddr::fill(record.slice(Accept::REMOTE), slab, &mut cells[REMOTE..TYPE]);
    cells[TYPE] = Cell::Signed(i64::from(body.type_));
    if body.result_known == 1 {
        cells[SUCCESS] = Cell::Bool(body.result >= 0);
    }
}

fn derive(_: &mut Slab, cells: &mut [Cell]) {
    if cells[INITIATED] == Cell::Absent {
        cells[INITIATED] = Cell::Bool(false);
    }
}
