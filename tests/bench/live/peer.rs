//! What watches while a load runs.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use picket_tests::{Live, Run, guests};
use serde_json::Value;

/// Delivers every exec and every open to a guest, and matches none: the cost of watching, not of alerts.
const RULE: &str = "title: everything\nstatus: test\nlogsource:\n    category: ebpf\n    product: linux\ndetection:\n    \
                    selection:\n        EventName:\n            - sched_process_exec\n            - security_file_open\n        \
                    User: nobody by this name\n    condition: selection\nlevel: low\n";

#[derive(Clone, Copy)]
pub enum Peer {
    Nothing,
    Picket,
    Auditd,
    Bpftrace,
}

pub enum Running {
    Nothing,
    Picket(Run, Box<Live>),
    Auditd(Child, std::path::PathBuf),
    Bpftrace(Child, std::path::PathBuf),
}

impl Peer {
    pub fn name(self) -> &'static str {
        match self {
            Peer::Nothing => "nothing",
            Peer::Picket => "picket",
            Peer::Auditd => "auditd",
            Peer::Bpftrace => "bpftrace",
        }
    }

    /// Starts it; `None`, and why on stderr, where it cannot.
    pub fn start(self, scratch: &Path) -> Option<Running> {
        match self {
            Peer::Nothing => Some(Running::Nothing),
            Peer::Picket => {
                let run = Run::new();
                run.write("rules/everything.yml", RULE);
                let guests = guests();
                let arguments = ["--no-deliver", "--rules", "rules", "--guests", &guests.to_string_lossy()];
                let live = Live::start(&run, &arguments)?;
                Some(Running::Picket(run, Box::new(live)))
            }
            Peer::Auditd => auditd(scratch),
            Peer::Bpftrace => bpftrace(scratch),
        }
    }
}

fn auditd(scratch: &Path) -> Option<Running> {
    let dir = scratch.join("audit");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a directory");
    let log = dir.join("audit.log");
    // Debian's defaults but for the place and one file that is large enough.
    let config = format!(
        "log_file = {}\nlog_format = ENRICHED\nflush = INCREMENTAL_ASYNC\nfreq = 50\nmax_log_file = 4096\n\
         max_log_file_action = IGNORE\nspace_left = 75\nspace_left_action = IGNORE\nadmin_space_left = 50\n\
         admin_space_left_action = IGNORE\ndisk_full_action = IGNORE\ndisk_error_action = IGNORE\nlocal_events = yes\n",
        log.display()
    );
    std::fs::write(dir.join("auditd.conf"), config).expect("a file");
    let mut command = Command::new("auditd");
    command.arg("-n").arg("-c").arg(&dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(child) = command.spawn() else {
        eprintln!("skipped: auditd is not installed: apt-get install auditd");
        return None;
    };
    std::thread::sleep(Duration::from_secs(1));
    auditctl(&["-b", "65536"]);
    rules("-a");
    auditctl(&["-e", "1"]);
    Some(Running::Auditd(child, log))
}

/// Adds (`-a`) or removes (`-d`) the rules that are equal to what the others watch; nobody else's are touched.
fn rules(how: &str) {
    for call in ["execve", "openat"] {
        auditctl(&[how, "always,exit", "-F", "arch=b64", "-S", call]);
    }
}

fn auditctl(arguments: &[&str]) -> String {
    let output = Command::new("auditctl").args(arguments).output();
    output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default()
}

fn bpftrace(scratch: &Path) -> Option<Running> {
    let log = scratch.join("bpftrace.log");
    let program = "tracepoint:syscalls:sys_enter_execve { printf(\"exec %d %s %s\\n\", pid, comm, str(args->filename)); } \
                   tracepoint:syscalls:sys_enter_openat { printf(\"open %d %s %s\\n\", pid, comm, str(args->filename)); }";
    let out = std::fs::File::create(&log).expect("a file");
    if Command::new("bpftrace").arg("--version").output().is_err() {
        eprintln!("skipped: bpftrace is not installed: apt-get install bpftrace");
        return None;
    }
    // It looks for tracepoints in these, which need not be mounted.
    let mounts =
        "mount -t debugfs none /sys/kernel/debug; mount -t tracefs none /sys/kernel/tracing; exec bpftrace -e \"$1\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", mounts, "sh", program]).env("BPFTRACE_PERF_RB_PAGES", "4096");
    command.stdin(Stdio::null()).stdout(out.try_clone().expect("the file")).stderr(out);
    let child = command.spawn().expect("unshare starts");
    // It compiles first.
    std::thread::sleep(Duration::from_secs(4));
    Some(Running::Bpftrace(child, log))
}

impl Running {
    /// Until everything that was seen is dealt with; this work counts.
    pub fn drain(&self) {
        match self {
            Running::Nothing => {}
            Running::Picket(run, _) => {
                let deadline = Instant::now() + Duration::from_secs(30);
                while Instant::now() < deadline && in_flight(&status(run)) > 0 {
                    std::thread::sleep(Duration::from_millis(200));
                }
            }
            Running::Auditd(_, log) | Running::Bpftrace(_, log) => {
                let size = || std::fs::metadata(log).map_or(0, |m| m.len());
                let mut last = 0;
                while size() != last {
                    last = size();
                    std::thread::sleep(Duration::from_millis(500));
                }
            }
        }
    }

    /// Ends it, and says how much of the load it has recorded and lost.
    pub fn end(self, load: &str) -> Value {
        match self {
            Running::Nothing => Value::Null,
            Running::Picket(run, mut live) => {
                let status = status(&run);
                live.end(libc::SIGINT);
                status["ledger"]["guests"]["sigma"].clone()
            }
            Running::Auditd(mut child, log) => {
                let lost = auditctl(&["-s"]).lines().find_map(|l| l.strip_prefix("lost ").map(str::to_owned));
                rules("-d");
                auditctl(&["-e", "0"]);
                terminate(&mut child);
                let call = if load == "exec" { "SYSCALL=execve" } else { "SYSCALL=openat" };
                let (all, failed) = (lines_with(&log, &[call]), lines_with(&log, &[call, "success=no"]));
                serde_json::json!({ "records": all - failed, "of_failed_calls": failed, "lost": lost })
            }
            Running::Bpftrace(mut child, log) => {
                terminate(&mut child);
                let word = if load == "exec" { "exec " } else { "open " };
                serde_json::json!({ "records": lines_with(&log, &[word]), "lost_messages": lines_with(&log, &["Lost "]) })
            }
        }
    }
}

fn terminate(child: &mut Child) {
    // SAFETY: kill(2) with the pid of our own child that was not waited for yet.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    child.wait().expect("it is our child");
}

/// Lines that hold all of these words.
fn lines_with(log: &Path, words: &[&str]) -> usize {
    use std::io::BufRead as _;
    let Ok(file) = std::fs::File::open(log) else { return 0 };
    std::io::BufReader::new(file)
        .split(b'\n')
        .map_while(Result::ok)
        .filter(|line| words.iter().all(|word| line.windows(word.len()).any(|w| w == word.as_bytes())))
        .count()
}

fn status(run: &Run) -> Value {
    serde_json::from_str(&run.run(&["status", "--format", "json"]).out()).unwrap_or_default()
}

fn in_flight(status: &Value) -> u64 {
    let guests = status["ledger"]["guests"].as_object();
    guests.into_iter().flatten().filter_map(|(_, g)| g["in_flight"].as_u64()).sum()
}
