//! The correlator against one that keeps every match and looks at all of them each time; and against itself after crashes.

mod common;
#[path = "common/correlation.rs"]
mod support;

use common::{Event, Random};
use picket_sigma::{Correlator, Fired, Limits, RuleSet};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use support::{Row, SECOND, correlator, set_of, turn};

const RULES: [&str; 4] = ["a", "b", "c", "d"];
const USERS: [&str; 3] = ["root", "bin", "mail"];

/// Whether an extended condition holds of the rules that matched, by position.
type Holds = fn(&BTreeSet<String>) -> bool;

#[derive(Clone, Debug)]
struct Spec {
    kind: &'static str,
    /// Names of rules, or `x0` ... for correlations.
    rules: Vec<String>,
    group_by: Vec<&'static str>,
    span: u64,
    limits: Vec<(&'static str, f64)>,
    text: Option<(String, Holds)>,
    percentile: f64,
    at_close: bool,
    suppress: Option<u64>,
    reset: bool,
    depth: u32,
    /// It refers to one whose windows close.
    after_close: bool,
}

fn spec(random: &mut Random, before: &[Spec]) -> Spec {
    let kind = random.pick(&[
        "event_count",
        "event_count",
        "value_count",
        "value_sum",
        "value_avg",
        "value_percentile",
        "value_median",
        "temporal",
        "temporal_ordered",
    ]);
    let first = random.below(4);
    let mut rules: Vec<String> = (0..=random.below(3)).map(|i| RULES[(first + i) % 4].to_owned()).collect();
    let mut group_by = random.pick::<&[&str]>(&[&[], &["User"], &["User", "Port"]]).to_vec();
    let (mut depth, mut after_close) = (1, false);
    // What an ordered one lists may differ, so none is built on it.
    let base = (0..before.len()).find(|i| before[*i].kind != "temporal_ordered" && before[*i].depth < 3);
    if let Some(base) =
        base.filter(|_| random.one_in(3) && matches!(kind, "event_count" | "temporal" | "temporal_ordered"))
    {
        rules[0] = format!("x{base}");
        group_by.retain(|g| before[base].group_by.contains(g));
        depth = before[base].depth + 1;
        after_close = before[base].at_close || before[base].after_close;
    }
    let ordered = kind == "temporal_ordered";
    if ordered && random.one_in(3) {
        rules.push(rules[0].clone());
    }
    let n = rules.len() as f64;
    let least = (1 + random.below(4)) as f64;
    let mut limits = match random.below(6) {
        0 => vec![("lte", least)],
        1 => vec![("gte", least), ("lt", least + 2.0)],
        2 => vec![("eq", least)],
        3 => vec![("neq", least)],
        4 => vec![("gt", least)],
        _ => vec![("gte", least)],
    };
    let mut text = None;
    if kind.starts_with("temporal") {
        limits = match random.below(4) {
            0 => vec![("gte", n.min(least))],
            1 => vec![("eq", n.min(least))],
            _ => vec![("gte", n)],
        };
        if kind == "temporal" && rules.len() == 3 && random.one_in(2) {
            let [x, y, z] = [&rules[0], &rules[1], &rules[2]];
            text = Some(match random.below(3) {
                0 => (
                    format!("{x} and ({y} or {z})"),
                    (|s: &BTreeSet<String>| s.contains("0") && (s.contains("1") || s.contains("2"))) as _,
                ),
                1 => (
                    format!("{x} or {y} and {z}"),
                    (|s: &BTreeSet<String>| s.contains("0") || s.contains("1") && s.contains("2")) as _,
                ),
                _ => (
                    format!("{x} and {y} and not {z}"),
                    (|s: &BTreeSet<String>| s.contains("0") && s.contains("1") && !s.contains("2")) as _,
                ),
            });
        }
    }
    let rising = limits.iter().all(|(o, _)| o.starts_with('g'));
    let at_close = text.as_ref().map_or(!rising, |(text, _)| text.contains("not"));
    let (mut suppress, mut reset) = (None, false);
    if random.one_in(3) {
        suppress = Some(1 + random.below(30) as u64);
    }
    if random.one_in(3) {
        reset = true;
    }
    let percentile = random.pick(&[0.0, 10.0, 50.0, 95.0, 100.0]);
    let span = 1 + random.below(20) as u64;
    Spec { kind, rules, group_by, span, limits, text, percentile, at_close, suppress, reset, depth, after_close }
}

impl Spec {
    fn valued(&self) -> bool {
        self.kind.starts_with("value")
    }

