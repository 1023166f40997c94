//! `cargo xtask bench live`: what watching costs the whole machine, against nothing attached, auditd and bpftrace.
//!
//! Figures are processor seconds of the whole machine (`/proc/stat`): what hooks cost is paid by the processes that run into them,
//! so no process's own time would show it. Each load is the same work for every peer, and what a peer costs is the difference to
//! the same work with nothing attached, in the same run. auditd and bpftrace are used if they are installed, and only then.

mod peer;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use picket_tests::{Live, Run, guests};
use serde_json::{Value, json};

use peer::Peer;

/// Programs started, at this rate.
const EXECS: u32 = 48_000;
const EXECS_PER_SECOND: u32 = 1_600;
const OPENS: u32 = 200_000;
const ROUND_TRIPS: u32 = 20_000;
/// Alerts whose delay is measured, at this rate.
const ALERTS: u32 = 10_000;
const ALERTS_PER_SECOND: u32 = 1_000;

/// One kind of work.
struct Load {
    name: &'static str,
    /// Does it; returns the 99th percentile of its own delays in microseconds where it has any.
    work: fn(&Path) -> Option<f64>,
}

const LOADS: [Load; 4] = [
    Load { name: "exec", work: |_| execs() },
    Load { name: "open", work: opens },
    Load { name: "compile", work: compile },
    Load { name: "request", work: requests },
];

/// The word that makes this program do one load and nothing else.
pub const LOAD: &str = "live-load";

/// Does the load of that name; prints what it says of its own delays.
pub fn load(name: &str, scratch: &Path) {
    let load = LOADS.iter().find(|l| l.name == name).expect("a load");
    if let Some(p99) = (load.work)(scratch) {
        println!("{p99}");
    }
}

/// Does a load in a process of its own: the kernel audits only tasks that were made after auditing was switched on.
fn apart(load: &Load, scratch: &Path) -> Option<f64> {
    let mut own = Command::new(std::env::current_exe().expect("our own path"));
    let output = own.args([LOAD, load.name]).arg(scratch).stderr(Stdio::inherit()).output().expect("we start again");
    assert!(output.status.success(), "the load {} fails", load.name);
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}

pub fn run(print: &dyn Fn(Value)) {
    if !picket_tests::is_root() {
        eprintln!("skipped: live needs root");
        return;
    }
    let scratch = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(scratch.path().join("target"), "x").expect("a file");
    delay(scratch.path(), print);
    for load in &LOADS {
        let mut costs: Vec<(&str, f64)> = Vec::new();
        for peer in [Peer::Nothing, Peer::Picket, Peer::Auditd, Peer::Bpftrace] {
            let Some(running) = peer.start(scratch.path()) else { continue };
            std::thread::sleep(Duration::from_secs(2));
            let (before, started) = (busy_seconds(), Instant::now());
            let p99 = apart(load, scratch.path());
            let wall = started.elapsed().as_secs_f64();
            running.drain();
            let busy = busy_seconds() - before;
            let base = costs.first().map_or(busy, |(_, base)| *base);
            costs.push((peer.name(), busy));
            print(json!({
                "bench": "live", "load": load.name, "peer": peer.name(), "busy_s": round(busy), "added_s": round(busy - base),
                "wall_s": round(wall), "p99_us": p99.map(f64::round), "recorded": running.end(load.name),
            }));
        }
        let added = |name: &str| costs.iter().find(|(n, _)| *n == name).map(|(_, busy)| busy - costs[0].1);
        if let (Some(own), Some(audit)) = (added("picket"), added("auditd")) {
            print(json!({ "bench": "live", "load": load.name, "picket_to_auditd": round(own / audit) }));
        }
    }
}

fn round(seconds: f64) -> f64 {
    (seconds * 100.0).round() / 100.0
}

/// Processor time that the machine has spent on anything, seconds.
fn busy_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").expect("/proc is mounted");
    let cpu = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = cpu.split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
    // user, nice, system, (idle, iowait), irq, softirq
    [0, 1, 2, 5, 6].iter().filter_map(|&i| ticks.get(i)).sum::<u64>() as f64 / 100.0
}

/// Calls `work` `count` times at a rate, by a schedule: a late call does not delay those after it.
fn paced(count: u32, per_second: u32, mut work: impl FnMut()) {
    let start = Instant::now();
    for n in 0..count {
        let due = start + Duration::from_secs_f64(f64::from(n) / f64::from(per_second));
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(early);
        }
        work();
    }
}

fn execs() -> Option<f64> {
    let threads = [(); 2].map(|()| {
        std::thread::spawn(|| {
            paced(EXECS / 2, EXECS_PER_SECOND / 2, || {
                let mut program = Command::new("/bin/true");
                program.stdin(Stdio::null()).status().expect("true runs");
            });
        })
    });
    for thread in threads {
        thread.join().expect("no thread panics");
    }
    None
}

