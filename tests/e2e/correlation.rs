//! Guests on `@detection`: what one finds, another makes something of.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use picket_tests::{Live, Ran, Run, able, built, exec, guests, one_at_a_time, test_guest, wait_until};
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

fn replay(run: &Run, file: &Path, guests: &str, more: &[&str]) -> Ran {
    let file = file.to_string_lossy();
    let mut args = vec!["replay", &file, "--guests", guests, "--format", "json"];
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
    // The row that made it full is its event; of a window that closed, it is the last one in it.
    assert_eq!(many["event"]["EventData"]["ProcInfo"]["CommandLine"], "step a");
    assert_eq!(many["process"]["cmdline"], "step a");
    let few = &alerts[2];
    assert_eq!((&few["process"]["cmdline"], &few["related"][0]["seq"]), (&json!("step b"), &json!(2)));
    assert_eq!(few["event"]["System"]["Timestamp"], "2026-01-01T00:00:04.000000000Z");
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

#[test]
fn a_trap_costs_its_row_and_nothing_that_was_counted() {
    if !built() {
        return;
    }
    let run = Run::new();
    let guests = test_guests(&run, &["counter"]);
    let events = [
        (1.0, "step a"),
        (2.0, "step b"),
        (3.0, "step poison-row"),
        (4.0, "step a"),
        (5.0, "step poison-row"),
        (6.0, "step a"),
        (7.0, "step b"),
    ];
    let file = file(&run, &events);
    for rows in ["1", "2", "256"] {
        let ran = replay(&run, &file, &guests, &["--set", &format!("dispatch.rows={rows}")]);
        let alerts = ran.alerts();
        assert_eq!(rules(&alerts), ["many", "few"], "rows {rows}: {}", ran.err());
        let seqs: Vec<u64> =
            alerts[0]["related"].as_array().unwrap().iter().map(|r| r["seq"].as_u64().unwrap()).collect();
        assert_eq!(seqs, [0, 3, 5], "rows {rows}");
        assert!(ran.err().contains("poisoned"), "{}", ran.err());
    }
}

/// The `many` alerts about this name, once there is one.
#[track_caller]
fn many(live: &Live, name: &str) -> Vec<Value> {
    let found = || live.alerts(name).into_iter().filter(|a| a["rule"]["id"] == "many").collect::<Vec<_>>();
    assert!(wait_until(|| !found().is_empty()), "no alert for {name}\n{}", live.talk());
    found()
}

#[test]
fn what_is_remembered_outlives_a_reload_a_restart_and_a_crash() {
    if !able() {
        return;
    }
    let _one = one_at_a_time();
    let run = Run::new();
    let guests = test_guests(&run, &["counter"]);
    let memory = run.dir.path().join("state/memory");
    let start = |snapshot: &str| {
        let snapshot = format!("dispatch.snapshot={snapshot}");
        let args = ["--rules", "rules", "--guests", &guests, "--no-deliver", "--set", "guest.counter.config.long=true"];
        let more = ["--set", "guest.counter.rules=true", "--set", &snapshot];
        Live::start(&run, &[&args[..], &more[..]].concat())
    };
    let (a, b) = (format!("a{}-", std::process::id()), format!("b{}-", std::process::id()));
    let step = |name: &str| exec(&format!("step {name}"));
    let handled = || run.status()["ledger"]["guests"]["counter@detection"]["handled"].as_u64().unwrap_or_default();
    let counted = |count: u64| assert!(wait_until(|| handled() >= count), "{}", run.status());
    let held = |name: &str| {
        let files = std::fs::read_dir(memory.join("counter")).into_iter().flatten().flatten();
        files.filter_map(|f| std::fs::read_to_string(f.path()).ok()).map(|t| t.matches(name).count()).sum::<usize>()
    };

    let Some(mut live) = start("1h") else { return };
    step(&a);
    counted(1);
    assert_eq!(held(&a), 0, "nothing is due");
    // A rule that is nothing to it: the guest is loaded anew all the same, and goes on.
    run.write("rules/other.yml", "title: Other\n");
    assert!(wait_until(|| run.status()["generation"]["number"].as_u64() >= Some(2)), "{}", live.talk());
    step(&a);
    counted(2);
    assert_eq!(held(&a), 1, "what was handed over; nothing is due");
    live.end(libc::SIGINT);
    assert_eq!(held(&a), 2, "an end takes everything: {}", live.talk());
    let copy = run.dir.path().join("copy");
    assert!(std::process::Command::new("cp").arg("-r").args([&memory, &copy]).status().unwrap().success());

    // A restart goes on; and where a crash comes before the memory was written, the same window is the same alert.
    let mut ids = BTreeSet::new();
    for _ in 0..2 {
        std::fs::remove_dir_all(&memory).unwrap();
        assert!(std::process::Command::new("cp").arg("-r").args([&copy, &memory]).status().unwrap().success());
        let Some(mut live) = start("1h") else { return };
        step(&a);
        let alert = many(&live, &a).remove(0);
        let related = alert["related"].as_array().unwrap().clone();
        assert_eq!((related.len(), related.iter().filter(|r| r["id"].is_null()).count()), (3, 0), "{alert}");
        ids.insert(alert["id"].as_str().unwrap().to_owned());
        live.end(libc::SIGKILL);
    }
    assert_eq!(ids.len(), 1, "{ids:?}");

    // A crash loses no more than what came since the last parts were taken.
    let Some(mut live) = start("1s") else { return };
    step(&b);
    step(&b);
    assert!(wait_until(|| held(&b) == 2), "{}", live.talk());
    live.end(libc::SIGKILL);
    let Some(mut live) = start("1s") else { return };
    step(&b);
    assert_eq!(many(&live, &b)[0]["related"].as_array().unwrap().len(), 3);
    live.end(libc::SIGINT);
    assert!(!live.talk().contains("does not balance"), "{}", live.talk());
}

/// Three needles of one user within ten seconds.
fn sigma_rules(needle: &str) -> String {
    format!(
        "title: Needle\nid: 4a7ecb0f-9f31-4a5c-8b1d-0d5f4dfe00c1\nname: needle\n\
         logsource: {{category: process_creation, product: linux}}\n\
         detection: {{s: {{CommandLine|contains: '{needle}'}}, condition: s}}\nlevel: low\n---\n\
         title: Many needles\nid: 4a7ecb0f-9f31-4a5c-8b1d-0d5f4dfe00c2\n\
         correlation:\n  type: event_count\n  rules: [needle]\n  group-by: [User]\n  timespan: 1h\n  condition: {{gte: 3}}\nlevel: high\n"
    )
}

#[test]
fn a_correlation_of_sigma_rules_is_an_alert_and_its_rules_are_not() {
    if !built() {
        return;
    }
    let run = Run::new();
    let rules_dir = run.write("rules/needles.yml", sigma_rules("needle"));
    let events: Vec<(f64, &str)> = [(1.0, "needle 1"), (2.0, "hay"), (3.0, "needle 2"), (4.0, "needle 3")].into();
    let file = file(&run, &events);
    let ran = run.replay(&file, &rules_dir, &[]).exits(0);
    let alerts = ran.alerts();
    assert_eq!(alerts.len(), 1, "{}\n{}", ran.out(), ran.err());
    assert_eq!(alerts[0]["title"], "Many needles");
    let related: Vec<_> =
        alerts[0]["related"].as_array().unwrap().iter().map(|r| r["time"].as_str().unwrap()).collect();
    assert_eq!(related, ["2026-01-01T00:00:01Z", "2026-01-01T00:00:03Z", "2026-01-01T00:00:04Z"]);
    for rows in ["1", "2"] {
        let again = run.replay(&file, &rules_dir, &["--set", &format!("dispatch.rows={rows}")]).exits(0);
        assert_eq!(again.out(), ran.out(), "rows {rows}");
    }
}

#[test]
fn a_correlation_of_sigma_rules_counts_live_over_a_reload_and_a_restart() {
    if !able() {
        return;
    }
    let _one = one_at_a_time();
    let run = Run::new();
    let marker = format!("needle-{}-", std::process::id());
    run.write("rules/needles.yml", sigma_rules(&marker));
    let guests = guests().to_string_lossy().into_owned();
    let start = || Live::start(&run, &["--rules", "rules", "--guests", &guests, "--no-deliver"]);
    let handled = || run.status()["ledger"]["guests"]["sigma@detection"]["handled"].as_u64().unwrap_or_default();
    let Some(mut live) = start() else { return };
    exec(&marker);
    assert!(wait_until(|| handled() >= 1), "{}", run.status());
    // A name is of one rule in a set.
    let other = sigma_rules("no such thing").replace("name: needle", "name: other").replace("[needle]", "[other]");
    run.write("rules/other.yml", other.replace("00c", "00d"));
    assert!(wait_until(|| run.status()["generation"]["number"].as_u64() >= Some(2)), "{}", live.talk());
    exec(&marker);
    assert!(wait_until(|| handled() >= 2), "{}", run.status());
    live.end(libc::SIGINT);
    let Some(mut live) = start() else { return };
    exec(&marker);
    assert!(wait_until(|| !live.alerts(&marker).is_empty()), "{}", live.talk());
    let alert = live.alerts(&marker).remove(0);
    assert_eq!(
        (&alert["title"], alert["related"].as_array().map(Vec::len)),
        (&json!("Many needles"), Some(3)),
        "{alert}"
    );
    live.end(libc::SIGINT);
}
