//! A host that leaves out what does not meet a stream's clauses must lose no match: random rules on random events, with
//! and without.

mod common;

use common::{Event, Random, matches};
use picket_sigma::{Clause, File, Op, Options, RuleSet, Scratch, compile};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

const FIELDS: &[&str] = &["TargetFilename", "TargetFilename", "EventName", "Image", "EventData.pathname"];
const NAMES: &[&str] = &["security_file_open", "sched_process_exec", "security_inode_unlink", "mark"];
const WORDS: &[&str] = &[
    "/etc/cron.d/",
    "/etc/shadow",
    "/tmp/x",
    ".service",
    "/authorized_keys",
    "k",
    "ki",
    "/i",
    "ä",
    "/tmp/ä",
    "Ä/x",
    "?tmp",
    "/tmp/*",
    "*/x",
    "a*b",
    "/*/x",
    "*",
    "",
    "7",
    "/KcK/kkk",
    "/tmp/kkkkk",
    "i",
];
const TEXTS: &[&str] = &[
    "/etc/cron.d/x",
    "/ETC/CRON.D/x",
    "/etc/shadow",
    "/etc/shadow-",
    "/tmp/x",
    "/TMP/X",
    "/root/.ssh/authorized_keys",
    "/root/.ssh/authorized_\u{212A}eys",
    "/tmp/ä/x",
    "/tmp/Ä/x",
    "Ä/X",
    "/lib/a.service",
    "\u{212A}",
    "\u{212A}i",
    "/\u{130}",
    "/i",
    "/I\u{307}",
    "7",
    "7.0",
    "",
    "/tmp/kkkk\u{212A}",
    "/\u{212A}c\u{212A}/kkk",
    "a b",
    "b",
];
const REGEXES: &[&str] = &["^/etc/", "cron|shadow", "(?i)KEYS$", ".*", "x?"];

fn item(r: &mut Random) -> (String, Value) {
    let field = r.pick(FIELDS);
    if field == "EventName" {
        let names: Vec<&str> = (0..=r.below(2)).map(|_| r.pick(NAMES)).collect();
        let modifier = r.pick(&["", "", "", "|neq", "|contains"]);
        return (format!("{field}{modifier}"), json!(names));
    }
    let not = if r.one_in(8) { "|neq" } else { "" };
    match r.below(8) {
        0 => (format!("{field}|re{not}"), json!(r.pick(REGEXES))),
        1 => (format!("{field}{not}"), Value::Null),
        2 => (format!("{field}|exists"), json!(r.one_in(2))),
        3 => (format!("{field}|fieldref{not}"), json!(r.pick(FIELDS))),
        _ => {
            let affix = r.pick(&["", "|contains", "|startswith", "|endswith"]);
            let cased = if r.one_in(4) { "|cased" } else { "" };
            let values: Vec<&str> = (0..=r.below(3)).map(|_| r.pick(WORDS)).collect();
            let all = if values.len() > 1 && r.one_in(4) { "|all" } else { "" };
            (format!("{field}{affix}{cased}{all}{not}"), json!(values))
        }
    }
}

fn rule(r: &mut Random, number: usize) -> String {
    let mut detection = Map::new();
    let selections = 1 + r.below(3);
    for i in 0..selections {
        let map = |r: &mut Random| Value::Object((0..=r.below(2)).map(|_| item(r)).collect());
        let body = if r.one_in(4) { json!([map(r), map(r)]) } else { map(r) };
        detection.insert(format!("s{i}"), body);
    }
    let condition = match r.below(6) {
        0 => "1 of s*".to_owned(),
        1 => "all of s*".to_owned(),
        2 => format!("s0 and not s{}", r.below(selections)),
        3 => format!("s0 or not s{}", r.below(selections)),
        4 => format!("not (s0 or not s{})", r.below(selections)),
        _ => format!("s{}", r.below(selections)),
    };
    detection.insert("condition".into(), json!(condition));
    let source = if r.one_in(2) { "file_event" } else { "ebpf" };
    json!({"title": "t", "id": format!("00000000-0000-0000-0000-{number:012}"),
        "logsource": {"product": "linux", "category": source}, "detection": detection})
    .to_string()
}