    /// What a finding has used up.
    fn moment(&self, fired: (u64, u64)) -> (u64, u64) {
        if self.after_close { (fired.0, u64::MAX) } else { fired }
    }

    /// So many of an order may be missing.
    fn gaps(&self) -> usize {
        let least = |(operator, n): &(&str, f64)| if *operator == "gt" { n + 1.0 } else { *n };
        self.rules.len() - self.limits.iter().map(least).fold(1.0, f64::max) as usize
    }

    fn document(&self, id: usize) -> Value {
        let mut condition: Value = self.limits.iter().map(|(o, n)| ((*o).to_owned(), json!(n))).collect();
        if self.valued() {
            condition["field"] = json!(if self.kind == "value_count" { "Host" } else { "Size" });
        }
        if self.kind == "value_percentile" {
            condition["percentile"] = json!(self.percentile);
        }
        if let Some((text, _)) = &self.text {
            condition = json!(text);
        }
        let mut document = json!({"title": "t", "id": format!("x{id}"), "correlation": {
            "type": self.kind, "rules": self.rules, "group-by": self.group_by, "timespan": format!("{}s", self.span),
            "condition": condition,
        }});
        if let Some(seconds) = self.suppress {
            document["suppress"] = json!(format!("{seconds}s"));
        }
        if self.reset {
            document["refire"] = json!("reset");
        }
        document
    }
}

#[derive(Clone, Debug)]
struct Hit {
    at: (u64, u64),
    rule: String,
    value: Value,
}

#[derive(Clone, Debug, Default)]
struct Window {
    hits: Vec<Hit>,
    fired: Option<(u64, u64)>,
    opened: Option<(u64, usize)>,
}

/// Time, correlation, group, measure, rows (not told for ordered ones: several runs may do).
type Found = (u64, usize, String, String, Vec<u64>);

struct Naive<'a> {
    specs: &'a [Spec],
    windows: Vec<BTreeMap<String, (Window, Event)>>,
    opened: usize,
    found: Vec<Found>,
}

