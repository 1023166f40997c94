//! A running `picket run`, as its users see it: alerts on standard output, talk on standard error.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long the start (compiling guests) and the drain may take before the test gives up.
const PATIENCE: Duration = Duration::from_mins(2);
/// Says on standard error that every hook is attached.
const READY: &str = "picket is ready";
/// The exit code of `this host cannot`.
const CANNOT: i32 = 4;

/// Lines that a thread collects from a pipe of the process.
type Lines = Arc<Mutex<Vec<String>>>;

pub struct Picket {
    process: Child,
    out: Lines,
    err: Lines,
    readers: Vec<JoinHandle<()>>,
}

/// Why there is no running Picket.
pub enum NotStarted {
    /// This host cannot load the kernel side; what Picket said.
    Unavailable(String),
    Failed(String),
}

impl Picket {
    /// Starts Picket and waits until it watches.
    pub fn start(binary: &Path, guests: &Path, rules: &[PathBuf], settings: &[&str]) -> Result<Self, NotStarted> {
        let mut command = Command::new(binary);
        command.arg("run").arg("--guests").arg(guests).args(["--format", "json", "--no-deliver"]);
        // Rules of every level are to make alerts, whatever is their default.
        command.args(["--set", "tuning.live_from=informational"]);
        for directory in rules {
            command.arg("--rules").arg(directory);
        }
        for setting in settings {
            command.arg("--set").arg(setting);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process =
            command.spawn().map_err(|error| NotStarted::Failed(format!("{}: {error}", binary.display())))?;
        let (out, out_reader) = collect(process.stdout.take());
        let (err, err_reader) = collect(process.stderr.take());
        let mut picket = Self { process, out, err, readers: vec![out_reader, err_reader] };
        match picket.wait_for(|picket| picket.talk().contains(READY)) {
            Waited::Seen => Ok(picket),
            Waited::Ended(status) if status.code() == Some(CANNOT) => Err(NotStarted::Unavailable(picket.talk())),
            Waited::Ended(status) => Err(NotStarted::Failed(format!("picket ended with {status}:\n{}", picket.talk()))),
            Waited::TimedOut => Err(NotStarted::Failed(format!("picket does not get ready:\n{}", picket.talk()))),
        }
    }

    /// The alerts so far, one line of JSON each.
    pub fn alerts(&self) -> Vec<String> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Standard error so far.
    pub fn talk(&self) -> String {
        self.err.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Asks Picket to end, waits until it has drained, and gives all its alerts.
    pub fn stop(mut self) -> Result<Vec<String>, String> {
        self.signal(Signal::SIGINT);
        match self.wait_for(|_| false) {
            Waited::Ended(_) => {}
            Waited::Seen | Waited::TimedOut => return Err(format!("picket does not end:\n{}", self.talk())),
        }
        for reader in self.readers.drain(..) {
            reader.join().map_err(|_| "a reader of picket's output panicked".to_owned())?;
        }
        Ok(self.alerts())
    }

    fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.process.id()) {
            // It may have ended by itself; the wait says so.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    fn wait_for(&mut self, seen: impl Fn(&Self) -> bool) -> Waited {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if seen(self) {
                return Waited::Seen;
            }
            if let Ok(Some(status)) = self.process.try_wait() {
                return Waited::Ended(status);
            }
            thread::sleep(Duration::from_millis(50));
        }
        Waited::TimedOut
    }
}

impl Drop for Picket {
    /// A failed test leaves no Picket behind. An ended one is no longer there to be killed.
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

enum Waited {
    Seen,
    Ended(ExitStatus),
    TimedOut,
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> (Lines, JoinHandle<()>) {
    let lines = Lines::default();
    let sink = Arc::clone(&lines);
    let reader = thread::spawn(move || {
        let Some(pipe) = pipe else { return };
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            sink.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    });
    (lines, reader)
}