fn event(r: &mut Random) -> Event {
    let mut event = Event::new();
    event.insert("EventName".into(), json!(r.pick(NAMES)));
    for field in ["TargetFilename", "Image", "EventData.pathname"] {
        match r.below(12) {
            0 => {}
            1 => drop(event.insert(field.into(), Value::Null)),
            2 => drop(event.insert(field.into(), json!({"unavailable": true}))),
            _ => drop(event.insert(field.into(), json!(r.pick(TEXTS)))),
        }
    }
    event
}

/// What the guest interface says about a clause.
fn meets(clause: &Clause, event: &Event) -> bool {
    let Some(Value::String(value)) = event.get(&clause.field) else { return false };
    let value = value.as_bytes().to_ascii_lowercase();
    clause.any_of.iter().map(|wanted| wanted.to_ascii_lowercase()).any(|wanted| match clause.op {
        Op::Equals => value == wanted,
        Op::Prefix => value.starts_with(&wanted),
        Op::Suffix => value.ends_with(&wanted),
        Op::Contains => wanted.is_empty() || value.windows(wanted.len()).any(|w| w == wanted),
    })
}

/// Ids of the rules that match each event, over all streams; an event that does not meet the clauses is not shown.
fn found(set: &RuleSet, events: &[Event], left_out: &mut usize) -> Vec<BTreeSet<String>> {
    let mut all = vec![BTreeSet::new(); events.len()];
    let mut scratch = Scratch::default();
    for (number, stream) in set.streams.iter().enumerate() {
        let shown: Vec<usize> =
            (0..events.len()).filter(|i| stream.clauses.iter().all(|c| meets(c, &events[*i]))).collect();
        *left_out += events.len() - shown.len();
        let rows: Vec<Event> = shown.iter().map(|i| events[*i].clone()).collect();
        for (hits, event) in matches(set, number, &rows, true, &mut scratch).into_iter().zip(shown) {
            all[event].extend(hits.into_iter().map(|rule| set.rules[rule as usize].id.clone()));
        }
    }
    all
}

#[test]
fn what_the_clauses_leave_out_matches_nothing() {
    let mut r = Random(0x9e37_79b9_7f4a_7c15);
    let (mut left_out, mut nothing, mut hits, mut with_clauses) = (0, 0, 0, 0);
    for round in 0..600 {
        let texts: Vec<String> = (0..=r.below(12)).map(|i| rule(&mut r, i)).collect();
        let names: Vec<String> = (0..texts.len()).map(|i| format!("{i}.yml")).collect();
        let files: Vec<File<'_>> =
            texts.iter().zip(&names).map(|(t, name)| File { name, content: t.as_bytes() }).collect();
        let divided = compile(&files, &Options::default());
        let whole = compile(&files, &Options { clauses: false, ..Options::default() });
        assert!(whole.streams.iter().all(|s| s.clauses.is_empty()) && whole.streams.len() <= 2);
        assert_eq!(divided.rules.len(), whole.rules.len(), "{:#?}", divided.diagnostics);
        with_clauses += divided.streams.iter().filter(|s| !s.clauses.is_empty()).count();
        let events: Vec<Event> = (0..40).map(|_| event(&mut r)).collect();
        let expected = found(&whole, &events, &mut nothing);
        let got = found(&divided, &events, &mut left_out);
        for ((event, expected), got) in events.iter().zip(&expected).zip(&got) {
            hits += expected.len();
            assert_eq!(got, expected, "round {round}: {event:?}\n{}", texts.join("\n"));
        }
    }
    assert_eq!(nothing, 0);
    assert!(left_out > 20_000 && hits > 5_000 && with_clauses > 500, "{left_out} {hits} {with_clauses}: a poor test");
}

