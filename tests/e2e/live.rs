//! The real kernel: events of the model's exact shape, replay equal to live, the flood, reload under load, the outage.
//! Every test looks only at processes it started itself, told apart by a marker.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use picket_tests::{Live, Run, able, exec, guests, one_at_a_time, root, test_guest, wait_until};
use serde_json::Value;

fn rule(number: u32, title: &str, needle: &str) -> String {
    format!(
        "title: {title}\nid: 4a7ecb0f-9f31-4a5c-8b1d-0d5f4d{number:06x}\nlogsource: {{category: process_creation, product: linux}}\n\
         detection: {{s: {{CommandLine|contains: '{needle}'}}, condition: s}}\nlevel: low\n"
    )
}

fn guests_arg() -> String {
    guests().to_string_lossy().into_owned()
}

/// Types and order of the keys of an object; values that the kernel may not know may be null.
fn shape(value: &Value) -> Vec<(String, &'static str)> {
    let name = |v: &Value| match v {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    value.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), name(v))).collect()
}

/// Every key of the sample is there, in the sample's order, with its type (or null); extra keys are allowed.
fn assert_shape(kind: &str, path: &str, sample: &Value, event: &Value) {
    let (wanted, got) = (shape(sample), shape(event));
    let order: Vec<&String> = got.iter().map(|(k, _)| k).filter(|k| wanted.iter().any(|(w, _)| w == *k)).collect();
    let wanted_order: Vec<&String> = wanted.iter().map(|(k, _)| k).collect();
    if path.ends_with("ProcInfo") {
        // The samples themselves disagree about the order and number of these keys: all are there.
        assert_eq!(order.iter().collect::<BTreeSet<_>>(), wanted_order.iter().collect(), "{kind} {path}");
    } else {
        assert_eq!(order, wanted_order, "{kind} {path}");
    }
    let types: BTreeMap<_, _> = got.into_iter().collect();
    for (key, ty) in &wanted {
        let found = types[key];
        // The seed's fallback shows a number where the user's name is not known.
        let same = found == *ty || found == "null" || *ty == "null" || key == "Username";
        assert!(same, "{kind} {path}.{key} is {found}, not {ty}");
        if *ty == "object" {
            assert_shape(kind, &format!("{path}.{key}"), &sample[key], &event[key]);
        }
    }
}

