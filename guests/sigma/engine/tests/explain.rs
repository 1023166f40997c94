//! Evidence and explanation: what they say, and about which field.

mod common;

use common::{Event, compile_one, rule, with_batch};
use picket_sigma::{Actual, Evidence, Node};
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
    assert_eq!(nodes[2].reason, "matched by ExecutedImage");
    assert_eq!(nodes[4].actual, Actual::Text(b"/tmp/x".to_vec()));
    assert_eq!(nodes[4].pattern, "endswith: /nc");
    assert_eq!(nodes[10].reason, "the value does not pass 'equals'");
}

#[test]
fn an_explanation_tells_absent_null_and_unavailable_apart() {
    for (value, actual, reason) in [
        (json!({}), Actual::Absent, "the event has no such field"),
        (json!({"A": null}), Actual::Null, "the field is null"),
        (json!({"A": {"unavailable": true}}), Actual::Unavailable, "the value could not be got, so nothing matches"),
        (json!({"A": 5}), Actual::Unsigned(5), "the value does not pass 'equals'"),
        (json!({"A": -5}), Actual::Signed(-5), "the value does not pass 'equals'"),
        (json!({"A": 1.5}), Actual::Float(1.5), "the value does not pass 'equals'"),
        (json!({"A": true}), Actual::Boolean(true), "the value does not pass 'equals'"),
        (json!({"A": []}), Actual::TextList(vec![]), "the field holds an empty list"),
        (json!({"A": ["y"]}), Actual::TextList(vec![b"y".to_vec()]), "no value of the list passes 'equals'"),
    ] {
        let nodes = explained("s: {A: x}\ncondition: s", &value);
        let last = nodes.last().unwrap();
        assert_eq!((&last.actual, last.reason.as_str(), last.holds), (&actual, reason, false), "{value}");
    }
}
