//! `picket replay`, without root and without the kernel: compatibility with the model, equal results, honest errors.

use std::fmt::Write as _;

use picket_tests::{Run, built, root};
use serde_json::{Value, json};

const EVERYTHING: &str = "title: Everything\nid: 4a7ecb0f-9f31-4a5c-8b1d-0d5f4dfe0001\nlogsource: {category: ebpf, product: linux}\n\
    detection: {any: {System.HostName|contains: ''}, condition: any}\nlevel: low\n";

/// Process events of many shapes; every seventh holds what the rule below looks for.
fn events(count: usize) -> String {
    let mut out = String::new();
    for i in 0..count {
        let needle = if i % 7 == 0 { "needle" } else { "hay" };
        let event = json!({
            "Timestamp": "2026-01-01T00:00:00Z", "EventType": "sched_process_exec",
            "System": {"Timestamp": format!("2026-01-01T00:00:{:02}.{i:09}Z", i % 60), "EventName": "sched_process_exec",
                "HostProcessID": 1000 + i, "HostThreadID": 1000 + i, "ProcessID": i, "ThreadID": i, "UserID": i % 3},
            "EventData": {"pathname": format!("/usr/bin/tool{}", i % 13), "argv": ["tool", needle, i.to_string()],
                "ProcInfo": {"Name": "tool", "Exe": format!("/usr/bin/tool{}", i % 13),
                    "CommandLine": format!("tool {needle} {i}"), "Username": "root"}},
        });
        writeln!(out, "{event}").unwrap();
    }
    out
}

const NEEDLE: &str = "title: Needle\nid: 4a7ecb0f-9f31-4a5c-8b1d-0d5f4dfe0002\nlogsource: {category: process_creation, product: linux}\n\
    detection: {selection: {CommandLine|contains: ' needle '}, condition: selection}\nlevel: high\n";

#[test]
fn the_seeds_samples_lose_no_key() {
    if !built() {
        return;
    }
    let run = Run::new();
    let rules = run.write("rules/everything.yml", EVERYTHING);
    let samples = root().join("tests/seed/samples.ndjson");
    let text = std::fs::read_to_string(&samples).unwrap();
    let alerts = run.replay(&samples, &rules, &[]).exits(0).alerts();
    let wanted: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(wanted.len(), 10);
    let got: Vec<Value> = alerts.iter().map(|a| a["event"].clone()).collect();
    assert_eq!(got, wanted);
    // Key order is part of the shape: as text, too.
    for (alert, line) in alerts.iter().zip(text.lines()) {
        let event = serde_json::to_string(&alert["event"]).unwrap();
        assert_eq!(event.len(), serde_json::to_string(&serde_json::from_str::<Value>(line).unwrap()).unwrap().len());
    }
}

#[test]
fn results_do_not_depend_on_batches_or_replicas() {
    if !built() {
        return;
    }
    let run = Run::new();
    let rules = run.write("rules/needle.yml", NEEDLE);
    let file = run.write("events.ndjson", events(1500));
    let alerts = |rows: &str, replicas: &str| {
        let (rows, replicas) = (format!("dispatch.rows={rows}"), format!("dispatch.replicas={replicas}"));
        run.replay(&file, &rules, &["--set", &rows, "--set", &replicas]).exits(0).out()
    };
    let reference = alerts("256", "1");
    assert_eq!(reference.lines().count(), 1500usize.div_ceil(7));
    for (rows, replicas) in [("1", "1"), ("7", "1"), ("7", "2"), ("256", "2"), ("1", "2")] {
        assert_eq!(alerts(rows, replicas), reference, "rows {rows}, replicas {replicas}");
    }
}

