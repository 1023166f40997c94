//! Delivery against a receiver that others wrote (the PyPI package `standardwebhooks`), over outages and crashes.
//!
//! Skipped, with the reason on stderr, where python3, venv or pip is absent.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use picket::deliver::{
    Deliver, DeliverError, DeliverOptions, EndpointConfig, EndpointState, EndpointStatus, Outgoing, Period,
};
use picket::detection::Level;
use serde_json::Value;

const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const OTHER_SECRET: &str = "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";
/// Ends a hang; far above what any of this takes.
const PATIENCE: Duration = Duration::from_mins(2);

// === The receiver ===

/// The interpreter of a venv with `standardwebhooks`, made once.
fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    PYTHON
        .get_or_init(|| match make_venv() {
            Ok(python) => Some(python),
            Err(why) => {
                eprintln!("skipped: no Standard Webhooks receiver: {why}");
                None
            }
        })
        .as_deref()
}

fn make_venv() -> Result<PathBuf, String> {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("receivers-venv");
    let python = venv.join("bin/python");
    let works =
        || Command::new(&python).args(["-c", "import standardwebhooks"]).output().is_ok_and(|o| o.status.success());
    if works() {
        return Ok(python);
    }
    let run = |command: &mut Command| {
        let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {said}")) }
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "standardwebhooks==1.1.0"]))?;
    if works() { Ok(python) } else { Err("standardwebhooks cannot be imported".to_owned()) }
}

macro_rules! python_or_skip {
    () => {
        match python() {
            Some(python) => python,
            None => return,
        }
    };
}

/// A running receiver; killed when dropped.
struct Receiver {
    child: Child,
    port: u16,
    log: PathBuf,
}

/// One request as the receiver saw it.
#[derive(Debug)]
struct Request {
    id: String,
    ok: bool,
    sha256: String,
    status: String,
    path: String,
}

impl Receiver {
    fn start(python: &Path, log: &Path, port: u16, args: &[&str]) -> Receiver {
        Receiver::with_secret(python, log, port, SECRET, args)
    }

    fn with_secret(python: &Path, log: &Path, port: u16, secret: &str, args: &[&str]) -> Receiver {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/receivers/standard_webhooks.py");
        let mut child = Command::new(python)
            .arg(script)
            .args(["--secret", secret, "--port", &port.to_string(), "--log"])
            .arg(log)
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Receiver { child, port: line.trim().parse().unwrap(), log: log.to_owned() }
    }

    fn requests(&self) -> Vec<Request> {
        requests(&self.log)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn requests(log: &Path) -> Vec<Request> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let entry = |line: &str| {
        // The receiver may be in the middle of its last line.
        let value: Value = serde_json::from_str(line).ok()?;
        let text = |key: &str| value[key].as_str().unwrap().to_owned();
        let ok = value["ok"].as_bool().unwrap();
        Some(Request { id: text("id"), ok, sha256: text("sha256"), status: text("status"), path: text("path") })
    };
    text.lines().filter_map(entry).collect()
}

/// Every request verified, one body per id; returns the ids that got a 2xx.
fn verified(requests: &[Request]) -> BTreeSet<&str> {
    let mut bodies: BTreeMap<&str, &str> = BTreeMap::new();
    for request in requests {
        assert!(request.ok, "not verified: {request:?}");
        let first = bodies.entry(&request.id).or_insert(&request.sha256);
        assert_eq!(*first, request.sha256, "another body under the same id");
    }
    requests.iter().filter(|r| r.status.starts_with('2')).map(|r| r.id.as_str()).collect()
}

// === The sender ===

/// A directory with a secret and a state directory, and a port that nobody uses now.
struct Bench {
    dir: tempfile::TempDir,
    port: u16,
}

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), SECRET).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Bench { dir, port }
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("received.ndjson")
    }

    fn endpoint(&self, port: u16) -> EndpointConfig {
        endpoint(self.dir.path(), port)
    }

    fn start(&self, config: EndpointConfig) -> Deliver {
        start(self.dir.path(), config)
    }
}

fn endpoint(dir: &Path, port: u16) -> EndpointConfig {
    let mut config = EndpointConfig::new(format!("http://127.0.0.1:{port}/hook"));
    config.secret_file = Some(dir.join("secret"));
    config
}

fn only(config: EndpointConfig) -> BTreeMap<String, EndpointConfig> {
    BTreeMap::from([("soar".to_owned(), config)])
}

