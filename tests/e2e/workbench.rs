//! Writing rules: tests with all that they can say, how they are reported, what they leave out, and rules that are begun for
//! their authors.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use picket_tests::{Ran, Run, built, guests, root};
use serde_json::{Value, json};

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

/// `picket COMMAND rules GUESTS ...` in this directory.
fn with_guests(run: &Run, command: &str, more: &[&str]) -> Ran {
    let guests = guests().to_string_lossy().into_owned();
    let mut args = vec![command, "rules", &guests];
    args.extend(more);
    run.run(&args)
}

fn parsed(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out()).unwrap_or_else(|e| panic!("{e}: {}{}", ran.out(), ran.err()))
}

const RULE: &str = "title: Listener\nid: 6f3a8d2c-0000-4000-8000-000000000001\nstatus: test\nlevel: high\n\
    logsource: {category: process_creation, product: linux}\ndetection:\n  selection:\n    Image|endswith: [/nc, /ncat]\n    \
    CommandLine|contains: ' -l'\n  filter_main_ours:\n    User: backup\n  condition: selection and not filter_main_ours\n";

const TESTS: &str = "tests:\n\
    - name: it listens\n  expect: match\n  event: {kind: sched_process_exec, Image: /bin/nc, CommandLine: nc -l 80, User: root}\n  \
    alert: {severity: high, process.exe: /bin/nc, matched.0.field: Image, rule.status: test}\n\
    - name: it connects\n  expect: no-match\n  near_miss: true\n  event: {kind: sched_process_exec, Image: /bin/nc, CommandLine: nc h 80}\n";

#[test]
fn a_test_says_what_the_alert_says() {
    if !built() {
        return;
    }
    let run = Run::new();
    run.write("rules/listener.yml", RULE);
    run.write("rules/listener.test.yml", TESTS);
    let report = parsed(&with_guests(&run, "test", &["--format", "json"]).exits(0));
    assert_eq!(report["verdicts"].as_array().map(Vec::len), Some(2));
    let wrong = TESTS.replace("severity: high", "severity: low").replace("process.exe: /bin/nc", "process.exe: null");
    run.write("rules/listener.test.yml", wrong);
    let report = parsed(&with_guests(&run, "test", &["--format", "json"]).exits(1));
    let failed = &report["verdicts"][0];
    assert_eq!((text(failed, "outcome"), failed["line"].as_u64()), ("failed", Some(2)));
    let why = "alert severity: want \"low\", got \"high\"; alert process.exe: want null, got \"/bin/nc\"";
    assert_eq!(text(failed, "why"), why);
    // Such an assertion on what is not to match is a slip.
    run.write("rules/listener.test.yml", TESTS.replace("near_miss: true", "alert: {severity: high}"));
    let human = with_guests(&run, "test", &[]).exits(1).out();
    assert!(
        human.contains("FAIL listener.test.yml:6: it connects: `alert` is about a test that expects a match"),
        "{human}"
    );
}

#[test]
fn a_known_gap_fails_nothing_and_its_end_is_told() {
    if !built() {
        return;
    }
    let run = Run::new();
    run.write("rules/listener.yml", RULE);
    let gap = "- {name: socat, expect: match, todo: true, event: {kind: sched_process_exec, Image: /bin/socat, CommandLine: socat -l}}\n";
    run.write("rules/listener.test.yml", format!("{TESTS}{gap}"));
    let human = with_guests(&run, "test", &[]).exits(0).out();
    assert!(human.contains("KNOWN GAP listener.test.yml:10: socat: the rule did not match"), "{human}");
    assert!(human.contains("2 passed, 0 failed, 1 known gaps"), "{human}");
    run.write("rules/listener.test.yml", format!("{TESTS}{}", gap.replace("/bin/socat,", "/bin/ncat,")));
    let human = with_guests(&run, "test", &[]).exits(0).out();
    assert!(human.contains("FIXED listener.test.yml:10: socat: it passes: remove todo"), "{human}");
    // A gap notices no change of its rule, and is no reason not to look whether the others do.
    run.write("rules/listener.test.yml", format!("{TESTS}{gap}"));
    assert!(!with_guests(&run, "test", &["--mutate"]).exits(0).out().contains("NOT MUTATED"));
}

