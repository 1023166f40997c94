//! The exports of the component.

use crate::correlate::{self, Correlations};
use crate::settings::{Settings, is_rule_file, metadata};
use picket_sigma as sigma;
use std::cell::RefCell;

wit_bindgen::generate!({
    // Without `about`: it is an optional export, and there is no schema yet.
    inline: "
        package picket:sigma;
        world component {
            include picket:guest/detector-guest@0.1.0;
            export picket:guest/explain@0.1.0;
            export picket:guest/memory@0.1.0;
        }
    ",
    path: "../../wit/0.1.0",
    world: "picket:sigma/component",
    generate_all,
});

use exports::picket::guest::detector::{Binding, Diagnostic, Guest as Detector, Outcome, Plan, Setup, Turn};
use exports::picket::guest::explain::{Guest as Explain, Node};
use exports::picket::guest::memory::Guest as Memory;
use picket::guest::host;
use picket::guest::types::{
    Analytic, Availability, Batch, Cells, Clause, Column, Detection, Evidence, Gravity, Level, Op, Role, RowRef,
    Scaling, Source, Subscription, Texts, Value,
};

/// Bytes of one value in the evidence of a detection. The event itself is in the alert.
const MAX_EVIDENCE_BYTES: usize = 4096;

struct Component;
export!(Component);

#[derive(Default)]
struct State {
    set: sigma::RuleSet,
    scratch: sigma::Scratch,
    correlations: Option<Correlations>,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

impl Detector for Component {
    fn init(setup: Setup) -> Result<Plan, Vec<Diagnostic>> {
        // A panic ends the instance; its message would otherwise be lost with it.
        std::panic::set_hook(Box::new(|panic| host::log(host::Severity::Error, &panic.to_string())));
        let options = match Settings::parse(&setup.config) {
            Ok(settings) => settings,
            Err(message) => return Err(vec![config_diagnostic(message)]),
        };
        let (options, settings) = options.into_parts();
        let files: Vec<sigma::File<'_>> = setup
            .files
            .iter()
            .filter(|f| is_rule_file(&f.name))
            .map(|f| sigma::File { name: &f.name, content: &f.content })
            .collect();
        let mut set = sigma::compile(&files, &options);
        let correlated = !set.correlations.is_empty() && setup.role != Role::Replica;
        if correlated && setup.role == Role::Single {
            // It sees what the replicas found, and none of the events.
            set.streams.clear();
        }
        let mut subscriptions: Vec<Subscription> = set.streams.iter().map(subscription).collect();
        let number = subscriptions.len() as u32;
        let correlations = correlated.then(|| Correlations::new(&set, &settings, setup.name, setup.seed, number));
        subscriptions.extend(correlations.as_ref().map(Correlations::subscription));
        let plan = Plan {
            subscriptions,
            outputs: Vec::new(),
            analytics: set.analytics().map(|rule| analytic(rule, &set.filters)).collect(),
            state_format: u32::from(!set.correlations.is_empty()),
            diagnostics: set.diagnostics.iter().map(diagnostic).collect(),
            extra: Vec::new(),
        };
        STATE.with_borrow_mut(|state| *state = State { set, scratch: sigma::Scratch::default(), correlations });
        Ok(plan)
    }

    fn bind(bindings: Vec<Binding>) -> Vec<Diagnostic> {
        STATE.with_borrow_mut(|State { set, correlations, .. }| {
            let mut found = Vec::new();
            for (s, binding) in bindings.iter().enumerate().take(set.streams.len()) {
                if binding.kinds.is_empty() && !binding.note.is_empty() {
                    // Once for each rule; that its fields have no values follows.
                    found.extend(set.unfed(s, &binding.note).iter().map(diagnostic));
                    continue;
                }
                let fields = set.streams[s].fields.clone();
                for (field, bound) in fields.iter().zip(&binding.fields) {
                    let Some(why) = unbound(bound.availability) else { continue };
                    found.extend(set.unbind(s, field, why, &bound.note).iter().map(diagnostic));
                }
                for field in ["EventName", "System.EventName", "EventType"] {
                    set.close(s, field, &binding.kinds);
                }
                found.extend(set.unreachable(s).iter().map(diagnostic));
                found.extend(set.unreachable_in_silence(s).iter().map(silenced));
            }
            if let Some(correlations) = correlations {
                found.extend(correlations.bind(set, &bindings).iter().map(diagnostic));
            }
            found
        })
    }

