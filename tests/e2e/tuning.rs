//! Modes, exceptions, value lists and who changed them: the real binary, in a replay and against the real kernel.

use picket_tests::{Live, Run, able, built, exec, guests, one_at_a_time, wait_until};
use serde_json::{Value, json};

fn rule(number: u32, title: &str, needle: &str, level: &str) -> String {
    format!(
        "title: {title}\nid: {}\nstatus: test\ntags: [attack.discovery]\n\
         logsource: {{category: process_creation, product: linux}}\n\
         detection: {{s: {{CommandLine|contains: '{needle}'}}, condition: s}}\nlevel: {level}\n",
        id(number)
    )
}

fn id(number: u32) -> String {
    format!("4a7ecb0f-9f31-4a5c-8b1d-0d5f4e{number:06x}")
}

/// An exec by a process of a tree: its pid, then those of its ancestors.
fn event(tree: &[u32], image: &str, command: &str) -> String {
    let process = |pid: &u32| json!({"pid": pid, "start": 7});
    let ancestors: Vec<Value> = tree[1..].iter().map(process).collect();
    json!({
        "Timestamp": "2026-01-01T00:00:00Z", "EventType": "sched_process_exec",
        "System": {"HostProcessID": tree[0], "HostThreadID": tree[0], "EventName": "sched_process_exec"},
        "EventData": {"pathname": image, "ProcInfo": {"Exe": image, "CommandLine": command}},
        "context": {"process": process(&tree[0]), "ancestors": ancestors},
    })
    .to_string()
}

fn guests_arg() -> String {
    guests().to_string_lossy().into_owned()
}

/// `replay events.ndjson`, rules of low levels being context.
fn replay(run: &Run, more: &[&str]) -> picket_tests::Ran {
    let guests = guests_arg();
    let args = ["replay", "events.ndjson", "--rules", "rules", "--guests", &guests, "--format", "json"];
    let set = ["--set", "tuning.live_from=medium"];
    run.run(&[&args[..], &set, more].concat())
}

fn by_title(alerts: &[Value]) -> Vec<(&str, &str)> {
    alerts.iter().map(|a| (a["title"].as_str().unwrap(), a["rule"]["mode"].as_str().unwrap())).collect()
}

#[test]
fn each_mode_does_with_detections_what_it_says() {
    if !built() {
        return;
    }
    let run = Run::new();
    for (n, title, level) in [(1, "Low", "low"), (2, "High", "high"), (3, "Off", "high"), (4, "Shadow", "critical")] {
        run.write(&format!("rules/{title}.yml"), rule(n, title, &format!("{}-needle", title.to_lowercase()), level));
    }
    let off = format!("[[tune]]\nrule = '{}'\nmode = 'off'\nreason = 'known'\n", id(3));
    let shadow = format!("[[tune]]\nrule = '{}'\nmode = 'shadow'\nreason = 'on trial'\n", id(4));
    run.write("tuning/modes.toml", format!("{off}{shadow}"));
    let lines = [
        event(&[50, 40, 1], "/usr/bin/a", "low-needle 1"),
        event(&[90, 80, 1], "/usr/bin/a", "low-needle elsewhere"),
        event(&[60, 50, 40, 1], "/usr/bin/b", "high-needle off-needle shadow-needle"),
    ];
    run.write("events.ndjson", lines.join("\n"));
    // Who replays sees what matches, and what would become of it.
    let all = replay(&run, &[]).exits(0).alerts();
    let shown = [("Low", "context"), ("Low", "context"), ("High", "live"), ("Shadow", "shadow")];
    assert_eq!(by_title(&all), shown);
    assert!(all.iter().all(|a| a["activity"] == "new" && a["context"].is_null()), "{all:?}");
    // With modes it is as in `run`.
    let alerts = replay(&run, &["--modes"]).exits(0).alerts();
    assert_eq!(by_title(&alerts), [("High", "live")]);
    let context = alerts[0]["context"].as_array().expect("a list");
    assert_eq!(context.len(), 1, "{context:?}");
    assert_eq!(
        (&context[0]["title"], &context[0]["relation"], &context[0]["pid"]),
        (&json!("Low"), &json!("ancestor"), &json!(50))
    );
    assert_eq!(context[0]["id"], all[0]["id"]);
    // Another level is another default.
    run.write(
        "tuning/level.toml",
        "[[tune]]\ntag = 'attack.discovery'\nbelow = 'medium'\nset_level = 'high'\nreason = 'here it matters'\n",
    );
    let alerts = replay(&run, &["--modes"]).exits(0).alerts();
    assert_eq!(by_title(&alerts), [("Low", "live"), ("Low", "live"), ("High", "live")]);
    assert_eq!((&alerts[0]["severity"], &alerts[0]["rule"]["level"]), (&json!("high"), &json!("low")));
}

