//! The past of a host: what was recorded is hunted, explained and exported, and says what the live run said.

use picket_tests::{Live, Run, able, exec, guests, one_at_a_time, wait_until};
use serde_json::Value;

fn rule(title: &str, number: u32, needle: &str) -> String {
    format!(
        "title: {title}\nid: 5b7ecb0f-9f31-4a5c-8b1d-0d5f4d{number:06x}\nlogsource: {{category: process_creation, product: linux}}\n\
         detection: {{s: {{CommandLine|contains: '{needle}'}}, condition: s}}\nlevel: high\n"
    )
}

fn id(number: u32) -> String {
    format!("5b7ecb0f-9f31-4a5c-8b1d-0d5f4d{number:06x}")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn the_past_says_what_the_live_run_said() {
    if !able() {
        return;
    }
    let _one = one_at_a_time();
    let run = Run::new();
    let marker = format!("past-{}", std::process::id());
    run.write("rules/known.yml", rule("Known", 1, &format!("{marker}-known")));
    run.write("picket.toml", format!("rules = [\"rules\"]\nguests = [\"{}\"]\n", guests().display()));
    let Some(mut live) = Live::start(&run, &["--no-deliver"]) else { return };
    for n in 0..3 {
        exec(&format!("{marker}-known number {n}"));
        exec(&format!("{marker}-unknown number {n}"));
    }
    // One that starts another.
    let script = format!("/bin/true child-of-{marker}; : {marker}-known number 3");
    assert!(std::process::Command::new("sh").args(["-c", &script]).status().expect("sh runs").success());
    let known = || live.alerts(&format!("{marker}-known"));
    assert!(wait_until(|| known().len() == 4), "{}", live.talk());

    // A rule that was not there when it happened: the running Picket is asked to write what it has.
    let new = run.write("new/unknown.yml", rule("Unknown", 2, &format!("{marker}-unknown")));
    let new = new.to_string_lossy().into_owned();
    let hunted = json(&run.run(&["hunt", &new, "--format", "json"]).exits(0).out());
    let hits = &hunted["rules"][0];
    assert_eq!((&hits["hits"], &hits["title"]), (&Value::from(3), &Value::from("Unknown")), "{hunted}");
    assert!(hits["top"]["CommandLine"].as_array().is_some_and(|top| top.len() == 3), "{hunted}");
    assert_eq!(hunted["problems"], Value::Array(Vec::new()));
    assert_eq!(run.run(&["hunt", &new, "--fail-on", "high"]).code(), 1);
    let people = run.run(&["hunt", &new]).exits(0).out();
    assert!(people.contains("3 hits  Unknown"), "{people}");
    // By id, of the config; and what a change gains and loses.
    let by_id = json(&run.run(&["hunt", &id(1), "--format", "json"]).exits(0).out());
    assert_eq!(by_id["rules"][0]["hits"], 4, "{by_id}");
    let narrower = run.write("new/narrower.yml", rule("Known", 1, &format!("{marker}-known number 1")));
    let diff = ["hunt", "--diff", "rules/known.yml", &narrower.to_string_lossy(), "--format", "json"];
    let diff = json(&run.run(&diff).exits(0).out());
    assert_eq!(
        [&diff["both"], &diff["gained_count"], &diff["lost_count"]],
        [1, 0, 3].map(Value::from).each_ref(),
        "{diff}"
    );

    // An alert is listed, shown and explained by the beginning of its id.
    let alerts = known();
    let alert = alerts.iter().find(|a| a["event"].to_string().contains("child-of")).expect("the shell's alert");
    let short = &alert["id"].as_str().unwrap()[..12];
    let listed = run.run(&["alerts", "ls", "--rule", "known", "--format", "json"]).exits(0).alerts();
    assert_eq!(listed.len(), 4);
    assert!(run.run(&["alerts", "ls", "--level", "critical"]).exits(0).out().is_empty());
    assert_eq!(json(&run.run(&["alerts", "show", short, "--format", "json"]).exits(0).out())["id"], alert["id"]);
    assert_eq!(run.run(&["alerts", "show", "ffffffff"]).code(), 3);
    let explained = json(&run.run(&["explain", short, "--format", "json"]).exits(0).out());
    assert_eq!((&explained["matched"], &explained["rule"]), (&Value::from(true), &Value::from(id(1))));

    // Why did it not fire then: the nearest event, and the item that failed.
    let at = alert["last"].as_str().unwrap();
    let other = run.write("new/other.yml", rule("Other", 3, &format!("{marker}-other")));
    let why = json(&run.run(&["explain", &other.to_string_lossy(), "--at", at, "--format", "json"]).exits(0).out());
    assert_eq!(why["hits"], Value::Array(Vec::new()));
    let near = why["nearest"].as_array().expect("a list");
    assert!(near.iter().any(|n| n["event"].to_string().contains(&marker)));
    let told: Vec<&str> =
        near[0]["nodes"].as_array().expect("nodes").iter().filter_map(|n| n["reason"].as_str()).collect();
    assert!(told.iter().any(|reason| reason.starts_with("value mismatch")), "{told:?}");
    let fired = json(&run.run(&["explain", &id(1), "--at", at, "--format", "json"]).exits(0).out());
    assert!(fired["hits"].as_array().is_some_and(|hits| hits.contains(&alert["id"])), "{fired}");

    // After a crash the recording is read up to the last block, which was just written; and an alert is a file.
    live.signal(libc::SIGKILL);
    live.wait();
    let after = json(&run.run(&["hunt", &new, "--format", "json"]).exits(0).out());
    assert_eq!((&after["rules"][0]["hits"], &after["problems"]), (&Value::from(3), &Value::Array(Vec::new())));
    let export = run.run(&["alerts", "export", short]).exits(0).out();
    let whole = json(&export);
    assert_eq!((whole["events"].as_array().map(Vec::len), &whole["rule_changed"]), (Some(1), &Value::from(false)));
    let around = whole["around"].as_array().expect("a list");
    let child = format!("/bin/true child-of-{marker}");
    assert!(around.iter().any(|e| e["EventData"]["ProcInfo"]["CommandLine"] == *child), "{} events", around.len());

    let elsewhere = Run::new();
    let file = elsewhere.write("alert.picket", &export);
    let file = file.to_string_lossy().into_owned();
    let guests = guests().to_string_lossy().into_owned();
    let again = elsewhere.run(&["replay", &file, "--guests", &guests, "--format", "json"]).exits(0);
    assert_eq!(again.alerts()[0]["id"], alert["id"], "{}", again.err());
    assert!(again.err().contains("the same verdict"), "{}", again.err());
    // Other rules, another verdict.
    let other = ["replay", &file, "--guests", &guests, "--rules", &other.to_string_lossy()].map(str::to_owned);
    let other: Vec<&str> = other.iter().map(String::as_str).collect();
    let other = elsewhere.run(&other).exits(1);
    assert!(other.err().contains("another verdict"), "{}", other.err());

    // And a test of its rule.
    let written = run.run(&["alerts", "test", &file]).exits(0).out();
    assert!(written.trim().ends_with(".test.yml"), "{written}");
    let tested = run.run(&["test", "rules"]).exits(0);
    assert!(tested.out().contains("1 passed"), "{}", tested.out());
    assert_eq!(run.run(&["alerts", "test", &file]).code(), 2, "nothing is overwritten");
}

#[test]
fn nothing_recorded_is_said_and_is_no_failure() {
    if !picket_tests::built() {
        return;
    }
    let run = Run::new();
    let file = run.write("rules/a.yml", rule("A", 9, "x"));
    let guests = format!("guests=[\"{}\"]", guests().display());
    let told = run.run(&["hunt", &file.to_string_lossy(), "--set", &guests]).exits(0);
    assert!(told.out().contains("nothing is recorded"), "{}", told.out());
    assert_eq!(run.run(&["hunt", "no such rule", "--set", &guests]).code(), 2);
    assert_eq!(run.run(&["explain", &file.to_string_lossy(), "--at", "25:00", "--set", &guests]).code(), 2);
    assert!(run.run(&["alerts", "ls"]).exits(0).out().is_empty());
    let broken = run.write("broken.picket", "{\"picket_export\":1}");
    assert_eq!(run.run(&["replay", &broken.to_string_lossy(), "--set", &guests]).code(), 3);
}
