//! Correlations: the `single` instance on what detectors found.

use super::guest::exports::picket::guest::explain::Node;
use super::guest::picket::guest::host;
use super::guest::picket::guest::types::{
    Batch, Binding, Detection, Evidence, RowRef, Scaling, Source, Subscription, Turn, Value,
};
use super::guest::{unbound, view};
use crate::settings::CorrelationSettings;
use picket_sigma as sigma;

/// Fields of the subscription before those of the correlations.
const OWN_FIELDS: [&str; 2] = ["@rule", "@guest"];

/// A correlator with its subscription.
pub struct Correlations {
    correlator: sigma::Correlator,
    /// Number of the subscription.
    subscription: u32,
    /// Rules of other guests may have the same ids.
    name: String,
    /// What was told to the host.
    told: sigma::Counters,
}

/// What comes in of one batch, by row.
struct Rows<'a> {
    rules: Vec<Option<u32>>,
    columns: Vec<sigma::ColumnView<'a>>,
}

impl Correlations {
    pub fn new(
        set: &sigma::RuleSet,
        settings: &CorrelationSettings,
        name: String,
        seed: (u64, u64),
        subscription: u32,
    ) -> Self {
        let correlator = sigma::Correlator::new(set, seed, settings.limits());
        Self { correlator, subscription, name, told: sigma::Counters::default() }
    }

    pub fn subscription(&self) -> Subscription {
        let own = OWN_FIELDS.iter().map(|f| (*f).to_owned());
        Subscription {
            source: Source { kind: Some("@detection".to_owned()), category: None, product: None, service: None },
            fields: own.chain(self.correlator.fields().iter().cloned()).collect(),
            where_: Vec::new(),
            scaling: Scaling::Single,
        }
    }

    pub fn bind(&self, set: &sigma::RuleSet, bindings: &[Binding]) -> Vec<sigma::Diagnostic> {
        let Some(binding) = bindings.get(self.subscription as usize) else { return Vec::new() };
        let fields = binding.fields.iter().skip(OWN_FIELDS.len());
        let mut found = Vec::new();
        for (field, bound) in self.correlator.fields().iter().zip(fields) {
            if let Some(why) = unbound(bound.availability) {
                found.extend(set.unbind_correlated(field, why, &bound.note));
            }
        }
        found
    }

    pub fn is_mine(&self, batch: &Batch) -> bool {
        batch.subscription == self.subscription
    }

    /// Takes in what the turn has for the correlator; a turn without is a tick.
    pub fn on_events(&mut self, set: &sigma::RuleSet, turn: &Turn, detections: &mut Vec<Detection>) {
        let (numbers, batches): (Vec<u32>, Vec<&Batch>) =
            (0..).zip(&turn.batches).filter(|(_, batch)| self.is_mine(batch)).unzip();
        let rows: Vec<Rows<'_>> = batches.iter().map(|batch| self.rows(batch)).collect();
        let views: Vec<sigma::Detections<'_>> = batches
            .iter()
            .zip(&rows)
            .map(|(batch, rows)| sigma::Detections {
                rules: &rows.rules,
                seqs: &batch.seqs,
                times: &batch.times,
                columns: &rows.columns,
            })
            .collect();
        let mut fired = Vec::new();
        self.correlator.turn(&views, turn.watermark, &mut fired);
        for found in fired {
            let Some(correlation) = set.correlations.get(found.correlation as usize) else { continue };
            // What only other correlations are to see, they have seen.
            if correlation.meta.deliver {
                let analytic = set.rules.len() as u32 + found.correlation;
                detections.push(detection(correlation, analytic, found, &numbers));
            }
        }
        self.tell();
    }

    fn rows<'a>(&self, batch: &'a Batch) -> Rows<'a> {
        let mut columns = batch.columns.iter().map(view);
        let (rule, guest) = (columns.next(), columns.next());
        let text = |column: &Option<sigma::ColumnView<'a>>, row| match column.as_ref()?.cell(row) {
            sigma::Cell::One(sigma::Value::Text(text)) => Some(text),
            _ => None,
        };
        let rules = (0..batch.rows as usize).map(|row| {
            let ours = text(&guest, row).is_none_or(|name| name == self.name.as_bytes());
            text(&rule, row).filter(|_| ours).and_then(|id| self.correlator.rule(id))
        });
        Rows { rules: rules.collect(), columns: columns.collect() }
    }

    fn tell(&mut self) {
        let (now, told) = (self.correlator.counters(), self.told);
        for (name, now, told) in [
            ("correlation_matches", now.matches, told.matches),
            ("correlation_matches_late", now.late, told.late),
            ("correlation_matches_forced", now.forced, told.forced),
            ("correlation_groups_evicted", now.evicted, told.evicted),
            ("correlation_matches_forgotten", now.forgotten, told.forgotten),
            ("correlation_steps_cut", now.cut, told.cut),
            ("correlation_groups_not_restored", now.strangers, told.strangers),
        ] {
            if now > told {
                host::count(name, now - told);
            }
        }
        self.told = now;
    }

    pub fn parts(&mut self) -> u32 {
        self.correlator.parts()
    }

    pub fn snapshot(&mut self, part: u32) -> Vec<u8> {
        self.correlator.snapshot(part)
    }

    pub fn restore(&mut self, parts: &[Vec<u8>]) -> Result<(), String> {
        self.correlator.restore(parts)
    }
}

/// What a correlation is about: one event cannot tell whether it holds.
pub fn explain(set: &sigma::RuleSet, analytic: u32) -> Vec<Node> {
    let number = (analytic as usize).checked_sub(set.rules.len());
    let Some(correlation) = number.and_then(|n| set.correlations.get(n)) else { return Vec::new() };
    let node = |label: &str, field: &str, pattern: &str, reason: &str, line| Node {
        parent: 0,
        label: label.to_owned(),
        field: field.to_owned(),
        pattern: pattern.to_owned(),
        actual: Value::Absent,
        holds: false,
        reason: reason.to_owned(),
        line,
    };
    let why = "looks at what these rules found over time, not at one event";
    let (field, condition) = (correlation.value_field(), correlation.condition());
    let root = node(correlation.kind.name(), field, condition, why, correlation.meta.line);
    let rules = correlation.rules().filter_map(|rule| set.analytics().nth(rule as usize));
    [root].into_iter().chain(rules.map(|meta| node(&meta.title, "", &meta.id, "", 0))).collect()
}

fn detection(correlation: &sigma::Correlation, analytic: u32, found: sigma::Fired, numbers: &[u32]) -> Detection {
    let row = found.row.and_then(|(batch, row)| Some(RowRef { batch: *numbers.get(batch as usize)?, row }));
    let evidence = Evidence {
        selection: correlation.kind.name().to_owned(),
        field: correlation.value_field().to_owned(),
        pattern: correlation.condition().to_owned(),
        value: found.value.to_string().into_bytes(),
    };
    Detection {
        analytic,
        row,
        level: None,
        key: found.key,
        evidence: vec![evidence],
        fields: found.fields,
        related: found.related,
    }
}
