//! Evidence and explanation: what they say, and about which field.

mod common;

use common::{Event, compile_one, rule, with_batch};
use picket_sigma::{Actual, Evidence, Node, Unbound};
use serde_json::json;

fn event(value: &serde_json::Value) -> Event {
    value.as_object().unwrap().clone()
}

fn evidence(detection: &str, value: &serde_json::Value) -> Vec<[String; 5]> {
    let set = compile_one(&rule(detection));
    assert!(set.diagnostics.is_empty(), "{:#?}", set.diagnostics);
    let found = with_batch(&set, 0, &[event(value)], true, |batch| set.evidence(0, batch, 0));
    let text = |e: Evidence| [e.selection, e.field, e.op, e.pattern, String::from_utf8(e.value).unwrap()];
    found.into_iter().map(text).collect()
}

#[test]
fn evidence_names_the_field_that_matched() {
    let detection = "sel: {Image|endswith: [/nc, /ncat], CommandLine|contains|all: [-e, sh]}\nf: {User: root}\ncondition: sel and not f";
    let value = json!({"Image": "/usr/bin/nc.openbsd", "ExecutedImage": "/usr/bin/nc", "CommandLine": "nc -e /bin/SH"});
    let found = evidence(detection, &value);
    assert_eq!(found.len(), 3);
    assert_eq!(found[0], ["sel", "ExecutedImage", "endswith", "/nc", "/usr/bin/nc"]);
    assert_eq!(found[1], ["sel", "CommandLine", "contains", "-e", "nc -e /bin/SH"]);
    assert_eq!(found[2], ["sel", "CommandLine", "contains", "sh", "nc -e /bin/SH"]);
}

#[test]
fn evidence_of_lists_numbers_keywords_and_absence() {
    let found = evidence("s: {Args|contains: two}\ncondition: s", &json!({"Args": ["one", "xtwox", "two"]}));
    assert_eq!(found[0], ["s", "Args", "contains", "two", "xtwox"]);
    let found = evidence("s: {Port: [22, 4444], User: null}\ncondition: 1 of s*", &json!({"Port": 4444}));
    assert_eq!(found[0], ["s", "Port", "equals", "4444", "4444"]);
    assert_eq!(found[1], ["s", "User", "equals", "null", ""]);
    let found = evidence("k: [evil]\ncondition: k", &json!({"A": "x", "B": "an evil one"}));
    assert_eq!(found[0], ["k", "@values", "keyword", "evil", "an evil one"]);
    let found = evidence("s:\n  - A|re|i: X\n  - B: y\ncondition: s", &json!({"A": "x", "B": "z"}));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0], ["s", "A", "re|i", "X", "x"]);
    assert!(evidence("s: {A: x}\ncondition: s", &json!({"A": "y"})).is_empty(), "no match, no evidence");
    assert!(evidence("s: {A: x}\ncondition: not s", &json!({"A": "y"})).is_empty(), "nothing there to show");
}

#[test]
fn evidence_is_bounded() {
    let needles = (0..500).map(|i| format!("'{}'", &"a".repeat(1 + i % 200))).collect::<Vec<_>>().join(", ");
    let found = evidence(&format!("s: {{A|contains: [{needles}]}}\ncondition: s"), &json!({"A": "a".repeat(300)}));
    assert_eq!(found.len(), 64);
}

fn explained(detection: &str, value: &serde_json::Value) -> Vec<Node> {
    let set = compile_one(&rule(detection));
    with_batch(&set, 0, &[event(value)], false, |batch| set.explain(0, batch, 0))
}

#[test]
fn an_explanation_is_the_rule_with_answers() {
    let detection = "sel:\n  Image|endswith:\n    - /nc\nfil: {Image: /bin/nc}\ncondition: sel and not fil";
    let nodes = explained(detection, &json!({"Image": "/tmp/x", "ExecutedImage": "/bin/nc"}));
    let told: Vec<(u32, &str, &str, bool, u32)> =
        nodes.iter().map(|n| (n.parent, n.label.as_str(), n.field.as_str(), n.holds, n.line)).collect();
    assert_eq!(
        told,
        [
            (0, "sel and not fil", "", true, 9),
            (0, "sel", "", true, 5),
            (1, "Image|endswith", "", true, 6),
            (2, "Image", "", false, 6),
            (3, "Image|endswith", "Image", false, 7),
            (2, "ExecutedImage", "", true, 6),
            (5, "Image|endswith", "ExecutedImage", true, 7),
            (0, "not", "", true, 9),
            (7, "fil", "", false, 8),
            (8, "Image", "", false, 8),
            (9, "Image", "Image", false, 8),
        ]
    );
    assert_eq!(nodes[2].reason, "matched the executed path, resolved is /tmp/x");
    assert_eq!(nodes[4].actual, Actual::Text(b"/tmp/x".to_vec()));
    assert_eq!(nodes[4].pattern, "endswith: /nc");
    assert_eq!(nodes[10].reason, "value mismatch: the value does not pass 'equals'");
}

