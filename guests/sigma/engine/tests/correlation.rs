//! The case table of correlations, each case in every way its matches can come; and what is said about bad ones.

mod common;
#[path = "common/correlation.rs"]
mod support;

use common::compile_one;
use picket_sigma::{Correlator, Gravity, Limits, RuleSet};
use serde_json::{Map, Value, json};
use support::{Row, SECOND, all_shown, correlator, row, set_of, turn};

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|v| v.as_str().unwrap().to_owned()).collect()
}

/// The correlations of a case: keys of one letter or `x1`, with the body of `correlation`; `policy` holds further attributes.
fn documents(case: &Value) -> Vec<Value> {
    let mut documents = Vec::new();
    for (id, body) in case["correlations"].as_object().unwrap() {
        let mut document = Map::new();
        document.insert("title".into(), json!(id));
        document.insert("id".into(), json!(id));
        document.insert("correlation".into(), body.clone());
        if let Some(policy) = case["policy"].get(id) {
            document.extend(policy.as_object().unwrap().clone());
        }
        documents.push(Value::Object(document));
    }
    documents
}

/// Hands the rows over in turns of `size`; matches are at most `lag` seconds out of order.
fn run(
    set: &RuleSet,
    rows: &[String],
    limits: Limits,
    lag: f64,
    size: usize,
    restart: bool,
) -> (Vec<String>, Correlator) {
    let mut correlator = correlator(set, limits);
    let mut found = Vec::new();
    let (mut latest, mut seq) = (0, 0);
    let mut held: Vec<Row> = Vec::new();
    let hand = |correlator: &mut Correlator, held: &mut Vec<Row>, watermark: u64, found: &mut Vec<String>| {
        found.extend(all_shown(set, &turn(correlator, held, 2, watermark)));
        held.clear();
        if restart {
            let parts: Vec<Vec<u8>> = (0..correlator.parts()).map(|p| correlator.snapshot(p)).collect();
            *correlator = support::correlator(set, limits);
            correlator.restore(&parts).unwrap();
        }
    };
    for text in rows {
        if let Some(at) = text.strip_prefix("tick@") {
            latest = latest.max((at.parse::<f64>().unwrap() * 1e9) as u64);
            hand(&mut correlator, &mut held, latest, &mut found);
            continue;
        }
        let row = row(text, seq);
        seq += 1;
        latest = latest.max(row.time.saturating_sub((lag * 1e9) as u64));
        held.push(row);
        if held.len() >= size {
            hand(&mut correlator, &mut held, latest, &mut found);
        }
    }
    hand(&mut correlator, &mut held, latest, &mut found);
    hand(&mut correlator, &mut held, u64::MAX, &mut found);
    (found, correlator)
}

