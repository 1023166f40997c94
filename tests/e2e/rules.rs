//! What is said about rules: whether each can fire here, whether its tests would notice a change, and why it matches or not.
//!
//! The tables of `docs/rules.md` are made from what happens here; `PICKET_WRITE_DOCS=1` writes them anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use picket_tests::{Live, Run, able, built, corpus, exec, guests, one_at_a_time, root, wait_until};
use serde::Deserialize;
use serde_json::{Value, json};

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

fn listed(run: &Run, rules: &Path, more: &[&str]) -> Vec<Value> {
    let (rules, guests) = (rules.to_string_lossy(), guests());
    let guests = guests.to_string_lossy();
    let mut args = vec!["rules", "ls", "--format", "json", "--rules", &rules, "--guests", &guests];
    args.extend(more);
    let report: Value = serde_json::from_str(&run.run(&args).exits(0).out()).expect("JSON");
    assert_eq!(report["running"], false);
    report["rules"].as_array().expect("a list").clone()
}

fn files(below: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![below.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory").flatten() {
            let path = entry.path();
            let name = path.strip_prefix(below).expect("below").to_string_lossy().into_owned();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "yml") && !name.ends_with(".test.yml") {
                found.insert(name);
            }
        }
    }
    found
}

/// Why a rule is in its state, for a table.
fn why(rule: &Value) -> String {
    let first = &rule["reasons"][0];
    let (message, help) = (text(first, "message"), text(first, "help"));
    let said = if text(rule, "state") == "not-fed" { help } else { message };
    said.trim_start_matches("guest sigma subscribes to ").replace('|', "\\|")
}

#[derive(Deserialize)]
struct AuditCases {
    rules: Vec<AuditCase>,
}

#[derive(Deserialize)]
struct AuditCase {
    rule: String,
    cannot: Option<String>,
}

/// What audit rules ask for that is nowhere in the kernel's events, by rule: proved by the tests of `auditd.rs`.
fn cannot() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(root().join("tests/e2e/auditd.yml")).expect("the cases");
    let cases: AuditCases = serde_saphyr::from_str(&text).expect("YAML");
    cases.rules.into_iter().filter_map(|c| Some((c.rule, c.cannot?))).collect()
}

fn tables(off: &[Value], on: &[Value]) -> String {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for rule in off {
        *counts.entry((text(rule, "log_source"), text(rule, "state"))).or_default() += 1;
    }
    let mut out = String::from("| log source | state | rules |\n|---|---|---|\n");
    for ((source, state), count) in counts {
        writeln!(out, "| `{source}` | {state} | {count} |").expect("a string");
    }
    out.push_str(
        "\nThose that are not live:\n\n| rule | state | why | with `auditd = \"every-open\"` |\n|---|---|---|---|\n",
    );
    let on: BTreeMap<&str, &Value> = on.iter().map(|r| (text(r, "file"), r)).collect();
    let cannot = cannot();
    for rule in off.iter().filter(|r| text(r, "state") != "live") {
        let name = text(rule, "file").rsplit('/').next().unwrap_or_default();
        let then = match (text(on[text(rule, "file")], "state"), cannot.get(name)) {
            (_, Some(why)) => format!("cannot fire: {why}"),
            (state, None) if state == text(rule, "state") => "the same".to_owned(),
            (state, None) => state.to_owned(),
        };
        let name = name.trim_end_matches(".yml");
        writeln!(out, "| {name} | {} | {} | {then} |", text(rule, "state"), why(rule)).expect("a string");
    }
    out
}

#[test]
fn no_rule_of_the_corpus_is_silently_dead() {
    let Some(below) = corpus().filter(|_| built()) else {
        eprintln!("skipped: the corpus is not here");
        return;
    };
    let run = Run::new();
    let off = listed(&run, &below, &[]);
    let on = listed(&run, &below, &["--set", "auditd=every-open"]);
    for rules in [&off, &on] {
        let named: BTreeSet<String> = rules.iter().map(|r| text(r, "file").to_owned()).collect();
        assert_eq!(named, files(&below), "every file is listed");
        for rule in rules {
            let state = text(rule, "state");
            assert!(["live", "not-fed", "needs-field", "needs-value", "not-of-linux"].contains(&state), "{rule}");
            assert!(state == "live" || !why(rule).is_empty(), "{rule}");
            assert!(!text(rule, "id").is_empty() && !text(rule, "title").is_empty(), "{rule}");
        }
    }
    // Rules for another system say so, and no others do.
    let foreign = |r: &&Value| text(r, "state") == "not-of-linux";
    assert!(off.iter().filter(foreign).all(|r| text(r, "file").contains("esxcli")));
    assert_eq!(off.iter().filter(foreign).count(), 9);
    let (from, to) = ("<!-- made by tests/e2e/rules.rs -->\n\n", "\n<!-- end -->");
    let page = root().join("docs/rules.md");
    let text = std::fs::read_to_string(&page).expect("the page");
    let at = text.find(from).expect("the table begins") + from.len();
    let end = text.find(to).expect("the table ends");
    let made = tables(&off, &on);
    if std::env::var_os("PICKET_WRITE_DOCS").is_some() {
        std::fs::write(&page, [&text[..at], &made, &text[end..]].concat()).expect("the page can be written");
    } else {
        assert_eq!(&text[at..end], made, "docs/rules.md is out of date: run this test with PICKET_WRITE_DOCS=1");
    }
}

