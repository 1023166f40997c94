//! A DNS request leaves this host. What is hidden from it: [`super::dns`].

use picket_ebpf::Record;
use picket_ebpf::kind::net_packet_dns_request::DnsRequest;

use super::dns::{self, PACKET, PACKET_CELLS};
use super::{Field, Kind, Type};
use crate::dns::{Question, parse};
use crate::slab::{Cell, Slab};

const QUESTIONS: usize = PACKET_CELLS;
const NAME: usize = QUESTIONS + 1;
const TYPE: usize = QUESTIONS + 2;
const INCOMPLETE: usize = QUESTIONS + 3;

pub(super) static KIND: Kind = Kind {
    name: "net_packet_dns_request",
    short: "dns?",
    line: "{QueryName} {QueryType}",
    doc: "a process asks a DNS server (port 53 in the clear; not DoH, DoT, nor through nss-resolve)",
    event_id: 2007,
    record: picket_ebpf::Kind::NetPacketDnsRequest as u16,
    narrow: 0,
    lifecycle: false,
    fields: &FIELDS,
    // A question is a row of `dns_query` when it is answered: then the results are known.
    sources: &[],
    repeat_key: None,
    decode,
    derive,
};

static FIELDS: [Field; INCOMPLETE + 1] = {
    let [a, b, c, d, e, f, g] = PACKET;
    [
        a,
        b,
        c,
        d,
        e,
        f,
        g,
        Field::new("dns_questions", Type::Json, "query, query_type and query_class of each question"),
        Field::new("QueryName", Type::Text, "name that is asked for").sigma(&["QueryName"]).optional(),
        Field::new("QueryType", Type::Text, "type of record that is asked for").sigma(&["QueryType"]).optional(),
        Field::new("incomplete", Type::Bool, "the message was cut, or not well formed").optional(),
    ]
};

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<DnsRequest>() else { return };
    dns::fill(&body, slab, cells);
    let Some(message) = record.slice(DnsRequest::MESSAGE).present().and_then(parse) else { return };
    cells[QUESTIONS] = slab.json(&message.questions);
    if message.incomplete {
        cells[INCOMPLETE] = Cell::Bool(true);
    }
}

fn derive(slab: &mut Slab, cells: &mut [Cell]) {
    if let Some(question) = dns::objects::<Question>(slab, cells[QUESTIONS]).first() {
        dns::text_if_absent(slab, &mut cells[NAME], &question.query);
        dns::text_if_absent(slab, &mut cells[TYPE], &question.query_type);
    }
}