fn streams(rules: &[(&str, &str)]) -> Vec<(Vec<u32>, Vec<String>)> {
    let texts: Vec<String> = (0..)
        .zip(rules)
        .map(|(i, (category, detection))| {
            format!(
                "title: t\nid: 00000000-0000-0000-0000-{i:012}\nlogsource: {{product: linux, category: {category}}}\n\
                 detection: {detection}\n"
            )
        })
        .collect();
    let names: Vec<String> = (0..texts.len()).map(|i| format!("{i}.yml")).collect();
    let files: Vec<File<'_>> = texts.iter().zip(&names).map(|(t, name)| File { name, content: t.as_bytes() }).collect();
    let set = compile(&files, &Options::default());
    assert_eq!(set.rules.len(), rules.len(), "{:#?}", set.diagnostics);
    let text = |c: &Clause| {
        let values: Vec<_> = c.any_of.iter().map(|v| String::from_utf8_lossy(v).into_owned()).collect();
        format!("{} {:?} {}", c.field, c.op, values.join(","))
    };
    set.streams.iter().map(|s| (s.rules.clone(), s.clauses.iter().map(text).collect())).collect()
}

#[test]
fn rules_are_divided_by_what_they_need() {
    let got = streams(&[
        ("file_event", "{s: {TargetFilename|startswith: [/etc/cron.d/, /etc/profile]}, condition: s}"),
        ("file_event", "{s: {TargetFilename|endswith: /x}, f: {Image: /bin/y}, condition: s and not f}"),
        ("file_event", "{s: {TargetFilename|startswith: /usr/}, condition: not s}"),
        ("file_event", "{s: {TargetFilename: /etc/PROFILE}, t: {TargetFilename|startswith: /a}, condition: s or t}"),
        ("ebpf", "{s: {EventName: b, EventData.pathname: /etc/shadow}, condition: s}"),
        ("ebpf", "{s: {EventName: [b, a]}, condition: s}"),
    ]);
    let expected: [(&[u32], &[&str]); 5] = [
        (&[0, 3], &["TargetFilename Prefix /a,/etc/cron.d/,/etc/profile"]),
        (&[1], &["TargetFilename Suffix /x"]),
        (&[2], &[]),
        (&[4], &["EventName Equals b", "EventData.pathname Equals /etc/shadow"]),
        (&[5], &["EventName Equals a,b"]),
    ];
    let expected = expected.map(|(rules, clauses)| (rules.to_vec(), clauses.iter().map(|c| (*c).to_owned()).collect()));
    assert_eq!(got, expected);
}

#[test]
fn too_many_values_are_no_clause() {
    let values: Vec<String> = (0..300).map(|i| format!("/tmp/{i}x")).collect();
    let got = streams(&[("file_event", &format!("{{s: {{TargetFilename: [{}]}}, condition: s}}", values.join(", ")))]);
    assert_eq!(got, [(vec![0], Vec::<String>::new())]);
}

#[test]
fn the_corpus_of_file_events_can_be_looked_for() {
    let folder =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/corpora/sigmahq-linux/file_event");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("skipped: no SigmaHQ rules at {}", folder.display());
        return;
    };
    let files: Vec<(String, Vec<u8>)> = entries
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "yml"))
        .map(|p| (p.display().to_string(), std::fs::read(&p).unwrap()))
        .collect();
    let files: Vec<File<'_>> = files.iter().map(|(name, content)| File { name, content }).collect();
    let set = compile(&files, &Options::default());
    let without = set.streams.iter().filter(|s| s.clauses.is_empty()).flat_map(|s| &s.rules).count();
    println!("{:#?}", set.streams.iter().map(|s| (s.rules.len(), &s.clauses)).collect::<Vec<_>>());
    assert_eq!(without, 0, "every rule of the corpus names paths");
}