#[test]
fn results_as_junit_and_sarif() {
    if !built() {
        return;
    }
    let run = Run::new();
    run.write("rules/listener.yml", RULE);
    let hostile =
        "- {name: \"<&\\\"'\\e[31m\\n]]>\", expect: match, event: {kind: sched_process_exec, Image: /bin/x}}\n";
    let gap = "- {name: later, expect: match, todo: true, event: {kind: sched_process_exec, Image: /bin/x}}\n";
    run.write("rules/listener.test.yml", format!("{TESTS}{hostile}{gap}"));
    run.write("rules/broken.test.yml", "tests: 5\n");
    run.write("rules/no level.yml", RULE.replace("level: high\n", "").replace("0001\n", "0002\n"));
    let xml = with_guests(&run, "test", &["--format", "junit"]).exits(1).out();
    let file = run.write("junit.xml", &xml);
    let script = "import sys, json, xml.etree.ElementTree as e\nr = e.parse(sys.argv[1]).getroot()\n\
        print(json.dumps({'all': r.attrib, 'cases': [[c.attrib['name'], c.attrib.get('line'), [x.tag for x in c]] for c in r.iter('testcase')]}))";
    let read = Command::new("python3").args(["-c", script]).arg(&file).output().expect("python3 runs");
    assert!(read.status.success(), "{xml}\n{}", String::from_utf8_lossy(&read.stderr));
    let read: Value = serde_json::from_slice(&read.stdout).expect("JSON");
    assert_eq!(read["all"], json!({"name": "picket", "tests": "5", "failures": "1", "errors": "1", "skipped": "1"}));
    let cases = read["cases"].as_array().expect("cases");
    assert!(cases.contains(&json!(["it listens", "2", []])), "{cases:?}");
    assert!(cases.contains(&json!(["<&\"'\u{fffd}[31m\n]]>", "10", ["failure"]])), "{cases:?}");
    assert!(cases.contains(&json!(["later", "11", ["skipped"]])), "{cases:?}");

    let sarif = parsed(&with_guests(&run, "test", &["--format", "sarif"]).exits(1));
    assert_eq!(text(&sarif, "version"), "2.1.0");
    let results = sarif["runs"][0]["results"].as_array().expect("results");
    let told: BTreeSet<(&str, &str, &str, u64)> = results
        .iter()
        .map(|r| {
            let place = &r["locations"][0]["physicalLocation"];
            let line = place["region"]["startLine"].as_u64().unwrap_or(0);
            (text(r, "ruleId"), text(r, "level"), text(&place["artifactLocation"], "uri"), line)
        })
        .collect();
    let here = |name: &str| format!("rules/{name}");
    for (code, level, name, line) in [
        ("test-failed", "error", "listener.test.yml", 10),
        ("test-known-gap", "note", "listener.test.yml", 11),
        ("test-file-broken", "error", "broken.test.yml", 0),
        ("missing-level", "note", "no%20level.yml", 1),
        ("rule-untested", "note", "no%20level.yml", 0),
    ] {
        assert!(told.contains(&(code, level, here(name).as_str(), line)), "{code}: {told:#?}");
    }
}

#[test]
fn what_no_test_makes_true_is_listed() {
    if !built() {
        return;
    }
    let run = Run::new();
    run.write("rules/listener.yml", RULE);
    run.write("rules/listener.test.yml", TESTS);
    run.write("rules/alone.yml", RULE.replace("0001\n", "0002\n"));
    let report = parsed(&with_guests(&run, "test", &["--coverage", "--format", "json"]).exits(0));
    let coverage = &report["coverage"];
    assert_eq!(coverage["untested"], json!(["alone.yml"]));
    let rule = &coverage["rules"][0];
    assert_eq!((&rule["values"], &rule["seen"], &rule["percent"]), (&json!(4), &json!(2), &json!(50.0)));
    // The alternate of Image, the path as executed, is no value of its own.
    let never = json!([
        {"line": 8, "what": "Image|endswith = endswith: /ncat"},
        {"line": 10, "what": "filter_main_ours"},
    ]);
    assert_eq!(rule["never"], never, "{report:#}");
    let more = "- {name: ncat, expect: match, event: {kind: sched_process_exec, Image: /bin/ncat, CommandLine: nc -l}}\n\
        - {name: ours, expect: no-match, near_miss: true, event: {kind: sched_process_exec, Image: /bin/nc, CommandLine: nc -l, User: backup}}\n";
    run.write("rules/listener.test.yml", format!("{TESTS}{more}"));
    let human = with_guests(&run, "test", &["--coverage"]).exits(0).out();
    assert!(human.contains("4 of 4 values of 1 rules were true in a test: 100.0 %; 1 files without tests"), "{human}");
}