    fn on_events(turn: Turn) -> Outcome {
        STATE.with_borrow_mut(|State { set, scratch, correlations }| {
            let mut detections = Vec::new();
            let mut clipped = 0;
            for (b, batch) in (0..).zip(&turn.batches) {
                if correlations.as_ref().is_some_and(|c| c.is_mine(batch)) {
                    continue;
                }
                let columns: Vec<sigma::ColumnView<'_>> = batch.columns.iter().map(view).collect();
                let rows = sigma::BatchView { rows: batch.rows as usize, columns: &columns };
                set.detect(batch.subscription as usize, &rows, scratch, |found| {
                    let mut comparisons = Vec::new();
                    found.evidence(|comparison| comparisons.push(evidence(&comparison, &mut clipped)));
                    detections.push(Detection {
                        analytic: found.rule(),
                        row: Some(RowRef { batch: b, row: found.row() }),
                        level: None,
                        key: String::new(),
                        evidence: comparisons,
                        fields: Vec::new(),
                        related: Vec::new(),
                    });
                });
            }
            if let Some(correlations) = correlations {
                correlations.on_events(set, &turn, &mut detections);
            }
            if clipped > 0 {
                host::count("evidence_values_clipped", clipped);
            }
            Outcome { detections, failures: Vec::new() }
        })
    }
}

impl Explain for Component {
    /// Explains the first row of the first batch that belongs to the stream of the rule.
    fn explain(analytic: u32, turn: Turn) -> Vec<Node> {
        STATE.with_borrow(|State { set, .. }| {
            let Some(stream) = set.rules.get(analytic as usize).map(|r| r.stream) else {
                return correlate::explain(set, analytic);
            };
            let of_stream = |b: &&Batch| b.subscription == stream && b.rows > 0;
            let Some(batch) = turn.batches.iter().find(of_stream) else { return Vec::new() };
            let columns: Vec<sigma::ColumnView<'_>> = batch.columns.iter().map(view).collect();
            let rows = sigma::BatchView { rows: batch.rows as usize, columns: &columns };
            set.explain(analytic, &rows, 0).into_iter().map(node).collect()
        })
    }
}

impl Memory for Component {
    fn parts() -> u32 {
        STATE.with_borrow_mut(|state| state.correlations.as_mut().map_or(0, Correlations::parts))
    }

    fn snapshot(part: u32) -> Vec<u8> {
        STATE.with_borrow_mut(|state| state.correlations.as_mut().map_or_else(Vec::new, |c| c.snapshot(part)))
    }

