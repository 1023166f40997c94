//! SigmaHQ's auditd rules on audit records that no audit daemon made: which can fire, that the page says so, and that the
//! records of a replay are those of the live run.
//!
//! `auditd.yml` has an event for each rule, or why there is none. The table of `docs/auditd.md` is made from what happens
//! here; `PICKET_WRITE_DOCS=1` writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use picket::kind::KindId;
use picket_tests::{Live, Run, built, corpus, guests, is_root, root, wait_until};
use serde::Deserialize;
use serde_json::{Value, json};

const SETTINGS: [&str; 2] = ["changes", "every-open"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    rules: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    rule: String,
    exec: Option<Vec<String>>,
    path: Option<String>,
    euid: Option<u32>,
    write: Option<String>,
    create: Option<String>,
    read: Option<String>,
    #[serde(rename = "as")]
    passed: Option<String>,
    kind: Option<String>,
    data: Option<Value>,
    cannot: Option<String>,
    part: Option<String>,
}

impl Case {
    /// Kind and arguments of its event.
    fn event(&self) -> Option<(&str, Value)> {
        let open = |path: &String, flags: u32, created: bool| {
            let data = json!({"pathname": path, "flags": flags, "created": created, "syscall_pathname": self.passed});
            ("security_file_open", data)
        };
        if let Some(argv) = &self.exec {
            let path = self.path.clone().unwrap_or_else(|| format!("/usr/bin/{}", argv[0]));
            return Some(("sched_process_exec", json!({"pathname": path, "cmdpath": path, "argv": argv, "pwd": "/"})));
        }
        let opened = self.write.as_ref().map(|p| open(p, 0o1, false));
        let opened = opened.or_else(|| self.create.as_ref().map(|p| open(p, 0o101, true)));
        let opened = opened.or_else(|| self.read.as_ref().map(|p| open(p, 0, false)));
        opened.or_else(|| Some((self.kind.as_deref()?, self.data.clone()?)))
    }

    /// Its event in the model's shape; `number` is its process.
    fn line(&self, number: usize) -> Option<String> {
        let (kind, mut data) = self.event()?;
        let exe = data["argv"].is_array().then(|| data["pathname"].clone());
        let comm = self.exec.as_ref().map_or("sh", |argv| argv[0].rsplit('/').next().unwrap_or_default());
        let pid = 1000 + number;
        data["ProcInfo"] = json!({"Name": comm, "Exe": exe.unwrap_or("/usr/bin/dash".into()), "Username": "root"});
        let event = json!({
            "Timestamp": "2026-01-01T00:00:00Z", "EventType": kind,
            "System": {"Timestamp": format!("2026-01-01T00:00:00.{number:09}Z"), "EventName": kind, "ProcessName": comm,
                "HostProcessID": pid, "HostThreadID": pid, "ProcessID": pid, "ThreadID": pid,
                "UserID": 0, "EffectiveUserID": self.euid.unwrap_or(0)},
            "EventData": data,
        });
        Some(event.to_string())
    }
}

fn cases() -> Vec<Case> {
    let path = root().join("tests/e2e/auditd.yml");
    let text = std::fs::read_to_string(path).expect("the cases");
    let Cases { rules } = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("auditd.yml: {e}"));
    rules
}

/// The corpus and the product, or why there is nothing to do.
fn ready() -> Option<PathBuf> {
    let rules = corpus().map(|c| c.join("auditd")).filter(|c| c.is_dir());
    if rules.is_none() {
        eprintln!("skipped: the corpus is not here");
    }
    rules.filter(|_| built())
}

/// Name and id of every rule of the corpus.
fn rules(below: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(below).expect("a directory").flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() {
            found.extend(rules(&path));
        } else if path.extension().is_some_and(|e| e == "yml") {
            let text = std::fs::read_to_string(&path).expect("text");
            let id = text.lines().find_map(|l| l.strip_prefix("id: ")).expect("a rule has an id").trim();
            found.insert(name, id.to_owned());
        }
    }
    found
}

fn setting(value: &str) -> String {
    format!("auditd={value}")
}

