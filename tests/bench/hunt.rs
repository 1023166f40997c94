//! What a hunt costs: a day of events, recorded by the recorder, under many rules and under one.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use picket::config::RecorderConfig;
use picket::kind;
use picket::ledger::Ledger;
use picket::offline::Offline;
use picket::recorder;
use picket::reload::Inputs;
use picket::sensor::Input;
use picket::slab::Origin;
use picket_tests::{Run, guests, root};
use serde_json::{Value, json};

use crate::events::generate;

/// Events that are recorded; the day is made of copies of their file.
const RECORDED: usize = 200_000;
const COPIES: usize = 100;

/// Of each ten events two are programs that begin; the rest is what else a host does most.
fn event(i: usize) -> String {
    let process = generate(i);
    let other = |kind: &str, own: Value| {
        let mut fields = json!({
            "kind": kind, "Image": process.image, "CommandLine": process.command, "ParentImage": process.parent,
            "User": process.user,
        });
        if let (Some(fields), Value::Object(own)) = (fields.as_object_mut(), own) {
            fields.extend(own);
        }
        kind::build(fields.as_object().expect("an object")).expect("an event").to_string()
    };
    match i % 10 {
        0 | 5 => process.to_json(i).to_string(),
        1 | 2 | 6 | 7 => other(
            "security_file_open",
            json!({"TargetFilename": format!("/usr/share/data/{}/file{}", i % 97, i % 5003)}),
        ),
        3 => other("security_inode_unlink", json!({"EventData.pathname": format!("/tmp/cc{i}.o")})),
        4 => other("sched_process_exit", json!({})),
        8 => other(
            "security_inode_rename",
            json!({"EventData.old_path": format!("/tmp/a{i}"), "EventData.new_path": format!("/var/lib/b{}", i % 701)}),
        ),
        _ => other(
            "security_socket_connect",
            json!({"DestinationIp": format!("10.0.{}.{}", i % 7, i % 250), "DestinationPort": 443}),
        ),
    }
}

pub fn run(rules: &Path, print: &dyn Fn(Value)) {
    let run = Run::new();
    let state = run.dir.path().join("state");
    std::fs::create_dir_all(&state).expect("a directory");
    record(&state);
    let record = state.join("record");
    let mut files: Vec<_> =
        std::fs::read_dir(&record).expect("a recording").map(|e| e.expect("an entry").path()).collect();
    files.sort();
    let bytes: u64 = files.iter().map(|f| std::fs::metadata(f).expect("a file").len()).sum();
    for copy in 1..COPIES {
        for file in &files {
            // A file is named after the time of its first event: each copy is a day later.
            let first: u64 = file.file_stem().and_then(|s| s.to_str()?.parse().ok()).expect("a time");
            let name = format!("{:020}.rec", first + copy as u64 * 86_400_000_000_000);
            std::fs::hard_link(file, record.join(name)).expect("a link");
        }
    }
    let one = std::fs::read_dir(rules).expect("rules").map(|e| e.expect("an entry").path());
    let one = one.filter(|p| p.extension().is_some_and(|x| x == "yml")).min().expect("a rule");
    let all = [rules.to_path_buf(), root().join("rules")];
    for (name, rules) in [("all", &all[..]), ("one", &[one][..])] {
        let mut command = run.command(&["hunt", "--since", "36500d", "--format", "json"]);
        command.args(rules).args(["--set", &format!("state_dir={}", state.display())]);
        command.args(["--set", &format!("guests=[\"{}\"]", guests().display())]);
        let started = Instant::now();
        let output = command.stderr(Stdio::inherit()).output().expect("the binary runs");
        let wall = started.elapsed().as_secs_f64();
        let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let told = found["rules"].as_array().map_or(0, Vec::len);
        let hits: u64 = found["rules"].as_array().into_iter().flatten().filter_map(|r| r["hits"].as_u64()).sum();
        print(json!({
            "bench": "hunt", "rules": told, "set": name, "recorded": RECORDED * COPIES, "looked_at": found["events"],
            "hits": hits, "wall_s": (wall * 10.0).round() / 10.0,
            "events_per_s": ((RECORDED * COPIES) as f64 / wall).round(),
            "bytes_per_event": (bytes as f64 / RECORDED as f64 * 10.0).round() / 10.0,
        }));
    }
}

/// Records the events with the recorder of a running Picket. They are read from JSON as a replay reads them.
fn record(state: &Path) {
    let mut set = picket::config::Config { guests: vec![guests()], ..Default::default() };
    // What is recorded is not what the rules find: any will do.
    set.rules = vec![root().join("rules/process_shell_network_device.yml")];
    let inputs = Inputs::read(Arc::new(set)).expect("rules and guests");
    let offline = Offline::load(&inputs, false, None).expect("a set");
    let ledger = Arc::new(Ledger::default());
    // The events are of the first of January, and none of them may go.
    let config = RecorderConfig { max_age: "365d".parse().expect("a time"), ..RecorderConfig::default() };
    let (mut recorder, running) =
        recorder::start(state, &config, &Origin::default(), ledger.clone()).expect("a recorder");
    let (flusher, mut slabs) = (running.flusher(), 0);
    offline.run(
        |feeder| {
            for i in 0..RECORDED {
                let text = event(i);
                feeder.add(&Input::Line { number: i as u64 + 1, text: &text }).expect("an event");
            }
        },
        |finished| {
            recorder.pass(&finished.flight);
            slabs += 1;
            // A replay is faster than any host, and the recorder keeps nobody waiting.
            if slabs % 16 == 0 {
                flusher.flush();
            }
        },
    );
    drop(flusher);
    running.finish();
    let r = &ledger.recorder;
    assert_eq!((r.recorded.get(), r.shed.get(), r.failed.get()), (RECORDED as u64, 0, 0));
}
