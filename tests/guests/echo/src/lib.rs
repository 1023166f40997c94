//! Reports every row it was given, field by field, so that a test sees what arrives through the interface.
//!
//! `fields` in the set-up's files names the fields, one a line. If there is a file `calls`, every row also calls the host: state, lookup,
//! log and count. It subscribes to everything.

use picket_guest::{
    Analytic, Availability, Binding, Column, Detection, Detector, Diagnostic, Explain, Gravity, Level, Node, Outcome,
    Plan, RowRef, Setup, Source, Turn, Value,
};

struct Echo {
    fields: Vec<String>,
    calls: bool,
}

impl Detector for Echo {
    fn init(setup: Setup) -> Result<(Self, Plan), Vec<Diagnostic>> {
        let file = |name: &str| setup.files.iter().find(|f| f.name == name);
        let fields: Vec<String> = file("fields")
            .map(|f| String::from_utf8_lossy(&f.content).lines().map(str::to_owned).collect())
            .unwrap_or_default();
        let names: Vec<&str> = fields.iter().map(String::as_str).collect();
        let plan = Plan::new().subscribe(Source::everything(), &names).analytic(Analytic::new(
            "echo",
            "what arrived",
            Level::Informational,
        ));
        let calls = file("calls").is_some();
        Ok((Echo { fields, calls }, plan))
    }

    fn bind(&mut self, bindings: &[Binding]) -> Vec<Diagnostic> {
        let bound = bindings.iter().flat_map(|b| &b.fields).zip(&self.fields);
        bound
            .filter(|(field, _)| field.availability == Availability::Unknown)
            .map(|(field, name)| Diagnostic {
                gravity: Gravity::Warning,
                code: "unknown-field".to_owned(),
                message: format!("no event has `{name}`"),
                help: field.note.clone(),
                file: "fields".to_owned(),
                line: 1 + self.fields.iter().position(|f| f == name).unwrap_or_default() as u32,
                column: 1,
                length: name.len() as u32,
            })
            .collect()
    }

    fn on_events(&mut self, turn: &Turn) -> Outcome {
        let mut outcome = Outcome::default();
        for (batch, row) in turn.rows() {
            let columns = &turn.batches[batch as usize].columns;
            let mut detection = Detection::at(0, RowRef { batch, row });
            for (field, column) in self.fields.iter().zip(columns) {
                let (shape, value) = read(column, row);
                detection = detection.because(field, shape, &value);
            }
            if self.calls {
                detection.fields = calls(turn.batches[batch as usize].seqs[row as usize]);
            }
            outcome.detections.push(detection);
        }
        outcome
    }
}

impl Explain for Echo {
    /// A root, and below it a node per field; the last one lies about its parent.
    fn explain(&mut self, analytic: u32, turn: &Turn) -> Vec<Node> {
        let node = |parent, label: &str, field: &str, actual| Node {
            parent,
            label: label.to_owned(),
            field: field.to_owned(),
            pattern: String::new(),
            actual,
            holds: true,
            reason: format!("{} rows", turn.rows().count()),
            line: analytic,
        };
        let columns = &turn.batches[0].columns;
        let mut nodes = vec![node(0, "echo", "", Value::Absent)];
        for (field, column) in self.fields.iter().zip(columns) {
            let actual = column.text(0).map_or(Value::Absent, |text| Value::Text(text.to_vec()));
            nodes.push(node(0, "field", field, actual));
        }
        nodes.push(node(u32::MAX, "liar", "", Value::Null));
        nodes
    }
}

fn read(column: &Column, row: u32) -> (&'static str, Vec<u8>) {
    let number = |text: String| text.into_bytes();
    if column.is_absent(row) {
        ("absent", Vec::new())
    } else if column.is_null(row) {
        ("null", Vec::new())
    } else if !column.is_present(row) {
        ("unavailable", Vec::new())
    } else if let Some(text) = column.text(row) {
        ("text", text.to_vec())
    } else if let Some(v) = column.unsigned(row) {
        ("unsigned", number(v.to_string()))
    } else if let Some(v) = column.signed(row) {
        ("signed", number(v.to_string()))
    } else if let Some(v) = column.float(row) {
        ("float", number(v.to_string()))
    } else if let Some(v) = column.boolean(row) {
        ("boolean", number(v.to_string()))
    } else if let Some(items) = column.items(row) {
        ("text-list", items.collect::<Vec<_>>().join(&b'|'))
    } else {
        ("broken", Vec::new())
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn calls(_seq: u64) -> Vec<(String, String)> {
    Vec::new()
}

/// What the host answers.
#[cfg(target_arch = "wasm32")]
fn calls(seq: u64) -> Vec<(String, String)> {
    use picket_guest::{host, lookup, state};
    let show = |value: &dyn std::fmt::Debug| format!("{value:?}");
    host::log(host::Severity::Info, "a line\nwith \u{1b}[31mcolour");
    host::count("echoed", 1);
    vec![
        ("added".to_owned(), show(&state::add(b"seen", 1, 60))),
        ("stored".to_owned(), show(&state::set(b"last", &seq.to_le_bytes(), 0))),
        ("read".to_owned(), show(&state::get(b"last"))),
        ("comm".to_owned(), show(&lookup::field(seq, "EventData.ProcInfo.Name"))),
        ("elsewhere".to_owned(), show(&lookup::field(seq + 1_000_000, "EventData.ProcInfo.Name"))),
        ("json".to_owned(), show(&lookup::json(seq).is_some())),
    ]
}

picket_guest::export_explaining_detector!(Echo);
