//! Live firing: rules, the real Picket, the real kernel.
//!
//! Every stimulus (a stand-in for a process rule, or a real program that does what a rule is about) runs on the stage, in namespaces of
//! its own, while `picket run` watches. The test then compares which rules fired for which stimulus with what the fixtures expect: the
//! detections, the known ways around a rule, and the things a rule must be silent about.
//!
//! An alert belongs to the stimulus whose marker it contains: the marker is part of the working directory, of the path of the stage that
//! started the program (an ancestor), or of the program's own path.
//!
//! Skipped, with a reason on standard error, when not root, without the built product, or where the kernel side cannot load. Without the
//! corpus only the rules of our own are fired. `PICKET_CORPUS` names another place of the corpus, `PICKET_FIRING` runs only stimuli whose rule contains its text.

mod fixture;
mod picket;
mod spec;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use fixture::{Action, Expected, Loader, Stimulus};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use picket::{NotStarted, Picket};
use serde::Deserialize;
use serde_json::Value;
use spec::Spec;

/// One test at a time on the stage: alerts about the stimuli of another test would join episodes of this one.
static STAGE: Mutex<()> = Mutex::new(());
/// How long the last alerts may take. Reached only when one is missing.
const LAST_ALERTS: Duration = Duration::from_secs(30);
/// How long one stimulus may take; a program that waits for something is a mistake in its fixture.
const ONE_STIMULUS: Duration = Duration::from_secs(30);

#[test]
fn every_process_rule_of_the_corpus_has_a_stand_in() {
    let Some(corpus) = corpus() else { return skip("the corpus is not here") };
    let scratch = scratch();
    let fixtures: BTreeSet<String> =
        loader(scratch.path()).stand_ins().into_iter().map(|stimulus| stimulus.rule).collect();
    let rules: BTreeSet<String> =
        rule_files(&corpus.join("process_creation")).into_iter().map(|(name, _)| name).collect();
    assert_eq!(fixtures, rules);
}

#[test]
fn every_rule_of_our_own_is_fired_or_says_why_not() {
    let scratch = scratch();
    let fired: BTreeSet<String> =
        loader(scratch.path()).acts("own").into_iter().map(|stimulus| stimulus.rule).collect();
    let rules: BTreeSet<String> = rule_files(&root().join("rules")).into_iter().map(|(name, _)| name).collect();
    assert_eq!(fired, rules);
}

#[test]
fn stand_ins_appear_as_their_fixtures_say() {
    if !is_root() {
        return skip("only root may make mount namespaces");
    }
    let _stage = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let scratch = scratch();
    if let Err(reason) = try_stage(scratch.path()) {
        return skip(&format!("this host gives no namespaces: {reason}"));
    }
    for stimulus in loader(scratch.path()).stand_ins() {
        let Action::Run(mut spec) = stimulus.action else { continue };
        spec.env.push(("STAND_IN_REPORT".to_owned(), "1".to_owned()));
        let ended = perform(&stimulus.directory, &spec);
        assert!(ended.status.success(), "{}: {}", stimulus.rule, ended.err);
        let mut expected = vec![report(&spec.program, &spec.cwd, &spec.argv)];
        let child: Vec<String> = spec
            .env
            .iter()
            .filter(|(name, _)| name.starts_with("STAND_IN_CHILD_ARG_"))
            .map(|(_, value)| value.clone())
            .collect();
        if !child.is_empty() {
            expected.push(report(stimulus.image.as_deref().expect("a child has a path"), &spec.cwd, &child));
        }
        let seen: Vec<String> = ended.out.lines().map(str::to_owned).collect();
        assert_eq!(seen, expected, "{}", stimulus.rule);
    }
}

#[test]
fn live_firing() {
    let scratch = scratch();
    let loader = loader(scratch.path());
    let mut directories = vec![root().join("rules")];
    let mut stimuli = loader.acts("own");
    if let Some(corpus) = corpus() {
        directories.extend(["process_creation", "file_event", "network_connection"].map(|name| corpus.join(name)));
        stimuli.extend(loader.stand_ins());
        stimuli.extend(["real", "file_event", "network"].into_iter().flat_map(|fixture| loader.acts(fixture)));
    } else {
        skip("the corpus is not here; only the rules of our own are fired");
    }
    fire(stimuli, &directories, &[], "firing.txt");
}

/// Audit records, with no audit daemon.
#[test]
fn live_firing_of_audit_rules() {
    let Some(corpus) = corpus() else { return skip("the corpus is not here") };
    let scratch = scratch();
    let stimuli = loader(scratch.path()).acts("auditd");
    let directories = ["", "execve", "path", "service_stop", "syscall"].map(|name| corpus.join("auditd").join(name));
    fire(stimuli, &directories, &["auditd=every-open"], "firing-auditd.txt");
}