#[test]
fn an_explanation_tells_absent_null_and_unavailable_apart() {
    for (value, actual, reason) in [
        (json!({}), Actual::Absent, "field absent: the event has no such field"),
        (json!({"A": null}), Actual::Null, "field null: it is there and says nothing"),
        (
            json!({"A": {"unavailable": true}}),
            Actual::Unavailable,
            "value unavailable: it could not be got, so nothing matches",
        ),
        (json!({"A": 5}), Actual::Unsigned(5), "value mismatch: the value does not pass 'equals'"),
        (json!({"A": -5}), Actual::Signed(-5), "value mismatch: the value does not pass 'equals'"),
        (json!({"A": 1.5}), Actual::Float(1.5), "value mismatch: the value does not pass 'equals'"),
        (json!({"A": true}), Actual::Boolean(true), "value mismatch: the value does not pass 'equals'"),
        (json!({"A": []}), Actual::TextList(vec![]), "value mismatch: the field holds an empty list"),
        (
            json!({"A": ["y"]}),
            Actual::TextList(vec![b"y".to_vec()]),
            "value mismatch: no value of the list does pass 'equals'",
        ),
    ] {
        let nodes = explained("s: {A: x}\ncondition: s", &value);
        let last = nodes.last().unwrap();
        assert_eq!((&last.actual, last.reason.as_str(), last.holds), (&actual, reason, false), "{value}");
    }
}

fn last_reason(detection: &str, value: &serde_json::Value) -> String {
    explained(detection, value).pop().unwrap().reason
}

#[test]
fn only_the_case_differs() {
    let case = |op: &str| format!("case mismatch: the value would pass '{op}' if case did not matter");
    let value = json!({"A": "/Bin/NC", "B": "/bin/nc"});
    for (item, op) in [
        ("A|cased: /bin/nc", "cased"),
        ("A|endswith|cased: /nc", "endswith|cased"),
        ("A|contains|cased: bin", "contains|cased"),
        ("A|startswith|cased: /b", "startswith|cased"),
        ("A|cased: '/b?n/*c'", "cased"),
        ("A|re: '^/bin/nc$'", "re"),
    ] {
        assert_eq!(last_reason(&format!("s: {{{item}}}\ncondition: s"), &value), case(op), "{item}");
    }
    let other = "value mismatch: the value does not pass 'endswith|cased'";
    assert_eq!(last_reason("s: {A|endswith|cased: /ncat}\ncondition: s", &value), other);
    assert_eq!(last_reason("s: {A|cased: /Bin/NC}\ncondition: s", &value), "the value passes 'cased'");
    let list = json!({"A": ["x", "/Bin/NC"]});
    assert_eq!(last_reason("s: {A|cased: /bin/nc}\ncondition: s", &list), case("cased"));
}

#[test]
fn a_field_that_nothing_fills_is_told_apart_from_one_that_is_absent_here() {
    let text = rule("s: {A: x, B: y, C|fieldref: D}\ncondition: s");
    let mut set = compile_one(&text);
    set.unbind(0, "A", Unbound::Unknown, "did you mean 'B'?");
    set.unbind(0, "D", Unbound::NeverHere, "");
    let nodes = with_batch(&set, 0, &[event(&json!({"C": "z"}))], false, |batch| set.explain(0, batch, 0));
    let told = |field: &str| nodes.iter().find(|n| n.field == field).unwrap().reason.clone();
    assert_eq!(told("A"), "never produced on this host: did you mean 'B'?");
    assert_eq!(told("B"), "field absent: the event has no such field");
    let other = "value mismatch: to be compared with 'D', and never produced on this host: nothing fills the field";
    assert_eq!(told("C"), other);
}

#[test]
fn the_resolved_path_is_told_where_the_executed_one_matched() {
    let item = |value: &serde_json::Value| explained("s: {Image|endswith: /nc}\ncondition: s", value)[2].reason.clone();
    let executed = "matched the executed path, resolved is";
    assert_eq!(
        item(&json!({"Image": "/usr/bin/nc.openbsd", "ExecutedImage": "/usr/bin/nc"})),
        format!("{executed} /usr/bin/nc.openbsd")
    );
    assert_eq!(item(&json!({"ExecutedImage": "/usr/bin/nc"})), format!("{executed} absent"));
    assert_eq!(item(&json!({"Image": "/usr/bin/nc", "ExecutedImage": "/x"})), "matched by Image");
    assert_eq!(item(&json!({"Image": "/x", "ExecutedImage": "/y"})), "neither the field nor its alternate matches");
}