#[test]
fn each_state_is_told_with_its_reason() {
    if !built() {
        return;
    }
    let run = Run::new();
    let rule = |name: &str, source: &str, detection: &str| {
        let text =
            format!("title: {name}\nid: {name}\nlogsource: {{{source}}}\ndetection: {{{detection}, condition: s}}\n");
        run.write(&format!("rules/{name}.yml"), text);
    };
    let process = "category: process_creation, product: linux";
    rule("a-live", process, "s: {Image: /x}");
    rule("b-half", process, "s: [{Image: /x}, {Imgae: /y}]");
    rule("c-field", process, "s: {Imgae: /x}");
    rule("d-source", "category: process_creation, product: windows", "s: {Image: /x}");
    rule("e-foreign", process, "s: {Image|endswith: /esxcli}");
    rule("f-kind", "category: ebpf, product: linux", "s: {EventName: security_bprm_chek}");
    rule("g-bad", process, "s: {Image|ends: /x}");
    let rules = listed(&run, &run.dir.path().join("rules"), &[]);
    let told: Vec<(&str, &str, &str)> =
        rules.iter().map(|r| (text(r, "file"), text(r, "state"), text(&r["reasons"][0], "code"))).collect();
    assert_eq!(
        told,
        [
            ("a-live.yml", "live", ""),
            ("b-half.yml", "live", "unknown-field"),
            ("c-field.yml", "needs-field", "needs-field"),
            ("d-source.yml", "not-fed", "source-not-fed"),
            ("e-foreign.yml", "not-of-linux", "not-of-linux"),
            ("f-kind.yml", "needs-value", "needs-value"),
            ("g-bad.yml", "refused", "unknown-modifier"),
        ]
    );
    assert!(text(&rules[2]["reasons"][0], "help").contains("did you mean `Image`?"), "{}", rules[2]);
    let human = {
        let (rules, guests) = (run.dir.path().join("rules"), guests());
        let (rules, guests) = (rules.to_string_lossy(), guests.to_string_lossy());
        run.run(&["rules", "ls", "--rules", &rules, "--guests", &guests]).exits(0).out()
    };
    assert!(
        human.contains("7 rules: 2 live, 1 not-fed, 1 needs-field, 1 needs-value, 1 not-of-linux, 1 refused"),
        "{human}"
    );
}

#[test]
fn a_silence_hides_what_is_said_and_not_the_state() {
    if !built() {
        return;
    }
    let run = Run::new();
    let rule = |name: &str, code: &str, source: &str, detection: &str| {
        let text = format!(
            "# picket: allow {code}: not on this host\ntitle: {name}\nid: {name}\nlogsource: {{{source}, product: linux}}\n\
             detection: {{{detection}, condition: s}}\nlevel: low\nstatus: test\n"
        );
        run.write(&format!("rules/{name}.yml"), text);
    };
    rule("a-field", "needs-field", "category: process_creation", "s: {Imgae: /x}");
    rule("b-foreign", "not-of-linux", "category: process_creation", "s: {Image|endswith: /esxcli}");
    rule("c-kind", "needs-value", "category: ebpf", "s: {EventName: security_bprm_chek}");
    rule("d-source", "source-not-fed", "category: no_such_thing", "s: {Image: /x}");
    let rules = listed(&run, &run.dir.path().join("rules"), &[]);
    let told: Vec<(&str, &str, &str)> =
        rules.iter().map(|r| (text(r, "file"), text(r, "state"), text(&r["reasons"][0], "code"))).collect();
    assert_eq!(
        told,
        [
            ("a-field.yml", "needs-field", "needs-field"),
            ("b-foreign.yml", "not-of-linux", "not-of-linux"),
            ("c-kind.yml", "needs-value", "needs-value"),
            ("d-source.yml", "not-fed", "source-not-fed"),
        ]
    );
    let guests = guests().to_string_lossy().into_owned();
    let said = run.run(&["validate", "rules", &guests, "--format", "json"]).exits(0).out();
    let report: Value = serde_json::from_str(&said).expect("JSON");
    // The host says of no file that nothing feeds a source, which no rule's silence is about.
    let told = report["diagnostics"].as_array().expect("a list").iter().filter(|d| !text(d, "file").is_empty());
    let codes: Vec<&str> = told.map(|d| text(d, "code")).collect();
    assert!(codes.iter().all(|c| *c == "id-not-uuid" || *c == "unknown-field"), "{codes:?}");
}