/// Performs the stimuli while Picket watches with these rules and settings, and compares. The table is kept under `name`.
fn fire(mut stimuli: Vec<Stimulus>, directories: &[PathBuf], settings: &[&str], name: &str) {
    let stage = Path::new(env!("CARGO_BIN_EXE_picket-stage"));
    let (binary, guests) = (stage.with_file_name("picket"), stage.with_file_name("../guests"));
    if !is_root() {
        return skip("only root may load programs into the kernel");
    }
    if !binary.exists() || !guests.exists() {
        return skip("picket is not built (cargo xtask build)");
    }
    let _stage = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let ids: BTreeMap<String, String> = directories.iter().flat_map(|directory| rule_files(directory)).collect();
    if let Ok(filter) = env::var("PICKET_FIRING") {
        stimuli.retain(|stimulus| stimulus.rule.contains(&filter));
    }

    let picket = match Picket::start(&binary, &guests, directories, settings) {
        Ok(picket) => picket,
        Err(NotStarted::Unavailable(talk)) => return skip(&format!("picket cannot watch this host: {talk}")),
        Err(NotStarted::Failed(reason)) => panic!("{reason}"),
    };
    for stimulus in &stimuli {
        let Action::Run(spec) = &stimulus.action else { continue };
        let ended = perform(&stimulus.directory, spec);
        assert!(!ended.err.contains("stage: "), "{} ({}): {}", stimulus.rule, stimulus.name, ended.err);
    }
    let deadline = Instant::now() + LAST_ALERTS;
    while Instant::now() < deadline {
        let alerts = parse(&picket.alerts());
        let complete =
            stimuli.iter().filter(|stimulus| must_fire(stimulus)).all(|stimulus| fired(stimulus, &ids, &alerts));
        if complete {
            break;
        }
        thread::sleep(Duration::from_millis(200));
    }
    let talk = picket.talk();
    let alerts = parse(&picket.stop().unwrap_or_else(|reason| panic!("{reason}")));

    let (table, wrong) = judge(&stimuli, &ids, &alerts);
    say(&table);
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&kept, &table).unwrap_or_else(|error| panic!("{}: {error}", kept.display()));
    assert!(
        wrong.is_empty(),
        "{} stimuli differ from what their fixtures expect:\n{}\n\npicket said:\n{talk}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// An alert: its text, in which the marker is looked for, and its meaning.
struct Alert {
    text: String,
    json: Value,
}

fn parse(lines: &[String]) -> Vec<Alert> {
    let alert = |line: &String| Alert {
        text: line.clone(),
        json: serde_json::from_str(line).unwrap_or_else(|error| panic!("not one alert a line: {error}: {line}")),
    };
    lines.iter().map(alert).collect()
}

fn must_fire(stimulus: &Stimulus) -> bool {
    stimulus.expected == Expected::Detected && matches!(stimulus.action, Action::Run(_))
}

fn fired(stimulus: &Stimulus, ids: &BTreeMap<String, String>, alerts: &[Alert]) -> bool {
    let id = ids.get(&stimulus.rule).unwrap_or_else(|| panic!("{}: there is no such rule", stimulus.rule));
    let stage = stimulus.directory.join("stage");
    alerts.iter().any(|alert| {
        let image = alert.json["process"]["exe"].as_str().map(Path::new);
        alert.json["rule"]["id"].as_str() == Some(id)
            && alert.text.contains(&stimulus.marker)
            // The stage is a program like any other, and a rule may fire for it; that is not the stimulus.
            && image != Some(&stage)
            && stimulus.image.as_deref().is_none_or(|wanted| image == Some(wanted))
    })
}

/// The table for people, and a line for each stimulus that went another way than its fixture says.
fn judge(stimuli: &[Stimulus], ids: &BTreeMap<String, String>, alerts: &[Alert]) -> (String, Vec<String>) {
    let (mut table, mut wrong) = (String::new(), Vec::new());
    let mut counts: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for stimulus in stimuli {
        let Stimulus { fixture, rule, name, expected, why, .. } = stimulus;
        let (seen, why) = match &stimulus.action {
            Action::Skip(reason) => ("not run".to_owned(), reason),
            Action::Run(_) if fired(stimulus, ids, alerts) == (*expected == Expected::Detected) => {
                (expected.to_string(), why)
            }
            Action::Run(_) => {
                wrong.push(format!(
                    "{rule} ({name}): expected {expected}, and it did {}fire",
                    if must_fire(stimulus) { "not " } else { "" }
                ));
                ("WRONG".to_owned(), why)
            }
        };
        writeln!(table, "{fixture:<17} {seen:<9} {rule:<75} {name:<45} {why}").expect("writing to a string");
        *counts.entry((fixture, seen)).or_default() += 1;
    }
    for ((fixture, seen), count) in counts {
        writeln!(table, "{fixture:<17} {seen:<9} {count}").expect("writing to a string");
    }
    (table, wrong)
}

/// Whether this host lets root make namespaces; many containers do not.
fn try_stage(scratch: &Path) -> Result<(), String> {
    let directory = scratch.join("trial");
    let spec = Spec {
        hide: Vec::new(),
        files: Vec::new(),
        addresses: Vec::new(),
        names: Vec::new(),
        uid: 0,
        cwd: directory.clone(),
        program: env!("CARGO_BIN_EXE_picket-stand-in").into(),
        argv: vec!["stand-in".to_owned()],
        env: Vec::new(),
        input: String::new(),
    };
    let ended = perform(&directory, &spec);
    // Anything but a refusal is a mistake of the stage, and the stimuli will show it.
    if ended.err.contains("EPERM") { Err(ended.err) } else { Ok(()) }
}

/// How a stimulus ended, and what it wrote.
struct Ended {
    status: ExitStatus,
    out: String,
    err: String,
}

/// Runs one stimulus to its end.
fn perform(directory: &Path, spec: &Spec) -> Ended {
    fs::create_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    // The stage's own path holds the marker, so that children can be recognised by this ancestor wherever they work.
    let stage = directory.join("stage");
    fs::hard_link(env!("CARGO_BIN_EXE_picket-stage"), &stage)
        .unwrap_or_else(|error| panic!("{}: {error}", stage.display()));
    let file = directory.join("spec.json");
    let json = serde_json::to_vec(spec).expect("a spec is plain data");
    fs::write(&file, json).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    // Files and not pipes: a pipe ends with its last holder, which need not be the program.
    let (out, err) = (directory.join("stdout"), directory.join("stderr"));
    let create = |path: &Path| File::create(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut command = Command::new(&stage);
    command.arg(&file).stdin(Stdio::null()).stdout(create(&out)).stderr(create(&err)).process_group(0);
    let mut process = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", stage.display()));
    let status = wait(&mut process).unwrap_or_else(|| panic!("{}: does not end", directory.display()));
    let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    Ended { status, out: read(&out), err: read(&err) }
}

/// Waits for the stage; one that does not end is killed with its whole group, and with it the pid namespace.
fn wait(process: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + ONE_STIMULUS;
    while Instant::now() < deadline {
        if let Some(status) = process.try_wait().expect("the stage is our child") {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(2));
    }
    if let Ok(group) = i32::try_from(process.id()) {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    let _ = process.wait();
    None
}

/// What a stand-in prints about itself.
fn report(path: &Path, cwd: &Path, argv: &[String]) -> String {
    [&[path.display().to_string(), cwd.display().to_string()], argv].concat().join("\u{1f}")
}

#[derive(Deserialize)]
struct RuleHead {
    id: String,
}

/// Name and id of the rules in a directory.
fn rule_files(directory: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let names = entries.map(|entry| entry.expect("a directory entry").file_name().to_string_lossy().into_owned());
    let rules = names.filter(|name| is_rule(name));
    let head = |name: String| {
        let path = directory.join(&name);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // A correlation stands before the rules that it is about.
        let first = text.split("\n---").next().unwrap_or_default();
        let head: RuleHead =
            serde_saphyr::from_str(first).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (name, head.id)
    };
    rules.map(head).collect()
}

/// The tests beside a rule have a second extension.
fn is_rule(name: &str) -> bool {
    name.strip_suffix(".yml")
        .is_some_and(|stem| Path::new(stem).extension().is_none_or(|extension| extension != "test"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace").to_owned()
}

fn corpus() -> Option<PathBuf> {
    let named = env::var_os("PICKET_CORPUS").map(PathBuf::from);
    let path = named.unwrap_or_else(|| root().join("../shared/corpora/sigmahq-linux"));
    path.join("process_creation").is_dir().then_some(path)
}

fn scratch() -> tempfile::TempDir {
    // Below the target directory: rules know /tmp, and so would the stage.
    tempfile::Builder::new()
        .prefix("firing-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("a directory below target")
}

fn loader(scratch: &Path) -> Loader<'_> {
    let fixtures = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/firing"));
    Loader { fixtures, stand_in: Path::new(env!("CARGO_BIN_EXE_picket-stand-in")), scratch }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

fn skip(reason: &str) {
    say(&format!("skipped: {reason}\n"));
}

/// Past the test harness, which keeps what a passing test prints to itself.
fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
