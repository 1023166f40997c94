//! Who watches a running Picket: `tail`, `top` and the console. On the real kernel, the console in a real browser.
//!
//! Every test looks only at processes it started itself, told apart by a marker.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use picket_tests::{Live, Run, able, binary, exec, guests, one_at_a_time, root, target, wait_until};
use serde_json::Value;

fn rule(title: &str, needle: &str) -> String {
    format!(
        "title: {title}\nid: 7b1f6a52-3b0e-4c55-9a39-0c7a25000001\nstatus: experimental\n\
         logsource:\n    category: process_creation\n    product: linux\n\
         detection:\n    selection:\n        CommandLine|contains: '{needle}'\n    condition: selection\nlevel: high\n"
    )
}

fn start(run: &Run, needle: &str) -> Option<Live> {
    run.write("rules/first.yml", rule("First rule", needle));
    let guests = guests();
    Live::start(run, &["--rules", "rules", "--guests", &guests.to_string_lossy(), "--no-deliver"])
}

/// A command whose lines are read while it runs; it is ended with the test.
struct Watching {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Watching {
    fn start(mut command: Command) -> Watching {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it runs");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Watching { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("a line").expect("text")
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn viewers(run: &Run, wanted: u64) {
    assert!(wait_until(|| run.status()["viewers"]["now"] == wanted), "{}", run.status()["viewers"]);
}

#[test]
fn tail_shows_events_and_alerts_as_they_pass() {
    if !able() {
        return;
    }
    let _one = one_at_a_time();
    let run = Run::new();
    let marker = format!("tail-{}", std::process::id());
    let Some(mut live) = start(&run, &format!("{marker}-hit")) else { return };

    let mut machines = Watching::start(run.command(&["tail", "--events", "--format", "json", &marker]));
    let mut alerts = Watching::start(run.command(&["tail", "--level", "high", "--rule", "First", "--count", "1"]));
    viewers(&run, 2);
    // A command line with the marker in it is itself an event with the marker in it.
    let of_marker = format!("CommandLine={marker}");
    let mut people = Watching::start(run.command(&["tail", "--kind", "exec", "Image=/true", &of_marker]));
    viewers(&run, 3);
    exec(&format!("{marker}-\x1b[31m-hit"));
    exec(&format!("{marker}-hit"));
    let line = people.line();
    assert!(line.contains(" exec ") && line.contains("/true") && line.contains("\\x1b[31m"), "{line:?}");
    assert!(!line.chars().any(char::is_control), "{line:?}");
    let alert = alerts.line();
    assert!(alert.contains(" HIGH ") && alert.contains("First rule") && alert.contains(&marker), "{alert}");
    assert!(alerts.child.wait().expect("it ends").success(), "after --count lines");

    // What it prints for machines is what a replay reads: the same alert.
    let mut seen = String::new();
    while !seen.contains(&format!("{marker}-hit\"")) {
        let line = machines.line();
        let event: Value = serde_json::from_str(&line).expect("JSON");
        assert!(event["EventData"].is_object(), "{line}");
        seen.push_str(&line);
        seen.push('\n');
    }
    let file = run.write("seen.ndjson", &seen);
    let replayed = run.replay(&file, &run.dir.path().join("rules"), &[]).exits(0).alerts();
    assert_eq!(replayed.len(), 1, "{seen}");
    assert!(wait_until(|| live.alerts(&marker).len() == 1));
    assert_eq!(replayed[0]["id"], live.alerts(&marker)[0]["id"]);

    drop((people, machines));
    viewers(&run, 0);
    let refused = run.run(&["tail", "--kind", "exce"]).exits(2);
    assert!(refused.err().contains("did you mean `exec`?"), "{}", refused.err());

    // A stop ends who watches; then there is nobody to ask.
    let mut last = Watching::start(run.command(&["tail", "--alerts"]));
    viewers(&run, 1);
    assert!(live.end(libc::SIGTERM).success());
    assert!(last.child.wait().expect("it ends").success());
    let nobody = run.run(&["tail"]).exits(4);
    assert!(nobody.err().contains("no picket is running"), "{}", nobody.err());
}

#[test]
fn top_counts_what_happens_in_between() {
    if !able() {
        return;
    }
    let _one = one_at_a_time();
    let run = Run::new();
    let marker = format!("top-{}", std::process::id());
    let Some(_live) = start(&run, &marker) else { return };
    // Hits before and after the first look, all counted; those after it make the rate.
    let counting = run.command(&["top", "--format", "json", "--interval", "3s"]).stdout(Stdio::piped()).spawn();
    let counting = counting.expect("it runs");
    let over = AtomicBool::new(false);
    let done = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                exec(&marker);
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        });
        let output = counting.wait_with_output().expect("it ends");
        over.store(true, Ordering::Release);
        output
    });
    assert!(done.status.success());
    let rates: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    let first = &rates["rules"][0];
    assert_eq!((first["title"].as_str(), first["state"].as_str()), (Some("First rule"), Some("live")));
    assert!(first["per_s"].as_f64() > Some(0.0) && first["hits"].as_u64() > Some(0), "{first}");
    assert!(
        rates["events_per_s"].as_f64() > Some(0.0) && rates["guests"][0]["rows_per_s"].as_f64() > Some(0.0),
        "{rates}"
    );
    let table = run.run(&["top", "--once"]).exits(0).out();
    for part in ["First rule", "sigma", "sched_process_exec", "records/s"] {
        assert!(table.contains(part), "{table}");
    }
    assert!(!table.contains('\x1b'));
}

