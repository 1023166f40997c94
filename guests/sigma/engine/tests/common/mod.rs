//! Events as JSON, turned into the columns that the engine takes.
#![allow(dead_code)]

pub mod model;
pub mod read;
pub mod synthesis;

use picket_sigma::{BatchView, Cells, ColumnView, File, KEYWORDS, Options, Place, RuleSet, Scratch, Texts, compile};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

pub type Event = Map<String, Value>;

/// A column that owns its values.
#[derive(Default)]
pub struct Column {
    arena: Vec<u8>,
    ends: Vec<u32>,
    codes: Vec<u32>,
    list_ends: Option<Vec<u32>>,
    unsigned: Vec<u64>,
    signed: Vec<i64>,
    float: Vec<f64>,
    boolean: Vec<u8>,
    presence: Vec<u8>,
}

impl Column {
    fn push_text(&mut self, text: &[u8], dictionary: bool) {
        if dictionary {
            let known = (0..self.ends.len()).find(|i| self.text(*i) == text);
            let code = known.unwrap_or(self.ends.len());
            self.codes.push(code as u32);
            if known.is_some() {
                return;
            }
        }
        self.arena.extend_from_slice(text);
        self.ends.push(self.arena.len() as u32);
    }

    fn text(&self, i: usize) -> &[u8] {
        let from = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        &self.arena[from..self.ends[i] as usize]
    }

    /// The column of `field` over `events`. All values must have one type; `{"unavailable": true}` and bytes written as
    /// `{"bytes": [255]}` are understood.
    pub fn new(field: &str, events: &[Event], dictionary: bool) -> Self {
        let mut column = Self::default();
        let values: Vec<Option<Value>> = events.iter().map(|e| get(e, field)).collect();
        let some = |f: fn(&Value) -> bool| values.iter().flatten().any(f);
        let (list, float, negative) =
            (some(Value::is_array), some(Value::is_f64), some(|v| v.as_i64().is_some_and(|i| i < 0)));
        let (number, boolean) = (some(Value::is_number), some(Value::is_boolean));
        if list {
            column.list_ends = Some(Vec::new());
        }
        for value in &values {
            let present = match value {
                None => 0,
                Some(Value::Null) => 2,
                Some(Value::Object(o)) if o.contains_key("unavailable") => 3,
                Some(_) => 1,
            };
            column.presence.push(present);
            let value = value.as_ref().filter(|_| present == 1);
            if list {
                let elements = value.and_then(Value::as_array).cloned().unwrap_or_default();
                for element in &elements {
                    column.push_text(&bytes(element), dictionary);
                }
                let total = if dictionary { column.codes.len() } else { column.ends.len() };
                column.list_ends.as_mut().unwrap().push(total as u32);
            } else if float {
                column.float.push(value.and_then(Value::as_f64).unwrap_or(0.0));
            } else if negative {
                column.signed.push(value.and_then(Value::as_i64).unwrap_or(0));
            } else if number {
                column.unsigned.push(value.map_or(0, |v| v.as_u64().expect("a column has one type")));
            } else if boolean {
                column.boolean.push(value.and_then(Value::as_bool).unwrap_or(false).into());
            } else {
                column.push_text(&value.map(bytes).unwrap_or_default(), dictionary);
            }
        }
        if column.presence.iter().all(|p| *p == 1) {
            column.presence.clear();
        }
        column
    }

    pub fn view(&self) -> ColumnView<'_> {
        let texts = Texts { arena: &self.arena, ends: &self.ends, codes: &self.codes };
        let cells = if let Some(ends) = &self.list_ends {
            Cells::TextList { values: texts, ends }
        } else if !self.float.is_empty() {
            Cells::Float(&self.float)
        } else if !self.signed.is_empty() {
            Cells::Signed(&self.signed)
        } else if !self.unsigned.is_empty() {
            Cells::Unsigned(&self.unsigned)
        } else if !self.boolean.is_empty() {
            Cells::Boolean(&self.boolean)
        } else {
            Cells::Text(texts)
        };
        ColumnView { cells, presence: &self.presence }
    }
}

