//! What the DNS kinds share: where the packet went, and the names by which rules ask.
//!
//! The events say what crossed port 53 in the clear, UDP or the first segment of a message in TCP. They do not say
//! - what went over HTTPS or TLS (DoH, DoT), or over another port;
//! - who asked, where a local resolver asks for others: through `nss-resolve` or a socket of its own the program is hidden,
//!   through the stub at 127.0.0.53 the program's question and the resolver's are two events;
//! - names from `/etc/hosts`, from a cache, or by multicast.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use picket_ebpf::Dns;

use super::{Field, Type};
use crate::slab::{Cell, Slab};

/// The address fields, as the model has them.
pub(super) const PACKET: [Field; PACKET_CELLS] = [
    Field::new("metadata.src_ip", Type::Text, "source address"),
    Field::new("metadata.dst_ip", Type::Text, "destination address"),
    Field::new("metadata.src_port", Type::Unsigned, "source port"),
    Field::new("metadata.dst_port", Type::Unsigned, "destination port"),
    Field::new("metadata.protocol", Type::Unsigned, "17 UDP, 6 TCP"),
    Field::new("metadata.packet_len", Type::Unsigned, "bytes of the packet, IP header included"),
    Field::new("metadata.iface", Type::Text, "any: packets of every device are seen"),
];

/// Number of cells of [`PACKET`].
pub(super) const PACKET_CELLS: usize = 7;

/// Fills the cells of [`PACKET`].
pub(super) fn fill(body: &Dns, slab: &mut Slab, cells: &mut [Cell]) {
    let address = |bytes: [u8; 16]| match (body.version, bytes) {
        (4, [a, b, c, d, ..]) => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        _ => IpAddr::V6(Ipv6Addr::from(bytes)),
    };
    cells[0] = slab.format(format_args!("{}", address(body.source)));
    cells[1] = slab.format(format_args!("{}", address(body.destination)));
    cells[2] = Cell::Unsigned(u64::from(body.source_port));
    cells[3] = Cell::Unsigned(u64::from(body.destination_port));
    cells[4] = Cell::Unsigned(u64::from(body.protocol));
    cells[5] = Cell::Unsigned(u64::from(body.packet_length));
    cells[6] = slab.text(b"any");
}

/// Reads a cell of JSON back; for what is derived from it, live and replayed alike.
pub(super) fn objects<T: serde::de::DeserializeOwned>(slab: &Slab, cell: Cell) -> Vec<T> {
    let Cell::Json(span) = cell else { return Vec::new() };
    serde_json::from_slice(&slab.arena[span.range()]).unwrap_or_default()
}

