//! Events that did not arrive. The host makes these itself from the counters of the kernel side, so that rules and
//! guests can see what they do not see.

use picket_ebpf::Record;

use super::{Field, Kind, Type, derive_nothing};
use crate::slab::{Cell, Slab};

/// What was lost since the last report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    /// Name of the kind, or of the kernel side's program where that is all that is known.
    pub what: String,
    pub reason: &'static str,
    pub count: u64,
}

pub(crate) static KIND: Kind = Kind {
    name: "loss",
    short: "lost",
    line: "{count} of {lost}: {reason}",
    doc: "events did not arrive (made by the host from the kernel side's counters)",
    event_id: 0,
    // No kernel side writes it: the number is kept free there.
    record: 34,
    narrow: 0,
    lifecycle: false,
    fields: &[
        Field::new("lost", Type::Text, "kind that was lost; for reason missed, the program that the kernel skipped"),
        Field::new("reason", Type::Text, "headroom or full (of the ring), fault, unpaired, missed"),
        Field::new("count", Type::Unsigned, "events since the last report"),
    ],
    sources: &[],
    repeat_key: None,
    decode: decode_nothing,
    derive: derive_nothing,
};

fn decode_nothing(_: &Record<'_>, _: &mut Slab, _: &mut [Cell]) {}

impl Loss {
    /// Fills the cells of a row.
    pub(super) fn fill(&self, slab: &mut Slab, cells: &mut [Cell]) {
        cells[0] = slab.text(self.what.as_bytes());
        cells[1] = slab.text(self.reason.as_bytes());
        cells[2] = Cell::Unsigned(self.count);
    }
}