#[test]
fn a_broken_line_is_named_and_the_rest_is_processed() {
    if !built() {
        return;
    }
    let run = Run::new();
    let rules = run.write("rules/needle.yml", NEEDLE);
    let all = events(8);
    let mut lines: Vec<&str> = all.lines().collect();
    lines.insert(3, "{\"EventType\": broken");
    lines.insert(5, "[1,2]");
    let file = run.write("events.ndjson", lines.join("\n"));
    let ran = run.replay(&file, &rules, &[]).exits(3);
    assert_eq!(ran.alerts().len(), 2);
    assert!(ran.err().contains("line 4: not JSON"), "{}", ran.err());
    assert!(ran.err().contains("line 6: an event is a JSON object, this is an array"), "{}", ran.err());
}

#[test]
fn any_json_is_matched_whatever_its_log_source() {
    if !built() {
        return;
    }
    let run = Run::new();
    let rules = run.write(
        "rules/web.yml",
        "title: Web\nid: 4a7ecb0f-9f31-4a5c-8b1d-0d5f4dfe0003\nlogsource: {category: webserver}\n\
         detection: {s: {cs-method: GET, request.status: 200}, condition: s}\nlevel: medium\n",
    );
    let file = run.write(
        "events.ndjson",
        "{\"cs-method\":\"get\",\"request\":{\"status\":200}}\n{\"cs-method\":\"POST\",\"request\":{\"status\":200}}\n\
         {\"cs-method\":\"GET\",\"request.status\":\"200\"}\n",
    );
    let ran = run.replay(&file, &rules, &["--all-log-sources"]).exits(0);
    let events: Vec<Value> = ran.alerts().iter().map(|a| a["event"].clone()).collect();
    assert_eq!(
        events,
        [json!({"cs-method":"get","request":{"status":200}}), json!({"cs-method":"GET","request.status":"200"})]
    );
    assert!(run.replay(&file, &rules, &[]).exits(0).alerts().is_empty());
}

#[test]
fn fail_on_turns_a_level_into_an_exit_code() {
    if !built() {
        return;
    }
    let run = Run::new();
    let rules = run.write("rules/needle.yml", NEEDLE);
    let file = run.write("events.ndjson", events(1));
    run.replay(&file, &rules, &["--fail-on", "high"]).exits(1);
    run.replay(&file, &rules, &["--fail-on", "critical"]).exits(0);
}

#[test]
fn terminal_escapes_never_reach_the_terminal() {
    if !built() {
        return;
    }
    let run = Run::new();
    let rules = run.write("rules/needle.yml", NEEDLE);
    let event = events(1).replace("tool needle 0", "tool needle \\u001b]0;owned\\u0007 \\u009b31m \\u202e");
    let file = run.write("events.ndjson", event);
    let guests = picket_tests::guests();
    let (file_s, rules_s, guests_s) = (file.to_string_lossy(), rules.to_string_lossy(), guests.to_string_lossy());
    let human = run.run(&["replay", &file_s, "--rules", &rules_s, "--guests", &guests_s]).exits(0);
    let json = run.replay(&file, &rules, &[]).exits(0);
    for out in [human.out(), json.out()] {
        assert!(out.contains("needle"));
        let control = |c: char| c.is_control() && c != '\n';
        assert!(!out.contains(control), "{out:?}");
    }
    assert!(!human.out().contains('\u{202e}'), "{:?}", human.out());
}

#[test]
fn bytes_that_are_not_utf8_survive_a_replay() {
    if !built() {
        return;
    }
    let run = Run::new();
    let rules = run.write(
        "rules/bytes.yml",
        "title: Bytes\nid: 4a7ecb0f-9f31-4a5c-8b1d-0d5f4dfe0004\nlogsource: {category: process_creation, product: linux}\n\
         detection: {s: {CommandLine|re: '(?-u)\\xff\\xfe'}, condition: s}\nlevel: medium\n",
    );
    let event = events(1).replace(
        "\"Timestamp\":\"2026-01-01T00:00:00Z\"",
        "\"_bytes\":{\"EventData.ProcInfo.CommandLine\":\"dG9vbCD//iAw\"},\"Timestamp\":\"2026-01-01T00:00:00Z\"",
    );
    let file = run.write("events.ndjson", event);
    assert_eq!(run.replay(&file, &rules, &[]).exits(0).alerts().len(), 1);
}