#[test]
fn a_bad_entry_is_named_with_its_place_and_the_rest_counts() {
    if !built() {
        return;
    }
    let run = Run::new();
    run.write("rules/a.yml", rule(1, "A", "needle", "high"));
    let good = format!("[[tune]]\nrule = '{}'\nmode = 'off'\nreason = 'r'\n", id(1));
    run.write("tuning/modes.toml", format!("[[tune]]\nrule = 'x'\nmode = 'of'\nreason = 'r'\n{good}"));
    run.write("events.ndjson", event(&[50, 1], "/usr/bin/a", "needle"));
    let ran = replay(&run, &[]).exits(2);
    assert_eq!(ran.alerts(), Vec::<Value>::new());
    let said = ran.err();
    assert!(said.contains("modes.toml:3:8") && said.contains("mode = 'of'") && said.contains("\"shadow\""), "{said}");
    // What names nothing, and what has ended, is a warning.
    let over = format!("[[tune]]\nrule = '{}'\nmode = 'off'\nreason = 'r'\nexpires = 2020-01-01\n", id(1));
    run.write("tuning/modes.toml", format!("[[tune]]\npath = 'nowhere'\nmode = 'off'\nreason = 'r'\n{over}"));
    assert_eq!(replay(&run, &[]).exits(0).alerts().len(), 1, "an entry that has expired does nothing");
    let report: Value =
        serde_json::from_str(&run.run(&["validate", "--format", "json", "rules", &guests_arg()]).exits(0).out())
            .expect("JSON");
    let codes: Vec<&str> =
        report["diagnostics"].as_array().unwrap().iter().map(|d| d["code"].as_str().unwrap()).collect();
    assert!(codes.contains(&"tune-nothing") && codes.contains(&"expired"), "{codes:?}");
}

#[test]
fn lists_are_values_of_expand() {
    if !built() {
        return;
    }
    let run = Run::new();
    let text = rule(1, "Admin tool", "needle", "high")
        .replace("CommandLine|contains: 'needle'", "CommandLine|expand: '%tools%'");
    run.write("rules/a.yml", text);
    run.write("events.ndjson", event(&[50, 1], "/usr/bin/a", "nmap -sS"));
    replay(&run, &[]).exits(2);
    run.write("lists/tools.txt", "# what admins do not run\nnmap *\nmasscan *\n");
    assert_eq!(replay(&run, &[]).exits(0).alerts().len(), 1);
    run.write("lists/tools.txt", b"\xffnmap *\nmasscan *\n");
    let ran = replay(&run, &[]).exits(2);
    assert!(ran.err().contains("tools.txt:1:1"), "{}", ran.err());
}

/// A rule on two tools, tested with both.
fn tested_rule(run: &Run) {
    let text = rule(1, "Tool, loud", "needle", "high");
    run.write("rules/tool.yml", text);
    run.write(
        "rules/tool.test.yml",
        "tests:\n- name: by nc\n  expect: match\n  event: {kind: sched_process_exec, Image: /usr/bin/nc, CommandLine: a needle}\n",
    );
}