impl Naive<'_> {
    fn row(&mut self, row: &Row) {
        self.close(row.time);
        let name = row.rule.strip_prefix("id-").unwrap();
        self.hit(name, (row.time, row.seq), &row.event);
    }

    fn hit(&mut self, rule: &str, at: (u64, u64), event: &Event) {
        for c in 0..self.specs.len() {
            if self.specs[c].rules.iter().any(|r| r == rule) {
                self.step(c, rule, at, event);
            }
        }
    }

    fn step(&mut self, c: usize, rule: &str, at: (u64, u64), event: &Event) {
        let spec = &self.specs[c];
        let value = match spec.kind {
            "value_count" => event.get("Host").cloned(),
            _ if spec.valued() => event.get("Size").cloned(),
            _ => Some(Value::Null),
        };
        let Some(value) = value else { return };
        let key = spec.group_by.iter().map(|g| format!("{g}={}", event.get(*g).map_or("none".into(), shown)));
        let key = key.collect::<Vec<_>>().join(", ");
        let group: Event =
            spec.group_by.iter().filter_map(|g| Some(((*g).to_owned(), event.get(*g)?.clone()))).collect();
        let (window, _) = self.windows[c].entry(key.clone()).or_insert_with(|| (Window::default(), group));
        let hit = Hit { at, rule: rule.to_owned(), value };
        if spec.at_close {
            if window.opened.is_none() {
                self.opened += 1;
                window.opened = Some((at.0, self.opened));
                window.hits.clear();
            }
            window.hits.push(hit);
            return;
        }
        let from = at.0.saturating_sub(spec.span * SECOND);
        window.hits.retain(|h| h.at.0 >= from);
        // Of an ordered one, what could still become a run counts.
        let open = |h: &&Hit| spec.kind != "temporal_ordered" || spec.rules[..=spec.gaps()].contains(&h.rule);
        if !window.hits.iter().any(|h| open(&h)) && spec.suppress.is_none() && !spec.reset {
            window.fired = None;
        }
        window.hits.push(hit);
        let again = window.fired.is_some_and(|fired| at <= spec.moment(fired));
        if !again && armed(spec, window, at.0) && measure(spec, &window.hits).is_some() {
            self.fire(c, &key, at);
        }
    }

    fn close(&mut self, before: u64) {
        loop {
            let mut next = None;
            for (c, windows) in self.windows.iter().enumerate().filter(|(c, _)| self.specs[*c].at_close) {
                for (key, (window, _)) in windows {
                    let Some((opened, order)) = window.opened else { continue };
                    let end = opened + self.specs[c].span * SECOND;
                    let rank = (end, self.specs[c].depth, c, order);
                    if end < before && next.as_ref().is_none_or(|(best, _)| rank < *best) {
                        next = Some((rank, key.clone()));
                    }
                }
            }
            let Some(((end, _, c, _), key)) = next else { return };
            let spec = &self.specs[c];
            let (window, _) = &self.windows[c][&key];
            if armed(spec, window, end) && measure(spec, &window.hits).is_some() {
                let last = window.hits.iter().map(|h| h.at).max().unwrap();
                self.fire(c, &key, (end, last.1));
            }
            let (window, _) = self.windows[c].get_mut(&key).unwrap();
            window.opened = None;
            window.hits.clear();
            if spec.suppress.is_none() {
                window.fired = None;
            }
        }
    }

    fn fire(&mut self, c: usize, key: &str, at: (u64, u64)) {
        let spec = &self.specs[c];
        let (window, event) = self.windows[c].get_mut(key).unwrap();
        let value = measure(spec, &window.hits).unwrap();
        let mut listed: Vec<&Hit> = match spec.kind {
            "value_count" => last_of_each(&window.hits, |h| shown(&h.value)),
            "temporal" => last_of_each(&window.hits, |h| h.rule.clone()),
            _ => window.hits.iter().collect(),
        };
        listed.retain(|h| window.fired.is_none_or(|fired| h.at > spec.moment(fired)));
        let mut related: Vec<u64> = listed.iter().map(|h| h.at.1).collect();
        if related.len() > 64 {
            related.drain(1..related.len() - 63);
        }
        related.sort_unstable();
        related.dedup();
        if spec.kind == "temporal_ordered" {
            related.clear();
        }
        window.fired = Some(at);
        if spec.reset {
            window.hits.clear();
        }
        let event = event.clone();
        self.found.push((at.0, c, key.to_owned(), value.to_string(), related));
        self.hit(&format!("x{c}"), at, &event);
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(s) => format!("\"{s}\""),
        other => format!("\"{other}\""),
    }
}

fn last_of_each(hits: &[Hit], by: impl Fn(&Hit) -> String) -> Vec<&Hit> {
    let last: BTreeMap<String, usize> = hits.iter().enumerate().map(|(i, h)| (by(h), i)).collect();
    let wanted: BTreeSet<usize> = last.into_values().collect();
    wanted.into_iter().map(|i| &hits[i]).collect()
}

fn armed(spec: &Spec, window: &Window, now: u64) -> bool {
    match (window.fired, spec.suppress) {
        (None, _) => true,
        (Some(fired), Some(seconds)) => now >= fired.0 + seconds * SECOND,
        (Some(_), None) => spec.reset || spec.at_close,
    }
}