#[test]
fn a_hit_in_the_baseline_is_a_false_positive() {
    if !built() {
        return;
    }
    let run = Run::new();
    run.write("rules/listener.yml", RULE);
    run.write("rules/listener.test.yml", TESTS);
    let event = |line: &str| {
        json!({"Timestamp": "2026-01-01T00:00:00Z", "EventType": "sched_process_exec", "System": {"EventName": "sched_process_exec"},
            "EventData": {"ProcInfo": {"Exe": "/bin/nc", "CommandLine": line}}})
    };
    run.write("quiet/day/a.ndjson", format!("{}\n\n{}\n", event("nc h 80"), event("nc -l 80")));
    run.write("quiet/b.ndjson", format!("{}\n{}\n{}\n", event("nc"), event("nc"), event("nc -lp 81")));
    run.write("quiet/notes.txt", "no events");
    let report = parsed(&with_guests(&run, "test", &["--baseline", "quiet", "--format", "json"]).exits(1));
    let baseline = &report["baseline"];
    assert_eq!((&baseline["events"], &baseline["count"], &baseline["level"]), (&json!(5), &json!(2), &json!("medium")));
    let hits: Vec<(&str, u64)> = baseline["hits"]
        .as_array()
        .expect("hits")
        .iter()
        .map(|h| (text(h, "file"), h["line"].as_u64().unwrap_or(0)))
        .collect();
    assert_eq!(hits, [("quiet/b.ndjson", 3), ("quiet/day/a.ndjson", 3)]);
    let human = with_guests(&run, "test", &["--baseline", "quiet"]).exits(1).out();
    assert!(human.contains("FALSE POSITIVE quiet/b.ndjson:3: high: Listener"), "{human}");
    with_guests(&run, "test", &["--baseline", "quiet", "--fail-on", "critical"]).exits(0);
    let sarif = parsed(&with_guests(&run, "test", &["--baseline", "quiet", "--format", "sarif"]).exits(1));
    assert_eq!(sarif["runs"][0]["results"].as_array().map(Vec::len), Some(2));
    let junit = with_guests(&run, "test", &["--baseline", "quiet", "--format", "junit"]).exits(1).out();
    assert_eq!(junit.matches("<failure").count(), 2, "{junit}");
    // What is no event, and a directory without any, cannot say that all is quiet.
    run.write("bad/a.ndjson", "no\n");
    with_guests(&run, "test", &["--baseline", "bad"]).exits(3);
    with_guests(&run, "test", &["--baseline", "rules"]).exits(3);
}

const FILTER: &str = "title: Quiet\nid: 6f3a8d2c-0000-4000-8000-0000000000f0\nlogsource: {category: process_creation, product: linux}\n\
    filter:\n  rules: any\n  selection: {Image|endswith: /nc}\n  condition: not selection\n";

#[test]
fn a_filter_that_hides_a_test_is_told() {
    if !built() {
        return;
    }
    let run = Run::new();
    run.write("rules/listener.yml", RULE);
    run.write("rules/listener.test.yml", TESTS);
    let narrow = FILTER.replace("0f0", "0f1").replace("title: Quiet", "title: Narrow").replace("/nc}", "/cat}");
    let filters = |broad: &str| run.write("rules/site.yml", format!("{narrow}---\n{broad}"));
    let told = || {
        let report = parsed(&with_guests(&run, "validate", &["--format", "json"]).exits(0));
        let all = report["diagnostics"].as_array().expect("a list").clone();
        all.into_iter().filter(|d| text(d, "code") == "filter-hides-test").collect::<Vec<Value>>()
    };
    filters(FILTER);
    let found = told();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((text(&found[0], "file"), found[0]["line"].as_u64()), ("site.yml", Some(9)));
    let message = "the filter 'Quiet' hides what the test 'it listens' of listener.yml expects to match";
    assert_eq!(text(&found[0], "message"), message);
    filters(&FILTER.replace("title: Quiet", "# picket: allow filter-hides-test: the host is a honeypot\ntitle: Quiet"));
    assert_eq!(told(), Vec::<Value>::new());
    filters(&FILTER.replace("/nc}", "/dog}"));
    assert_eq!(told(), Vec::<Value>::new());
    // Two that hide it only together are both named.
    let half = |id: &str, title: &str, image: &str, line: &str| {
        let selection = format!("{{Image|endswith: {image}, CommandLine|contains: '{line}'}}");
        FILTER.replace("0f0", id).replace("Quiet", title).replace("{Image|endswith: /nc}", &selection)
    };
    let two = "- {name: both, expect: match, events: [{kind: sched_process_exec, Image: /bin/nc, CommandLine: nc -l 1}, \
        {kind: sched_process_exec, Image: /bin/ncat, CommandLine: ncat -l 2}]}\n";
    run.write("rules/listener.test.yml", format!("{TESTS}{two}"));
    run.write(
        "rules/site.yml",
        format!("{}---\n{}", half("0f2", "One", "/nc", "-l 1"), half("0f3", "Two", "/ncat", "-l 2")),
    );
    assert_eq!(told().iter().map(|d| d["line"].as_u64().unwrap_or(0)).collect::<Vec<_>>(), [1, 9]);
}