/// The first alert of each rule about its own event, by the file name of the rule.
fn fired(alerts: &[Value], cases: &[Case], ids: &BTreeMap<String, String>) -> BTreeMap<String, Value> {
    let own = |(number, case): (usize, &Case)| {
        let alert = alerts.iter().find(|a| {
            a["rule"]["id"] == ids[&case.rule].as_str() && a["event"]["System"]["HostProcessID"] == 1000 + number
        });
        Some((case.rule.clone(), alert?.clone()))
    };
    cases.iter().enumerate().filter_map(own).collect()
}

/// The table of the page.
fn table(cases: &[Case], seen: &[BTreeMap<String, Value>; 2]) -> String {
    let mut rows = String::from("| rule | fires | on | remark |\n|---|---|---|---|\n");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for case in cases {
        let [changes, every] = seen.each_ref().map(|s| s.get(&case.rule));
        let name = case.rule.trim_start_matches("lnx_auditd_").trim_end_matches(".yml");
        let missing = case.event().map(|(kind, _)| kind).filter(|kind| KindId::by_name(kind).is_none());
        let (fires, alert) = match (changes, every) {
            (Some(alert), _) => ("yes", Some(alert)),
            (None, Some(alert)) => ("with `every-open`", Some(alert)),
            (None, None) => ("no", None),
        };
        *counts.entry(fires).or_default() += 1;
        let on = alert.map_or_else(String::new, |a| {
            let (record, from) = (&a["event"]["EventData"]["type"], &a["event"]["context"]["derived_from"]);
            format!("{} of `{}`", record.as_str().unwrap_or_default(), from.as_str().unwrap_or_default())
        });
        let remark = match (&case.cannot, missing) {
            (Some(why), _) => why.clone(),
            (None, Some(kind)) => format!("this build has no `{kind}`"),
            (None, None) => case.part.clone().unwrap_or_default(),
        };
        writeln!(rows, "| {name} | {fires} | {on} | {remark} |").expect("writing to a string");
    }
    let counts: Vec<String> = counts.iter().map(|(what, count)| format!("{what}: {count}")).collect();
    format!("{} rules; {}.\n\n{rows}", cases.len(), counts.join(", "))
}

#[test]
fn every_rule_has_an_event_or_a_reason() {
    let Some(below) = ready() else { return };
    let (cases, rules) = (cases(), rules(&below));
    let named: BTreeSet<&String> = cases.iter().map(|c| &c.rule).collect();
    assert_eq!(named, rules.keys().collect());
    assert_eq!(named.len(), cases.len(), "a rule twice");
    for case in &cases {
        assert!(case.event().is_some() != case.cannot.is_some(), "{}: an event, or why there is none", case.rule);
    }
}

#[test]
fn the_page_says_what_fires() {
    let Some(below) = ready() else { return };
    let (cases, ids) = (cases(), rules(&below));
    let run = Run::new();
    let lines: String = cases.iter().enumerate().filter_map(|(i, c)| Some(c.line(i)? + "\n")).collect();
    let file = run.write("events.ndjson", lines);
    let seen = SETTINGS.map(|value| {
        let set = setting(value);
        fired(&run.replay(&file, &below, &["--set", &set]).exits(0).alerts(), &cases, &ids)
    });
    for case in &cases {
        let known = case.event().is_some_and(|(kind, _)| KindId::by_name(kind).is_some());
        assert_eq!(seen[1].contains_key(&case.rule), known, "{} fires exactly when its event is known", case.rule);
    }
    let (from, to) = ("<!-- made by tests/e2e/auditd.rs -->\n\n", "\n<!-- end -->");
    let page = root().join("docs/auditd.md");
    let text = std::fs::read_to_string(&page).expect("the page");
    let at = text.find(from).expect("the table begins") + from.len();
    let end = text.find(to).expect("the table ends");
    let made = table(&cases, &seen);
    if std::env::var_os("PICKET_WRITE_DOCS").is_some() {
        std::fs::write(&page, [&text[..at], &made, &text[end..]].concat()).expect("the page can be written");
    } else {
        assert_eq!(&text[at..end], made, "docs/auditd.md is out of date: run this test with PICKET_WRITE_DOCS=1");
    }
}

