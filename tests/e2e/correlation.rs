//! Guests on `@detection`: what one finds, another makes something of.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use picket_tests::{Ran, Run, built, test_guest};
use serde_json::{Value, json};

/// An exec at this second with this command line.
fn exec_at(second: f64, line: &str) -> String {
    let number = (second * 1e9) as u64;
    json!({
        "Timestamp": "2026-01-01T00:00:00Z", "EventType": "sched_process_exec",
        "System": {"Timestamp": format!("2026-01-01T00:{:02}:{:02}.{:09}Z", number / 60_000_000_000,
            number / 1_000_000_000 % 60, number % 1_000_000_000), "EventName": "sched_process_exec",
            "HostProcessID": 1000 + number % 1000, "HostThreadID": 1000 + number % 1000, "UserID": 0},
        "EventData": {"pathname": "/usr/bin/tool", "argv": ["tool"],
            "ProcInfo": {"Name": "tool", "Exe": "/usr/bin/tool", "CommandLine": line, "Username": "root"}},
    })
    .to_string()
}

fn file(run: &Run, events: &[(f64, &str)]) -> PathBuf {
    let mut out = String::new();
    for (second, line) in events {
        writeln!(out, "{}", exec_at(*second, line)).unwrap();
    }
    run.write("events.ndjson", out)
}

/// Puts these test guests into a directory of the run.
fn test_guests(run: &Run, names: &[&str]) -> String {
    for name in names {
        run.write(
            &format!("guests/{name}.wasm"),
            std::fs::read(test_guest(name)).expect("cargo xtask build --test-guests"),
        );
    }
    std::fs::create_dir_all(run.dir.path().join("rules")).expect("a directory");
    run.dir.path().join("guests").to_string_lossy().into_owned()
}

fn replay(run: &Run, file: &PathBuf, guests: &str, more: &[&str]) -> Ran {
    let mut args = vec!["replay", file.to_str().unwrap(), "--guests", guests, "--format", "json"];
    args.extend(more);
    run.run(&args).exits(0)
}

fn rules(alerts: &[Value]) -> Vec<&str> {
    alerts.iter().map(|a| a["rule"]["id"].as_str().unwrap()).collect()
}

#[test]
fn what_is_found_is_counted_and_the_alert_says_what_it_was_made_from() {
    if !built() {
        return;
    }
    let run = Run::new();
    let guests = test_guests(&run, &["counter", "poison"]);
    let events = [
        (1.0, "step a"),
        (1.5, "needle"),
        (2.0, "step b"),
        (3.0, "step a"),
        (3.5, "step c"),
        (4.0, "step b"),
        (5.0, "step a"),
        // A second window of the same name: not yet three.
        (6.0, "step a"),
    ];
    let file = file(&run, &events);
    let ran = replay(&run, &file, &guests, &[]);
    let alerts = ran.alerts();
    // The steps themselves are nobody's alerts.
    assert_eq!(rules(&alerts), ["needle", "many", "few"], "{}", ran.out());
    let many = &alerts[1];
    assert_eq!(
        (many["first"].as_str(), many["last"].as_str()),
        (Some("2026-01-01T00:00:01Z"), Some("2026-01-01T00:00:05Z"))
    );
    let related: Vec<_> =
        many["related"].as_array().unwrap().iter().map(|r| (&r["seq"], &r["rule"], &r["time"])).collect();
    // The other guest's detection has a number, too.
    assert_eq!(
        related,
        [
            (&json!(0), &json!("step"), &json!("2026-01-01T00:00:01Z")),
            (&json!(3), &json!("step"), &json!("2026-01-01T00:00:03Z")),
            (&json!(6), &json!("step"), &json!("2026-01-01T00:00:05Z")),
        ]
    );
    let ids: BTreeSet<&str> = many["related"].as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 3);
    let fields = &many["fields"];
    assert_eq!(
        (&fields["CommandLine"], &fields["@rule"], &fields["@guest"], &fields["@level"], &fields["@uid"]),
        (&json!("step a"), &json!("step"), &json!("counter"), &json!("low"), &many["related"][2]["id"])
    );
    // The row that made it full is its event; a window that closed has none.
    assert_eq!(many["event"]["EventData"]["ProcInfo"]["CommandLine"], "step a");
    assert_eq!(many["process"]["cmdline"], "step a");
    let few = &alerts[2];
    assert_eq!((&few["event"], &few["related"][0]["seq"]), (&Value::Null, &json!(2)));
    assert_eq!(few["last"], "2026-01-01T00:00:04Z");
}

#[test]
fn correlations_do_not_depend_on_batches_or_replicas() {
    if !built() {
        return;
    }
    let run = Run::new();
    let guests = test_guests(&run, &["counter", "poison"]);
    let lines: Vec<String> = (0..600)
        .map(|i| match i % 5 {
            0 | 1 | 3 => format!("step n{}-{}", i / 100, i * 7 % 23),
            2 => "needle".to_owned(),
            _ => "hay".to_owned(),
        })
        .collect();
    let events: Vec<(f64, &str)> = lines.iter().enumerate().map(|(i, l)| (i as f64 / 8.0, l.as_str())).collect();
    let file = file(&run, &events);
    let found = |rows: &str, replicas: &str| {
        let (rows, replicas) = (format!("dispatch.rows={rows}"), format!("dispatch.replicas={replicas}"));
        replay(&run, &file, &guests, &["--set", &rows, "--set", &replicas])
    };
    let sorted = |ran: &Ran| ran.out().lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let first = found("256", "1");
    let count = |rule: &str| rules(&first.alerts()).iter().filter(|r| **r == rule).count();
    assert!(count("many") > 10 && count("few") > 3 && count("needle") == 120, "{} {}", count("many"), count("few"));
    let reference = sorted(&first);
    assert_eq!(reference.len(), first.out().lines().count(), "every alert is one of its own");
    for (rows, replicas) in [("1", "1"), ("7", "1"), ("7", "2"), ("256", "2"), ("1", "2")] {
        let got = sorted(&found(rows, replicas));
        let differ: Vec<&String> = reference.symmetric_difference(&got).take(2).collect();
        assert!(differ.is_empty(), "rows {rows}, replicas {replicas}: {differ:?}");
    }
    assert_eq!(found("7", "2").out(), found("7", "2").out(), "line by line");
}

#[test]
fn rules_for_others_alone_are_named_where_nobody_listens() {
    if !built() {
        return;
    }
    let run = Run::new();
    let guests = test_guests(&run, &["counter", "poison"]);
    let file = file(&run, &[(1.0, "step a"), (2.0, "step a"), (3.0, "step a")]);
    let heard = replay(&run, &file, &guests, &[]);
    assert_eq!((rules(&heard.alerts()), heard.err().contains("detections-unheard")), (vec!["many"], false));
    let unheard = replay(&run, &file, &guests, &["--set", "guest.counter.config.deaf=true"]);
    assert_eq!((unheard.alerts().len(), unheard.err().contains("detections-unheard")), (0, true), "{}", unheard.err());
}