/// The library that drives the browser, in a directory of its own below target; `None` and the reason where it cannot be had.
fn driver() -> Option<PathBuf> {
    let place = target().join("console-test");
    let module = place.join("node_modules/playwright-core");
    if !module.is_dir() {
        std::fs::create_dir_all(&place).ok()?;
        for file in ["package.json", "package-lock.json"] {
            std::fs::copy(root().join("tests/console").join(file), place.join(file)).ok()?;
        }
        let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
        let ran = Command::new("npm").args(install).current_dir(&place).output().ok()?;
        if !ran.status.success() {
            eprintln!("skipped: npm cannot install playwright-core: {}", String::from_utf8_lossy(&ran.stderr));
            return None;
        }
    }
    Some(module)
}

fn chromium() -> Option<PathBuf> {
    ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
        .iter()
        .map(PathBuf::from)
        .find(|p| p.is_file())
}

#[test]
fn the_first_rule_journey_in_the_console() {
    if !able() {
        return;
    }
    let runs = |program: &str| Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success());
    let (true, Some(browser)) = (runs("node") && runs("npm"), chromium()) else {
        eprintln!("skipped: node, npm or chromium is not here: apt-get install nodejs npm chromium");
        return;
    };
    let Some(module) = driver() else { return };
    let _one = one_at_a_time();
    let run = Run::new();
    let marker = format!("console-{}", std::process::id());
    let Some(mut live) = start(&run, &format!("{marker}-one")) else { return };
    let link = run.run(&["console"]).exits(0).out();
    let pictures = target().join("tmp/console");
    std::fs::create_dir_all(&pictures).expect("a directory");
    let mut node = Command::new("node");
    node.arg(root().join("tests/console/journey.mjs")).arg(&module).arg(&browser).arg(link.trim());
    node.arg(&pictures).arg(&marker);
    let mut journey = Watching::start(node);
    let mut said = Vec::new();
    while let Some(Ok(line)) = journey.lines.next() {
        let Some(words) = line.strip_prefix("fire ") else {
            said.push(line);
            continue;
        };
        let words: Vec<String> = serde_json::from_str(words).expect("words");
        assert!(Command::new("/bin/true").args(words).status().expect("it runs").success());
    }
    let status = journey.child.wait().expect("it ends");
    assert!(status.success(), "{said:?}\n{}", live.talk());

    let first = std::fs::read_to_string(run.dir.path().join("rules/first.yml")).expect("the rule");
    assert!(first.contains(&format!("{marker}-two")));
    assert!(run.dir.path().join("rules/second.yml").is_file());
    assert!(!run.dir.path().join("escape.yml").exists());
    assert_eq!(run.run(&["console", "--close"]).exits(0).out(), "the console is closed\n");
    let address = link.trim().trim_start_matches("http://").split('/').next().expect("an address");
    assert!(std::net::TcpStream::connect(address).is_err(), "it does not listen any more");
    viewers(&run, 0);
    // An open console does not keep Picket from ending.
    run.run(&["console"]).exits(0);
    assert!(live.end(libc::SIGTERM).success());
}

#[test]
fn the_console_can_be_forbidden() {
    if !able() {
        return;
    }
    let _one = one_at_a_time();
    let run = Run::new();
    run.write("rules/first.yml", rule("First rule", "nothing-like-this"));
    let guests = guests();
    let args =
        ["--rules", "rules", "--guests", &guests.to_string_lossy(), "--no-deliver", "--set", "console.enabled=false"];
    let Some(_live) = Live::start_of(&binary(), &run, &args) else { return };
    let refused = run.run(&["console"]).exits(2);
    assert!(refused.err().contains("console.enabled"), "{}", refused.err());
}