#[test]
fn every_case() {
    let table: Vec<Value> = serde_saphyr::from_str(include_str!("correlations.yml")).unwrap();
    let mut wrong = Vec::new();
    for case in &table {
        let name = case["case"].as_str().unwrap();
        assert!(case["clause"].is_string(), "{name}: no clause");
        let set = set_of(&documents(case));
        let warned: Vec<&str> = set.diagnostics.iter().filter(|d| d.gravity != Gravity::Hint).map(|d| d.code).collect();
        let expected = texts(&case["says"]);
        if warned != expected || set.correlations.is_empty() {
            wrong.push(format!("{name}: {:#?}", set.diagnostics));
            continue;
        }
        let mut limits = Limits::default();
        for (limit, value) in case["limits"].as_object().into_iter().flatten() {
            let value = value.as_u64().unwrap() as usize;
            match limit.as_str() {
                "groups" => limits.groups = value,
                "bytes" => limits.bytes = value,
                "entries" => limits.entries = value,
                "pending" => limits.pending = value,
                "tolerance" => limits.tolerance = value as u64 * SECOND,
                _ => panic!("{name}: {limit}"),
            }
        }
        let rows = texts(&case["rows"]);
        let fires = texts(&case["fires"]);
        let lag = case["lag"].as_f64().unwrap_or(0.0);
        // What is late, or is taken too early, depends on the turns.
        let sizes: &[usize] = if case["once"].as_bool() == Some(true) { &[1] } else { &[1, 2, 3, 1000] };
        for size in sizes {
            for restart in [false, true] {
                let (found, correlator) = run(&set, &rows, limits, lag, *size, restart);
                if found != fires {
                    wrong.push(format!("{name}: in turns of {size}, restart {restart}: {found:#?} wanted {fires:#?}"));
                }
                let counters = correlator.counters();
                for (counter, value) in case["counts"].as_object().into_iter().flatten().filter(|_| !restart) {
                    let counted = match counter.as_str() {
                        "late" => counters.late,
                        "evicted" => counters.evicted,
                        "forgotten" => counters.forgotten,
                        "forced" => counters.forced,
                        "cut" => counters.cut,
                        _ => panic!("{name}: {counter}"),
                    };
                    if Some(counted) != value.as_u64() {
                        wrong.push(format!("{name}: {counter} is {counted}"));
                    }
                }
            }
        }
        for (id, deliver) in case["delivers"].as_object().into_iter().flatten() {
            let meta = set.analytics().find(|m| m.id == *id || m.name.as_deref() == Some(id)).unwrap();
            if Some(meta.deliver) != deliver.as_bool() {
                wrong.push(format!("{name}: deliver of {id} is {}", meta.deliver));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), table.len(), wrong.join("\n"));
    assert!(table.len() >= 80, "only {} cases", table.len());
}

#[test]
fn bad_correlations() {
    let head = "title: t\nid: 00000000-0000-0000-0000-000000000001\n";
    let base = "---\ntitle: a\nname: a\nid: 00000000-0000-0000-0000-00000000000a\nlogsource: {product: x}\ndetection: {s: {A: 1}, condition: s}\n\
        ---\ntitle: b\nname: b\nid: 00000000-0000-0000-0000-00000000000b\nlogsource: {product: x}\ndetection: {s: {A: 2}, condition: s}\n\
        ---\ntitle: b2\nname: twin\nid: 00000000-0000-0000-0000-00000000000c\nlogsource: {product: x}\ndetection: {s: {A: 3}, condition: s}\n\
        ---\ntitle: b3\nname: twin\nid: 00000000-0000-0000-0000-00000000000d\nlogsource: {product: x}\ndetection: {s: {A: 4}, condition: s}\n";
    let mut wrong = Vec::new();
    for (code, correlation) in [
        ("bad-correlation", "correlation: «[a]»"),
        ("bad-correlation", "«correlation»: {rules: [a], timespan: 1m, condition: {gte: 1}}"),
        (
            "unknown-correlation-type",
            "correlation: {type: «event_cuont», rules: [a], timespan: 1m, condition: {gte: 1}}",
        ),
        ("bad-correlation", "«correlation»: {type: event_count, timespan: 1m, condition: {gte: 1}}"),
        ("bad-correlation", "«correlation»: {type: event_count, rules: [], timespan: 1m, condition: {gte: 1}}"),
        ("bad-correlation", "correlation: {type: event_count, rules: «{a: b}», timespan: 1m, condition: {gte: 1}}"),
        ("bad-correlation", "correlation: {type: event_count, rules: [a, «[b]»], timespan: 1m, condition: {gte: 1}}"),
        ("unknown-rule", "correlation: {type: event_count, rules: [«aa»], timespan: 1m, condition: {gte: 1}}"),
        ("ambiguous-rule", "correlation: {type: event_count, rules: [«twin»], timespan: 1m, condition: {gte: 1}}"),
        (
            "repeated-rule",
            "correlation: {type: event_count, rules: [a, «00000000-0000-0000-0000-00000000000a»], timespan: 1m, condition: {gte: 1}}",
        ),
        (
            "correlation-cycle",
            "«correlation»: {type: event_count, rules: [00000000-0000-0000-0000-000000000001], timespan: 1m, condition: {gte: 1}}",
        ),
        ("bad-correlation", "«correlation»: {type: event_count, rules: [a], condition: {gte: 1}}"),
        ("bad-timespan", "correlation: {type: event_count, rules: [a], timespan: «60», condition: {gte: 1}}"),
        ("bad-timespan", "correlation: {type: event_count, rules: [a], timespan: «0s», condition: {gte: 1}}"),
        ("bad-timespan", "correlation: {type: event_count, rules: [a], timespan: «1.5h», condition: {gte: 1}}"),
        ("bad-timespan", "correlation: {type: event_count, rules: [a], timespan: «5 m», condition: {gte: 1}}"),
        ("bad-timespan", "correlation: {type: event_count, rules: [a], timespan: «5H», condition: {gte: 1}}"),
        ("bad-timespan", "correlation: {type: event_count, rules: [a], timespan: «m», condition: {gte: 1}}"),
        ("bad-timespan", "correlation: {type: event_count, rules: [a], timespan: «101y», condition: {gte: 1}}"),
        (
            "bad-timespan",
            "correlation: {type: event_count, rules: [a], timespan: «99999999999999999999999s», condition: {gte: 1}}",
        ),
        (
            "unknown-correlation-attribute",
            "correlation: {type: event_count, rules: [a], «timeframe»: 1m, condition: {gte: 1}}",
        ),
        (
            "unknown-correlation-attribute",
            "correlation: {type: event_count, rules: [a], timespan: 1m, «group_by»: [A], condition: {gte: 1}}",
        ),
        (
            "unknown-correlation-attribute",
            "correlation: {type: event_count, rules: [a], timespan: 1m, «window»: tumbling, condition: {gte: 1}}",
        ),
        (
            "unknown-correlation-attribute",
            "correlation: {type: value_count, rules: [a], timespan: 1m, «field»: A, condition: {gte: 1, field: A}}",
        ),
        (
            "bad-correlation",
            "correlation: {type: event_count, rules: [a], timespan: 1m, group-by: «{A: B}», condition: {gte: 1}}",
        ),
        (
            "bad-correlation",
            "correlation: {type: event_count, rules: [a], timespan: 1m, group-by: [A, «null»], condition: {gte: 1}}",
        ),
        (
            "bad-correlation",
            "correlation: {type: event_count, rules: [a], timespan: 1m, generate: «\"yes\"», condition: {gte: 1}}",
        ),
        (
            "bad-correlation",
            "correlation: {type: event_count, rules: [a], timespan: 1m, aliases: «[x]», condition: {gte: 1}}",
        ),
        (
            "bad-correlation",
            "correlation: {type: event_count, rules: [a], timespan: 1m, group-by: [x], aliases: {x: «A»}, condition: {gte: 1}}",
        ),
        (
            "incomplete-alias",
            "correlation: {type: event_count, rules: [a, b], timespan: 1m, group-by: [x], aliases: {«x»: {a: A}}, condition: {gte: 1}}",
        ),
        ("bad-correlation-condition", "«correlation»: {type: event_count, rules: [a], timespan: 1m}"),
        ("bad-correlation-condition", "correlation: {type: event_count, rules: [a], timespan: 1m, condition: «{}»}"),
        ("bad-correlation-condition", "correlation: {type: event_count, rules: [a], timespan: 1m, condition: «5»}"),
        (
            "bad-correlation-condition",
            "correlation: {type: event_count, rules: [a], timespan: 1m, condition: «a and b»}",
        ),
        (
            "bad-correlation-condition",
            "correlation: {type: event_count, rules: [a], timespan: 1m, condition: {«ge»: 5}}",
        ),
        (
            "bad-correlation-condition",
            "correlation: {type: event_count, rules: [a], timespan: 1m, condition: {gte: «many»}}",
        ),
        (
            "bad-correlation-condition",
            "correlation: {type: event_count, rules: [a], timespan: 1m, condition: «{gte: 100001}»}",
        ),
        (
            "bad-correlation-condition",
            "correlation: {type: event_count, rules: [a], timespan: 1m, condition: «{gte: 0}»}",
        ),
        (
            "bad-correlation-condition",
            "correlation: {type: event_count, rules: [a], timespan: 1m, condition: {gte: 1, field: «A»}}",
        ),
        (
            "missing-correlation-field",
            "correlation: {type: value_count, rules: [a], timespan: 1m, condition: «{gte: 1}»}",
        ),
        (
            "missing-correlation-field",
            "correlation: {type: value_sum, rules: [a], timespan: 1m, condition: «{gte: 1}»}",
        ),
        (
            "bad-correlation-condition",
            "correlation: {type: value_sum, rules: [a], timespan: 1m, condition: {gte: 1, field: [«A», B]}}",
        ),
        (
            "bad-correlation-condition",
            "correlation: {type: value_percentile, rules: [a], timespan: 1m, condition: {gte: 1, field: A, percentile: «101»}}",
        ),
        (
            "bad-correlation-condition",
            "correlation: {type: value_sum, rules: [a], timespan: 1m, condition: {gte: 1, field: A, «percentile»: 5}}",
        ),
        (
            "bad-correlation-condition",
            "«correlation»: {type: temporal, rules: [a, b], timespan: 1m, condition: {gte: 3}}",
        ),
        (
            "bad-correlation-condition",
            "«correlation»: {type: temporal, rules: [a, b], timespan: 1m, condition: {gte: 2, lt: 2}}",
        ),
        (
            "bad-correlation-condition",
            "correlation: {type: temporal, rules: [a, b], timespan: 1m, condition: a and b and «c»}",
        ),
        (
            "bad-correlation-condition",
            "correlation: {type: temporal, rules: [a, b], timespan: 1m, condition: a «AND» b}",
        ),
        (
            "bad-correlation-condition",
            "correlation: {type: temporal, rules: [a, b], timespan: 1m, condition: «not a or b»}",
        ),
        ("unused-correlation-rule", "correlation: {type: temporal, rules: [a, «b»], timespan: 1m, condition: a}"),
        (
            "bad-correlation",
            "correlation: {type: event_count, rules: [a], timespan: 1m, condition: {gte: 1}}\n«detection»: {s: {A: 1}, condition: s}",
        ),
        (
            "bad-timespan",
            "correlation: {type: event_count, rules: [a], timespan: 1m, condition: {gte: 1}}\nsuppress: «1x»",
        ),
        (
            "bad-correlation",
            "correlation: {type: event_count, rules: [a], timespan: 1m, condition: {gte: 1}}\nrefire: «always»",
        ),
        (
            "bad-correlation",
            "correlation: {type: event_count, rules: [a], timespan: 1m, condition: {gte: 1}}\nevaluate: «now»",
        ),
        (
            "bad-correlation-condition",
            "correlation: {type: temporal, rules: [a, b], timespan: 1m, condition: a and not b}\nevaluate: «match»",
        ),
        (
            "duplicate-id",
            "correlation: {type: event_count, rules: [a], timespan: 1m, condition: {gte: 1}}\n---\ntitle: t\nid: «00000000-0000-0000-0000-000000000001»\ncorrelation: {type: event_count, rules: [a], timespan: 1m, condition: {gte: 1}}",
        ),
    ] {
        let (text, place) = common::unmark(&format!("{head}{correlation}"));
        let set = compile_one(&format!("{text}\n{base}"));
        let found: Vec<_> = set.diagnostics.iter().map(|d| (d.gravity, d.code, d.place)).collect();
        let kept = usize::from(code == "duplicate-id");
        if found != [(Gravity::Error, code, place)] || set.correlations.len() != kept {
            wrong.push(format!("{correlation}\n  {:#?}", set.diagnostics));
        }
        assert_eq!(set.rules.len(), 4, "the rules are loaded");
        assert!(set.rules.iter().all(|r| r.deliver || kept == 1), "what is not correlated is delivered");
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_refers_to_a_refused_correlation_is_refused() {
    let body =
        |rules: &str| json!({"type": "event_count", "rules": [rules], "timespan": "1m", "condition": {"gte": 1}});
    let document = |id: &str, rules: &str| json!({"title": id, "id": id, "correlation": body(rules)});
    let set = set_of(&[document("x", "y"), document("y", "nowhere"), document("z", "a")]);
    let errors: Vec<_> =
        set.diagnostics.iter().filter(|d| d.gravity == Gravity::Error).map(|d| (d.code, d.place.line)).collect();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors.iter().all(|(code, _)| *code == "unknown-rule"));
    assert_eq!(set.correlations.iter().map(|c| c.meta.id.as_str()).collect::<Vec<_>>(), ["z"]);
    let cycle = set_of(&[document("x", "y"), document("y", "z"), document("z", "x"), document("w", "b")]);
    assert_eq!(cycle.diagnostics.iter().filter(|d| d.code == "correlation-cycle").count(), 3);
    assert_eq!(cycle.correlations.len(), 1);
}

#[test]
fn too_deep_a_chain_is_refused() {
    let mut documents = Vec::new();
    for i in 0..10 {
        let below = if i == 0 { "a".to_owned() } else { format!("x{}", i - 1) };
        let body = json!({"type": "event_count", "rules": [below], "timespan": "1m", "condition": {"gte": 1}});
        documents.push(json!({"title": "t", "id": format!("x{i}"), "correlation": body}));
    }
    let set = set_of(&documents);
    assert_eq!(set.correlations.len(), 8);
    let codes: Vec<_> = set.diagnostics.iter().filter(|d| d.gravity == Gravity::Error).map(|d| d.code).collect();
    assert_eq!(codes, ["correlation-too-complex", "unknown-rule"]);
}

/// So many correlations on each layer, each on all of the layer below.
fn layered(widths: &[usize]) -> RuleSet {
    let mut documents = Vec::new();
    for (layer, width) in widths.iter().enumerate() {
        for i in 0..*width {
            let below: Vec<String> = match layer {
                0 => vec!["a".to_owned()],
                _ => (0..widths[layer - 1]).map(|j| format!("x{}-{j}", layer - 1)).collect(),
            };
            let body = json!({"type": "event_count", "rules": below, "timespan": "1m", "condition": {"gte": 1}});
            let id = format!("x{layer}-{i}");
            documents.push(json!({"title": "t", "id": id, "refire": "reset", "correlation": body}));
        }
    }
    set_of(&documents)
}

#[test]
fn one_match_makes_each_correlation_fire_once() {
    // 4^8 ways up.
    let set = layered(&[4; 8]);
    let mut correlator = correlator(&set, Limits::default());
    let found = turn(&mut correlator, &[row("a@1", 0)], 1, SECOND);
    assert_eq!((found.len(), correlator.counters().cut), (32, 0));
}

#[test]
fn one_match_sets_off_a_bounded_number_of_steps() {
    let set = layered(&[1, 80, 80]);
    let mut correlator = correlator(&set, Limits::default());
    let found = turn(&mut correlator, &[row("a@1", 0)], 1, SECOND);
    // Depth first: some of the middle layer are never reached.
    assert!(found.len() < 161 && found.len() > 100, "{}", found.len());
    assert!(correlator.counters().cut > 0);
}

#[test]
fn a_broken_snapshot_is_refused_and_changes_nothing() {
    let body = json!({"type": "value_count", "rules": ["a"], "group-by": ["User"], "timespan": "1m", "condition": {"gte": 3, "field": "V"}});
    let set = set_of(&[json!({"title": "t", "id": "x", "correlation": body})]);
    let mut first = correlator(&set, Limits::default());
    let rows: Vec<Row> = (0..2).map(|i| row(&format!("a@{i} User=root V={i}"), i)).collect();
    turn(&mut first, &rows, 2, 2 * SECOND);
    let part = first.snapshot(0);
    for end in 0..part.len() {
        let mut second = correlator(&set, Limits::default());
        assert!(second.restore(&[&part[..end]]).is_err(), "cut at {end}");
    }
    // Any byte may be wrong: an error or another state, but no panic.
    for at in 0..part.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bytes = part.clone();
            bytes[at] ^= flip;
            let mut second = correlator(&set, Limits::default());
            if second.restore(&[bytes]).is_ok() {
                turn(&mut second, &[row("a@2 User=root V=9", 2)], 1, u64::MAX);
            }
        }
    }
    let mut second = correlator(&set, Limits::default());
    second.restore(&[part]).unwrap();
    let found = turn(&mut second, &[row("a@2 User=root V=9", 2)], 1, u64::MAX);
    assert_eq!(all_shown(&set, &found), ["x@2 3 [0 1 2] User=\"root\""]);
}