#[test]
fn every_rule_of_our_own_can_fire_and_would_be_noticed_if_it_were_another() {
    if !built() {
        return;
    }
    let run = Run::new();
    let rules = root().join("rules");
    let dead: Vec<Value> = listed(&run, &rules, &[]).into_iter().filter(|r| text(r, "state") != "live").collect();
    assert!(dead.is_empty(), "{dead:#?}");
    let (rules, guests) = (rules.to_string_lossy(), guests());
    let ran = run.run(&["test", "--mutate", "--min-score", "90", &rules, &guests.to_string_lossy()]);
    assert_eq!(ran.code(), 0, "{}\n{}", ran.out(), ran.err());
}

const WEAK: &str = "title: Weak\nid: 6f3a8d2c-0000-4000-8000-000000000001\n\
    logsource: {category: process_creation, product: linux}\ndetection:\n  selection:\n    Image|endswith: [/a, /b]\n  \
    filter: {User: root}\n  condition: selection and not filter\n";

#[test]
fn survivors_are_listed_with_their_place() {
    if !built() {
        return;
    }
    let run = Run::new();
    run.write("rules/weak.yml", WEAK);
    let one = "tests:\n- {name: a, expect: match, event: {kind: sched_process_exec, Image: /bin/a}}\n";
    run.write("rules/weak.test.yml", one);
    let guests = guests().to_string_lossy().into_owned();
    let mutate = |more: &[&str], code: i32| {
        let mut args = vec!["test", "--mutate", "rules", &guests];
        args.extend(more);
        run.run(&args).exits(code).out()
    };
    let report: Value = serde_json::from_str(&mutate(&["--format", "json"], 0)).expect("JSON");
    let weak = &report["rules"][0];
    let survivors: Vec<(u64, u64, &str)> = weak["survivors"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|s| (s["line"].as_u64().unwrap_or(0), s["column"].as_u64().unwrap_or(0), text(s, "mutant")))
        .collect();
    assert_eq!(
        survivors,
        [
            (6, 5, "selection: Image|endswith: 'endswith' became 'contains'"),
            (6, 26, "selection: Image|endswith: '/b' dropped"),
            (7, 18, "filter: User: 'root' altered"),
            (8, 14, "condition: 'and' became 'or' in 'selection and not filter'"),
            (8, 14, "condition: 'selection' dropped"),
            (8, 14, "condition: 'not filter' dropped"),
        ]
    );
    assert_eq!((&weak["killed"], &weak["invalid"]), (&json!(3), &json!(2)));
    mutate(&["--min-score", "34"], 1);
    assert!(mutate(&["--min-score", "33"], 0).contains("weak.yml:6:26: survived"));
    // What is equivalent is silenced with a reason; a silence for nothing is told.
    let silenced = "equivalent:\n- {mutant: \"selection: Image|endswith: '/b' dropped\", reason: a test}\n- {mutant: gone, reason: a test}\n";
    run.write("rules/weak.test.yml", format!("{one}{silenced}"));
    let report: Value = serde_json::from_str(&mutate(&["--format", "json"], 0)).expect("JSON");
    let weak = &report["rules"][0];
    assert_eq!((&weak["equivalent"], &weak["idle_silences"]), (&json!(1), &json!(["gone"])));
    assert_eq!(weak["survivors"].as_array().map(Vec::len), Some(5));
    // A rule whose tests fail as it is has no score.
    run.write(
        "rules/weak.test.yml",
        "tests:\n- {name: c, expect: match, event: {kind: sched_process_exec, Image: /bin/c}}\n",
    );
    assert!(mutate(&[], 1).contains("NOT MUTATED weak.yml: its test 'c' fails: the rule did not match"));
}