fn get(event: &Event, field: &str) -> Option<Value> {
    if field == KEYWORDS {
        let mut leaves = Vec::new();
        event.values().for_each(|v| collect(v, &mut leaves));
        return Some(Value::Array(leaves));
    }
    event.get(field).cloned()
}

fn collect(value: &Value, leaves: &mut Vec<Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|v| collect(v, leaves)),
        Value::Object(o) if o.contains_key("unavailable") => {}
        Value::Object(o) => o.values().for_each(|v| collect(v, leaves)),
        Value::Null => {}
        Value::String(s) => leaves.push(Value::String(s.clone())),
        other => leaves.push(Value::String(other.to_string())),
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::String(s) => s.as_bytes().to_vec(),
        Value::Object(o) => o["bytes"].as_array().unwrap().iter().map(|b| b.as_u64().unwrap() as u8).collect(),
        other => panic!("not a text: {other}"),
    }
}

/// Calls `with` with the columns of `events`.
pub fn with_batch<R>(
    set: &RuleSet,
    stream: usize,
    events: &[Event],
    dictionary: bool,
    with: impl FnOnce(&BatchView<'_>) -> R,
) -> R {
    let columns: Vec<Column> = set.streams[stream].fields.iter().map(|f| Column::new(f, events, dictionary)).collect();
    let views: Vec<ColumnView<'_>> = columns.iter().map(Column::view).collect();
    with(&BatchView { rows: events.len(), columns: &views })
}

/// Ids of the rules that match, per event, in the order that the engine reports them.
pub fn matches(
    set: &RuleSet,
    stream: usize,
    events: &[Event],
    dictionary: bool,
    scratch: &mut Scratch,
) -> Vec<Vec<u32>> {
    let mut hits = vec![Vec::new(); events.len()];
    with_batch(set, stream, events, dictionary, |batch| {
        set.eval(stream, batch, scratch, |row, rule| hits[row as usize].push(rule));
    });
    hits
}

/// A rule around the YAML of a detection.
pub fn rule(detection: &str) -> String {
    let indented = detection.lines().map(|l| format!("  {l}\n")).collect::<Vec<_>>().concat();
    format!("title: t\nid: 00000000-0000-0000-0000-000000000000\nlogsource: {{product: test}}\ndetection:\n{indented}")
}

pub fn compile_one(text: &str) -> RuleSet {
    compile(&[File { name: "rule.yml", content: text.as_bytes() }], &Options::default())
}

/// SigmaHQ's rules for Linux, name and content, sorted; None = they are not at hand.
pub fn corpus() -> Option<Vec<(String, String)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/corpora/sigmahq-linux");
    if !folder.is_dir() {
        println!("skipped: no SigmaHQ rules at {}", folder.display());
        return None;
    }
    let mut files = Vec::new();
    rule_files(&folder, &mut files);
    files.sort();
    let read = |path: PathBuf| (path.display().to_string(), std::fs::read_to_string(path).unwrap());
    Some(files.into_iter().map(read).collect())
}

fn rule_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rule_files(&path, files);
        } else if path.extension().is_some_and(|e| e == "yml") {
            files.push(path);
        }
    }
}

/// Takes the marks out of a text in which a token is marked `«so»`, and says where that is.
pub fn unmark(marked: &str) -> (String, Place) {
    let start = marked.find('«').expect("a mark");
    let before = &marked[..start];
    let token = &marked[start + '«'.len_utf8()..marked.find('»').expect("a mark")];
    let place = Place {
        line: before.matches('\n').count() as u32 + 1,
        column: before.rsplit('\n').next().unwrap().chars().count() as u32 + 1,
        length: token.chars().count() as u32,
    };
    (marked.replace(['«', '»'], ""), place)
}

/// xorshift64, so that tests are the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