#[test]
fn live_events_have_the_models_shape_and_a_replay_makes_the_same_alerts() {
    if !able() {
        return;
    }
    let _one = one_at_a_time();
    let run = Run::new();
    let marker = format!("shape-{}", std::process::id());
    run.write("rules/exec.yml", rule(1, "Exec", &marker));
    run.write(
        "rules/rest.yml",
        format!(
            "title: Rest\nid: 4a7ecb0f-9f31-4a5c-8b1d-0d5f4d0000aa\nlogsource: {{category: ebpf, product: linux}}\n\
             detection: {{s: {{CurrentDirectory|contains: '{marker}'}}, condition: s}}\nlevel: low\n"
        ),
    );
    let Some(mut live) = Live::start(&run, &["--rules", "rules", "--guests", &guests_arg(), "--no-deliver"]) else {
        return;
    };
    let capture = run.dir.path().join("capture.ndjson");
    let mut recording = run.command(&["capture", &capture.to_string_lossy()]).spawn().expect("the binary runs");
    assert!(wait_until(|| capture.exists()));
    let place = run.dir.path().join(&marker);
    std::fs::create_dir(&place).unwrap();
    let script = format!(
        "import os,socket\nopen('file','w').close()\nos.unlink('file')\n\
         s=socket.socket(); s.bind(('127.0.0.1',0)); s.listen()\nc=socket.socket(); c.connect(s.getsockname())\n\
         import subprocess\nos.mkdir('m'); open('m/f','w').close()\nos.kill(os.getpid(), 0)\n\
         os.chown('f', 0, 0, dir_fd=os.open('m', os.O_RDONLY))\n\
         subprocess.run(['unshare','-m','mount','-t','tmpfs','none','m'], check=True)\n# {marker}"
    );
    let done = Command::new("python3").args(["-c", &script]).current_dir(&place).status().expect("python3 runs");
    assert!(done.success());
    let wanted = [
        "sched_process_exec",
        "security_file_open",
        "security_socket_connect",
        "security_socket_bind",
        "security_inode_unlink",
        "kill",
        "fchownat",
        "mount",
    ];
    let kinds = |alerts: &[Value]| -> BTreeSet<String> {
        alerts.iter().map(|a| a["event"]["EventType"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert!(
        wait_until(|| wanted.iter().all(|k| kinds(&live.alerts(&marker)).contains(*k))),
        "only {:?}\n{}",
        kinds(&live.alerts(&marker)),
        live.talk()
    );
    // SAFETY: kill(2) with the pid of our own child that was not waited for yet.
    unsafe { libc::kill(recording.id() as i32, libc::SIGINT) };
    assert!(recording.wait().unwrap().success());
    live.end(libc::SIGINT);
    let alerts = live.alerts(&marker);
    let samples = std::fs::read_to_string(root().join("tests/seed/samples.ndjson")).unwrap();
    for sample in samples.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()) {
        let kind = sample["EventType"].as_str().unwrap();
        if !wanted.contains(&kind) {
            continue;
        }
        for alert in alerts.iter().filter(|a| a["event"]["EventType"] == kind) {
            let mut sample = sample.clone();
            if alert["event"]["EventData"]["remote_addr"]["sa_family"] == "AF_UNIX" {
                sample["EventData"]["remote_addr"] = serde_json::json!({"sa_family": "AF_UNIX", "sun_path": ""});
            }
            assert_shape(kind, "", &sample, &alert["event"]);
        }
    }
    // Replay equals live: the same ids for every event the capture holds, at any batch size.
    let captured = std::fs::read_to_string(&capture).unwrap();
    let held: BTreeSet<&str> = captured.lines().collect();
    let ids = |alerts: &[Value]| alerts.iter().map(|a| a["id"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>();
    let live_ids: BTreeSet<String> = ids(&alerts
        .iter()
        .filter(|a| held.contains(serde_json::to_string(&a["event"]).unwrap().as_str()))
        .cloned()
        .collect::<Vec<_>>());
    assert!(live_ids.len() >= wanted.len(), "{} of {} alerts are in the capture", live_ids.len(), alerts.len());
    for (rows, replicas) in [("1", "1"), ("7", "1"), ("256", "1"), ("7", "2"), ("256", "2")] {
        let (rows, replicas) = (format!("dispatch.rows={rows}"), format!("dispatch.replicas={replicas}"));
        let rules = run.dir.path().join("rules");
        let replayed = run.replay(&capture, &rules, &["--set", &rows, "--set", &replicas]).exits(0).alerts();
        let replayed: Vec<Value> = replayed.into_iter().filter(|a| a.to_string().contains(&marker)).collect();
        assert_eq!(ids(&replayed), live_ids, "{rows} {replicas}");
    }
}

#[test]
fn a_flood_of_opens_costs_no_exec_fork_or_exit() {
    if !able() {
        return;
    }
    let _one = one_at_a_time();
    let run = Run::new();
    let marker = format!("flood-{}", std::process::id());
    run.write("rules/exec.yml", rule(2, "Exec", &marker));
    run.write(
        "rules/opens.yml",
        "title: Opens\nid: 4a7ecb0f-9f31-4a5c-8b1d-0d5f4d0000ab\nlogsource: {category: ebpf, product: linux}\n\
         detection: {s: {EventData.pathname|re: '(a|b|ab)*never(c|d)+$'}, condition: s}\nlevel: low\n",
    );
    run.write(
        "rules/lost.yml",
        "title: Opens were lost\nid: 4a7ecb0f-9f31-4a5c-8b1d-0d5f4d0000ac\nlogsource: {category: ebpf, product: linux}\n\
         detection: {s: {EventName: loss, EventData.lost: security_file_open}, condition: s}\nlevel: medium\n",
    );
    // A small ring and the shortest queue: the flood has to be shed somewhere.
    let args = [
        "--rules",
        "rules",
        "--guests",
        &guests_arg(),
        "--no-deliver",
        "--set",
        "sensor.ring_bytes=1MiB",
        "--set",
        "dispatch.queue=1",
        // With them, the kernel side would leave out what no rule can match: all of the flood.
        "--set",
        "collect.path_filters=false",
    ];
    let Some(mut live) = Live::start(&run, &args) else { return };
    let stop = Arc::new(AtomicBool::new(false));
    let opened = Arc::new(AtomicU64::new(0));
    let place: PathBuf = run.dir.path().join("opened");
    std::fs::write(&place, "").unwrap();
    let flood = {
        let (stop, opened) = (stop.clone(), opened.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..1000 {
                    drop(std::fs::File::open(&place));
                }
                opened.fetch_add(1000, Ordering::Relaxed);
            }
        })
    };
    let execs = 500;
    for i in 0..execs {
        exec(&format!("{marker} {i}"));
    }
    assert!(wait_until(|| opened.load(Ordering::Relaxed) >= 300_000));
    stop.store(true, Ordering::Relaxed);
    flood.join().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let status = run.status();
    for kind in ["sched_process_exec", "sched_process_fork", "sched_process_exit"] {
        assert_eq!(dropped(&status, kind), 0, "{kind} was lost");
    }
    let opens = of_kind(&status, "security_file_open");
    // Every open of the generator was seen by the kernel side: submitted, or counted as dropped.
    let seen = opens["run"].as_u64().unwrap();
    assert!(seen >= opened.load(Ordering::Relaxed), "{seen} of {} opens", opened.load(Ordering::Relaxed));
    let shed: u64 = status["ledger"]["guests"].as_object().unwrap().values().map(|g| g["shed"].as_u64().unwrap()).sum();
    eprintln!(
        "flood: {} opens by the generator, {seen} seen, {} dropped in the kernel, {shed} rows shed, 0 exec/fork/exit lost",
        opened.load(Ordering::Relaxed),
        dropped(&status, "security_file_open")
    );
    assert!(dropped(&status, "security_file_open") + shed > 0, "the flood was no flood: {status}");

    // What a reader that stands still loses is an event like others: a rule finds it, with the count of the status.
    let lost = |alerts: &[Value]| -> u64 {
        alerts.iter().map(|a| a["event"]["EventData"]["count"].as_u64().expect("a count")).sum()
    };
    live.signal(libc::SIGSTOP);
    for _ in 0..50_000 {
        drop(std::fs::File::open(run.dir.path().join("opened")));
    }
    live.signal(libc::SIGCONT);
    let dropped_now = || dropped(&run.status(), "security_file_open");
    assert!(
        wait_until(|| {
            let told = lost(&live.alerts("Opens were lost"));
            told > 40_000 && told == dropped_now()
        }),
        "{} of {} lost opens are in loss events",
        lost(&live.alerts("Opens were lost")),
        dropped_now()
    );
    live.end(libc::SIGINT);
    assert!(!live.talk().contains("does not balance"), "{}", live.talk());
}

/// What a status says of a kind.
fn of_kind<'s>(status: &'s Value, kind: &str) -> &'s Value {
    status["sensor"]["kinds"].as_array().unwrap().iter().find(|k| k["kind"] == kind).unwrap()
}

