//! An enricher that says `seen` of every row, traps on a row whose command line contains `poison-row`, and answers with a column too many
//! on `liar-row`. Its config may name another log source (`@detection` is a kind), or tell it to refuse to start.

use picket_guest::{Column, ColumnBuilder, Diagnostic, Enricher, Gravity, Plan, Setup, Shape, Source, Turn};

struct Flaky;

impl Enricher for Flaky {
    fn init(setup: Setup) -> Result<(Self, Plan), Vec<Diagnostic>> {
        if setup.config.contains("refuse") {
            return Err(vec![Diagnostic {
                gravity: Gravity::Error,
                code: "refused".to_owned(),
                message: "told to refuse".to_owned(),
                help: String::new(),
                file: String::new(),
                line: 0,
                column: 0,
                length: 0,
            }]);
        }
        let source = if setup.config.contains("@detection") {
            Source::kind("@detection")
        } else if setup.config.contains("file_access") {
            Source::category("file_access")
        } else if setup.config.contains("registry") {
            Source::category("registry_event")
        } else {
            Source::category("process_creation")
        };
        Ok((Flaky, Plan::new().subscribe(source, &["CommandLine"]).output("text", Shape::Text, "seen")))
    }

    fn enrich(&mut self, turn: &Turn) -> Vec<Vec<Column>> {
        let mut answer = Vec::new();
        for batch in &turn.batches {
            let mut seen = ColumnBuilder::text();
            let mut columns = 1;
            for row in 0..batch.rows {
                let line = batch.columns[0].text(row).unwrap_or_default();
                assert!(!line.windows(10).any(|w| w == b"poison-row"), "poisoned");
                columns += usize::from(line.windows(8).any(|w| w == b"liar-row"));
                seen.push([&b"seen"[..]]);
            }
            answer.push(vec![seen.finish(); columns]);
        }
        answer
    }
}

picket_guest::export_enricher!(Flaky);
