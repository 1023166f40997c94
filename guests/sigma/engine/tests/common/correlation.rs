//! Matches written down, handed to a correlator in any way they can come.
#![allow(dead_code)]

use crate::common::{Column, Event};
use picket_sigma::{ColumnView, Correlator, Detections, File, Fired, Limits, Options, RuleSet, compile};
use serde_json::{Map, Value, json};

pub const SECOND: u64 = 1_000_000_000;
pub const SEED: (u64, u64) = (1, 2);

/// A match.
#[derive(Clone, Debug)]
pub struct Row {
    pub rule: String,
    pub seq: u64,
    pub time: u64,
    pub event: Event,
}

/// The rules `a` to `d`, and `documents` in a file before them: what is referred to may come later.
pub fn set_of(documents: &[Value]) -> RuleSet {
    let mut text = String::new();
    for document in documents {
        text.push_str(&format!("---\n{document}\n"));
    }
    let mut rules = String::new();
    for name in ["a", "b", "c", "d"] {
        let rule = json!({
            "title": name, "id": format!("id-{name}"), "name": name, "logsource": {"product": "test"},
            "detection": {"s": {"Rule": name}, "condition": "s"},
        });
        rules.push_str(&format!("---\n{rule}\n"));
    }
    let files = [File { name: "c.yml", content: text.as_bytes() }, File { name: "r.yml", content: rules.as_bytes() }];
    compile(&files, &Options::default())
}

/// `a@1.5 User=root Port=22 Note=null`; numbers are numbers.
pub fn row(text: &str, seq: u64) -> Row {
    let mut words = text.split(' ');
    let (rule, at) = words.next().unwrap().split_once('@').unwrap();
    let mut event = Map::new();
    for word in words {
        let (name, value) = word.split_once('=').unwrap();
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        event.insert(name.to_owned(), value);
    }
    Row { rule: format!("id-{rule}"), seq, time: (at.parse::<f64>().unwrap() * 1e9).round() as u64, event }
}

/// One turn with `rows` as batches of at most `batch`.
pub fn turn(correlator: &mut Correlator, rows: &[Row], batch: usize, watermark: u64) -> Vec<Fired> {
    struct Owned {
        rules: Vec<Option<u32>>,
        seqs: Vec<u64>,
        times: Vec<u64>,
        columns: Vec<Column>,
    }
    let owned: Vec<Owned> = rows
        .chunks(batch)
        .map(|rows| {
            let events: Vec<Event> = rows.iter().map(|r| r.event.clone()).collect();
            Owned {
                rules: rows.iter().map(|r| correlator.rule(r.rule.as_bytes())).collect(),
                seqs: rows.iter().map(|r| r.seq).collect(),
                times: rows.iter().map(|r| r.time).collect(),
                columns: correlator.fields().iter().map(|f| Column::new(f, &events, true)).collect(),
            }
        })
        .collect();
    let views: Vec<Vec<ColumnView<'_>>> = owned.iter().map(|o| o.columns.iter().map(Column::view).collect()).collect();
    let batches: Vec<Detections<'_>> = owned
        .iter()
        .zip(&views)
        .map(|(o, columns)| Detections { rules: &o.rules, seqs: &o.seqs, times: &o.times, columns })
        .collect();
    let mut found = Vec::new();
    correlator.turn(&batches, watermark, &mut found);
    found
}

pub fn correlator(set: &RuleSet, limits: Limits) -> Correlator {
    Correlator::new(set, SEED, limits)
}

/// `id@10 3 [0 1 2] User="root"`.
pub fn shown(set: &RuleSet, fired: &Fired) -> String {
    let id = &set.correlations[fired.correlation as usize].meta.id;
    let related = fired.related.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
    let time = fired.time as f64 / 1e9;
    format!("{id}@{time} {} [{related}] {}", fired.value, fired.key).trim_end().to_owned()
}

pub fn all_shown(set: &RuleSet, fired: &[Fired]) -> Vec<String> {
    fired.iter().map(|f| shown(set, f)).collect()
}