/// Events of a kind that the kernel side lost, for whatever reason.
fn dropped(status: &Value, kind: &str) -> u64 {
    of_kind(status, kind)["dropped"].as_object().unwrap().values().filter_map(Value::as_u64).sum()
}

/// Execs with the marker and a number, about 300 a second, until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<u64>,
}

impl Load {
    fn start(marker: &str) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, marker) = (stop.clone(), marker.to_owned());
        let thread = std::thread::spawn(move || {
            let mut count = 0;
            while !stopped.load(Ordering::Relaxed) {
                exec(&format!("{marker} n{count}."));
                count += 1;
            }
            count
        });
        Load { stop, thread }
    }

    fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Of every alert with the marker: the rule's title and the number of the exec. Read once: a long run prints many.
fn numbers(live: &Live, marker: &str) -> BTreeMap<String, Vec<u64>> {
    let mut found: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for line in live.printed().iter().filter(|l| l.contains(marker)) {
        let alert: Value = serde_json::from_str(line).expect("JSON");
        let number: Option<u64> =
            alert["process"]["cmdline"].as_str().and_then(|c| c.rsplit_once(" n")?.1.strip_suffix('.')?.parse().ok());
        let title = alert["rule"]["title"].as_str().unwrap_or_default().to_owned();
        found.entry(title).or_default().extend(number);
    }
    found
}

fn generation(run: &Run) -> u64 {
    run.status()["generation"]["number"].as_u64().unwrap()
}

/// How often each way of editing is tried; the published run uses more.
fn rounds() -> usize {
    std::env::var("PICKET_EDITS").ok().and_then(|n| n.parse().ok()).unwrap_or(8)
}