fn opens(scratch: &Path) -> Option<f64> {
    let target = scratch.join("target");
    for _ in 0..OPENS {
        std::fs::File::open(&target).expect("our file");
    }
    None
}

/// A small crate of many functions, compiled anew by cargo.
fn compile(scratch: &Path) -> Option<f64> {
    let crate_dir = scratch.join("crate");
    let _ = std::fs::remove_dir_all(&crate_dir);
    std::fs::create_dir_all(crate_dir.join("src")).expect("a directory");
    let manifest = "[package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n";
    std::fs::write(crate_dir.join("Cargo.toml"), manifest).expect("a file");
    let functions: Vec<String> = (0..400)
        .map(|n| {
            format!("pub fn f{n}(v: &[u64]) -> Vec<String> {{ v.iter().map(|x| (x + {n}).to_string()).collect() }}")
        })
        .collect();
    std::fs::write(crate_dir.join("src/lib.rs"), functions.join("\n")).expect("a file");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--offline", "-q"]).current_dir(&crate_dir).env_remove("CARGO_TARGET_DIR");
    assert!(cargo.status().expect("cargo starts").success(), "the small crate compiles");
    None
}

/// Requests over loopback, each of which opens a file, as a small server would.
#[expect(clippy::unnecessary_wraps, reason = "the form of every load")]
fn requests(scratch: &Path) -> Option<f64> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let target = scratch.join("target");
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() {
            std::fs::File::open(&target).expect("our file");
            stream.write_all(&byte).expect("the client listens");
        }
    });
    let mut client = TcpStream::connect(address).expect("our server");
    client.set_nodelay(true).expect("a socket option");
    let mut delays: Vec<Duration> = (0..ROUND_TRIPS)
        .map(|_| {
            let start = Instant::now();
            client.write_all(b"x").expect("the server listens");
            client.read_exact(&mut [0]).expect("the server answers");
            start.elapsed()
        })
        .collect();
    drop(client);
    server.join().expect("no thread panics");
    Some(percentile(&mut delays, 99).as_secs_f64() * 1e6)
}

fn percentile(delays: &mut [Duration], percent: usize) -> Duration {
    delays.sort_unstable();
    delays[(delays.len() * percent / 100).min(delays.len() - 1)]
}

/// From the hook to the printed line, without the spool: each open is an alert.
fn delay(scratch: &Path, print: &dyn Fn(Value)) {
    let run = Run::new();
    let marked = scratch.join("marked");
    std::fs::write(&marked, "x").expect("a file");
    let rule = format!(
        "title: marked\nstatus: test\nlogsource:\n    category: ebpf\n    product: linux\ndetection:\n    selection:\n        \
         TargetFilename: {}\n    condition: selection\nlevel: low\n",
        marked.display()
    );
    run.write("rules/marked.yml", rule);
    let arguments = ["--no-deliver", "--rules", "rules", "--guests"];
    let Some(mut live) = Live::start(&run, &[&arguments[..], &[&guests().to_string_lossy()]].concat()) else { return };
    let mut delays: Vec<Duration> = Vec::new();
    let mut seen = 0;
    paced(ALERTS, ALERTS_PER_SECOND, || {
        std::fs::File::open(&marked).expect("our file");
        look(&live, &mut seen, &mut delays);
    });
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline && delays.len() < ALERTS as usize {
        look(&live, &mut seen, &mut delays);
        std::thread::sleep(Duration::from_millis(1));
    }
    live.end(libc::SIGINT);
    let received = delays.len();
    if received == 0 {
        print(json!({ "bench": "live", "load": "delay", "alerts": 0 }));
        return;
    }
    let ms = |d: Duration| round(d.as_secs_f64() * 1e3);
    let (half, most) = (percentile(&mut delays, 50), percentile(&mut delays, 99));
    print(json!({ "bench": "live", "load": "delay", "alerts": received, "p50_ms": ms(half), "p99_ms": ms(most) }));
}

/// How long ago the events happened whose alerts were printed since the last look.
fn look(live: &Live, seen: &mut usize, delays: &mut Vec<Duration>) {
    let printed = live.printed_since(*seen);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    for line in &printed {
        let alert: Value = serde_json::from_str(line).expect("JSON");
        let at: Option<jiff::Timestamp> = alert["first"].as_str().and_then(|t| t.parse().ok());
        if let Some(at) = at {
            let then = Duration::from_nanos(u64::try_from(at.as_nanosecond()).unwrap_or_default());
            delays.push(now.saturating_sub(then));
        }
    }
    *seen += printed.len();
}
