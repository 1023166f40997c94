//! The other engines, as processes: see tests/oracle.

use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// What one engine makes of one case.
pub enum Answer {
    /// One per event.
    Verdicts(Vec<bool>),
    /// The rule, and why.
    Refuses(String),
    /// It has no opinion.
    Silent,
}

pub struct Peer {
    pub name: &'static str,
    command: Result<Vec<PathBuf>, String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

/// All of them, those that cannot be had with the reason.
pub fn all() -> Vec<Peer> {
    let engines = engines();
    let engine = |name: &str| engines.clone().map(|program| vec![program, name.into()]);
    vec![
        pysigma(),
        Peer { name: "rsigma", command: engine("rsigma") },
        Peer { name: "sigma-rust", command: engine("sigma-rust") },
    ]
}

/// pySigma alone. Tests run side by side, and the venv is made once.
pub fn pysigma() -> Peer {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let python = PYTHON.get_or_init(python).clone();
    Peer { name: "pySigma", command: python.map(|p| vec![p, root().join("tests/oracle/pysigma.py")]) }
}

impl Peer {
    /// Asks about each `(rule, events)`.
    pub fn ask(&self, cases: &[(String, Vec<Value>)]) -> Result<Vec<Answer>, String> {
        let command = self.command.clone()?;
        let mut child = Command::new(&command[0])
            .args(&command[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| e.to_string())?;
        let mut stdin = child.stdin.take().unwrap();
        let line = |(rule, events): &(String, Vec<Value>)| format!("{}\n", json!({"rule": rule, "events": events}));
        let lines = cases.iter().map(line).collect::<Vec<_>>().concat();
        // It answers while it reads: writing everything first would fill the pipe.
        let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
        let output = child.wait_with_output().map_err(|e| e.to_string())?;
        writer.join().unwrap().map_err(|e| format!("it stopped reading: {e}"))?;
        let text = String::from_utf8(output.stdout).map_err(|e| e.to_string())?;
        let answers: Vec<Answer> = text.lines().map(|line| answer(&serde_json::from_str(line).unwrap())).collect();
        assert_eq!(answers.len(), cases.len(), "{} answers every case", self.name);
        Ok(answers)
    }
}

fn answer(line: &Value) -> Answer {
    match (&line["verdicts"], &line["refused"]) {
        (Value::Array(verdicts), _) => Answer::Verdicts(verdicts.iter().map(|v| v.as_bool().unwrap()).collect()),
        (_, Value::String(why)) => Answer::Refuses(why.clone()),
        _ => Answer::Silent,
    }
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default()))
}

/// The interpreter of a venv with pySigma, made once.
fn python() -> Result<PathBuf, String> {
    let venv = root().join("target/oracle-venv");
    let python = venv.join("bin/python");
    let check =
        "import importlib.metadata as m; assert (m.version('pysigma'), m.version('pyparsing')) == ('1.5.0', '3.3.2')";
    if run(Command::new(&python).args(["-c", check])).is_err() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        let packages = ["pysigma==1.5.0", "pyparsing==3.3.2"];
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(packages))?;
    }
    Ok(python)
}

/// The program of tests/oracle, built with the first compiler that is new enough.
fn engines() -> Result<PathBuf, String> {
    let target = root().join("target/oracle");
    let mut why = String::new();
    for toolchain in [&[] as &[&str], &["+nightly"]] {
        match run(Command::new("rustc").args(toolchain).arg("--version")) {
            Ok(version) if new_enough(&version) => {}
            Ok(version) => {
                why = format!("{} is older than 1.96", version.trim());
                continue;
            }
            Err(e) => {
                why = format!("{why}; {e}");
                continue;
            }
        }
        // What this test is built with must not say how that is.
        let built = run(Command::new("cargo")
            .args(toolchain)
            .args(["build", "--quiet", "--locked", "--manifest-path"])
            .arg(root().join("tests/oracle/Cargo.toml"))
            .env("CARGO_TARGET_DIR", &target)
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("CARGO"));
        return built.map(|_| target.join("debug/picket-oracle"));
    }
    Err(why)
}

/// `rustc 1.97.0-nightly (...)`
fn new_enough(version: &str) -> bool {
    let number = version.split(' ').nth(1).unwrap_or_default();
    let mut parts = number.split('.').map(|p| p.parse::<u32>().unwrap_or(0));
    (parts.next(), parts.next()) >= (Some(1), Some(96))
}