fn measure(spec: &Spec, hits: &[Hit]) -> Option<f64> {
    let names: BTreeSet<String> =
        hits.iter().map(|h| spec.rules.iter().position(|r| *r == h.rule).unwrap().to_string()).collect();
    if let Some((_, holds)) = &spec.text {
        return holds(&names).then_some(names.len() as f64);
    }
    let mut numbers: Vec<f64> = hits.iter().filter_map(|h| h.value.as_f64()).collect();
    numbers.sort_by(f64::total_cmp);
    let percentile = |p: f64| {
        let rank = p / 100.0 * (numbers.len() - 1) as f64;
        let (low, high) = (numbers[rank as usize], numbers[rank.ceil() as usize]);
        low + (high - low) * (rank - rank.floor())
    };
    let value = match spec.kind {
        "event_count" => hits.len() as f64,
        "value_count" => hits.iter().map(|h| shown(&h.value)).collect::<BTreeSet<_>>().len() as f64,
        "temporal" => names.len() as f64,
        "temporal_ordered" => {
            // The longest common subsequence of what happened and what is listed.
            let common = |hits: &[Hit]| {
                let mut row = vec![0; spec.rules.len() + 1];
                for hit in hits {
                    let above = row.clone();
                    for (i, rule) in spec.rules.iter().enumerate() {
                        row[i + 1] = if *rule == hit.rule { above[i] + 1 } else { above[i + 1].max(row[i]) };
                    }
                }
                row
            };
            if spec.at_close {
                f64::from(common(hits)[spec.rules.len()])
            } else {
                // That the last match is the end of.
                let (last, before) = hits.split_last().unwrap();
                let ends = (0..spec.rules.len()).filter(|i| spec.rules[*i] == last.rule);
                f64::from(ends.map(|i| common(before)[i] + 1).max().unwrap())
            }
        }
        _ if numbers.is_empty() => return None,
        "value_sum" => numbers.iter().sum(),
        "value_avg" => numbers.iter().sum::<f64>() / numbers.len() as f64,
        "value_median" => percentile(50.0),
        _ => percentile(spec.percentile),
    };
    let all = spec.limits.iter().all(|(operator, n)| match *operator {
        "gt" => value > *n,
        "gte" => value >= *n,
        "lt" => value < *n,
        "lte" => value <= *n,
        "eq" => (value - *n).abs() < 1e-12,
        _ => (value - *n).abs() >= 1e-12,
    });
    all.then_some(value)
}

/// Rows in order of arrival: event times at most `lag` seconds behind the latest.
fn rows(random: &mut Random, count: usize, lag: u64) -> Vec<Row> {
    let mut now = 100;
    (0..count as u64)
        .map(|seq| {
            let steps = if random.one_in(10) { 8 } else { 6 };
            now += [0, 0, 0, 1, 1, 2, 5, 30][random.below(steps)];
            let mut event = Event::new();
            for (field, value) in [
                ("User", json!(random.pick(&USERS))),
                ("Port", json!(20 + random.below(2))),
                ("Host", json!(format!("h{}", random.below(5)))),
                ("Size", json!(random.below(6))),
            ] {
                if !random.one_in(12) {
                    event.insert(field.to_owned(), value);
                }
            }
            let time = (now - random.below(lag as usize + 1) as u64) * SECOND;
            Row { rule: format!("id-{}", random.pick(&RULES)), seq, time, event }
        })
        .collect()
}

/// Turns: the rows of each and its watermark.
fn turns(random: &mut Random, rows: &[Row], lag: u64, most: usize) -> Vec<(Vec<Row>, u64)> {
    let (mut all, mut rest, mut latest) = (Vec::new(), rows, 0);
    while !rest.is_empty() {
        let (now, later) = rest.split_at((1 + random.below(most)).min(rest.len()));
        latest = now.iter().map(|r| r.time).chain([latest]).max().unwrap();
        // The latest time seen is at most `lag` behind the clock that rows lag behind.
        all.push((now.to_vec(), latest.saturating_sub(2 * lag * SECOND)));
        rest = later;
    }
    all.push((Vec::new(), u64::MAX));
    all
}

