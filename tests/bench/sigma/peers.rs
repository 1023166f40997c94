//! The other engines, as a program of their own: `tests/peers`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use picket_tests::target;
use serde_json::Value;

use super::Matches;
use super::rules::Rule;
use super::workload::Event;

const ENGINES: [&str; 4] = ["rsigma-slots", "rsigma-parsed", "rsigma-json", "sigma-rust"];

/// What one engine did with the workload.
pub struct Peer {
    /// `slots`, `parsed`, `json`, `sigma_rust`.
    pub name: String,
    /// Nanoseconds per event of the best pass.
    pub ns: f64,
    /// Events of each pass; a slow engine looks at fewer.
    pub looked_at: usize,
    pub ready_ms: u64,
    pub memory_kib: u64,
    pub matches: Matches,
}

pub struct Peers {
    binary: PathBuf,
}

impl Peers {
    /// `None`, and a word about it, where they are not built.
    pub fn find() -> Option<Peers> {
        let binary = target().join("peers/release/picket-peers");
        if !binary.is_file() {
            eprintln!("without the other engines: {} is not there", binary.display());
            return None;
        }
        Some(Peers { binary })
    }

    pub fn run(&self, rules: &[Rule], events: &[Event], passes: usize) -> Vec<Peer> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        write(&path("rules.ndjson"), rules.iter().map(|r| Value::from(r.text.as_str())));
        write(&path("events.ndjson"), events.iter().enumerate().map(|(i, e)| e.json(i)));
        let output = Command::new(&self.binary)
            .arg(directory.path())
            .arg(passes.to_string())
            .args(ENGINES)
            .stderr(Stdio::inherit())
            .output()
            .expect("the other engines start");
        assert!(output.status.success(), "the other engines end well: {}", output.status);
        let lines = String::from_utf8(output.stdout).expect("text");
        lines.lines().map(|line| peer(directory.path(), &serde_json::from_str(line).expect("JSON"))).collect()
    }
}

fn write(path: &Path, values: impl Iterator<Item = Value>) {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).expect("a file"));
    for value in values {
        writeln!(file, "{value}").expect("room");
    }
    file.flush().expect("room");
}

fn peer(directory: &Path, line: &Value) -> Peer {
    let engine = line["engine"].as_str().expect("a name");
    let number = |key: &str| line[key].as_u64().expect("a number");
    assert_eq!(number("refused"), 0, "{engine} refuses rules");
    let bytes = std::fs::read(directory.join(format!("matches-{engine}"))).expect("its matches");
    let pairs = bytes.chunks_exact(8).map(|pair| {
        let half = |at: usize| u32::from_le_bytes([pair[at], pair[at + 1], pair[at + 2], pair[at + 3]]);
        (half(0), half(4))
    });
    let passes = line["pass_ns"].as_array().expect("times");
    Peer {
        name: engine.strip_prefix("rsigma-").unwrap_or(engine).replace('-', "_"),
        ns: passes.iter().filter_map(Value::as_f64).fold(f64::INFINITY, f64::min),
        looked_at: number("looked_at") as usize,
        ready_ms: number("ready_ms"),
        memory_kib: number("memory_kib"),
        matches: pairs.collect(),
    }
}