/// What is wrong with each of these documents for the schema that `picket schema WHAT` prints; empty = nothing. The validator is the
/// one of Python, so that what editors see is held against another reading of it.
fn faults(run: &Run, what: &str, documents: &[Value]) -> Vec<String> {
    let schema = run.write("schema.json", run.run(&["schema", what]).exits(0).out());
    let documents = run.write("documents.json", Value::from(documents).to_string());
    let script = "import sys, json, jsonschema\nread = lambda n: json.load(open(sys.argv[n]))\nschema = read(1)\n\
        v = jsonschema.Draft202012Validator\nv.check_schema(schema)\nv = v(schema)\n\
        print(json.dumps(['; '.join(f'{e.json_path}: {e.message}' for e in v.iter_errors(d)) for d in read(2)]))";
    let ran = Command::new("python3").args(["-c", script]).args([schema, documents]).output().expect("python3 runs");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).expect("JSON")
}

/// Whether Python has what [`faults`] needs.
fn validates() -> bool {
    let there = Command::new("python3").args(["-c", "import jsonschema"]).output().is_ok_and(|o| o.status.success());
    if !there {
        eprintln!("skipped: python3-jsonschema is not installed: cargo xtask setup");
    }
    there
}

fn documents(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("a file");
    serde_saphyr::from_multiple(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn schemas_take_every_rule_and_test_of_ours_and_refuse_slips() {
    if !built() || !validates() {
        return;
    }
    let run = Run::new();
    let (mut rules, mut tests, mut names) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
    for entry in std::fs::read_dir(root().join("rules")).expect("rules").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_test = name.ends_with(".test.yml");
        let is_yaml = entry.path().extension().is_some_and(|e| e == "yml");
        for document in is_yaml.then(|| documents(&entry.path())).into_iter().flatten() {
            (if is_test { &mut tests } else { &mut rules }).push(document);
            names[usize::from(is_test)].push(name.clone());
        }
    }
    assert!(rules.len() >= 80 && tests.len() >= 70, "{} {}", rules.len(), tests.len());
    for (what, documents, names) in [("rule", &rules, &names[0]), ("test", &tests, &names[1])] {
        let told = faults(&run, what, documents);
        let wrong: Vec<_> = names.iter().zip(&told).filter(|(_, fault)| !fault.is_empty()).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
    let slips = |what: &str, text: &str, slips: &[(&str, &str)]| {
        let document = |(from, to): &(&str, &str)| {
            assert!(text.contains(from), "{from}");
            serde_saphyr::from_str::<Value>(&text.replace(from, to)).expect("YAML")
        };
        let told = faults(&run, what, &slips.iter().map(document).collect::<Vec<_>>());
        assert!(told.iter().all(|fault| !fault.is_empty()), "{told:#?}");
    };
    slips(
        "rule",
        RULE,
        &[
            ("level: high", "level: higher"),
            ("status: test", "status: tested"),
            ("|endswith", "|endwith"),
            ("title: Listener\n", ""),
            ("  condition: selection and not filter_main_ours\n", ""),
        ],
    );
    let test =
        [("expect: match", "expect: matches"), ("kind: sched_process_exec", "kind: exec"), ("near_miss", "nearmiss")];
    slips("test", TESTS, &test);
}

/// What was begun passes `validate` without a word, and its tests.
#[track_caller]
fn is_good(run: &Run, count: usize) {
    let report = parsed(&with_guests(run, "validate", &["--format", "json"]).exits(0));
    assert_eq!(report["diagnostics"], json!([]), "{report:#}");
    let ran = with_guests(run, "test", &["--format", "json"]);
    let report = parsed(&ran);
    let failed: Vec<&Value> =
        report["verdicts"].as_array().expect("verdicts").iter().filter(|v| v["passed"] == false).collect();
    assert!(failed.is_empty() && ran.code() == 0, "{failed:#?}\n{}", ran.err());
    assert_eq!((&report["untested"], &report["broken"]), (&json!([]), &json!([])));
    let of: BTreeSet<&str> = report["verdicts"].as_array().expect("verdicts").iter().map(|v| text(v, "rule")).collect();
    assert_eq!(of.len(), count);
}

#[test]
fn every_template_is_a_good_rule_at_once() {
    if !built() {
        return;
    }
    let run = Run::new();
    let list = run.run(&["rules", "new", "--list", "--format", "json"]).exits(0).alerts();
    assert!(list.len() >= 6, "{list:?}");
    for template in &list {
        let name = text(template, "template");
        let made =
            parsed(&run.run(&["rules", "new", "--template", name, "--out", "rules", "--format", "json"]).exits(0));
        for key in ["rule", "test"] {
            let path = run.dir.path().join(text(&made, key));
            let content = std::fs::read_to_string(&path).expect("the file");
            assert!(content.starts_with(&format!("# yaml-language-server: $schema={key}.schema.json\n")), "{content}");
            assert!(!content.contains("{{"), "{content}");
            if validates() {
                let told = faults(&run, key, &documents(&path));
                assert!(told.iter().all(String::is_empty), "{name}: {told:?}");
            }
        }
        let again = run.run(&["rules", "new", "--template", name, "--out", "rules"]).exits(2).err();
        assert!(again.contains("is there already"), "{again}");
    }
    is_good(&run, list.len());
    let score = parsed(&with_guests(&run, "test", &["--coverage", "--format", "json"]).exits(0));
    assert!(score["coverage"]["percent"].as_f64().is_some_and(|p| p > 90.0), "{:#}", score["coverage"]);
    // Into the first directory of the config, under a name of one's own.
    run.write("picket.toml", "rules = ['mine']\n");
    run.run(&["rules", "new", "my_rule", "--template", "fileless"]).exits(0);
    assert!(run.dir.path().join("mine/my_rule.test.yml").is_file());
    run.run(&["rules", "new", "../x", "--template", "fileless"]).exits(2);
    run.run(&["rules", "new", "--template", "no-such"]).exits(2);
    run.run(&["rules", "new"]).exits(2);
}

/// Events of the rules' own tests, one of each kind at least, as `picket test` would build them.
fn events_of_our_tests() -> Vec<Value> {
    let mut events = Vec::new();
    for entry in std::fs::read_dir(root().join("rules")).expect("rules").flatten() {
        if !entry.file_name().to_string_lossy().ends_with(".test.yml") {
            continue;
        }
        for case in documents(&entry.path()).iter().flat_map(|d| d["tests"].as_array().cloned().unwrap_or_default()) {
            let one = case["event"].as_object().into_iter();
            let several = case["events"].as_array().into_iter().flatten().filter_map(Value::as_object);
            for fields in one.chain(several) {
                let mut fields = fields.clone();
                for time in ["at", "repeat", "every"] {
                    fields.remove(time);
                }
                events.push(picket::kind::build(&fields).expect("an event of our tests"));
            }
        }
    }
    events
}

#[test]
fn a_rule_is_drafted_from_an_event_of_any_kind() {
    if !built() {
        return;
    }
    let run = Run::new();
    let mut by_kind: std::collections::BTreeMap<String, Vec<Value>> = std::collections::BTreeMap::new();
    // Of each kind an event with nothing but its kind, one with all of its fields, and up to three of our rules' tests.
    for kind in picket::kind::KINDS {
        let bare = json!({ "kind": kind.name });
        let mut full = json!({ "kind": kind.name, "Image": "/usr/bin/pro*g", "CommandLine": "prog \\ -x? a*b 'quoted: #'", "ParentImage": "/usr/bin/bash" });
        for field in kind.fields {
            let value = match field.ty {
                picket::kind::Type::Text => json!("/some: \"thing\" #1"),
                picket::kind::Type::TextList => json!(["one", "two"]),
                picket::kind::Type::Unsigned | picket::kind::Type::Signed => json!(7),
                picket::kind::Type::Bool => json!(true),
                _ => continue,
            };
            if !field.path.contains("addr.s") {
                full[format!("EventData.{}", field.path)] = value;
            }
        }
        let events = [bare, full].map(|e| picket::kind::build(e.as_object().expect("a map")).expect("an event"));
        by_kind.entry(kind.name.to_owned()).or_default().extend(events);
    }
    for event in events_of_our_tests() {
        let of_kind = by_kind.entry(text(&event, "EventType").to_owned()).or_default();
        if of_kind.len() < 5 {
            of_kind.push(event);
        }
    }
    let mut count = 0;
    for (kind, events) in &by_kind {
        for event in events {
            let file = run.write("event.json", event.to_string()).to_string_lossy().into_owned();
            let name = format!("d{count}");
            let ran = run.run(&["rules", "new", &name, "--from", &file, "--out", "rules"]);
            if ran.code() == 3 && ran.err().contains("is made from others") {
                continue;
            }
            assert_eq!(ran.code(), 0, "{kind}: {}", ran.err());
            count += 1;
        }
    }
    assert!(count >= 60, "{count}");
    let report = parsed(&with_guests(&run, "test", &["--format", "json"]));
    let failed: Vec<String> = report["verdicts"]
        .as_array()
        .expect("verdicts")
        .iter()
        .filter(|v| v["passed"] == false)
        .map(|v| {
            let rule = std::fs::read_to_string(run.dir.path().join("rules").join(text(v, "rule"))).unwrap_or_default();
            format!("{}: {}: {}\n{rule}", text(v, "file"), text(v, "test"), text(v, "why"))
        })
        .collect();
    assert!(failed.is_empty(), "{} of {count}:\n{}", failed.len(), failed.join("\n"));
    is_good(&run, count);
}

#[test]
fn a_rule_is_drafted_from_an_alert_and_from_stdin() {
    if !built() {
        return;
    }
    let run = Run::new();
    run.write("source/listener.yml", RULE);
    let event = json!({"kind": "sched_process_exec", "Image": "/bin/nc", "CommandLine": "nc -l 4444 -e /bin/sh", "ParentImage": "/usr/bin/perl"});
    let event = picket::kind::build(event.as_object().expect("a map")).expect("an event");
    let events = run.write("events.ndjson", format!("{event}\n"));
    let alerts = run.replay(&events, &run.dir.path().join("source"), &[]).exits(0);
    let alert = alerts.out();
    let alert = run.write("alert.json", alert.lines().next().expect("an alert"));
    let made =
        run.run(&["rules", "new", "--from", &alert.to_string_lossy(), "--out", "rules", "--format", "json"]).exits(0);
    let made = parsed(&made);
    assert!(text(&made, "rule").ends_with("draft_sched_process_exec_nc.yml"), "{made}");
    let rule = std::fs::read_to_string(run.dir.path().join(text(&made, "rule"))).expect("the rule");
    for line in [
        "    Image|endswith: \"/nc\"\n",
        "    ParentImage|endswith: \"/perl\"\n",
        "    CommandLine|contains|all: [\"-l\", \"-e\", \"/bin/sh\"]\n",
    ] {
        assert!(rule.contains(line), "{rule}");
    }
    is_good(&run, 1);
    let mut child = run.command(&["rules", "new", "piped", "--from", "-", "--out", "rules"]);
    let mut child = child.stdin(std::process::Stdio::piped()).spawn().expect("picket");
    std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), event.to_string().as_bytes()).expect("written");
    assert!(child.wait().expect("ends").success());
    run.write("none.json", "[1]");
    run.run(&["rules", "new", "--from", "none.json", "--out", "rules"]).exits(3);
    run.write("foreign.json", "{\"EventType\": \"of_another_tool\"}");
    let said = run.run(&["rules", "new", "--from", "foreign.json", "--out", "rules"]).exits(3).err();
    assert!(said.contains("of no kind that Picket knows"), "{said}");
}
