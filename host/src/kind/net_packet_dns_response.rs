//! A DNS response arrives at this host. What is hidden from it: [`super::dns`].

use picket_ebpf::Record;
use picket_ebpf::kind::net_packet_dns_response::DnsResponse;

use super::dns::{self, PACKET, PACKET_CELLS};
use super::{Field, Kind, LogSource, Rows, Type};
use crate::dns::{Response, parse};
use crate::slab::{Cell, Slab};

const RESPONSE: usize = PACKET_CELLS;
const NAME: usize = RESPONSE + 1;
const TYPE: usize = RESPONSE + 2;
const STATUS: usize = RESPONSE + 3;
const RESULTS: usize = RESPONSE + 4;
const INCOMPLETE: usize = RESPONSE + 5;

pub(super) static KIND: Kind = Kind {
    name: "net_packet_dns_response",
    short: "dns",
    line: "{QueryName} {QueryType} {QueryStatus} {QueryResults}",
    doc: "a DNS server answers a process (port 53 in the clear; not DoH, DoT, nor through nss-resolve)",
    event_id: 2008,
    record: picket_ebpf::Kind::NetPacketDnsResponse as u16,
    narrow: 0,
    lifecycle: false,
    fields: &FIELDS,
    sources: &[LogSource { category: "dns_query", rows: Rows::All }],
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
        Field::new("dns_response", Type::Json, "query_data and dns_answer (answer_type, ttl, answer) of each question"),
        Field::new("QueryName", Type::Text, "name that was asked for").sigma(&["QueryName"]).optional(),
        Field::new("QueryType", Type::Text, "type of record that was asked for").sigma(&["QueryType"]).optional(),
        Field::new("QueryStatus", Type::Unsigned, "response code: 0 = success, 3 = no such name")
            .sigma(&["QueryStatus"])
            .optional(),
        Field::new("QueryResults", Type::TextList, "addresses, names and texts of the answer")
            .sigma(&["QueryResults"])
            .optional(),
        Field::new("incomplete", Type::Bool, "the message was cut, or not well formed").optional(),
    ]
};

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<DnsResponse>() else { return };
    dns::fill(&body, slab, cells);
    let Some(mut message) = record.slice(DnsResponse::MESSAGE).present().and_then(parse) else { return };
    let mut answers = std::mem::take(&mut message.answers);
    // More than one question is never seen in practice; the answers cannot be told apart then.
    let response = |query_data| Response { query_data, dns_answer: std::mem::take(&mut answers) };
    let responses: Vec<Response> = message.questions.into_iter().map(response).collect();
    cells[RESPONSE] = slab.json(&responses);
    cells[STATUS] = Cell::Unsigned(u64::from(message.code));
    if message.incomplete {
        cells[INCOMPLETE] = Cell::Bool(true);
    }
}

fn derive(slab: &mut Slab, cells: &mut [Cell]) {
    let responses: Vec<Response> = dns::objects(slab, cells[RESPONSE]);
    let Some(first) = responses.first() else { return };
    dns::text_if_absent(slab, &mut cells[NAME], &first.query_data.query);
    dns::text_if_absent(slab, &mut cells[TYPE], &first.query_data.query_type);
    if cells[RESULTS] == Cell::Absent {
        let answers = responses.iter().flat_map(|r| &r.dns_answer);
        cells[RESULTS] = slab.list(answers.map(|a| a.answer.as_bytes()));
    }
}