#[test]
fn without_the_stream_nothing_fires_and_each_rule_is_told_so() {
    let Some(below) = ready() else { return };
    let (cases, ids) = (cases(), rules(&below));
    let run = Run::new();
    let lines: String = cases.iter().enumerate().filter_map(|(i, c)| Some(c.line(i)? + "\n")).collect();
    let file = run.write("events.ndjson", lines);
    let off = run.replay(&file, &below, &[]).exits(0);
    assert!(off.alerts().is_empty() && off.err().contains("the auditd stream is off"), "{}", off.err());
    let (rules, guests) = (below.to_string_lossy(), guests());
    let said = run.run(&["validate", &rules, &guests.to_string_lossy(), "--format", "json"]).exits(0).out();
    let said: Value = serde_json::from_str(&said).expect("JSON");
    let diagnostics = said["diagnostics"].as_array().expect("a list");
    let coded = |code: &str| diagnostics.iter().filter(|d| d["code"] == code).cloned().collect::<Vec<_>>();
    let [off] = coded("stream-off").try_into().expect("said once");
    assert!(off["message"].as_str().is_some_and(|m| m.contains("auditd = \"changes\"")), "{off}");
    let told: BTreeSet<String> = coded("source-not-fed")
        .iter()
        .filter(|d| d["help"].as_str().is_some_and(|h| h.contains("the auditd stream is off: set")))
        .filter_map(|d| Some(d["file"].as_str()?.rsplit('/').next()?.to_owned()))
        .collect();
    assert_eq!(told, ids.into_keys().collect());
}

#[test]
fn records_reach_only_who_asks_for_them() {
    if !built() {
        return;
    }
    let run = Run::new();
    let rule = |n: u32, source: &str| {
        format!(
            "title: R{n}\nid: 4a7ecb0f-9f31-4a5c-8b1d-0d5f4dfe1{n:03}\nlogsource: {{{source}}}\n\
             detection: {{s: {{System.HostProcessID: 1000}}, condition: s}}\nlevel: low\n"
        )
    };
    let sources = [
        "product: linux, service: auditd",
        "service: AuditD",
        "product: linux",
        "product: linux, category: ebpf",
        "product: linux, category: process_creation",
        "product: linux, service: syslog",
        "product: linux, category: process_creation, service: auditd",
        "product: windows, service: auditd",
    ];
    for (n, source) in (0..).zip(sources) {
        run.write(&format!("rules/{n}.yml"), rule(n, source));
    }
    let case = Case { exec: Some(vec!["x".to_owned(), "-y".to_owned()]), ..cases().remove(0) };
    let file = run.write("events.ndjson", case.line(0).expect("an event"));
    let rules = run.dir.path().join("rules");
    let alerts = run.replay(&file, &rules, &["--set", &setting("changes")]).exits(0).alerts();
    let mut seen: Vec<(&str, &str)> = alerts
        .iter()
        .map(|a| (a["title"].as_str().unwrap_or_default(), a["event"]["EventType"].as_str().unwrap_or_default()))
        .collect();
    seen.sort_unstable();
    // Several records of one event are one alert of a rule.
    let event = "sched_process_exec";
    assert_eq!(seen, [("R0", "auditd"), ("R1", "auditd"), ("R2", event), ("R3", event), ("R4", event)]);
    let own = &alerts.iter().find(|a| a["title"] == "R0").expect("it fired")["event"];
    assert_eq!(own["context"]["derived_from"], event);
}

/// One program start as an event of its own.
fn program(argv: &[&str]) -> String {
    let argv = argv.iter().map(|a| (*a).to_owned()).collect();
    Case { exec: Some(argv), ..cases().remove(0) }.line(0).expect("an event")
}

const LISTER: &str = "title: Lister\nid: 4a7ecb0f-9f31-4a5c-8b1d-0d5f4dfe3000\nlogsource: {product: linux, service: auditd}\n\
    detection: {s: {type: EXECVE, a0: lister, a1|startswith: '-'}, condition: s}\nlevel: low\n";