#[test]
fn reload_under_load_loses_no_event_and_never_shows_half_a_set() {
    if !able() {
        return;
    }
    let _one = one_at_a_time();
    let run = Run::new();
    let marker = format!("reload-{}", std::process::id());
    run.write("rules/fixed.yml", rule(3, "Fixed", &marker));
    let edited = run.write("rules/edited.yml", rule(4, "Edited 0", &marker));
    let sets = run.dir.path().join("sets");
    let set = |version: usize| {
        // Two files that belong together: both of one version, or the set is a partial one.
        for part in ["a", "b"] {
            run.write(
                &format!("sets/v{version}/{part}.yml"),
                rule(16 + u32::from(part == "b"), &format!("Set {part} v{version}"), &marker),
            );
        }
    };
    set(0);
    std::os::unix::fs::symlink(sets.join("v0"), run.dir.path().join("rules/current")).unwrap();
    let args = [
        "--rules",
        "rules",
        "--guests",
        &guests_arg(),
        "--no-deliver",
        "--set",
        "reload.settle=100ms",
        "--set",
        "reload.max_shrink=1.0",
    ];
    let Some(mut live) = Live::start(&run, &args) else { return };
    let load = Load::start(&marker);
    for round in 1..=rounds() {
        let before = generation(&run);
        match round % 4 {
            0 => std::fs::write(&edited, rule(4, &format!("Edited {round}"), &marker)).unwrap(),
            1 => {
                let aside = run.write("aside.yml", rule(4, &format!("Edited {round}"), &marker));
                std::fs::rename(aside, &edited).unwrap();
            }
            2 => {
                set(round);
                let link = run.dir.path().join("next");
                std::os::unix::fs::symlink(sets.join(format!("v{round}")), &link).unwrap();
                std::fs::rename(&link, run.dir.path().join("rules/current")).unwrap();
            }
            _ => {
                for i in 0..500 {
                    run.write(&format!("rules/bulk/{i}.yml"), rule(0x1000 + i, &format!("Bulk {round}"), "never-seen"));
                    if i % 50 == 0 {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
            }
        }
        assert!(wait_until(|| generation(&run) > before), "round {round} is never live:\n{}", live.talk());
        if round % 4 == 3 {
            let rules = run.status()["generation"]["rules"].as_u64().unwrap();
            assert_eq!(rules, 4 + 500, "a partial set is live");
        }
        std::thread::sleep(Duration::from_millis(if rounds() > 8 { 2000 } else { 100 }));
    }
    // A broken rule keeps its own last good version, and is named.
    let before = generation(&run);
    std::fs::write(&edited, "title: Broken\ndetection: [").unwrap();
    assert!(wait_until(|| generation(&run) > before));
    let stale = run.status()["generation"]["stale"].clone();
    assert_eq!(stale.as_array().map(Vec::len), Some(1), "{stale}");
    assert!(stale[0]["file"].as_str().unwrap().ends_with("edited.yml") && !stale[0]["live"].is_null(), "{stale}");
    assert!(live.talk().contains("edited.yml"), "{}", live.talk());
    std::thread::sleep(Duration::from_millis(500));
    let execs = load.finish();
    std::thread::sleep(Duration::from_secs(1));
    live.end(libc::SIGINT);
    let all: Vec<u64> = (0..execs).collect();
    let found = numbers(&live, &marker);
    let sorted = |title: &str| {
        let mut seen: Vec<u64> =
            found.iter().filter(|(t, _)| t.starts_with(title)).flat_map(|(_, n)| n.iter().copied()).collect();
        seen.sort_unstable();
        seen
    };
    eprintln!("reload: {} rounds under {execs} execs", rounds());
    assert!(sorted("Fixed") == all, "an exec was missed or seen twice by the rule that never changed");
    assert!(sorted("Edited") == all, "an exec was missed or seen twice by the rule that was edited");
    assert!(sorted("Set a") == all && sorted("Set b") == all, "an exec was missed or seen twice by a set");
    // Each exec was seen by both halves of the same version.
    let mut versions: BTreeMap<u64, BTreeSet<&str>> = BTreeMap::new();
    for (title, seen) in &found {
        if let Some((_, version)) = title.strip_prefix("Set ").and_then(|t| t.split_once(' ')) {
            for n in seen {
                versions.entry(*n).or_default().insert(version);
            }
        }
    }
    assert!(versions.values().all(|v| v.len() == 1), "a partial set was live");
    assert!(!live.talk().contains("does not balance"), "{}", live.talk());
}

#[test]
fn a_new_guest_that_traps_is_answered_for_by_the_old_one() {
    if !able() {
        return;
    }
    let (good, bad) = (test_guest("poison"), test_guest("trap"));
    if !good.is_file() || !bad.is_file() {
        eprintln!("skipped: {} is not built: cargo xtask build --test-guests", good.display());
        return;
    }
    let _one = one_at_a_time();
    let run = Run::new();
    let place = run.dir.path().join("g");
    std::fs::create_dir(&place).unwrap();
    let copy = |from: &Path| {
        let aside = run.dir.path().join("aside.wasm");
        std::fs::copy(from, &aside).unwrap();
        std::fs::rename(&aside, place.join("det.wasm")).unwrap();
    };
    copy(&good);
    let args = ["--guests", "g", "--set", "rules=[]", "--no-deliver", "--set", "reload.settle=100ms"];
    let Some(mut live) = Live::start(&run, &args) else { return };
    let marker = format!("swap-{}-needle", std::process::id());
    let load = Load::start(&marker);
    let live_digest = || run.status()["generation"]["guests"][0]["digest"].as_str().unwrap_or_default().to_owned();
    let first = live_digest();
    copy(&bad);
    assert!(
        wait_until(|| run.status()["generation"]["rollbacks"].as_u64() == Some(1)),
        "it is never rolled back:\n{}",
        live.talk()
    );
    assert_eq!(live_digest(), first, "the old version is live again");
    assert!(
        run.status()["generation"]["stale"].to_string().contains("trapped on rows that the version before handled")
    );
    std::thread::sleep(Duration::from_millis(300));
    // And a good replacement is taken: the same component under another config is another version.
    let execs = load.finish();
    std::thread::sleep(Duration::from_secs(1));
    live.end(libc::SIGINT);
    let mut seen: Vec<u64> = numbers(&live, &marker).into_values().flatten().collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, (0..execs).collect::<Vec<u64>>(), "a detection was missed:\n{}", live.talk());
}

/// The receiver written with somebody else's verifier; `None` (and the reason) where it cannot run.
fn receiver(run: &Run, port: u16, secret: &Path) -> Option<std::process::Child> {
    let python = picket_tests::target().join("receivers-venv/bin/python");
    if !python.is_file() {
        eprintln!("skipped: {} is not there: the test deliver_webhook makes it", python.display());
        return None;
    }
    let child = Command::new(python)
        .arg(root().join("tests/receivers/standard_webhooks.py"))
        .args(["--port", &port.to_string(), "--secret", std::fs::read_to_string(secret).expect("a secret").trim()])
        .arg("--log")
        .arg(run.dir.path().join("received.ndjson"))
        .spawn()
        .expect("python runs");
    Some(child)
}

#[test]
fn every_printed_alert_reaches_the_receiver_over_an_outage_and_a_crash() {
    if !able() {
        return;
    }
    let _one = one_at_a_time();
    let run = Run::new();
    let marker = format!("outage-{}", std::process::id());
    run.write("rules/exec.yml", rule(5, "Exec", &marker));
    let secret = run.write("secret", "whsec_c2l4dGVlbiBieXRlcyBhdCBsZWFzdCwgdHdlbnR5LWZvdXI=\n");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    run.write(
        "picket.toml",
        format!(
            "rules = [\"rules\"]\nguests = [\"{}\"]\n[endpoint.soar]\nurl = \"http://127.0.0.1:{port}/hook\"\nsecret_file = \"{}\"\n",
            guests_arg(),
            secret.display()
        ),
    );
    let Some(mut live) = Live::start(&run, &[]) else { return };
    // The receiver is down. Alerts are made, and Picket is killed in the middle of them.
    let load = Load::start(&marker);
    assert!(wait_until(|| live.alerts(&marker).len() >= 60), "{}", live.talk());
    live.end(libc::SIGKILL);
    load.finish();
    let mut printed: BTreeSet<String> =
        live.alerts(&marker).iter().map(|a| a["id"].as_str().unwrap().to_owned()).collect();
    let Some(mut live) = Live::start(&run, &[]) else { return };
    for i in 0..10 {
        exec(&format!("{marker} again {i}"));
    }
    assert!(wait_until(|| live.alerts("again").len() >= 10), "{}", live.talk());
    printed.extend(live.alerts(&marker).iter().map(|a| a["id"].as_str().unwrap().to_owned()));
    let Some(mut receiver) = receiver(&run, port, &secret) else { return };
    let log = run.dir.path().join("received.ndjson");
    let received = || -> Vec<Value> {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect()
    };
    let ids = || received().iter().filter_map(|r| r["id"].as_str().map(str::to_owned)).collect::<BTreeSet<_>>();
    assert!(wait_until(|| printed.is_subset(&ids())), "{} of {}:\n{}", ids().len(), printed.len(), live.talk());
    live.end(libc::SIGTERM);
    receiver.kill().unwrap();
    receiver.wait().unwrap();
    let mut bodies: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for r in received() {
        assert_eq!(r["ok"], true, "a signature was not verified: {r}");
        bodies.entry(r["id"].to_string()).or_default().insert(r["sha256"].to_string());
    }
    assert!(bodies.values().all(|b| b.len() == 1), "a repeat has another body");
    eprintln!("outage: {} ids printed, {} received, every signature verified", printed.len(), bodies.len());
}