#[test]
fn state_of_another_definition_is_not_taken_over() {
    let set = |count: u32, also: &str| {
        let body = json!({"type": "event_count", "rules": ["a"], "timespan": "1m", "condition": {"gte": count}});
        let other = json!({"type": "event_count", "rules": ["b"], "timespan": "1m", "condition": {"gte": 2}});
        let document = |id: &str, body: &Value| json!({"title": "t", "id": id, "correlation": body});
        set_of(&[document("x", &body), document(also, &other)])
    };
    let before = set(3, "y");
    let mut first = correlator(&before, Limits::default());
    turn(&mut first, &[row("a@1", 0), row("a@2", 1), row("b@2", 2)], 3, 2 * SECOND);
    let parts: Vec<Vec<u8>> = (0..first.parts()).map(|p| first.snapshot(p)).collect();
    for (after, expected) in [
        (set(3, "y"), vec!["x@3 3 [0 1 3]", "y@3 2 [2 4]"]),
        (set(2, "y"), vec!["y@3 2 [2 4]"]),
        (set(3, "z"), vec!["x@3 3 [0 1 3]"]),
    ] {
        let mut second = correlator(&after, Limits::default());
        second.restore(&parts).unwrap();
        let found = turn(&mut second, &[row("a@3", 3), row("b@3", 4)], 2, 3 * SECOND);
        assert_eq!(all_shown(&after, &found), expected);
    }
}