#[test]
fn rules_for_records_are_tested_and_explained_by_events() {
    if !built() {
        return;
    }
    let run = Run::new();
    let config = run.write("picket.toml", "auditd = \"changes\"\n").to_string_lossy().into_owned();
    let rule = run.write("rules/lister.yml", LISTER).to_string_lossy().into_owned();
    let (here, not) = (program(&["lister", "-l"]), program(&["lister", "l"]));
    run.write(
        "rules/lister.test.yml",
        format!(
            "tests:\n- {{name: other, expect: no-match, ndjson: '{not}'}}\n- {{name: a start, expect: match, ndjson: '{here}'}}\n\
             - {{name: the record, expect: match, event: {{kind: auditd, type: EXECVE, a0: lister, a1: -x}}}}\n\
             - {{name: another, expect: no-match, event: {{kind: auditd, type: EXECVE, a0: lister, a1: x}}}}\n"
        ),
    );
    let guests = guests().to_string_lossy().into_owned();
    run.run(&["--config", &config, "test", "rules", &guests]).exits(0);
    let explained = |event: &str| {
        let event = run.write("event.json", event).to_string_lossy().into_owned();
        let ran = run.run(&["--config", &config, "explain", &rule, &event, "--format", "json"]).exits(0);
        serde_json::from_str::<Value>(&ran.out()).expect("JSON")
    };
    let (yes, no) = (explained(&here), explained(&not));
    assert_eq!((&yes["matched"], &no["matched"]), (&json!(true), &json!(false)));
    // Of the records of the event, the one that comes nearest is shown.
    let a0 = |report: &Value| report["nodes"].as_array().is_some_and(|n| n.iter().any(|n| n["actual"] == "lister"));
    assert!(a0(&yes) && a0(&no), "{yes}\n{no}");
    // What an alert shows is an event that can be explained.
    let file = run.write("events.ndjson", here);
    let set = setting("changes");
    let [alert] = &run.replay(&file, Path::new(&rule), &["--set", &set]).exits(0).alerts()[..] else { panic!("one") };
    assert_eq!(explained(&alert.to_string())["matched"], true);
}

#[test]
fn the_stream_is_switched_on_by_a_reload() {
    if !is_root() {
        return eprintln!("skipped: only root may load the kernel side");
    }
    if !built() {
        return;
    }
    let run = Run::new();
    run.write("rules/lister.yml", LISTER);
    let config = |auditd: &str| {
        let text = format!("auditd = \"{auditd}\"\nrules = [\"rules\"]\nguests = [\"{}\"]\n", guests().display());
        run.write("picket.toml", text).to_string_lossy().into_owned()
    };
    let path = config("off");
    let Some(mut live) = Live::start(&run, &["--config", &path, "--no-deliver"]) else { return };
    let start = |argument: &str| {
        let mut lister = Command::new("/bin/true");
        std::os::unix::process::CommandExt::arg0(&mut lister, "lister");
        assert!(lister.arg(argument).status().expect("true runs").success());
    };
    let switch = |auditd: &str| {
        config(auditd);
        run.run(&["--config", &path, "reload", "--wait"]).exits(0);
    };
    start("-unseen");
    switch("changes");
    start("-seen");
    assert!(wait_until(|| !live.alerts("-seen").is_empty()), "{}", live.talk());
    switch("off");
    start("-unseen");
    live.end(libc::SIGINT);
    assert!(live.alerts("-unseen").is_empty());
    assert_eq!(live.alerts("-seen").len(), 1);
}

/// Fires on every record, and once for each: the record's type and place are part of what matched.
const RECORDS: [&str; 4] = ["SYSCALL", "EXECVE", "CWD", "PATH"];