#[test]
fn an_exception_hides_what_it_is_about_and_nothing_else() {
    if !built() {
        return;
    }
    let run = Run::new();
    tested_rule(&run);
    let benign = event(&[50, 1], "/opt/back up*/tool", "needle of the backup");
    run.write("events.ndjson", format!("{benign}\n{}", event(&[51, 1], "/opt/back upX/tool", "needle of somebody")));
    let before = replay(&run, &[]).exits(0);
    assert_eq!(before.alerts().len(), 2);
    run.write("alert.json", before.out().lines().next().unwrap());
    let except = |on: &str| {
        let set = format!("guests=[\"{}\"]", guests_arg());
        run.run(&[
            "rules",
            "except",
            "alert.json",
            "--on",
            on,
            "--reason",
            "backup",
            "--owner",
            "me",
            "--expires",
            "90d",
            "--format",
            "json",
            "--set",
            &set,
        ])
    };
    let report: Value = serde_json::from_str(&except("Image").exits(0).out()).expect("JSON");
    assert_eq!((&report["on"]["Image"], &report["tests"]["expect_match"]), (&json!("/opt/back up*/tool"), &json!(1)));
    assert_eq!(report["reload"], Value::Null, "nobody runs");
    // A star in a name is a star, and no wildcard.
    let after = replay(&run, &[]).exits(0).alerts();
    let lines: Vec<&str> = after.iter().map(|a| a["process"]["cmdline"].as_str().unwrap()).collect();
    assert_eq!(lines, ["needle of somebody"]);
    // It is tested like everything else.
    let ran = run.run(&["test", "--format", "json", "rules", "tuning", &guests_arg()]).exits(0);
    let tests: Value = serde_json::from_str(&ran.out()).unwrap();
    assert_eq!((tests["verdicts"].as_array().unwrap().len(), &tests["untested"]), (2, &json!([])), "{tests}");
    // The same alert again: there is nothing left to except.
    assert!(except("Image").exits(2).err().contains("does not match this event"));
    // When it has ended, the alerts are back.
    let file = report["files"][0].as_str().unwrap();
    let text = std::fs::read_to_string(file).unwrap();
    let ends = report["expires"].as_str().unwrap();
    std::fs::write(file, text.replace(ends, "2020-01-01")).unwrap();
    assert_eq!(replay(&run, &[]).exits(0).alerts().len(), 2);
}

#[test]
fn an_exception_that_hides_too_much_is_refused() {
    if !built() {
        return;
    }
    let run = Run::new();
    tested_rule(&run);
    run.write("events.ndjson", event(&[50, 1], "/usr/bin/nc", "another needle"));
    run.write("alert.json", replay(&run, &[]).exits(0).out());
    let set = format!("guests=[\"{}\"]", guests_arg());
    for (on, why) in [
        ("Image", "by nc"),
        ("ParentImage", "the event has no `ParentImage`"),
        ("Imag", "`Imag` is no field"),
        ("Image|contains", "is no field"),
    ] {
        let said = run
            .run(&["rules", "except", "alert.json", "--on", on, "--reason", "r", "--owner", "me", "--set", &set])
            .exits(2)
            .err();
        assert!(said.contains(why), "{on}: {said}");
    }
    let none = std::fs::read_dir(run.dir.path().join("tuning")).map_or(0, Iterator::count);
    assert_eq!(none, 0, "nothing was written");
    run.run(&[
        "rules",
        "except",
        "alert.json",
        "--on",
        "Image,CommandLine",
        "--reason",
        "r",
        "--owner",
        "me",
        "--set",
        &set,
    ])
    .exits(0);
    let bad =
        run.run(&["rules", "except", "nothing.json", "--on", "Image", "--reason", "r", "--owner", "me", "--set", &set]);
    assert!(bad.exits(3).err().contains("nothing.json"));
}

#[test]
fn a_rule_set_of_others_is_taken_over_and_nothing_in_it_is_silently_dead() {
    if !built() {
        return;
    }
    let run = Run::new();
    run.write("sigma/rules/good.yml", rule(1, "Good", "needle", "high"));
    run.write("sigma/rules/low.yml", rule(2, "Low", "needle", "low"));
    run.write(
        "sigma/rules/bad.yml",
        rule(3, "Bad", "needle", "high").replace("condition: s", "condition: s and nowhere"),
    );
    let windows = rule(4, "Other", "needle", "high").replace("linux", "windows");
    run.write("sigma/rules/windows.yml", windows);
    run.write("sigma/LICENSE", "some licence");
    run.write("tuning/t.toml", format!("[[tune]]\nrule = '{}'\nmode = 'shadow'\nreason = 'r'\n", id(1)));
    let guests = format!("guests=[\"{}\"]", guests_arg());
    let fetch = || {
        let level = "tuning.live_from=medium";
        let args =
            ["rules", "fetch", "sigma", "--to", "rules/sigma", "--format", "json", "--set", &guests, "--set", level];
        serde_json::from_str::<Value>(&run.run(&args).exits(0).out()).expect("JSON")
    };
    let report = fetch();
    assert_eq!(report["can_fire"], json!({"live": 0, "shadow": 1, "context": 1, "off": 0}));
    assert_eq!((&report["cannot_fire"], &report["silently_dead"]), (&json!({"refused": 1}), &json!([])));
    assert_eq!((&report["origin"]["licences"], &report["configured"]), (&json!(["LICENSE"]), &json!(true)));
    // The next release replaces it, and tuning stays.
    std::fs::remove_file(run.dir.path().join("sigma/rules/bad.yml")).unwrap();
    assert_eq!(fetch()["cannot_fire"], json!({}));
    assert!(!run.dir.path().join("rules/sigma/rules/bad.yml").exists());

    run.write("rules/tested.yml", rule(5, "Tested", "needle", "high"));
    let test = "tests:\n- name: t\n  expect: match\n  event: {kind: sched_process_exec, CommandLine: needle}\n";
    run.write("rules/tested.test.yml", test);
    let stale = run.run(&["rules", "ls", "--stale", "--format", "json", "--set", &guests]).exits(0).out();
    let stale: Value = serde_json::from_str(&stale).expect("JSON");
    let why: Vec<(&Value, &Value)> =
        stale["rules"].as_array().unwrap().iter().map(|r| (&r["title"], &r["stale_because"])).collect();
    let both = json!(["never-hit", "never-tested"]);
    let hit = json!(["never-hit"]);
    assert_eq!(why, [(&json!("Good"), &both), (&json!("Low"), &both), (&json!("Tested"), &hit)]);
}

