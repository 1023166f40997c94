//! A BPF program is put at a hook. Picket's own programs are left out by the kernel side.

use picket_ebpf::Record;
use picket_ebpf::kind::bpf_attach::Attach;

use super::{Field, Kind, Type, derive_nothing};
use crate::slab::{Cell, Slab};

pub(super) static KIND: Kind = Kind {
    name: "bpf_attach",
    short: "bpf",
    line: "{prog_name} at {symbol_name}",
    doc: "a BPF program is put at a hook",
    event_id: 770,
    record: picket_ebpf::Kind::BpfAttach as u16,
    narrow: 0,
    lifecycle: false,
    fields: &[
        Field::new(
            "prog_type",
            Type::Signed,
            "type of the program: 2 kprobe, 5 tracepoint, 17 raw tracepoint, 26 tracing",
        ),
        Field::new("prog_name", Type::Text, "name of the program, at most 15 bytes"),
        Field::new("prog_id", Type::Unsigned, "number of the program"),
        Field::new("prog_helpers", Type::TextList, "helper functions it calls: the kernel does not keep them, null"),
        Field::new("symbol_name", Type::Text, "function or tracepoint; null where the kernel object has no name"),
        Field::new("symbol_addr", Type::Unsigned, "address of the function, 0 for tracepoints"),
        Field::new(
            "attach_type",
            Type::Signed,
            "0 raw tracepoint, 1 tracepoint, 2 kprobe, 3 kretprobe, 4 uprobe, 5 uretprobe; null for other hooks",
        ),
        Field::new("expected_attach_type", Type::Unsigned, "what the program was loaded for, as in linux/bpf.h")
            .optional(),
        Field::new("link_type", Type::Unsigned, "kind of the link, as in linux/bpf.h").optional(),
    ],
    sources: &[],
    repeat_key: None,
    decode,
    derive: derive_nothing,
};

fn decode(record: &Record<'_>, slab: &mut Slab, cells: &mut [Cell]) {
    let Some(body) = record.body::<Attach>() else { return };
    cells[0] = Cell::Signed(i64::from(body.prog_type));
    cells[1] = slab.text(record.slice(Attach::PROG_NAME).bytes);
    cells[2] = Cell::Unsigned(u64::from(body.prog_id));
    if let Some(symbol) = record.slice(Attach::SYMBOL_NAME).present() {
        cells[4] = slab.text(symbol);
    }
    if body.address_known == 1 {
        cells[5] = Cell::Unsigned(body.symbol_address);
    }
    if body.attach_type >= 0 {
        cells[6] = Cell::Signed(i64::from(body.attach_type));
    }
    cells[7] = Cell::Unsigned(u64::from(body.expected_attach_type));
    if body.link_known == 1 {
        cells[8] = Cell::Unsigned(u64::from(body.link_type));
    }
}