fn one_rule_for_each_record(run: &Run, marker: &str) -> PathBuf {
    for (n, record) in RECORDS.iter().enumerate() {
        run.write(
            &format!("rules/{record}.yml"),
            format!(
                "title: {record}\nid: 4a7ecb0f-9f31-4a5c-8b1d-0d5f4dfe2{n:03}\nlogsource: {{product: linux, service: auditd}}\n\
                 detection: {{s: {{type: {record}, CurrentDirectory|contains: '{marker}'}}, condition: s}}\nlevel: low\n"
            ),
        );
    }
    run.dir.path().join("rules")
}

#[test]
fn a_replay_makes_the_records_of_the_live_run() {
    if !is_root() {
        return eprintln!("skipped: only root may load the kernel side");
    }
    if !built() {
        return;
    }
    let run = Run::new();
    let marker = format!("audit-{}", std::process::id());
    let rules = one_rule_for_each_record(&run, &marker);
    let guests = guests().to_string_lossy().into_owned();
    let set = setting("every-open");
    let arguments = ["--rules", "rules", "--guests", &guests, "--no-deliver", "--set", &set];
    let Some(mut live) = Live::start(&run, &arguments) else { return };
    let capture = run.dir.path().join("capture.ndjson");
    let mut recording = run.command(&["capture", &capture.to_string_lossy()]).spawn().expect("the binary runs");
    assert!(wait_until(|| capture.exists()));
    let place = run.dir.path().join(&marker);
    std::fs::create_dir(&place).expect("a directory");
    // Bytes that are not UTF-8, an open, a removal, a connection that fails.
    let script = "touch file; rm file; cat /etc/hostname >/dev/null; exec 3<>/dev/tcp/127.0.0.1/9";
    let shell = Command::new("bash").arg("-c").arg(script).arg(odd()).current_dir(&place).status();
    shell.expect("bash runs");
    let records = |alerts: &[Value]| -> BTreeSet<(String, String)> {
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let record = |a: &Value| (text(&a["title"]), text(&a["event"]["context"]["derived_from"]));
        alerts.iter().map(record).collect()
    };
    let (exec, open, unlink) = ("sched_process_exec", "security_file_open", "security_inode_unlink");
    let wanted: BTreeSet<(String, String)> = RECORDS
        .iter()
        .map(|record| (*record, exec))
        .chain([("SYSCALL", open), ("PATH", open), ("SYSCALL", unlink), ("PATH", unlink)])
        .chain([("SYSCALL", "security_socket_connect")])
        .map(|(record, kind)| (record.to_owned(), kind.to_owned()))
        .collect();
    let seen = wait_until(|| wanted.is_subset(&records(&live.alerts(&marker))));
    assert!(seen, "only {:?}\n{}", records(&live.alerts(&marker)), live.talk());
    // SAFETY: kill(2) with the pid of our own child that was not waited for yet.
    unsafe { libc::kill(recording.id() as i32, libc::SIGINT) };
    assert!(recording.wait().expect("it ends").success());
    live.end(libc::SIGINT);
    let captured = std::fs::read_to_string(&capture).expect("the capture");
    assert!(!captured.contains("\"EventType\":\"auditd\""), "a record is made again, not captured");
    // The whole events, by id: the processes at work end before the capture does.
    let by_id = |alerts: &[Value]| -> BTreeMap<String, Value> {
        let mut all = BTreeMap::new();
        for a in alerts {
            let before = all.insert(a["id"].as_str().expect("an id").to_owned(), a["event"].clone());
            assert!(before.is_none(), "an id twice: {a}");
        }
        all
    };
    let lived = by_id(&live.alerts(&marker));
    for (rows, replicas) in [("1", "1"), ("7", "2"), ("256", "1")] {
        let (rows, replicas) = (format!("dispatch.rows={rows}"), format!("dispatch.replicas={replicas}"));
        let more = ["--set", set.as_str(), "--set", &rows, "--set", &replicas];
        let replayed = by_id(&run.replay(&capture, &rules, &more).exits(0).alerts());
        assert_eq!(replayed, lived, "{rows} {replicas}");
    }
}

/// An argument that is not UTF-8.
fn odd() -> std::ffi::OsString {
    std::os::unix::ffi::OsStringExt::from_vec(b"odd \xff\xfe".to_vec())
}