fn told(set: &RuleSet, fired: &[Fired]) -> Vec<Found> {
    let one = |f: &Fired| {
        let c = f.correlation as usize;
        let ordered = set.correlations[c].kind.name() == "temporal_ordered";
        let related = if ordered { Vec::new() } else { f.related.clone() };
        // What tells windows apart that one row makes up.
        let key = f.key.split("time=").next().unwrap().trim_end_matches(", ").to_owned();
        (f.time, c, key, f.value.to_string(), related)
    };
    fired.iter().map(one).collect()
}

fn world(random: &mut Random) -> (Vec<Spec>, RuleSet) {
    let mut specs: Vec<Spec> = Vec::new();
    for _ in 0..=random.below(5) {
        let next = spec(random, &specs);
        specs.push(next);
    }
    let documents: Vec<Value> = specs.iter().enumerate().map(|(i, s)| s.document(i)).collect();
    let set = set_of(&documents);
    let codes: Vec<_> = set.diagnostics.iter().filter(|d| d.code != "id-not-uuid").collect();
    assert_eq!(set.correlations.len(), specs.len(), "{codes:#?}");
    (specs, set)
}

fn listed(specs: &[Spec]) -> String {
    specs.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>().join("\n")
}

#[test]
fn finds_what_the_naive_one_finds() {
    let mut random = Random(0x5eed_0001);
    let mut seen: BTreeMap<(&str, bool, bool), usize> = BTreeMap::new();
    for round in 0..500 {
        let (specs, set) = world(&mut random);
        let lag = random.pick(&[0, 0, 3, 10]);
        let rows = rows(&mut random, 200, lag);
        let mut naive =
            Naive { specs: &specs, windows: vec![BTreeMap::new(); specs.len()], opened: 0, found: Vec::new() };
        let mut sorted = rows.clone();
        sorted.sort_by_key(|r| (r.time, r.seq));
        for row in &sorted {
            naive.row(row);
        }
        naive.close(u64::MAX);
        naive.found.sort();
        for most in [1, 50] {
            let mut correlator = correlator(&set, Limits::default());
            let mut found = Vec::new();
            for (rows, watermark) in turns(&mut random, &rows, lag, most) {
                found.extend(turn(&mut correlator, &rows, 7, watermark));
            }
            assert_eq!(correlator.counters().late, 0);
            // Which of several groups closes first at one moment is nobody's concern.
            let mut found = told(&set, &found);
            found.sort();
            if found != naive.found {
                let at = found.iter().zip(&naive.found).position(|(a, b)| a != b);
                let at = at.unwrap_or(found.len().min(naive.found.len()));
                let got = (found.get(at), naive.found.get(at));
                panic!("round {round}, turns of {most}: finding {at}: (got, naive) {got:?}\n{}", listed(&specs));
            }
        }
        for (_, c, ..) in &naive.found {
            let spec = &specs[*c];
            *seen.entry((spec.kind, spec.at_close, spec.depth > 1)).or_default() += 1;
        }
    }
    // Each kind fired often, so that there was something to compare.
    for kind in [
        "event_count",
        "value_count",
        "value_sum",
        "value_avg",
        "value_percentile",
        "value_median",
        "temporal",
        "temporal_ordered",
    ] {
        for at_close in [false, true] {
            let count = seen.get(&(kind, at_close, false)).copied().unwrap_or(0);
            assert!(count > 100, "{kind}, at close {at_close}: {count}");
        }
    }
    for at_close in [false, true] {
        assert!(seen.get(&("event_count", at_close, true)).is_some_and(|n| *n > 50), "chains: {seen:?}");
    }
}

