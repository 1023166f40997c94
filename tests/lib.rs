//! Harness of the end-to-end tests: runs the real binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Root of the checkout.
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The binary under test, built by `cargo xtask build`.
pub fn binary() -> PathBuf {
    std::env::var_os("PICKET_BINARY").map_or_else(|| target().join("release/picket"), PathBuf::from)
}

/// The guests that ship, built by `cargo xtask build`.
pub fn guests() -> PathBuf {
    target().join("guests")
}

/// Broken and hostile guests, built by `cargo xtask build --test-guests`.
pub fn test_guest(name: &str) -> PathBuf {
    target().join("test-guests").join(format!("{name}.wasm"))
}

/// The public rule corpus, where the checkout has it beside it.
pub fn corpus() -> Option<PathBuf> {
    let here = root().join("../shared/corpora/sigmahq-linux");
    std::env::var_os("PICKET_CORPUS").map(PathBuf::from).or(Some(here)).filter(|p| p.is_dir())
}

/// Whether the product is built; a test without it is skipped by name, never green by accident.
pub fn built() -> bool {
    let there = binary().is_file() && guests().join("sigma.wasm").is_file();
    if !there {
        eprintln!("skipped: {} or its guests are not built: cargo xtask build", binary().display());
    }
    there
}

pub fn is_root() -> bool {
    // The owner of our own /proc entry is who we are.
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").expect("/proc is mounted")) == 0
}

/// Whether the product can watch here: it is built, and we are root.
pub fn able() -> bool {
    if !is_root() {
        eprintln!("skipped: only root may load the kernel side");
    }
    built() && is_root()
}

/// One Picket at a time within a test program: two would be each other's load.
pub fn one_at_a_time() -> std::sync::MutexGuard<'static, ()> {
    static KERNEL: std::sync::Mutex<()> = std::sync::Mutex::new(());
    KERNEL.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Runs `true` under a command line that says `words`.
pub fn exec(words: &str) {
    let status = Command::new("/bin/true").arg(words).status().expect("/bin/true runs");
    assert!(status.success());
}

/// One command of the binary, in an empty working directory with a state directory of its own.
pub struct Run {
    pub dir: tempfile::TempDir,
}

impl Default for Run {
    fn default() -> Run {
        Run::new()
    }
}

impl Run {
    pub fn new() -> Run {
        Run { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    /// Writes a file below the working directory.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(&path, content).expect("a file");
        path
    }

    pub fn command(&self, args: &[&str]) -> Command {
        self.command_of(&binary(), args)
    }

    /// The same for another binary with the same command line.
    pub fn command_of(&self, binary: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(binary);
        command.args(args).current_dir(self.dir.path()).env("PICKET_STATE_DIR", self.dir.path().join("state"));
        command.env("NO_COLOR", "1");
        // Most tests are about what matches: rules of every level make alerts. Those about modes say otherwise.
        command.env("PICKET_TUNING__LIVE_FROM", "informational");
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran(self.command(args).output().expect("the binary runs"))
    }

    /// What `status` says of the Picket that runs in this directory.
    #[track_caller]
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.run(&["status", "--format", "json"]).exits(0).out()).expect("status is JSON")
    }

    /// `replay FILE` with the shipped guests.
    pub fn replay(&self, file: &Path, rules: &Path, more: &[&str]) -> Ran {
        let (file, rules, guests) = (file.to_string_lossy(), rules.to_string_lossy(), guests());
        let guests = guests.to_string_lossy();
        let mut args = vec!["replay", &file, "--rules", &rules, "--guests", &guests, "--format", "json"];
        args.extend(more);
        self.run(&args)
    }
}

/// What a command did.
pub struct Ran(pub Output);

impl Ran {
    pub fn code(&self) -> i32 {
        self.0.status.code().unwrap_or(-1)
    }

    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    pub fn alerts(&self) -> Vec<Value> {
        self.out().lines().map(|l| serde_json::from_str(l).expect("one JSON object a line")).collect()
    }