fn start(dir: &Path, config: EndpointConfig) -> Deliver {
    Deliver::start(DeliverOptions {
        state_dir: dir.join("state"),
        endpoints: only(config),
        spool_max_bytes: 64 << 20,
        user_agent: "picket/test".to_owned(),
    })
    .unwrap()
}

fn alert(id: &str) -> Outgoing {
    let body = format!("{{\"v\":1,\"id\":\"{id}\",\"title\":\"naïve \\u001b[31m\"}}");
    Outgoing { id: id.to_owned(), level: Level::Medium, body: body.into_bytes().into() }
}

fn alerts(prefix: &str, count: usize) -> Vec<Outgoing> {
    (0..count).map(|n| alert(&format!("{prefix}-{n}"))).collect()
}

fn soar(deliver: &Deliver) -> EndpointStatus {
    deliver.status().into_iter().find(|e| e.name == "soar").unwrap()
}

fn balanced(e: &EndpointStatus) {
    let l = &e.ledger;
    assert_eq!(l.alerts, l.filtered + l.accepted, "{e:?}");
    assert_eq!(l.accepted, l.delivered + l.pending + l.dead + l.evicted, "{e:?}");
}

fn until(deliver: &Deliver, what: &str, done: impl Fn(&EndpointStatus) -> bool) -> EndpointStatus {
    let start = Instant::now();
    loop {
        let status = soar(deliver);
        balanced(&status);
        if done(&status) {
            return status;
        }
        assert!(start.elapsed() < PATIENCE, "waited for: {what}; {status:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

// === Outages and refusals ===

#[test]
fn an_outage_loses_nothing_and_repeats_are_identical() {
    let python = python_or_skip!();
    let bench = Bench::new();
    let deliver = bench.start(bench.endpoint(bench.port));
    for batch in alerts("a", 200).chunks(20) {
        deliver.append(batch.to_vec()).unwrap();
    }
    let down = until(&deliver, "a second failure", |e| e.failures >= 2);
    assert_eq!((down.state, down.ledger.pending), (EndpointState::BackingOff, 200));
    assert!(down.last_error.unwrap().contains("refused"), "the cause is told");

    let receiver = Receiver::start(python, &bench.log(), bench.port, &["--answer", "503*2", "--answer", "408"]);
    let up = until(&deliver, "all delivered", |e| e.ledger.delivered == 200);
    assert_eq!((up.state, up.ledger.dead, up.oldest_pending_seconds), (EndpointState::Delivering, 0, None));
    let requests = receiver.requests();
    assert_eq!(verified(&requests).len(), 200);
    assert_eq!(requests.len(), 203, "one probe at a time, and nothing twice");
    deliver.shutdown(Duration::from_secs(10));
}

#[test]
fn order_is_kept_with_one_in_flight_and_retry_after_is_obeyed() {
    let python = python_or_skip!();
    for form in ["throttle:2", "date:3"] {
        let bench = Bench::new();
        let receiver = Receiver::start(python, &bench.log(), 0, &["--answer", form]);
        let mut config = bench.endpoint(receiver.port);
        config.in_flight = 1;
        let deliver = bench.start(config);
        deliver.append(alerts("a", 5)).unwrap();
        let done = until(&deliver, "all ended", |e| e.ledger.pending == 0);
        // Too early would have been answered with 400, and be a dead letter.
        assert_eq!((done.ledger.delivered, done.ledger.dead), (5, 0), "{form}");
        let seen: Vec<(String, String)> = receiver.requests().into_iter().map(|r| (r.id, r.status)).collect();
        let expected = [("a-0", "429"), ("a-0", "200"), ("a-1", "200"), ("a-2", "200"), ("a-3", "200"), ("a-4", "200")];
        assert_eq!(seen, expected.map(|(id, status)| (id.to_owned(), status.to_owned())), "{form}");
    }
}

#[test]
fn refused_messages_become_dead_letters_that_can_be_sent_again() {
    let python = python_or_skip!();
    let bench = Bench::new();
    let refusals = ["--id", "a-1=400", "--id", "a-2=302", "--id", "a-3=501"];
    let receiver = Receiver::start(python, &bench.log(), 0, &refusals);
    let deliver = bench.start(bench.endpoint(receiver.port));
    deliver.append(alerts("a", 5)).unwrap();
    let done = until(&deliver, "all ended", |e| e.ledger.pending == 0);
    assert_eq!((done.ledger.delivered, done.ledger.dead, done.ledger.attempts), (2, 3, 5));
    assert!(receiver.requests().iter().all(|r| r.path == "/hook"), "a redirect was followed");
    let letters = deliver.dead_letters("soar", 10).unwrap();
    assert_eq!(letters.iter().map(|l| l.id.as_str()).collect::<Vec<_>>(), ["a-1", "a-2", "a-3"]);
    assert_eq!(letters[0].reason, "refused with 400 Bad Request: status 400 \\x1b[31mred\\x1b[0m");
    assert!(letters[1].reason.starts_with("refused with 302"), "{letters:?}");
    assert!(letters[2].reason.starts_with("refused with 501"), "{letters:?}");

    // Another receiver under the same name takes them.
    let second = Receiver::start(python, &bench.dir.path().join("second.ndjson"), 0, &[]);
    deliver.reconfigure(&only(bench.endpoint(second.port))).unwrap();
    deliver.retry_dead("soar").unwrap();
    let done = until(&deliver, "dead letters delivered", |e| e.ledger.delivered == 5);
    assert_eq!(done.ledger.dead, 0);
    assert_eq!(verified(&second.requests()), BTreeSet::from(["a-1", "a-2", "a-3"]));
}

#[test]
fn gone_disables_the_endpoint_and_keeps_the_queue() {
    let python = python_or_skip!();
    let bench = Bench::new();
    let receiver = Receiver::start(python, &bench.log(), 0, &["--answer", "410"]);
    let mut config = bench.endpoint(receiver.port);
    config.in_flight = 1;
    let deliver = bench.start(config.clone());
    deliver.append(alerts("a", 3)).unwrap();
    until(&deliver, "disabled", |e| e.state == EndpointState::Disabled);
    // Neither new alerts nor the same configuration nor a restart wakes it.
    deliver.append(alerts("b", 3)).unwrap();
    deliver.reconfigure(&only(config.clone())).unwrap();
    deliver.shutdown(Duration::from_secs(10));
    let deliver = bench.start(config);
    let status = soar(&deliver);
    assert_eq!((status.state, status.ledger.pending), (EndpointState::Disabled, 6));
    assert!(status.advice.is_some());
    deliver.enable("soar").unwrap();
    until(&deliver, "all delivered", |e| e.ledger.delivered == 6);
    assert_eq!(receiver.requests().len(), 7);
}

#[test]
fn a_message_that_the_receiver_cannot_bear_does_not_hold_up_the_rest() {
    let python = python_or_skip!();
    let bench = Bench::new();
    let receiver = Receiver::start(python, &bench.log(), 0, &["--id", "a-0=500", "--id", "a-4=hang"]);
    let mut config = bench.endpoint(receiver.port);
    config.timeout = Period(Duration::from_millis(400));
    let deliver = bench.start(config);
    deliver.append(alerts("a", 50)).unwrap();
    let status = until(&deliver, "the others delivered", |e| e.ledger.delivered == 48);
    assert_eq!((status.ledger.pending, status.ledger.dead), (2, 0));
    assert_eq!(verified(&receiver.requests()).len(), 48);
}

#[test]
fn old_alerts_become_dead_letters_and_say_why() {
    let bench = Bench::new();
    let mut config = bench.endpoint(bench.port);
    config.max_age = Period(Duration::from_millis(1500));
    let deliver = bench.start(config);
    deliver.append(alerts("a", 3)).unwrap();
    // The last failure may put its next look some seconds ahead.
    let done = until(&deliver, "expired", |e| e.ledger.dead == 3);
    assert_eq!(done.ledger.pending, 0);
    assert!(deliver.dead_letters("soar", 1).unwrap()[0].reason.contains("expired after 1500ms"));
}

#[test]
fn changes_apply_to_what_is_queued_and_a_removed_endpoint_keeps_its_queue() {
    let python = python_or_skip!();
    let bench = Bench::new();
    let deliver = bench.start(bench.endpoint(bench.port));
    deliver.append(alerts("a", 10)).unwrap();
    until(&deliver, "a failure", |e| e.failures >= 1);
    deliver.reconfigure(&BTreeMap::new()).unwrap();
    deliver.append(alerts("nobody", 10)).unwrap();
    let removed = soar(&deliver);
    assert_eq!((removed.state, removed.ledger.pending), (EndpointState::Removed, 10));

    let receiver = Receiver::with_secret(python, &bench.log(), 0, OTHER_SECRET, &[]);
    // A rotation: both keys sign, the receiver knows only the second.
    std::fs::write(bench.dir.path().join("secret"), format!("{SECRET}\n{OTHER_SECRET}\n")).unwrap();
    deliver.reconfigure(&only(bench.endpoint(receiver.port))).unwrap();
    let done = until(&deliver, "all delivered", |e| e.ledger.pending == 0);
    assert_eq!(done.ledger.delivered, 10);
    assert_eq!(verified(&receiver.requests()).len(), 10);

    let mut bad = bench.endpoint(receiver.port);
    bad.secret_file = Some("/nonexistent/secret".into());
    assert!(matches!(deliver.reconfigure(&only(bad)), Err(DeliverError::Config(_))));
    deliver.append(alerts("b", 1)).unwrap();
    until(&deliver, "the old configuration still delivers", |e| e.ledger.delivered == 11);
}

#[test]
fn https_goes_only_to_a_certificate_that_is_trusted() {
    let python = python_or_skip!();
    let bench = Bench::new();
    let (pem, key) = (bench.dir.path().join("cert.pem"), bench.dir.path().join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-out"])
        .arg(&pem)
        .arg("-keyout")
        .arg(&key)
        .output();
    if !made.is_ok_and(|o| o.status.success()) {
        eprintln!("skipped: openssl cannot make a certificate");
        return;
    }
    let both = bench.dir.path().join("both.pem");
    std::fs::write(&both, [std::fs::read(&pem).unwrap(), std::fs::read(&key).unwrap()].concat()).unwrap();
    let receiver = Receiver::start(python, &bench.log(), 0, &["--tls", both.to_str().unwrap()]);
    let mut config = bench.endpoint(receiver.port);
    config.url = format!("https://localhost:{}/hook", receiver.port);
    let deliver = bench.start(config.clone());
    deliver.append(alerts("a", 3)).unwrap();
    let down = until(&deliver, "a failure", |e| e.failures >= 1);
    assert!(down.last_error.unwrap().contains("certificate"), "the cause is told");
    config.ca_file = Some(pem);
    deliver.reconfigure(&only(config)).unwrap();
    until(&deliver, "all delivered", |e| e.ledger.delivered == 3);
    assert_eq!(verified(&receiver.requests()).len(), 3);
}

#[test]
fn an_id_that_cannot_be_a_header_refuses_the_batch() {
    let bench = Bench::new();
    let deliver = bench.start(bench.endpoint(bench.port));
    for id in ["", "a.b", "a b", "a\r\nx: y", &"x".repeat(129)] {
        let batch = vec![alert("good"), alert(id)];
        assert!(matches!(deliver.append(batch), Err(DeliverError::Id { .. })), "{id:?}");
    }
    assert_eq!(soar(&deliver).ledger.accepted, 0);
}

// === Crashes: this test binary starts itself again ===

const CHILD: &str = "PICKET_TEST_DELIVER_CHILD";

/// Starts this binary as a child that appends until it is killed. `shell` runs before it, in the same process.
fn appending_child(bench: &Bench, prefix: &str, shell: &str) -> Child {
    let job = serde_json::json!({"dir": bench.dir.path(), "port": bench.port, "prefix": prefix});
    Command::new("sh")
        .args(["-c", &format!("{shell} exec \"$0\" child_that_appends --exact --nocapture")])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, job.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Not a test of its own: what [`appending_child`] runs. Prints each id once its alert is accepted.
#[test]
fn child_that_appends() {
    let Ok(job) = std::env::var(CHILD) else { return };
    let job: Value = serde_json::from_str(&job).unwrap();
    let dir = PathBuf::from(job["dir"].as_str().unwrap());
    let deliver = start(&dir, endpoint(&dir, job["port"].as_u64().unwrap() as u16));
    let mut orders = std::io::stdin().lines();
    // The harness has begun a line.
    println!();
    for n in 0..100_000 {
        let id = |m| format!("{}-{n}-{m}", job["prefix"].as_str().unwrap());
        let batch: Vec<Outgoing> = (0..=n % 5).map(|m| alert(&id(m))).collect();
        while let Err(e) = deliver.append(batch.clone()) {
            println!("FULL {e}");
            // Goes on when told to.
            orders.next();
        }
        for alert in &batch {
            println!("ID {}", alert.id);
        }
    }
}

/// Reads lines of the child into `ids`, up to one that is `enough` (told the line and how many ids this call has read).
fn ids_until(child: &mut Child, ids: &mut BTreeSet<String>, enough: impl Fn(&str, usize) -> bool) -> String {
    let out = child.stdout.as_mut().unwrap();
    let mut seen = 0;
    loop {
        // Unbuffered, so that nothing is lost between two calls.
        let (mut line, mut byte) = (Vec::new(), [0]);
        while byte[0] != b'\n' {
            assert_eq!(out.read(&mut byte).unwrap(), 1, "the child ended");
            line.push(byte[0]);
        }
        let line = String::from_utf8(line).unwrap().trim_end().to_owned();
        if let Some(id) = line.strip_prefix("ID ") {
            ids.insert(id.to_owned());
            seen += 1;
        }
        if enough(&line, seen) {
            return line;
        }
    }
}

/// Kills with signal 9, and reads what the child had printed by then: complete lines only.
fn kill_9(mut child: Child, ids: &mut BTreeSet<String>) {
    child.kill().unwrap();
    let mut rest = String::new();
    child.stdout.as_mut().unwrap().read_to_string(&mut rest).unwrap();
    child.wait().unwrap();
    let complete = rest.rfind('\n').map_or("", |end| &rest[..end]);
    ids.extend(complete.lines().filter_map(|line| Some(line.strip_prefix("ID ")?.to_owned())));
}

#[test]
fn kill_9_at_any_moment_loses_no_id_that_was_printed() {
    let python = python_or_skip!();
    let bench = Bench::new();
    let mut printed = BTreeSet::new();
    for round in 0..8 {
        // Killed while it delivers, and while it backs off with a backlog.
        let _receiver = (round % 2 == 0).then(|| Receiver::start(python, &bench.log(), bench.port, &[]));
        let mut child = appending_child(&bench, &format!("r{round}"), "");
        ids_until(&mut child, &mut printed, |_, seen| seen >= 40 + 37 * round);
        kill_9(child, &mut printed);
    }
    let _receiver = Receiver::start(python, &bench.log(), bench.port, &[]);
    let deliver = bench.start(bench.endpoint(bench.port));
    let done = until(&deliver, "drained", |e| e.ledger.pending == 0);
    assert_eq!((done.ledger.dead, done.ledger.evicted), (0, 0));
    let requests = requests(&bench.log());
    let received = verified(&requests);
    let lost: Vec<&String> = printed.iter().filter(|id| !received.contains(id.as_str())).collect();
    assert!(lost.is_empty(), "{} of {} lost: {lost:?}", lost.len(), printed.len());
    assert!(printed.len() > 1000, "only {} ids", printed.len());
    eprintln!("{} ids printed, {} received, {} requests", printed.len(), received.len(), requests.len());
}

#[test]
fn a_full_disk_is_an_error_until_there_is_space_again() {
    let python = python_or_skip!();
    let bench = Bench::new();
    let mut printed = BTreeSet::new();
    // A limit on the size of a file stands in for the disk: the same write fails, without a mount.
    let mut child = appending_child(&bench, "a", "trap '' XFSZ; ulimit -S -f 4096;");
    let full = ids_until(&mut child, &mut printed, |line, _| line.starts_with("FULL"));
    assert!(full.contains("spool_max_bytes"), "which knob to turn: {full}");
    assert!(!printed.is_empty());
    child.stdin.as_mut().unwrap().write_all(b"again\n").unwrap();
    ids_until(&mut child, &mut printed, |line, _| line.starts_with("FULL"));
    let pid = child.id().to_string();
    if Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status().is_ok_and(|s| s.success()) {
        child.stdin.as_mut().unwrap().write_all(b"again\n").unwrap();
        ids_until(&mut child, &mut printed, |_, seen| seen > 50);
    } else {
        eprintln!("prlimit is absent: that it goes on with space again is not tested here");
    }
    kill_9(child, &mut printed);
    let _receiver = Receiver::start(python, &bench.log(), bench.port, &[]);
    let deliver = bench.start(bench.endpoint(bench.port));
    until(&deliver, "drained", |e| e.ledger.pending == 0);
    let requests = requests(&bench.log());
    let received = verified(&requests);
    assert!(printed.iter().all(|id| received.contains(id.as_str())));
}