/// Parts are taken one at a time between turns, the correlator is lost at any moment, and comes back from the last complete
/// round of parts and the rows since the oldest of them: all findings together are those of one that never stopped.
#[test]
fn a_crash_changes_nothing() {
    let mut random = Random(0x5eed_0002);
    let (mut crashes, mut different, mut most) = (0, 0, 0);
    for round in 0..400 {
        let (specs, set) = world(&mut random);
        let lag = random.pick(&[0, 3, 10]);
        let rows = rows(&mut random, 250, lag);
        let turns = turns(&mut random, &rows, lag, 20);
        let mut whole = correlator(&set, Limits::default());
        let mut expected: Vec<Fired> =
            turns.iter().flat_map(|(rows, watermark)| turn(&mut whole, rows, 100, *watermark)).collect();

        // Many parts, so that they are of different moments.
        let limits = Limits { part: 4, ..Limits::default() };
        let mut running: Correlator = correlator(&set, limits);
        let mut found = Vec::new();
        // Complete rounds of parts, and the turn that the oldest of them was taken after.
        let mut saved: Option<(Vec<Vec<u8>>, usize)> = None;
        let mut taking: (Vec<Vec<u8>>, usize) = (Vec::new(), 0);
        let mut next = 0;
        while next < turns.len() {
            let (rows, watermark) = &turns[next];
            found.extend(turn(&mut running, rows, 100, *watermark));
            next += 1;
            if random.one_in(2) {
                let parts = running.parts();
                if taking.0.is_empty() {
                    taking.1 = next;
                }
                taking.0.push(running.snapshot(taking.0.len() as u32));
                if taking.0.len() as u32 == parts {
                    saved = Some(std::mem::take(&mut taking));
                }
            }
            if random.one_in(15) && crashes < 10_000 {
                crashes += 1;
                running = Correlator::new(&set, (random.below(1000) as u64, 7), limits);
                taking = (Vec::new(), 0);
                next = 0;
                if let Some((parts, since)) = &saved {
                    most = most.max(parts.len());
                    running.restore(parts).unwrap();
                    different += usize::from(*since > 0);
                    next = *since;
                }
            }
        }
        for fired in expected.iter_mut().chain(&mut found) {
            fired.row = None;
        }
        let key = |f: &Fired| (f.time, f.correlation, f.key.clone(), f.related.clone());
        expected.sort_by_key(key);
        found.sort_by_key(key);
        found.dedup();
        let (told, wanted) = (told(&set, &found), told(&set, &expected));
        if let Some(at) = (0..told.len().max(wanted.len())).find(|i| told.get(*i) != wanted.get(*i)) {
            panic!("round {round}: {:?} wanted {:?}\n{}", told.get(at), wanted.get(at), listed(&specs));
        }
        // What tells findings apart for their receiver.
        let identity = |f: &Fired| (f.correlation, f.key.clone(), f.related.first().copied());
        expected.sort_by_key(identity);
        for pair in expected.iter().map(identity).collect::<Vec<_>>().windows(2) {
            let same = expected.iter().filter(|f| identity(f) == pair[0]).collect::<Vec<_>>();
            assert_ne!(pair[0], pair[1], "{same:?} {}", listed(&specs));
        }
    }
    assert!(
        crashes > 300 && different > 100 && most > 4,
        "{crashes} crashes, {different} from a snapshot, {most} parts"
    );
}

/// The same state makes the same bytes, and goes through them unchanged.
#[test]
fn snapshots_are_deterministic() {
    let mut random = Random(0x5eed_0003);
    for _ in 0..50 {
        let (_, set) = world(&mut random);
        let rows = rows(&mut random, 100, 5);
        let parts = |correlator: &mut Correlator| -> Vec<Vec<u8>> {
            (0..correlator.parts()).map(|p| correlator.snapshot(p)).collect()
        };
        let mut first = correlator(&set, Limits::default());
        let mut second = Correlator::new(&set, (77, 88), Limits::default());
        for (rows, watermark) in turns(&mut random, &rows, 5, 10).into_iter().filter(|(_, w)| *w != u64::MAX) {
            turn(&mut first, &rows, 100, watermark);
            turn(&mut second, &rows, 1, watermark);
        }
        let bytes = parts(&mut first);
        assert_eq!(bytes, parts(&mut second), "whatever the seed and the batches");
        let mut third = correlator(&set, Limits::default());
        third.restore(&bytes).unwrap();
        assert_eq!(bytes, parts(&mut third));
    }
}
