//! UDP is sent to a peer without a connection.

use picket_ebpf::Record;
use picket_ebpf::kind::net_udp_send::UdpSend;

use super::sockaddr::{self, address_fields};
use super::{Field, Kind, LogSource, Rows, Type};
use crate::slab::{Cell, Slab};

const REMOTE: usize = 1;
const NAMES: usize = REMOTE + sockaddr::CELLS;
const LOCAL: usize = NAMES + 1;
const INITIATED: usize = LOCAL + sockaddr::CELLS;

pub(super) static KIND: Kind = Kind {
    name: "net_udp_send",
    short: "udp",
    line: "{remote_addr.sin_addr}:{remote_addr.sin_port} [{remote_addr.sin6_addr}]:{remote_addr.sin6_port} {remote_addr.sun_path} ({remote_addr.dns_names})",
    doc: "a process sends UDP to a peer that it has not connected to, for the first time",
    event_id: 0,
    record: picket_ebpf::Kind::NetUdpSend as u16,
    narrow: 0,
    lifecycle: false,
    fields: &FIELDS,
    sources: &[LogSource { category: "network_connection", rows: Rows::All }],
    repeat_key: None,
    decode,
    derive,
};

static FIELDS: [Field; INITIATED + 1] = {
    let [a, b, c, d, e, f, g, h] = address_fields!("remote_addr", &["DestinationIp"], &["DestinationPort"]);
    let [i, j, k, l, m, n, o, p] = address_fields!("local_addr", &["SourceIp"], &["SourcePort"]);
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
        Field::new("remote_addr.dns_names", Type::TextList, "names this address was resolved from")
            .sigma(&["DestinationHostname"])
            .optional(),
        i,
        j,
        k,
        l,
        m,
        n,
        o,
        p,
        Field::new("Initiated", Type::Bool, "this host sent first, as far as is known")
            .sigma(&["Initiated"])
            .optional(),
    ]
};

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<UdpSend>() else { return };
    if body.fd >= 0 {
        cells[0] = Cell::Signed(i64::from(body.fd));
    }
    sockaddr::fill(record.slice(UdpSend::REMOTE), slab, &mut cells[REMOTE..NAMES]);
    sockaddr::fill(record.slice(UdpSend::LOCAL), slab, &mut cells[LOCAL..INITIATED]);
}

fn derive(_: &mut Slab, cells: &mut [Cell]) {
    if cells[INITIATED] == Cell::Absent {
        cells[INITIATED] = Cell::Bool(true);
    }
}