    /// Asserts the exit code, showing what was said otherwise.
    #[expect(clippy::return_self_not_must_use, reason = "the assertion is often all that is wanted")]
    #[track_caller]
    pub fn exits(self, code: i32) -> Ran {
        assert_eq!(self.code(), code, "stderr:\n{}", self.err());
        self
    }
}

/// How long a start or a drain may take before a test gives up: a bound on hanging, not a measurement.
const PATIENCE: std::time::Duration = std::time::Duration::from_mins(3);

type Lines = std::sync::Arc<std::sync::Mutex<Vec<String>>>;

/// A running `picket run --format json`.
pub struct Live {
    child: std::process::Child,
    out: Lines,
    err: Lines,
    readers: Vec<std::thread::JoinHandle<()>>,
}

impl Live {
    /// Starts it and waits until it watches; `None` (and the reason on stderr) where this host cannot.
    pub fn start(run: &Run, args: &[&str]) -> Option<Live> {
        Live::start_of(&binary(), run, args)
    }

    /// The same for another binary with the same command line.
    pub fn start_of(binary: &Path, run: &Run, args: &[&str]) -> Option<Live> {
        let mut all = vec!["run", "--format", "json"];
        all.extend(args);
        let mut command = run.command_of(binary, &all);
        command.stdin(std::process::Stdio::null());
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        let (out, out_reader) = collect(child.stdout.take());
        let (err, err_reader) = collect(child.stderr.take());
        let mut live = Live { child, out, err, readers: vec![out_reader, err_reader] };
        let ready =
            wait_until(|| live.talk().contains("picket is ready") || live.child.try_wait().is_ok_and(|s| s.is_some()));
        assert!(ready, "picket does not get ready:\n{}", live.talk());
        match live.child.try_wait().expect("it is our child") {
            Some(status) if status.code() == Some(4) => {
                eprintln!("skipped: this host cannot: {}", live.talk());
                None
            }
            Some(status) => panic!("picket ended with {status}:\n{}", live.talk()),
            None => Some(live),
        }
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Lines printed so far.
    pub fn printed(&self) -> Vec<String> {
        self.printed_since(0)
    }

    /// Lines printed so far but for the first `skip`: for who looks often.
    pub fn printed_since(&self, skip: usize) -> Vec<String> {
        self.out.lock().expect("no reader panics")[skip..].to_vec()
    }

    /// Alerts printed so far whose line holds `marker`.
    pub fn alerts(&self, marker: &str) -> Vec<Value> {
        let lines = self.printed();
        lines.iter().filter(|l| l.contains(marker)).map(|l| serde_json::from_str(l).expect("JSON")).collect()
    }

    /// Standard error so far.
    pub fn talk(&self) -> String {
        self.err.lock().expect("no reader panics").join("\n")
    }

    /// Sends a signal and waits for the end; alerts in flight are printed before.
    pub fn end(&mut self, signal: i32) -> std::process::ExitStatus {
        self.signal(signal);
        self.wait()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: kill(2) with the pid of our own child that was not waited for yet.
        unsafe { libc::kill(self.pid(), signal) };
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        let mut status = None;
        assert!(
            wait_until(|| {
                status = self.child.try_wait().expect("it is our child");
                status.is_some()
            }),
            "picket does not end:\n{}",
            self.talk()
        );
        for reader in self.readers.drain(..) {
            reader.join().expect("no reader panics");
        }
        status.expect("it has ended")
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Looks until `seen` holds; `false` if it never does.
pub fn wait_until(mut seen: impl FnMut() -> bool) -> bool {
    let deadline = std::time::Instant::now() + PATIENCE;
    while std::time::Instant::now() < deadline {
        if seen() {
            return true;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    false
}

fn collect(pipe: Option<impl std::io::Read + Send + 'static>) -> (Lines, std::thread::JoinHandle<()>) {
    use std::io::BufRead as _;
    let lines = Lines::default();
    let sink = lines.clone();
    let reader = std::thread::spawn(move || {
        let Some(pipe) = pipe else { return };
        for line in std::io::BufReader::new(pipe).lines().map_while(Result::ok) {
            sink.lock().expect("nobody panics with it").push(line);
        }
    });
    (lines, reader)
}
