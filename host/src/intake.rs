//! The intake: an input becomes a row with its process, for live records and replayed lines alike.

use picket_ebpf::Record;
use rustc_hash::FxHashMap;

use crate::dns::{self, Names};
use crate::kind::{self, DecodeError, Decoder, KindId, Loss, Opens};
use crate::ledger::Ledger;
use crate::pipeline::Builder;
use crate::process::Table;
use crate::recorder::Block;
use crate::sensor::Input;
use crate::slab::Slab;

/// How long a repeat is no news, nanoseconds of event time.
const REPEAT: u64 = 60_000_000_000;

/// Repeats remembered; the older half is forgotten on reaching it, which can only make a repeat news again.
const REPEATS: usize = 32_768;

/// Decoder, process table and memory of repeats: everything that spans events before they are handed out.
pub struct Intake {
    pub decoder: Decoder,
    /// Only live: a replayed event carries its process.
    pub table: Option<Table>,
    /// Likewise: a replayed connection carries its names.
    pub names: Option<Names>,
    /// realtime - boot clock, nanoseconds.
    pub offset: u64,
    /// Lifecycle records were lost: context may be incomplete until the table is seeded again.
    pub suspect: bool,
    /// The live generation asks for audit records, of these opens.
    pub audit: Option<Opens>,
    recent: FxHashMap<u64, u64>,
    /// Slabs that a recording was put into.
    slabs: u64,
}

impl Intake {
    pub fn new(decoder: Decoder, table: Option<Table>) -> Intake {
        let names = table.is_some().then(Names::default);
        Intake { decoder, table, names, offset: 0, suspect: false, audit: None, recent: FxHashMap::default(), slabs: 0 }
    }

    /// Adds an input to the open slab. An error leaves the slab as it was; it is counted either way.
    pub fn take(
        &mut self,
        input: &Input<'_>,
        builder: &mut Builder,
        ledger: &Ledger,
        wanted: impl Fn(KindId) -> bool,
    ) -> Result<(), DecodeError> {
        ledger.events.read.add(1);
        let taken = match input {
            Input::Line { number, text } => self.decoder.json(*number, text, &mut builder.slab).map(|()| true),
            Input::Record(bytes) => self.record(bytes, builder, wanted),
        };
        match taken {
            Ok(true) => {
                self.settle(builder);
                self.derive(builder, ledger);
                Ok(())
            }
            Ok(false) => {
                ledger.events.unwanted.add(1);
                Ok(())
            }
            Err(e) => {
                ledger.events.undecodable.add(1);
                Err(e)
            }
        }
    }

    /// Adds a row of a recording to the open slab.
    pub(crate) fn recorded(&mut self, block: &mut Block, row: usize, builder: &mut Builder, ledger: &Ledger) {
        ledger.events.read.add(1);
        if !builder.slab.is_empty() && builder.slab.origin != block.origin {
            builder.close();
        }
        if builder.slab.is_empty() {
            self.slabs += 1;
        }
        let seq = self.decoder.next_seq();
        block.put(row, seq, &mut builder.slab, self.slabs);
        // Whether it is a repeat was recorded.
        let time = block.time(row);
        builder.slab.watermark = builder.slab.watermark.max(time.saturating_sub(WATERMARK_SLACK));
        self.derive(builder, ledger);
    }

    /// Appends what is made from the last row, and tells the builder of both.
    fn derive(&mut self, builder: &mut Builder, ledger: &Ledger) {
        let derived = match self.audit {
            Some(opens) => kind::audit_records(&mut builder.slab, opens, &mut || self.decoder.next_seq()),
            None => 0,
        };
        ledger.events.derived.add(derived as u64);
        builder.added(1 + derived);
    }

    /// Adds what was lost to the open slab, as an event of its own.
    pub(crate) fn loss(&mut self, loss: &Loss, time: u64, builder: &mut Builder, ledger: &Ledger) {
        ledger.events.read.add(1);
        self.decoder.loss(loss, time, &mut builder.slab);
        self.settle(builder);
        builder.added(1);
    }

    fn record(
        &mut self,
        bytes: &[u8],
        builder: &mut Builder,
        wanted: impl Fn(KindId) -> bool,
    ) -> Result<bool, DecodeError> {
        let record = Record::parse(bytes).map_err(DecodeError::Malformed)?;
        // The table sees every record, whether a guest wants it or not.
        // Pid 0 is nobody: a packet whose sender is not known.
        let process = self.table.as_mut().filter(|_| record.header().pid != 0).map(|t| t.apply(&record));
        let known = KindId::by_record(record.kind().id());
        if !known.is_some_and(wanted) {
            if let Some(names) = &mut self.names
                && known.and_then(KindId::spec).is_some_and(dns::teaches)
            {
                let mut aside = Slab::default();
                self.decoder.record(&record, self.offset, None, self.suspect, &mut aside)?;
                names.settle(&mut aside);
            }
            return Ok(false);
        }
        self.decoder.record(&record, self.offset, process, self.suspect, &mut builder.slab)?;
        if let Some(names) = &mut self.names {
            names.settle(&mut builder.slab);
        }
        Ok(true)
    }

    /// Marks repeats and moves the watermark.
    fn settle(&mut self, builder: &mut Builder) {
        let slab = &mut builder.slab;
        let Some(last) = slab.rows.len().checked_sub(1) else { return };
        let (time, kind) = (slab.rows[last].time, slab.rows[last].kind);
        slab.watermark = slab.watermark.max(time.saturating_sub(WATERMARK_SLACK));
        let key = kind.spec().and_then(|k| k.repeat_key).and_then(|f| f(slab, last));
        let Some(key) = key else { return };
        if let Some(before) = self.recent.get(&key)
            && time.saturating_sub(*before) < REPEAT
        {
            slab.rows[last].repeat = true;
            return;
        }
        if self.recent.len() >= REPEATS {
            let mut times: Vec<u64> = self.recent.values().copied().collect();
            let middle = times.len() / 2;
            let (_, median, _) = times.select_nth_unstable(middle);
            let median = *median;
            self.recent.retain(|_, t| *t > median);
        }
        self.recent.insert(key, time);
    }
}

/// Records of different CPUs may step back in time by this much against ring order, nanoseconds.
const WATERMARK_SLACK: u64 = 10_000_000;