#[test]
fn explanations_say_what_kind_of_reason_it_is() {
    if !built() {
        return;
    }
    let run = Run::new();
    let detection = "detection:\n  s:\n    Image|endswith: /nc\n    CommandLine|contains|cased: LISTEN\n    User: root\n    Imgae: /x\n    CurrentDirectory: /srv\n  condition: s\n";
    let rule = format!("title: R\nid: r\nlogsource: {{category: process_creation, product: linux}}\n{detection}");
    let rule = run.write("r.yml", rule).to_string_lossy().into_owned();
    let event = json!({"Timestamp": "2026-01-01T00:00:00Z", "EventType": "sched_process_exec",
        "System": {"EventName": "sched_process_exec"},
        "EventData": {"pathname": "/usr/bin/nc.openbsd", "cmdpath": "/usr/bin/nc", "argv": ["nc", "listen"],
            "ProcInfo": {"Exe": "/usr/bin/nc.openbsd", "Username": "kim", "CommandLine": "nc listen"}}});
    let event = run.write("event.json", event.to_string()).to_string_lossy().into_owned();
    let explain = |rule: &str| {
        let config = run.write("picket.toml", format!("guests = [{:?}]\n", guests())).to_string_lossy().into_owned();
        let ran = run.run(&["--config", &config, "explain", rule, &event, "--format", "json"]).exits(0);
        serde_json::from_str::<Value>(&ran.out()).expect("JSON")
    };
    let report = explain(&rule);
    let reasons: BTreeMap<&str, &str> =
        report["nodes"].as_array().expect("nodes").iter().map(|n| (text(n, "label"), text(n, "reason"))).collect();
    let leaf = |field: &str| {
        let nodes = report["nodes"].as_array().expect("nodes");
        nodes.iter().rfind(|n| text(n, "field") == field).map_or("", |n| text(n, "reason"))
    };
    let item = report["nodes"].as_array().expect("nodes").iter().find(|n| text(n, "label") == "Image|endswith");
    let item = item.map_or("", |n| text(n, "reason"));
    assert_eq!(item, "matched the executed path, resolved is /usr/bin/nc.openbsd", "{reasons:#?}");
    assert!(leaf("CommandLine").starts_with("case mismatch: "), "{report:#}");
    assert!(leaf("User").starts_with("value mismatch: "), "{report:#}");
    assert!(leaf("Imgae").starts_with("never produced on this host: did you mean `Image`?"), "{report:#}");
    assert!(leaf("CurrentDirectory").starts_with("field absent: "), "{report:#}");
    let other = rule.replace("r.yml", "w.yml");
    run.write("w.yml", "title: W\nid: w\nlogsource: {product: windows}\ndetection: {s: {A: b}, condition: s}\n");
    let report = explain(&other);
    assert_eq!((&report["matched"], &report["nodes"]), (&json!(false), &json!([])));
    assert!(text(&report, "why").starts_with("never produced on this host: the rule is about */windows/*"), "{report}");
}

#[test]
fn a_running_picket_says_which_rules_fired() {
    if !able() {
        return;
    }
    let _alone = one_at_a_time();
    let run = Run::new();
    let rule = |name: &str, marker: &str| {
        let text = format!(
            "title: {name}\nid: {name}\nlogsource: {{category: process_creation, product: linux}}\n\
             detection: {{s: {{CommandLine|contains: '{marker}'}}, condition: s}}\nlevel: low\n"
        );
        run.write(&format!("rules/{name}.yml"), text);
    };
    let marker = format!("picket-hit-{}", std::process::id());
    rule("fires", &marker);
    rule("quiet", "picket-never-of-any-command");
    let (rules, guests) = (run.dir.path().join("rules"), guests());
    let Some(mut live) = Live::start(
        &run,
        &["--rules", &rules.to_string_lossy(), "--guests", &guests.to_string_lossy(), "--no-deliver"],
    ) else {
        return;
    };
    exec(&marker);
    exec(&marker);
    assert!(wait_until(|| live.alerts(&marker).len() >= 2), "{}", live.talk());
    let report = run.run(&["rules", "ls", "--format", "json"]).exits(0).out();
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["running"], true);
    let rules = report["rules"].as_array().expect("a list");
    let of = |id: &str| rules.iter().find(|r| text(r, "id") == id).expect("listed");
    assert_eq!((&of("fires")["hits"], &of("quiet")["hits"]), (&json!(2), &json!(0)));
    assert!(of("fires")["last_hit"].is_string() && of("quiet")["last_hit"].is_null());
    assert!(rules.iter().all(|r| text(r, "state") == "live"), "{report}");
    let human = run.run(&["rules", "ls"]).exits(0).out();
    assert!(human.contains("2 hits, last ") && human.contains("no hit"), "{human}");
    live.end(libc::SIGTERM);
    assert!(run.run(&["rules", "ls"]).err().contains("no picket is running"));
}