/// Fills a cell that the event does not have.
pub(super) fn text_if_absent(slab: &mut Slab, cell: &mut Cell, text: &str) {
    if *cell == Cell::Absent {
        *cell = slab.text(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};
    use std::sync::Arc;

    use picket_ebpf::{Header, RawSlice, Record, VERSION};

    use crate::dns::Names;
    use crate::kind::{Access, Catalogue, Decoder, KINDS, Kind, render};
    use crate::slab::{Origin, Slab, Value};

    fn kind_with(field: &str) -> &'static Kind {
        KINDS.iter().find(|k| k.fields.iter().any(|f| f.path == field)).unwrap()
    }

    /// A record of `kind`: its body, and one slice behind it.
    fn record(kind: &Kind, body: &[u8], part: &[u8]) -> Vec<u8> {
        let at = size_of::<Header>() + body.len() + size_of::<RawSlice>();
        let mut bytes = vec![0; size_of::<Header>()];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(offset_of!(Header, length), &((at + part.len()) as u32).to_ne_bytes());
        put(offset_of!(Header, kind), &kind.record.to_ne_bytes());
        put(offset_of!(Header, version), &[VERSION]);
        put(offset_of!(Header, slice_table), &((size_of::<Header>() + body.len()) as u16).to_ne_bytes());
        put(offset_of!(Header, slice_count), &1u16.to_ne_bytes());
        put(offset_of!(Header, time), &1_000_000_000u64.to_ne_bytes());
        bytes.extend(body);
        bytes.extend((at as u16).to_ne_bytes());
        bytes.extend((part.len() as u16).to_ne_bytes());
        bytes.extend((part.len() as u32).to_ne_bytes());
        bytes.extend([1, 0, 0, 0]);
        bytes.extend(part);
        bytes
    }

    fn dns_body() -> Vec<u8> {
        let mut body = vec![0; 48];
        body[..4].copy_from_slice(&[192, 0, 2, 53]);
        body[16..20].copy_from_slice(&[192, 0, 2, 1]);
        body[32..36].copy_from_slice(&96u32.to_ne_bytes());
        body[40..42].copy_from_slice(&53u16.to_ne_bytes());
        body[42..44].copy_from_slice(&40_000u16.to_ne_bytes());
        body[44..46].copy_from_slice(&[4, 17]);
        body
    }

    const MESSAGE: &[u8] = b"\x12\x34\x81\x80\0\x01\0\x02\0\0\0\0\x04pool\x07example\0\0\x01\0\x01\
        \xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01x\xc0\x11\xc0\x2c\0\x01\0\x01\0\0\0\x3c\0\x04\xcb\0\x71\x07";

    fn live(records: &[Vec<u8>], slab: &mut Slab) {
        let mut decoder = Decoder::new(Arc::new(Origin::default()));
        let mut names = Names::default();
        for bytes in records {
            decoder.record(&Record::parse(bytes).unwrap(), 0, None, false, slab).unwrap();
            names.settle(slab);
        }
    }

    /// Everything that can be asked of a row by name.
    fn values(slab: &Slab, row: usize) -> Vec<(String, String)> {
        let catalogue = Catalogue::default();
        let text = |name: &str| match slab.value(row, &catalogue.resolve(None, name).access) {
            Value::List(list) => {
                let mut items = Vec::new();
                list.each(&mut |item| items.push(String::from_utf8_lossy(item).into_owned()));
                items.sort();
                format!("{items:?}")
            }
            other => format!("{other:?}"),
        };
        catalogue.names().map(|name| (text(&name), name)).map(|(value, name)| (name, value)).collect()
    }

    #[test]
    fn a_response_and_the_connection_after_it_read_alike_live_and_replayed() {
        let mut inet = vec![2, 0, 1, 187, 203, 0, 113, 7];
        inet.extend([0; 8]);
        let connect = kind_with("remote_addr.dns_names");
        let records = [record(kind_with("dns_response"), &dns_body(), MESSAGE), record(connect, &[0; 24], &inet)];
        let mut slab = Slab::default();
        live(&records, &mut slab);
        let json: Vec<String> = (0..2).map(|row| render(&slab, row)).collect();
        let response = r#""dns_response":[{"query_data":{"query":"pool.example","query_type":"A","query_class":"IN"},"dns_answer":[{"answer_type":"CNAME","ttl":60,"answer":"x.example"},{"answer_type":"A","ttl":60,"answer":"203.0.113.7"}]}],"QueryName":"pool.example","QueryType":"A","QueryStatus":0,"QueryResults":["x.example","203.0.113.7"]"#;
        assert!(json[0].contains(response), "{}", json[0]);
        let metadata = r#""metadata":{"src_ip":"192.0.2.53","dst_ip":"192.0.2.1","src_port":53,"dst_port":40000,"protocol":17,"packet_len":96,"iface":"any"}"#;
        assert!(json[0].contains(metadata), "{}", json[0]);
        assert!(json[1].contains(r#""dns_names":["pool.example","x.example"]"#), "{}", json[1]);

        let mut again = Slab::default();
        let mut decoder = Decoder::new(Arc::new(Origin::default()));
        for (line, text) in json.iter().enumerate() {
            decoder.json(line as u64 + 1, text, &mut again).unwrap();
        }
        for row in 0..2 {
            let (a, b) = (values(&slab, row), values(&again, row));
            // No process is behind these records; a replayed event has one of which nothing is known.
            let own = |(name, _): &&(String, String)| name.starts_with("EventData.") && !name.contains("ProcInfo");
            assert!(a.iter().filter(own).eq(b.iter().filter(own)), "{a:?} {b:?}");
            assert!(a.iter().filter(own).count() > 50);
        }
        let leaves = |slab: &Slab| {
            let mut all = Vec::new();
            if let Value::List(list) = slab.value(0, &Access::Values) {
                list.each(&mut |leaf| all.push(leaf.to_vec()));
            }
            all
        };
        assert!(leaves(&slab).contains(&b"x.example".to_vec()) && leaves(&again).contains(&b"x.example".to_vec()));
    }

    /// An event as the model writes it: no fields of ours.
    #[test]
    fn an_event_of_the_model_answers_to_the_names_of_rules() {
        let response = kind_with("dns_response").name;
        let text = format!(
            r#"{{"EventType":"{response}","System":{{"EventName":"{response}"}},"EventData":{{"metadata":{{"src_ip":"192.0.2.53"}},"dns_response":[{{"query_data":{{"query":"a.example","query_type":"AAAA","query_class":"IN"}},"dns_answer":[{{"answer_type":"AAAA","ttl":1,"answer":"::1"}}]}}]}}}}"#
        );
        let mut slab = Slab::default();
        Decoder::new(Arc::new(Origin::default())).json(1, &text, &mut slab).unwrap();
        let catalogue = Catalogue::default();
        let value = |name: &str| format!("{:?}", slab.value(0, &catalogue.resolve(None, name).access));
        assert_eq!(value("QueryName"), format!("{:?}", Value::Text(b"a.example")));
        assert_eq!(value("QueryType"), format!("{:?}", Value::Text(b"AAAA")));
        assert_eq!(value("QueryStatus"), "Absent");
        let found = values(&slab, 0);
        assert!(found.contains(&("QueryResults".to_owned(), r#"["::1"]"#.to_owned())), "{found:?}");
        assert_eq!(render(&slab, 0).parse::<serde_json::Value>().unwrap(), text.parse::<serde_json::Value>().unwrap());
    }
}