    fn restore(parts: Vec<Vec<u8>>) -> Result<(), String> {
        STATE.with_borrow_mut(|state| state.correlations.as_mut().map_or(Ok(()), |c| c.restore(&parts)))
    }
}

/// Why a field has no values, if it has none.
pub fn unbound(availability: Availability) -> Option<sigma::Unbound> {
    match availability {
        Availability::Bound => None,
        Availability::Unknown => Some(sigma::Unbound::Unknown),
        Availability::NeverHere => Some(sigma::Unbound::NeverHere),
    }
}

fn subscription(stream: &sigma::Stream) -> Subscription {
    let sigma::LogSource { category, product, service } = stream.source.clone();
    Subscription {
        source: Source { kind: None, category, product, service },
        fields: stream.fields.clone(),
        where_: stream.clauses.iter().map(clause).collect(),
        scaling: Scaling::Replicas,
    }
}

fn clause(clause: &sigma::Clause) -> Clause {
    let op = match clause.op {
        sigma::Op::Equals => Op::Equals,
        sigma::Op::Prefix => Op::Prefix,
        sigma::Op::Suffix => Op::Suffix,
        sigma::Op::Contains => Op::Contains,
    };
    Clause { field: clause.field.clone(), op, any_of: clause.any_of.clone() }
}

fn analytic(rule: &sigma::RuleMeta, filters: &[sigma::FilterMeta]) -> Analytic {
    Analytic {
        id: rule.id.clone(),
        title: rule.title.clone(),
        level: match rule.level {
            sigma::Level::Informational => Level::Informational,
            sigma::Level::Low => Level::Low,
            sigma::Level::Medium => Level::Medium,
            sigma::Level::High => Level::High,
            sigma::Level::Critical => Level::Critical,
        },
        deliver: rule.deliver,
        file: rule.file.clone(),
        line: rule.line,
        metadata: metadata(rule, filters),
    }
}

fn diagnostic(d: &sigma::Diagnostic) -> Diagnostic {
    Diagnostic {
        gravity: match d.gravity {
            sigma::Gravity::Error => Gravity::Error,
            sigma::Gravity::Warning => Gravity::Warning,
            sigma::Gravity::Hint => Gravity::Hint,
        },
        code: d.code.to_owned(),
        message: d.message.clone(),
        help: d.help.clone(),
        file: d.file.clone(),
        line: d.place.line,
        column: d.place.column,
        length: d.place.length,
    }
}

/// What a silence keeps from being told, so that the host still knows that the rule cannot match here.
fn silenced(d: &sigma::Diagnostic) -> Diagnostic {
    Diagnostic { gravity: Gravity::Hint, code: format!("silenced/{}", d.code), ..diagnostic(d) }
}

fn config_diagnostic(message: String) -> Diagnostic {
    Diagnostic {
        gravity: Gravity::Error,
        code: "bad-config".to_owned(),
        message,
        help: String::new(),
        file: String::new(),
        line: 0,
        column: 0,
        length: 0,
    }
}

/// The guest interface has no place for the modifiers, so the pattern carries them: `endswith: /nc`.
fn evidence(e: &sigma::Comparison<'_>, clipped: &mut u64) -> Evidence {
    let value = e.value.get(..MAX_EVIDENCE_BYTES).unwrap_or(e.value);
    *clipped += u64::from(value.len() < e.value.len());
    // Not `format!`, which grows the text as it goes.
    let pattern = [e.op, ": ", e.pattern].concat();
    Evidence { selection: e.selection.to_owned(), field: e.field.to_owned(), pattern, value: value.to_vec() }
}

fn texts(t: &Texts) -> sigma::Texts<'_> {
    sigma::Texts { arena: &t.arena, ends: &t.ends, codes: &t.codes }
}

pub fn view(column: &Column) -> sigma::ColumnView<'_> {
    let cells = match &column.cells {
        Cells::Text(t) => sigma::Cells::Text(texts(t)),
        Cells::TextList(l) => sigma::Cells::TextList { values: texts(&l.values), ends: &l.ends },
        Cells::Unsigned(v) => sigma::Cells::Unsigned(v),
        Cells::Signed(v) => sigma::Cells::Signed(v),
        Cells::Float(v) => sigma::Cells::Float(v),
        Cells::Boolean(v) => sigma::Cells::Boolean(v),
    };
    sigma::ColumnView { cells, presence: &column.presence }
}

fn node(n: sigma::Node) -> Node {
    let actual = match n.actual {
        sigma::Actual::Absent => Value::Absent,
        sigma::Actual::Null => Value::Null,
        sigma::Actual::Unavailable => Value::Unavailable,
        sigma::Actual::Text(t) => Value::Text(t),
        sigma::Actual::TextList(l) => Value::TextList(l),
        sigma::Actual::Unsigned(u) => Value::Unsigned(u),
        sigma::Actual::Signed(i) => Value::Signed(i),
        sigma::Actual::Float(f) => Value::Float(f),
        sigma::Actual::Boolean(b) => Value::Boolean(b),
    };
    Node {
        parent: n.parent,
        label: n.label,
        field: n.field,
        pattern: n.pattern,
        actual,
        holds: n.holds,
        reason: n.reason,
        line: n.line,
    }
}