#[test]
fn a_rule_goes_from_shadow_to_live_and_who_did_it_is_known() {
    if !able() {
        return;
    }
    let _one = one_at_a_time();
    let run = Run::new();
    let marker = format!("tuned-{}", std::process::id());
    run.write("rules/a.yml", rule(1, "Tried", &marker, "high"));
    run.write("rules/b.yml", rule(2, "Steady", &marker, "high"));
    let set = format!("guests=[\"{}\"]", guests_arg());
    let mode = |mode: &str| {
        let args = ["rules", "mode", &id(1), mode, "--reason", "on trial", "--owner", "me", "--expires", "30d"];
        let ran = run.run(&[&args[..], &["--format", "json", "--set", &set]].concat()).exits(0);
        serde_json::from_str::<Value>(&ran.out()).expect("JSON")
    };
    assert_eq!(mode("shadow")["reload"], Value::Null, "nobody runs yet");
    let Some(mut live) = Live::start(&run, &["--rules", "rules", "--guests", &guests_arg(), "--no-deliver"]) else {
        return;
    };
    for _ in 0..3 {
        exec(&marker);
    }
    assert!(wait_until(|| live.alerts(&marker).len() >= 3), "{}", live.talk());
    assert!(live.alerts(&marker).iter().all(|a| a["title"] == "Steady"));
    let detections = || run.status()["ledger"]["detections"].clone();
    assert!(wait_until(|| detections()["shadowed"] == 3), "{}", detections());
    let kept = run.run(&["alerts", "ls", "--format", "json"]).exits(0).alerts();
    let shadow: Vec<&Value> = kept.iter().filter(|a| a["activity"] == "shadow").collect();
    assert_eq!(shadow.len(), 3);
    assert_eq!((&shadow[0]["title"], &shadow[0]["rule"]["mode"]), (&json!("Tried"), &json!("shadow")));

    let promoted = mode("live");
    assert_eq!(
        (&promoted["before"], &promoted["mode"], &promoted["shadow_hits"]),
        (&json!("shadow"), &json!("live"), &json!(3))
    );
    assert_eq!(promoted["reload"]["outcome"], "live");
    exec(&marker);
    assert!(wait_until(|| live.alerts(&marker).len() >= 5), "{}", live.talk());
    assert!(live.alerts(&marker).iter().any(|a| a["title"] == "Tried"));

    let audit = run.run(&["audit", "--format", "json"]).exits(0).alerts();
    let what: Vec<&str> = audit.iter().map(|e| e["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["start", "mode", "reload", "mode"], "{audit:?}");
    let change = &audit[3];
    assert_eq!(change["subject"], format!("rule {}", id(1)));
    assert!(change["before"].as_str().unwrap().starts_with("shadow until"), "{change}");
    assert!(change["after"].as_str().unwrap().starts_with("live until"), "{change}");
    assert_eq!((&change["why"], &change["owner"]), (&json!("on trial"), &json!("me")));
    assert_eq!((&change["files"][0]["uid"], &change["files"][0]["change"]), (&json!(0), &json!("changed")));
    // The file was seen to change by itself, or because of the question: either way it says whose it is.
    if let Some(asker) = change["asked_by"].as_array().and_then(|a| a.first()) {
        assert_eq!(asker["control"]["uid"], 0, "{change}");
    }
    run.run(&["reload", "--wait"]).exits(0);
    live.end(libc::SIGINT);
    assert!(!live.talk().contains("does not balance"), "{}", live.talk());

    // Hits are remembered over the end.
    let again = mode("live");
    assert_eq!((&again["shadow_hits"], &again["reload"]), (&json!(3), &Value::Null));
}
